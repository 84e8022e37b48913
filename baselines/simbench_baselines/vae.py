"""The variational autoencoder, conditional where the task has conditions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from simbench.core.events import Events
from simbench.tasks.base import Task
from simbench.training.augment import mirror_exchange
from simbench_baselines.blocks import GEOMETRY, Conditions, Decoder, Encoder, as_images, image_shape, to_log
from simbench_baselines.likelihoods import Counts, Grey, kl_divergence
from simbench_baselines.trained import TrainedModel

AT_ONCE = 1000
"""Events that are decoded at once: the likelihood's arrays take 200 kB an event."""


class VAE(TrainedModel):
    """Conditional VAE: Kingma and Welling, arXiv:1312.6114, eq. (10); Sohn, Lee and Yan, NeurIPS 2015, eq. (4); refs. 24, 35 of e2e-sae.txt.

    Minimised: -E_q(z|x,c) log p(x|z,c) + beta KL(q(z|x,c) || p(z|c)), one sample of z a step, reparameterised.
    p(z|c) = N(0, 1), or with `prior="learned"` a diagonal normal whose moments are linear in the embedded conditions (Sohn et al.'s prior
    network; free moments for each label of a one-hot task).
    q(z|x,c) = N(mu, diag sigma^2), mu and log sigma^2 from one dense layer over the encoded image and the embedded conditions;
    z and the embedded conditions, side by side, are the code that is decoded.

    Shapes: x (B, *task.shape) in task units, c (B, C), z (B, latent). C = 0 makes it a plain VAE.

    What differs from the paper (papers/e2e-sae.txt compares with a conditional VAE and does not print its details), and why:
    - photon counts have a counting likelihood (`likelihoods.Counts`) and are drawn from it, so that a pixel's spread, the rounding and the
      empty events belong to the model; the encoder sees log(1 + n). Grey images have the usual cross entropy, sampled as the mean;
    - the prior of z is N(0, 1) whatever the conditions on zn-geant3, as in the founding paper's VAE, and learned on mnist: with N(0, 1) the
      encoded digits of one label do not fill the prior, and one request in seven is answered with a stroke that is no digit;
    - the network of the conditions is told what follows from them: where the particle meets which fibre (`blocks.Conditions`);
    - zn-geant3 is trained with the eight-fold symmetry of the block;
    - the `cpu` preset has the small networks of `blocks.SIZES`; `paper` has the paper's.

    Args:
        weights: a file that `simbench train vae` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        latent: dimensions of z.
        beta: weight of the KL term.
        prior: `normal` or `learned`, see above.
    """

    model_name: ClassVar[str] = "vae"
    version: ClassVar[str] = "1"

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        latent: int = 16,
        beta: float = 1.0,
        prior: Literal["normal", "learned"] = "normal",
    ) -> None:
        super().__init__(weights, preset=preset, latent=latent, beta=beta, prior=prior)

    def plan(self, preset: str, task_name: str) -> dict[str, Any]:
        """Steps and learning rate that were chosen on the validation split."""
        if preset == "paper":
            return {"learning_rate": 1e-3}
        return {"steps": 5000 if task_name == "mnist" else 2000, "learning_rate": 3e-3}

    def build(self, task: Task) -> None:
        """Encoder, posterior, decoder, and what tells them of the conditions."""
        preset, latent = self.config["preset"], self.config["latent"]
        self.counts = task.unit == "photons"
        self.task_shape, self.condition_names = task.shape, task.condition_names
        self.symmetric = task.name in GEOMETRY
        shape = image_shape(task.shape)
        self.conditions = Conditions(task)
        self.encoder = Encoder(shape, preset)
        told = self.conditions.out_features
        self.posterior = nn.Linear(self.encoder.out_features + told, 2 * latent)
        self.prior = nn.Linear(told, 2 * latent) if told and self.config["prior"] == "learned" else None
        if self.prior is not None and not self.prior.weight.is_meta:
            nn.init.zeros_(self.prior.weight)
            nn.init.zeros_(self.prior.bias)
        outputs = Counts.channels if self.counts else None
        self.decoder = Decoder(latent + told, shape, preset, out_channels=outputs, placed=self.conditions.placed)
        if self.counts:
            self.decoder.start_at(Counts.start)
            self.empty = nn.Sequential(nn.Linear(latent + told, 32), nn.SiLU(), nn.Linear(32, 1))

    def fit(self, events: Events) -> None:
        """Take the conditions' moments."""
        self.conditions.fit(events.conditions)

    def augment(self, samples: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Mirror and exchange x and y where the block is symmetric."""
        return mirror_exchange(samples, conditions, self.condition_names) if self.symmetric else (samples, conditions)

    def encode(self, samples: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x,c): (B, *shape), (B, C) -> (B, latent), (B, latent)."""
        return self._encode(samples, self.conditions(conditions))

    def _encode(self, samples: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        images = as_images(to_log(samples) / 2 if self.counts else samples)
        mean, log_variance = self.posterior(torch.cat([self.encoder(images), told], 1)).chunk(2, 1)
        return mean, log_variance.clamp(-8, 4)

    def _prior(self, told: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of p(z|c): (B, latent), (B, latent)."""
        if self.prior is None:
            nought = told.new_zeros(len(told), self.config["latent"])
            return nought, nought
        mean, log_variance = self.prior(told).chunk(2, 1)
        return mean, log_variance.clamp(-8, 4)

    def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """The two terms of the bound, in nats an event, without log n!."""
        told = self.conditions(conditions)
        mean, log_variance = self._encode(samples, told)
        code = torch.cat([mean + (log_variance / 2).exp() * torch.randn_like(mean), told], 1)
        if self.counts:
            reconstruction = Counts.negative_log(self.decoder(code), self.empty(code).squeeze(1), samples)
        else:
            reconstruction = Grey.negative_log(self.decoder(code), as_images(samples))
        return {
            "reconstruction": reconstruction.mean(),
            "kl": self.config["beta"] * kl_divergence(mean, log_variance, *self._prior(told)).mean(),
        }

    @torch.inference_mode()
    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """z from the prior, decoded with the conditions; photons drawn from the likelihood, grey values as its mean."""
        rng = torch.Generator(conditions.device).manual_seed(seed)
        told = self.conditions(conditions)
        mean, log_variance = self._prior(told)
        z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=rng, device=mean.device)
        return torch.cat([self._answer(code, rng) for code in torch.cat([z, told], 1).split(AT_ONCE)])

    def _answer(self, code: Tensor, rng: torch.Generator) -> Tensor:
        decoded = self.decoder(code)
        if self.counts:
            return Counts.draw(decoded, self.empty(code).squeeze(1), rng).reshape(-1, *self.task_shape)
        return torch.sigmoid(decoded).reshape(-1, *self.task_shape)
