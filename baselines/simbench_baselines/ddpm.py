"""The denoising diffusion model of pixels, conditional where the task has conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench_baselines.pixel_space import PixelSpace
from simbench_baselines.samplers import Field, ddim, ddpm, noised


class DDPM(PixelSpace):
    """DDPM: Ho, Jain and Abbeel, arXiv:2006.11239; sampled as DDIM: Song, Meng and Ermon, arXiv:2010.02502.

    Minimised: E |v(x_t, t, c) - (alpha u - sigma x)|^2, x_t = alpha x + sigma u, alpha = cos(pi t / 2),
    sigma = sin(pi t / 2), t uniform in [0, 1], u ~ N(0, 1).

    Shapes: x (B, channels, H, W), scaled as `PixelSpace` says, c (B, C). C = 0 makes it unconditional.

    What differs from the paper, and why:
    - time is continuous and the schedule a cosine (Nichol and Dhariwal, arXiv:2102.09672), so that the same weights can
      be sampled in any number of steps;
    - the network says v (Salimans and Ho, arXiv:2202.00512), not the noise u: in a few steps, the first of which start
      from noise alone, an error of u would be divided by an alpha near 0;
    - the `cpu` network has no attention and sees squares of 2 x 2 pixels as one;
    - the place at which the particle meets the fibres is an image beside the noisy one, see `unet.UNet`;
    - zn-geant3 is trained with the eight-fold symmetry of the block.

    Args:
        weights: a file that `simbench train ddpm` wrote; None takes the one shipped for the task.
        preset: sizes of the network, `cpu` or `paper`.
        channels: of the finest level of the U-Net; None takes the preset's.
        steps: evaluations of the network an event. These last three are of sampling only: None takes what the weights
            were trained with (20, 0, ddim in an untrained model).
        eta: noise of `ddim`, from 0 (none but the start) to 1 (as much as `ddpm`).
        sampler: `ddim`, or `ddpm`, the paper's ancestral sampling.
    """

    model_name: ClassVar[str] = "ddpm"
    version: ClassVar[str] = "1"
    sampling: ClassVar[Mapping[str, Any]] = {"steps": 20, "eta": 0.0, "sampler": "ddim"}

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        channels: int | None = None,
        steps: int | None = None,
        eta: float | None = None,
        sampler: Literal["ddim", "ddpm"] | None = None,
    ) -> None:
        super().__init__(weights, preset=preset, channels=channels, steps=steps, eta=eta, sampler=sampler)
        if not 0 <= self.config["eta"] <= 1:
            raise UsageError("ddpm needs an eta from 0 to 1", got=str(self.config["eta"]))

    def mixed(self, x: Tensor, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t and v."""
        return noised(x, u, t)

    def generate(self, field: Field, start: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """From t = 1 to 0."""
        if self.config["sampler"] == "ddpm":
            return ddpm(field, start, self.config["steps"], rng)
        return ddim(field, start, self.config["steps"], self.config["eta"], rng)
