"""Events: what generators make and metrics compare, with what is known of each and what has been derived from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.cache import Once

Derivation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Events:
    """N events of one task.

    Attributes:
        samples: (N, *task.shape) float32 in task units.
        conditions: (N, C) float32 in task units.
        condition_id: (N,) int64, equal where events share a condition (zn: the particle; mnist: the label).
        unit_id: (N,) int64, what a bootstrap draws and a jackknife leaves out together: the condition where conditions
            repeat by design (zn), else the event itself (mnist).
        strata: for each stratification (`species`, `energy`, `label`), the name of each event's stratum, (N,) str.
        derivations: named per-event maps of `samples` (`features`, `channels`), computed once each through `derived`.
        mc_seconds: (N,) float64 CPU seconds that the Monte Carlo took for each event, where it was recorded.
        rows: (N,) int64 the rows of the split that the events are; None: all from the first on.
        other_split: gives another split of the same task (`train`, for memorisation), where there is one.
    """

    samples: Tensor
    conditions: Tensor
    condition_id: Tensor
    unit_id: Tensor
    strata: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    derivations: Mapping[str, Derivation] = field(default_factory=dict)
    mc_seconds: Tensor | None = None
    rows: Tensor | None = None
    other_split: Callable[[str], Events] | None = None
    _cache: Once = field(default_factory=Once, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.samples)

    def derived(self, name: str) -> Tensor:
        """The per-event quantity `name`, (N, ...), computed at the first call. Raises KeyError."""
        return self._cache.get(name, lambda: self.derivations[name](self.samples))

    @property
    def stratum(self) -> NDArray[np.str_]:
        """The finest stratum of each event, all stratifications joined: `neutron|q3`, (N,) str."""
        columns = list(self.strata.values())
        return (
            np.array(["|".join(names) for names in zip(*columns, strict=True)])
            if columns
            else np.full(len(self), "all")
        )

    def take(self, index: Tensor) -> Events:
        """The events at `index` (int64, or a bool mask of length N), with whatever was derived already."""
        at = index.cpu().numpy()
        return replace(
            self,
            samples=self.samples[index],
            conditions=self.conditions[index],
            condition_id=self.condition_id[index],
            unit_id=self.unit_id[index],
            strata={name: values[at] for name, values in self.strata.items()},
            mc_seconds=None if self.mc_seconds is None else self.mc_seconds[index],
            rows=self.split_rows[index],
            _cache=Once({name: values[index] for name, values in self._cache.values().items()}),
        )

    @property
    def split_rows(self) -> Tensor:
        """The rows of the split that the events are, (N,) int64."""
        return torch.arange(len(self)) if self.rows is None else self.rows

    def with_samples(self, samples: Tensor) -> Events:
        """Other samples (a generator's) for the same conditions, in the same order."""
        return replace(self, samples=samples.to(torch.float32), mc_seconds=None, _cache=Once())


def concatenate(first: Events, second: Events) -> Events:
    """The events of `first`, then those of `second`; identifiers are kept, so equal conditions stay equal."""
    one, other = first._cache.values(), second._cache.values()
    return replace(
        first,
        samples=torch.cat([first.samples, second.samples]),
        conditions=torch.cat([first.conditions, second.conditions]),
        condition_id=torch.cat([first.condition_id, second.condition_id]),
        unit_id=torch.cat([first.unit_id, second.unit_id]),
        strata={name: np.concatenate([first.strata[name], second.strata[name]]) for name in first.strata},
        mc_seconds=None,
        rows=None,
        _cache=Once({name: torch.cat([one[name], other[name]]) for name in one.keys() & other.keys()}),
    )


def checksum(*sets: Events) -> str:
    """sha256 of samples, conditions and condition identifiers, in this order, of each set in turn."""
    digest = hashlib.sha256()
    for events in sets:
        for values in (events.samples, events.conditions, events.condition_id):
            digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()
