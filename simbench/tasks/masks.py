"""Which values of an event are summed to which channel: by a rule, or from an array of 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.metrics.channels import CHANNEL_VARIANTS, channel_masks


@dataclass(frozen=True)
class ChannelSums:
    """(N, *shape) -> (N, channels) float64: the sums over each channel. `masks`: (values, channels) of 0 and 1."""

    masks: Tensor

    def __call__(self, samples: Tensor) -> Tensor:
        """The sums."""
        return samples.flatten(1).to(torch.float64) @ self.masks.to(samples.device)


def masks_by_rule(shape: tuple[int, ...], rule: str, count: int | None = None) -> Tensor:
    """Values of each channel, (values, channels) float64 of 0 and 1, by a rule of `description.Channels`."""
    if rule in CHANNEL_VARIANTS:
        return channel_masks(shape[0], shape[1], rule)
    index = np.indices(shape)
    if rule == "layers":
        channel, number = index[0], shape[0]
    elif rule == "checkerboard":
        channel, number = index.sum(0) % 2, 2
    elif rule == "quadrants":
        below, right = (index[axis] >= shape[axis] // 2 for axis in (-2, -1))
        channel, number = 2 * below + right, 4
    else:
        assert count is not None
        axis = -2 if rule == "rows" else -1
        channel, number = index[axis] * count // shape[axis], count
    return masks_of(np.stack([channel == one for one in range(number)]))


def masks_of(planes: NDArray[np.bool_]) -> Tensor:
    """(channels, *shape) of 0 and 1 as (values, channels) float64."""
    return torch.from_numpy(planes.reshape(len(planes), -1).T.astype(np.float64))
