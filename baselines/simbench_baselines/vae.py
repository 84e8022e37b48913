"""The variational autoencoder, conditional where the task has conditions."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from simbench.tasks.base import Task
from simbench.training.processes import drawn
from simbench_baselines.autoencoder import Autoencoder
from simbench_baselines.likelihoods import kl_divergence


class VAE(Autoencoder):
    """Conditional VAE: Kingma and Welling, arXiv:1312.6114, eq. (10); Sohn, Lee and Yan, NeurIPS 2015, eq. (4).

    Minimised: -E_q(z|x,c) log p(x|z,c) + beta KL(q(z|x,c) || p(z|c)), one sample of z a step, reparameterised.
    p(z|c) = N(0, 1), or with `prior="learned"` a diagonal normal whose moments are linear in the embedded conditions
    (Sohn et al.'s prior network; free moments for each label of a one-hot task).
    q(z|x,c) = N(mu, diag sigma^2), mu and log sigma^2 from one dense layer over the encoded image and the embedded
    conditions; z and the embedded conditions, side by side, are the code that is decoded.

    Shapes: x (B, *task.shape) in task units, c (B, C), z (B, latent). C = 0 makes it a plain VAE.

    What differs from the paper (papers/e2e-sae.txt, refs. 24 and 35, which does not print its VAE's details), and why:
    - photons are drawn from a counting likelihood (`likelihoods.Counts`), so that a pixel's spread, the rounding and
      the empty events belong to the model. Grey images have the usual cross entropy, sampled as the mean;
    - the prior of z is N(0, 1) on zn-geant3, as in the founding paper's VAE, and learned on mnist: with N(0, 1) the
      encoded digits of a label do not fill the prior, and one request in seven gets a stroke that is no digit;
    - the network of the conditions is told where the particle meets which fibre (`blocks.Conditions`);
    - zn-geant3 is trained with the eight-fold symmetry of the block.

    Args:
        weights: a file that `simbench train vae` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        latent: dimensions of z.
        beta: weight of the KL term.
        prior: `normal` or `learned`, see above.
        head: `counts` or `mse`, see `Autoencoder`.
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
        head: Literal["counts", "mse"] | None = None,
    ) -> None:
        super().__init__(weights, preset=preset, latent=latent, beta=beta, prior=prior, head=head)

    def build_latent(self, features: int, task: Task) -> None:
        """The dense layer of the posterior's moments, and that of the prior's, which is 0 at first."""
        latent, told = self.config["latent"], self.conditions.out_features
        self.posterior = nn.Linear(features, 2 * latent)
        self.prior = nn.Linear(told, 2 * latent) if told and self.config["prior"] == "learned" else None
        if self.prior is not None and not self.prior.weight.is_meta:
            nn.init.zeros_(self.prior.weight)
            nn.init.zeros_(self.prior.bias)

    def moments(self, told: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of p(z|c): (B, latent), (B, latent)."""
        if self.prior is None:
            nought = told.new_zeros(len(told), self.config["latent"])
            return nought, nought
        return _split(self.prior(told))

    def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """The two terms of the bound, in nats an event, without log n!."""
        told = self.conditions(conditions)
        z, mean, log_variance = self.draw_posterior(samples, told)
        return {
            "reconstruction": self.reconstruction(z, told, samples).mean(),
            "kl": self.config["beta"] * kl_divergence(mean, log_variance, *self.moments(told)).mean(),
            **self.prior_terms(z, conditions),
        }

    def draw_posterior(self, samples: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z of q(z|x,c), its mean and log variance: (B, *shape), (B, told) -> (B, latent) each."""
        mean, log_variance = _split(self.encode(samples, told))
        noise = drawn(lambda n: torch.randn(n, mean.shape[1], device=mean.device), len(mean))
        return mean + (log_variance / 2).exp() * noise, mean, log_variance

    def prior_terms(self, z: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """What a subclass whose prior is learned on codes (B, latent) adds."""
        return {}

    def draw_prior(self, conditions: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """z of p(z|c)."""
        mean, log_variance = self.moments(self.conditions(conditions))
        return mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=rng, device=mean.device)


def _split(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance, side by side in `numbers`, the latter bounded: (B, 2 latent) -> (B, latent), (B,
    latent)."""
    mean, log_variance = numbers.chunk(2, 1)
    return mean, log_variance.clamp(-8, 4)
