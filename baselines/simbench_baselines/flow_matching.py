"""Flow matching of pixels, conditional where the task has conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from simbench_baselines.pixel_space import PixelSpace
from simbench_baselines.samplers import Field, euler, heun, interpolated


class FlowMatching(PixelSpace):
    """Flow matching: Lipman et al., arXiv:2210.02747, eq. (23) with sigma_min = 0; on calorimeters arXiv:2507.18811.

    Minimised: E |v(x_t, t, c) - (x - u)|^2, x_t = (1 - t) u + t x, t uniform in [0, 1], u ~ N(0, 1).

    Shapes: x (B, channels, H, W), scaled as `PixelSpace` says, c (B, C). C = 0 makes it unconditional.

    What differs from the papers, and why:
    - the solver has a fixed number of steps, Euler's or Heun's, so that an event costs the same whatever it holds (the
      first paper's adapts its steps);
    - the `cpu` network has no attention and sees squares of 2 x 2 pixels as one;
    - the place at which the particle meets the fibres is an image beside the noisy one, see `unet.UNet`;
    - zn-geant3 is trained with the eight-fold symmetry of the block.

    Args:
        weights: a file that `simbench train flow_matching` wrote; None takes the one shipped for the task.
        preset: sizes of the network, `cpu` or `paper`.
        channels: of the finest level of the U-Net; None takes the preset's.
        steps: of the solver. These last two are of sampling only: None takes what the weights were trained with (20,
            euler in an untrained model).
        sampler: `euler`, one evaluation of the network a step, or `heun`, two.
    """

    model_name: ClassVar[str] = "flow_matching"
    version: ClassVar[str] = "1"
    sampling: ClassVar[Mapping[str, Any]] = {"steps": 20, "sampler": "euler"}

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        channels: int | None = None,
        steps: int | None = None,
        sampler: Literal["euler", "heun"] | None = None,
    ) -> None:
        super().__init__(weights, preset=preset, channels=channels, steps=steps, sampler=sampler)

    def mixed(self, x: Tensor, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """x_t and the velocity."""
        return interpolated(x, u, t)

    def generate(self, field: Field, start: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """From t = 0 to 1."""
        return (heun if self.config["sampler"] == "heun" else euler)(field, start, self.config["steps"])
