"""Flow matching in the space of a variational autoencoder's codes."""

from __future__ import annotations

from typing import ClassVar, Literal

from simbench_baselines.latent import Process
from simbench_baselines.vae_ldm import VAELDM


class LatentFlowMatching(VAELDM):
    """Latent flow matching: Lipman et al., arXiv:2210.02747; for this calorimeter, arXiv:2507.18811.

    `vae_ldm` with straight paths from noise to codes in place of a diffusion's; Euler steps. All else is the same, so
    that the two differ in nothing but the path.

    Args:
        weights: a file that `simbench train latent_flow_matching` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        latent: dimensions of z.
        beta: weight of the KL term.
        process: `flow`, or `diffusion`.
        steps: of the sampler; None: 8.
        head: `counts` or `mse`, see `Autoencoder`.
    """

    model_name: ClassVar[str] = "latent_flow_matching"
    version: ClassVar[str] = "2"

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        latent: int = 16,
        beta: float = 0.1,
        process: Process = "flow",
        steps: int | None = None,
        head: Literal["counts", "mse"] | None = None,
    ) -> None:
        super().__init__(weights, preset, latent, beta, process, steps, head)
