"""Negative controls: real events spoilt on purpose, each with the metrics that must notice named beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.channels import channel_masks

Spoil = Callable[[Events, torch.Generator], Tensor]
"""Real events and random numbers -> the spoilt samples, (N, *shape)."""


@dataclass(frozen=True)
class Control:
    """A defect, and the keys of the metrics that must flag it (none for the floor, which nothing may flag)."""

    name: str
    must_flag: tuple[str, ...]
    spoil: Spoil


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


def _constant_median(events: Events, rng: torch.Generator) -> Tensor:
    return events.samples.median(0).values.expand_as(events.samples).clone()


def channels_permuted(events: Events, rng: torch.Generator) -> Tensor:
    """Each channel's pixels from another event of the same species and energy quintile: marginals stay, correlations go."""
    masks = channel_masks(*events.samples.shape[1:]).T.reshape(-1, *events.samples.shape[1:]).float()
    return torch.stack([events.samples[torch.randperm(len(events), generator=rng)] * mask for mask in masks]).sum(0)


def _conditions_shuffled(events: Events, rng: torch.Generator) -> Tensor:
    """The events of each unit (all repeats of a condition; one digit) given to another unit."""
    units, inverse = torch.unique(events.unit_id, return_inverse=True)
    other = torch.randperm(len(units), generator=rng)
    order = torch.argsort(inverse, stable=True)
    samples = torch.empty_like(events.samples)
    samples[order] = events.samples[torch.argsort(other[inverse], stable=True)]
    return samples


def _training_replayed(events: Events, rng: torch.Generator) -> Tensor:
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


def _gaussian(events: Events, rng: torch.Generator) -> Tensor:
    """Gaussian noise with the mean and covariance of the real pixels, clamped to the task's range."""
    flat = events.samples.flatten(1).double()
    mean = flat.mean(0)
    centred = (flat - mean) / (len(flat) - 1) ** 0.5
    noise = torch.randn(len(flat), len(flat), generator=rng, dtype=torch.float32).double()
    samples: Tensor = (mean + noise @ centred).clamp(min=0, max=float(flat.max()))
    return samples.float().view_as(events.samples)


def _pixels_shuffled(events: Events, rng: torch.Generator) -> Tensor:
    """The pixels of each channel in another order, the same for no two events: the channel sums stay."""
    flat = events.samples.flatten(1).clone()
    for mask in channel_masks(*events.samples.shape[1:]).T:
        pixels = torch.nonzero(mask).squeeze(1)
        order = torch.rand(len(flat), len(pixels), generator=rng).argsort(1)
        flat[:, pixels] = flat[:, pixels].gather(1, order)
    return flat.view_as(events.samples)


def _neutrons_as_photons(events: Events, rng: torch.Generator) -> Tensor:
    """Neutron requests answered with training photon showers of the nearest energy."""
    assert events.other_split is not None
    train = events.other_split("train")
    photons = train.take(torch.from_numpy(train.strata["species"] == "photon"))
    neutrons = torch.from_numpy(events.strata["species"] == "neutron")
    energy, order = photons.conditions[:, 0].sort()
    at = torch.searchsorted(energy, events.conditions[neutrons, 0].contiguous())
    shift = torch.randint(-4, 5, at.shape, generator=rng)
    samples = events.samples.clone()
    samples[neutrons] = photons.samples[order[(at + shift).clamp(0, len(energy) - 1)]]
    return samples


def _digit_dropped(events: Events, rng: torch.Generator) -> Tensor:
    """Requests for a 9 answered with other digits."""
    nine = events.condition_id == 9
    others = torch.nonzero(~nine).squeeze(1)
    samples = events.samples.clone()
    samples[nine] = events.samples[others[torch.randint(len(others), (int(nine.sum()),), generator=rng)]]
    return samples


FLOOR = Control("floor (must be flagged by none)", (), lambda events, rng: events.samples)

CONTROLS: dict[str, tuple[Control, ...]] = {
    "zn-geant3": (
        FLOOR,
        Control("channels permuted between events", ("correlation_distance/1",), channels_permuted),
        Control("mean response per condition", ("dispersion_ratio/1", "conditional_energy/1"), shrunk(1.0)),
        Control("constant median", ("channel_wasserstein/1", "conditional_energy/1"), _constant_median),
        Control("45 % of the events emptied", ("empty_fraction/1",), emptied(0.45)),
        Control("10 % of the events emptied", ("empty_fraction/1",), emptied(0.10)),
        Control("photons x 0.83", ("channel_wasserstein/1",), scaled(0.83)),
        Control("photons x 0.95", ("channel_wasserstein/1",), scaled(0.95)),
        Control("conditions shuffled", ("conditional_energy/1",), _conditions_shuffled),
        Control("training events replayed", ("memorisation/1",), _training_replayed),
        Control("Gaussian noise, right mean and covariance", ("separation/1",), _gaussian),
        Control("pixels shuffled within each channel", ("separation/1",), _pixels_shuffled),
        Control("neutrons answered with photon showers", ("conditional_energy/1",), _neutrons_as_photons),
    ),
    "mnist": (
        FLOOR,
        Control("mean image per digit", ("diversity_ratio/1", "energy_distance/1"), shrunk(1.0)),
        Control("constant median", ("diversity_ratio/1", "energy_distance/1"), _constant_median),
        Control("10 % of the images emptied", ("energy_distance/1",), emptied(0.10)),
        Control("labels shuffled", ("label_accuracy/1",), _conditions_shuffled),
        Control("training images replayed", ("memorisation/1",), _training_replayed),
        Control("Gaussian noise, right mean and covariance", ("energy_distance/1",), _gaussian),
        Control("one digit dropped", ("label_accuracy/1", "energy_distance/1"), _digit_dropped),
    ),
}
"""The controls of each task."""


def controls(task_name: str) -> tuple[Control, ...]:
    """The controls of a task. Raises UsageError where it has none."""
    if task_name not in CONTROLS:
        raise UsageError(f"{task_name} has no negative controls", expected=f"one of {', '.join(CONTROLS)}")
    return CONTROLS[task_name]
