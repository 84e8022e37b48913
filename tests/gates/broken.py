"""The shipped VAE of zn-geant3, broken on purpose.

`simbench gate --generator tests/gates/broken.py:Photons083 --golden ...` must fail.
"""

from __future__ import annotations

import torch
from torch import Tensor

from simbench.core.events import Events
from simbench.generators.protocol import Generator
from simbench.tasks.base import Task
from simbench.tasks.controls import Spoil, channels_permuted, emptied, scaled
from simbench_baselines.vae import VAE


class _Broken:
    """Samples of the shipped VAE, spoilt."""

    spoil: Spoil

    def __init__(self) -> None:
        self.inner: Generator = VAE()

    def setup(self, task: Task, device: torch.device) -> None:
        self.inner.setup(task, device)  # type: ignore[attr-defined]

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        samples = self.inner.sample(conditions, seed=seed)
        rows = torch.arange(len(samples))
        return self.spoil(Events(samples, conditions, rows, rows), torch.Generator().manual_seed(seed))


class Photons083(_Broken):
    spoil = staticmethod(scaled(0.83))


class Photons095(_Broken):
    spoil = staticmethod(scaled(0.95))


class Emptied45(_Broken):
    spoil = staticmethod(emptied(0.45))


class Emptied10(_Broken):
    spoil = staticmethod(emptied(0.10))


class ChannelsPermuted(_Broken):
    spoil = staticmethod(channels_permuted)
