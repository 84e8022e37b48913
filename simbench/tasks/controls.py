"""Negative controls: real events spoilt on purpose. A task names its own, each with the metrics that must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simbench.core.events import Events

Spoil = Callable[[Events, torch.Generator], Tensor]
"""Real events and random numbers -> the spoilt samples, (N, *shape)."""


@dataclass(frozen=True)
class Control:
    """A defect, and the keys of the metrics that must flag it; where it names none, nothing may flag it.

    `weak`: so small a defect that fewer than all test events may not show it.
    """

    name: str
    must_flag: tuple[str, ...]
    spoil: Spoil
    weak: bool = False


def scaled(factor: float) -> Spoil:
    """All photons times `factor`."""
    return lambda events, rng: events.samples * factor


def emptied(share: float) -> Spoil:
    """A random `share` of the events emptied."""

    def spoil(events: Events, rng: torch.Generator) -> Tensor:
        samples = events.samples.clone()
        samples[torch.rand(len(samples), generator=rng) < share] = 0
        return samples

    return spoil


def shrunk(strength: float) -> Spoil:
    """Every event moved towards the mean of its condition: 0 leaves it, 1 makes it the mean."""
    return lambda events, rng: torch.lerp(events.samples, _condition_means(events), strength)


def _condition_means(events: Events) -> Tensor:
    _, inverse, counts = torch.unique(events.condition_id, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), *events.samples.shape[1:]).index_add_(0, inverse, events.samples)
    means: Tensor = sums / counts.view(-1, *[1] * (sums.dim() - 1))
    return means[inverse]


def constant_median(events: Events, rng: torch.Generator) -> Tensor:
    """Every event replaced by the median of each pixel."""
    return events.samples.median(0).values.expand_as(events.samples).clone()


def channels_permuted(events: Events, rng: torch.Generator) -> Tensor:
    """Each channel's pixels from another event: the marginals stay, the correlations go."""
    from simbench.metrics.channels import channel_masks

    masks = channel_masks(*events.samples.shape[1:]).T.reshape(-1, *events.samples.shape[1:]).float()
    return torch.stack([events.samples[torch.randperm(len(events), generator=rng)] * mask for mask in masks]).sum(0)


def conditions_shuffled(events: Events, rng: torch.Generator) -> Tensor:
    """The events of each unit (all repeats of a condition; one digit) given to another unit."""
    units, inverse = torch.unique(events.unit_id, return_inverse=True)
    other = torch.randperm(len(units), generator=rng)
    order = torch.argsort(inverse, stable=True)
    samples = torch.empty_like(events.samples)
    samples[order] = events.samples[torch.argsort(other[inverse], stable=True)]
    return samples


def training_replayed(events: Events, rng: torch.Generator) -> Tensor:
    """Each event replaced by a random training event of its strata (species and energy quintile; digit)."""
    assert events.other_split is not None
    train = events.other_split("train")
    samples = torch.empty_like(events.samples)
    names = [e.stratum for e in (events, train)]
    for name in np.unique(names[0]):
        rows, pool = np.flatnonzero(names[0] == name), np.flatnonzero(names[1] == name)
        if len(pool) == 0:
            pool = np.arange(len(train))
        drawn = torch.randint(len(pool), (len(rows),), generator=rng).numpy()
        samples[torch.from_numpy(rows)] = train.samples[torch.from_numpy(pool[drawn])]
    return samples


def gaussian(events: Events, rng: torch.Generator) -> Tensor:
    """Gaussian noise with the mean and covariance of the real pixels, clamped to the task's range."""
    flat = events.samples.flatten(1).double()
    mean = flat.mean(0)
    centred = (flat - mean) / (len(flat) - 1) ** 0.5
    noise = torch.randn(len(flat), len(flat), generator=rng, dtype=torch.float32).double()
    samples: Tensor = (mean + noise @ centred).clamp(min=0, max=float(flat.max()))
    return samples.float().view_as(events.samples)


def pixels_shuffled(events: Events, rng: torch.Generator) -> Tensor:
    """The pixels of each channel in another order, the same for no two events: the channel sums stay."""
    from simbench.metrics.channels import channel_masks

    flat = events.samples.flatten(1).clone()
    for mask in channel_masks(*events.samples.shape[1:]).T:
        pixels = torch.nonzero(mask).squeeze(1)
        order = torch.rand(len(flat), len(pixels), generator=rng).argsort(1)
        flat[:, pixels] = flat[:, pixels].gather(1, order)
    return flat.view_as(events.samples)
