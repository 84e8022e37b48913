"""The Wasserstein autoencoder with the maximum mean discrepancy, conditional where the task has conditions."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from simbench_baselines.autoencoder import PriorMatching
from simbench_baselines.divergences import mmd


class WAEMMD(PriorMatching):
    """WAE-MMD: Tolstikhin, Bousquet, Gelly and Schoelkopf, arXiv:1711.01558, algorithm 2; the prior is N(0, 1).

    Minimised: see `PriorMatching`, with D the unbiased squared MMD of inverse multiquadratic kernels of base scale
    C = 2 latent, the expected squared distance of two codes of the prior.

    Args:
        weights: a file that `simbench train wae_mmd` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        head: `counts` or `mse`, see `Autoencoder`.
        latent: dimensions of z.
        beta: weight of the MMD.
        scale: what a standard deviation of a condition weighs beside the codes, see `PriorMatching`.
    """

    model_name: ClassVar[str] = "wae_mmd"
    version: ClassVar[str] = "1"
    divergence_name: ClassVar[str] = "mmd"

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        head: Literal["counts", "mse"] | None = None,
        latent: int = 8,
        beta: float = 100.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__(weights, preset=preset, head=head, latent=latent, beta=beta, scale=scale)

    def divergence(self, codes: Tensor, prior: Tensor) -> Tensor:
        """Squared MMD."""
        return mmd(codes, prior, base=2.0 * self.config["latent"])
