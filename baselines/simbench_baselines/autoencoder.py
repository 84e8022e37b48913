"""What all autoencoders share, so that a model's file is its loss and its prior."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from simbench.core.errors import UsageError
from simbench.tasks.base import Task
from simbench.training.processes import drawn, whole
from simbench.training.weights import validation_score_of
from simbench_baselines.blocks import Decoder, Encoder, as_images, image_shape, to_log
from simbench_baselines.likelihoods import HEADS
from simbench_baselines.trained import TrainedModel, in_pieces


class Autoencoder(TrainedModel):
    """Encoder and decoder of the sizes of a preset, the likelihood of what is decoded, and sampling from a prior.

    x (B, *shape) -> encoder -> latent numbers -> a code z (B, latent), which is decoded. An `informed` autoencoder is
    told the conditions: the embedded conditions stand beside the encoder's features, and beside z when it is decoded.
    A subclass gives `losses`, and where its prior is not N(0, 1), `build_latent` and `draw_prior`.

    Three constructor arguments must be among those that a subclass hands to `super().__init__`: `preset`, `latent`, and
    `head`, the likelihood (None: of shipped weights the better one, in training `counts`):

    - `counts`: photon counts have a counting likelihood (`likelihoods.Counts`), grey values the usual cross entropy;
    - `mse`: squared errors, of log(1 + n) for photons, which are decoded by rounding.
    """

    informed: ClassVar[bool] = True
    slim: ClassVar[bool] = False
    """A smaller decoder (see `Decoder`), which leaves room for a learned prior."""

    def __init__(self, weights: str | None, *, head: str | None, **config: Any) -> None:
        super().__init__(weights, head=head or "counts", **config)
        self.wanted_head = head

    def shipped(self, task: Task) -> Path:
        """The file of the head that was asked for; of none, the one with the best validation score in training."""
        stem = super().shipped(task).with_suffix("").name
        heads = [name for name in ("counts", "mse") if self.wanted_head in (None, name)]
        files = [self.folder / f"{stem}-{name}.safetensors" for name in heads]
        return min((file for file in files if file.is_file()), key=validation_score_of, default=files[0])

    def plan(self, preset: str, task_name: str) -> dict[str, Any]:
        """Steps and learning rate, the same for all autoencoders, chosen for the VAE on the validation split."""
        if preset == "paper":
            return {"learning_rate": 1e-3}
        return {"steps": 5000 if task_name == "mnist" else 4000, "learning_rate": 3e-3}

    def build(self, task: Task) -> None:
        """Encoder, latent, decoder and likelihood. Raises UsageError where that takes no events of so many layers."""
        super().build(task)
        preset, latent, shape = self.config["preset"], self.config["latent"], image_shape(task.shape)
        if self.counts and self.config["head"] == "counts" and shape[0] > 1:
            what, fix = "the counting likelihood takes events of one layer", "Train with --param head=mse."
            raise UsageError(what, got=f"events of shape {task.shape}", expected="(H, W)", fix=fix)
        self.head = HEADS[self.config["head"], self.counts]
        self.encoder = Encoder(shape, preset)
        told = self.conditions.out_features if self.informed else 0
        self.build_latent(self.encoder.out_features + told, task)
        outputs, placed = self.head.channels * shape[0], self.informed and self.conditions.placed
        self.decoder = Decoder(latent + told, shape, preset, out_channels=outputs, placed=placed, slim=self.slim)
        if self.head.start:
            self.decoder.start_at(self.head.start)
        self.empty = (
            nn.Sequential(nn.Linear(latent + told, 32), nn.SiLU(), nn.Linear(32, 1)) if self.head.empty else None
        )

    def build_latent(self, features: int, task: Task) -> None:
        """Make what leads from `features` numbers, of the encoder and the embedded conditions, to a code, and what the
        prior needs."""
        self.posterior = nn.Linear(features, self.config["latent"])

    def encode(self, samples: Tensor, told: Tensor) -> Tensor:
        """Latent numbers of events: (B, *shape), embedded conditions (B, told) -> (B, out_features of `posterior`)."""
        features = self.encoder(as_images(to_log(samples) / 2 if self.counts else samples))
        numbers: Tensor = self.posterior(self.beside(features, told))
        return numbers

    def decode(self, z: Tensor, told: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the head takes of codes (B, latent) and conditions: (B, channels, H, W), logits of empty events (B,)."""
        code = self.beside(z, told)
        return self.decoder(code), None if self.empty is None else self.empty(code).squeeze(1)

    def beside(self, values: Tensor, told: Tensor) -> Tensor:
        """Values and embedded conditions, side by side, where this autoencoder is informed."""
        return torch.cat([values, told], 1) if self.informed else values

    def reconstruction(self, z: Tensor, told: Tensor, samples: Tensor) -> Tensor:
        """-log p(x|z,c) without what no parameter moves, or the squared error, of each event: (B,)."""
        return self.head.negative_log(*self.decode(z, told), samples)

    def draw_prior(self, conditions: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """A code for each row of the conditions: (B, C) -> (B, latent)."""
        latent, device = self.config["latent"], conditions.device
        return drawn(lambda n: torch.randn(n, latent, generator=rng, device=device), len(conditions))

    @torch.inference_mode()
    def latent_codes(self, samples: Tensor, conditions: Tensor) -> Tensor:
        """The codes of events, of a random one its mean: (B, *shape), (B, C) -> (B, latent)."""
        return self.encode(samples, self.conditions(conditions))[:, : self.config["latent"]]

    @torch.inference_mode()
    def prior_codes(self, conditions: Tensor, *, seed: int) -> Tensor:
        """The codes that `sample` decodes: (B, C) -> (B, latent)."""
        rng = torch.Generator(conditions.device).manual_seed(seed)
        return self.draw_prior(conditions, rng)

    @torch.inference_mode()
    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Codes from the prior, decoded with the conditions, and events drawn from the likelihood."""
        rng = torch.Generator(conditions.device).manual_seed(seed)
        told = self.conditions(conditions)
        pieces = zip(in_pieces(self.draw_prior(conditions, rng)), in_pieces(told), strict=True)
        events = torch.cat([self.head.draw(*self.decode(z, some), rng) for z, some in pieces])
        return events.reshape(-1, *self.task_shape)


class PriorMatching(Autoencoder):
    """The Wasserstein autoencoder (arXiv:1711.01558, eq. 4): codes are no random numbers, only their distribution
    counts.

    Minimised: E -log p(x|enc(x),c) + beta D(enc(X), Z), Z from the prior; D is `divergence`, named `divergence_name` in
    the training curve. With conditions, D compares concat(enc(X), scale Q) with concat(Z, scale Q), Q the standardised
    conditions of the batch: scale = 0 matches the codes of all conditions together, a larger one those of each.
    The constructor's arguments `beta` and `scale` must be among those handed on.
    """

    divergence_name: ClassVar[str]

    @abstractmethod
    def divergence(self, codes: Tensor, prior: Tensor) -> Tensor:
        """D of two batches, a scalar: (B, latent + C), (B, latent + C) -> ()."""

    def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """Reconstruction and divergence."""
        told = self.conditions(conditions)
        z, prior = self.encode(samples, told), self.draw_prior(conditions)
        q = self.config["scale"] * self.conditions.standardised(conditions)
        divergence = self.divergence(whole(torch.cat([z, q], 1)), whole(torch.cat([prior, q], 1)))
        return {
            "reconstruction": self.reconstruction(z, told, samples).mean(),
            self.divergence_name: self.config["beta"] * divergence,
        }
