"""The sliced Wasserstein autoencoder, conditional where the task has conditions."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from simbench_baselines.autoencoder import PriorMatching
from simbench_baselines.divergences import sliced_wasserstein


class SWAE(PriorMatching):
    """SWAE: Kolouri, Pope, Martin and Rohde, arXiv:1804.01947, eq. (16); the prior is N(0, 1).

    Minimised: see `PriorMatching`, with D the squared sliced 2-Wasserstein distance.

    Args:
        weights: a file that `simbench train swae` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        head: `counts` or `mse`, see `Autoencoder`.
        latent: dimensions of z.
        beta: weight of the distance.
        scale: what a standard deviation of a condition weighs beside the codes, see `PriorMatching`.
        projections: directions on which the distance is estimated at each step.
    """

    model_name: ClassVar[str] = "swae"
    version: ClassVar[str] = "1"
    divergence_name: ClassVar[str] = "sliced_wasserstein"

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        head: Literal["counts", "mse"] | None = None,
        latent: int = 8,
        beta: float = 100.0,
        scale: float = 1.0,
        projections: int = 100,
    ) -> None:
        super().__init__(
            weights, preset=preset, head=head, latent=latent, beta=beta, scale=scale, projections=projections
        )

    def divergence(self, codes: Tensor, prior: Tensor) -> Tensor:
        """Squared sliced Wasserstein distance."""
        return sliced_wasserstein(codes, prior, self.config["projections"])
