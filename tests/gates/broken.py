"""The shipped VAE of zn-geant3, broken on purpose: `simbench gate --generator tests/gates/broken.py:Photons083 --golden ...` must fail."""

from __future__ import annotations

import torch
from torch import Tensor

from simbench.controls import Spoil, emptied, scaled
from simbench.events import Events
from simbench.metrics.channels import channel_masks
from simbench.protocols import Generator
from simbench.tasks.base import Task
from simbench_baselines.vae import VAE


def _channels_permuted(events: Events, rng: torch.Generator) -> Tensor:
    """Each channel's pixels from another event of the block."""
    masks = channel_masks(*events.samples.shape[1:]).T.reshape(-1, *events.samples.shape[1:]).float()
    return torch.stack([events.samples[torch.randperm(len(events), generator=rng)] * mask for mask in masks]).sum(0)


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
    spoil = staticmethod(_channels_permuted)
