"""What all autoencoders share, so that a model's file is its loss and its prior."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simbench.tasks.base import Task
from simbench_baselines.blocks import Decoder, Encoder, as_images, image_shape, to_log
from simbench_baselines.likelihoods import HEADS
from simbench_baselines.trained import TrainedModel

AT_ONCE = 1000
"""Events that are decoded at once: the likelihood's arrays take 200 kB an event."""


class Autoencoder(TrainedModel):
    """Encoder and decoder of the sizes of a preset, the likelihood of what is decoded, and sampling from a prior.

    x (B, *shape) -> encoder -> latent numbers -> a code z (B, latent); z and the embedded conditions, side by side, are
    decoded. A subclass gives `losses`, and where its prior is not N(0, 1), `build_latent` and `draw_prior`.

    The constructor's arguments `preset` and `latent` must be among those that a subclass hands to `super().__init__`;
    `head` may be:

    - `counts` (if absent): photon counts have a counting likelihood (`likelihoods.Counts`), grey values the usual cross
      entropy;
    - `mse`: squared errors, of log(1 + n) for photons, which are decoded by rounding.
    """

    def build(self, task: Task) -> None:
        """Encoder, latent, decoder and likelihood."""
        super().build(task)
        preset, latent, shape = self.config["preset"], self.config["latent"], image_shape(task.shape)
        self.head = HEADS[self.config.get("head", "counts"), self.counts]
        self.encoder = Encoder(shape, preset)
        told = self.conditions.out_features
        self.build_latent(self.encoder.out_features, told)
        outputs = self.head.channels * shape[0]
        self.decoder = Decoder(latent + told, shape, preset, out_channels=outputs, placed=self.conditions.placed)
        if self.head.start:
            self.decoder.start_at(self.head.start)
        self.empty = (
            nn.Sequential(nn.Linear(latent + told, 32), nn.SiLU(), nn.Linear(32, 1)) if self.head.empty else None
        )

    def build_latent(self, features: int, told: int) -> None:
        """Make what leads from the encoder's features and the embedded conditions to a code, and what the prior
        needs."""
        self.posterior = nn.Linear(features + told, self.config["latent"])

    def encode(self, samples: Tensor, told: Tensor) -> Tensor:
        """Latent numbers of events: (B, *shape), embedded conditions (B, told) -> (B, out_features of `posterior`)."""
        images = as_images(to_log(samples) / 2 if self.counts else samples)
        numbers: Tensor = self.posterior(torch.cat([self.encoder(images), told], 1))
        return numbers

    def decode(self, z: Tensor, told: Tensor) -> tuple[Tensor, Tensor | None]:
        """Codes (B, latent) and embedded conditions -> what the likelihood takes: images (B, channels, H, W), logits of
        empty events (B,)."""
        code = torch.cat([z, told], 1)
        return self.decoder(code), None if self.empty is None else self.empty(code).squeeze(1)

    def reconstruction(self, z: Tensor, told: Tensor, samples: Tensor) -> Tensor:
        """-log p(x|z,c) without what no parameter moves, or the squared error, of each event: (B,)."""
        return self.head.negative_log(*self.decode(z, told), samples)

    def draw_prior(self, told: Tensor, rng: torch.Generator) -> Tensor:
        """A code for each row of the embedded conditions: (B, told) -> (B, latent)."""
        return torch.randn(len(told), self.config["latent"], generator=rng, device=told.device)

    @torch.inference_mode()
    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Codes from the prior, decoded with the conditions, and events drawn from the likelihood."""
        rng = torch.Generator(conditions.device).manual_seed(seed)
        told = self.conditions(conditions)
        chunks = zip(self.draw_prior(told, rng).split(AT_ONCE), told.split(AT_ONCE), strict=True)
        events = torch.cat([self.head.draw(*self.decode(z, some), rng) for z, some in chunks])
        return events.reshape(-1, *self.task_shape)
