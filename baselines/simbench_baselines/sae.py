"""The Sinkhorn autoencoder with a fixed prior, conditional where the task has conditions."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from simbench_baselines.autoencoder import PriorMatching
from simbench_baselines.divergences import sinkhorn_divergence


class SAE(PriorMatching):
    """SAE: Patrini et al., arXiv:1810.01118, algorithm 1; the prior is N(0, 1) or uniform on the unit hypersphere.

    Minimised: see `PriorMatching`, with D the debiased Sinkhorn divergence. With the hypersphere, codes are normalised.

    Args:
        weights: a file that `simbench train sae` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        head: `counts` or `mse`, see `Autoencoder`.
        latent: dimensions of z.
        prior: `normal` or `hypersphere`.
        beta: weight of the divergence.
        scale: what a standard deviation of a condition weighs beside the codes, see `PriorMatching`.
        blur: square root of the divergence's temperature, in units of the codes.
        solver: `simbench` or `geomloss`.
    """

    model_name: ClassVar[str] = "sae"
    version: ClassVar[str] = "1"
    divergence_name: ClassVar[str] = "sinkhorn"

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        head: Literal["counts", "mse"] | None = None,
        latent: int = 8,
        prior: Literal["normal", "hypersphere"] = "normal",
        beta: float = 10.0,
        scale: float = 1.0,
        blur: float = 0.05,
        solver: Literal["simbench", "geomloss"] = "simbench",
    ) -> None:
        super().__init__(
            weights,
            preset=preset,
            head=head,
            latent=latent,
            prior=prior,
            beta=beta,
            scale=scale,
            blur=blur,
            solver=solver,
        )

    def encode(self, samples: Tensor, told: Tensor) -> Tensor:
        """Codes, on the sphere where the prior is."""
        return self._on_support(super().encode(samples, told))

    def draw_prior(self, conditions: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """N(0, 1), brought onto the sphere where that is the prior."""
        return self._on_support(super().draw_prior(conditions, rng))

    def _on_support(self, z: Tensor) -> Tensor:
        return functional.normalize(z, dim=1) if self.config["prior"] == "hypersphere" else z

    def divergence(self, codes: Tensor, prior: Tensor) -> Tensor:
        """Debiased Sinkhorn divergence."""
        return sinkhorn_divergence(codes, prior, self.config["blur"], self.config["solver"])
