"""Batches whose content depends on seed and step alone, so that a resumed training sees what it would have seen."""

from __future__ import annotations

import torch
from torch import Tensor

from simbench.core.events import Events
from simbench.core.seeds import derive_seed


def part_of(events: Events, share: float) -> Events:
    """The events of a share of the units, the same ones for every seed; a smaller share is part of a larger one."""
    if share == 1:
        return events
    units = torch.unique(events.unit_id)
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(derive_seed(0, "training", "share")))
    return events.take(torch.isin(events.unit_id, units[order[: max(1, round(share * len(units)))]]))


class Batches:
    """The batch of every step: epochs in an order of their own, each without the incomplete last batch.

    With `whole_conditions`, units are shuffled (what repeats by design: the particle on zn, the image on mnist) and a
    batch holds as many whole units as come nearest to `batch_size` events on average, side by side.
    """

    def __init__(self, events: Events, batch_size: int, seed: int, *, whole_conditions: bool = False) -> None:
        self.samples, self.conditions, self.seed = events.samples, events.conditions, seed
        unit = events.unit_id if whole_conditions else torch.arange(len(events))
        _, unit, counts = torch.unique(unit, return_inverse=True, return_counts=True)
        self._by_unit = torch.argsort(unit, stable=True)
        self._counts = counts
        self._starts = counts.cumsum(0) - counts
        self._units_per_batch = max(1, min(round(batch_size * len(counts) / max(len(events), 1)), len(counts)))
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self._counts) // self._units_per_batch

    def rows(self, step: int) -> Tensor:
        """The training rows of the batch of a step, counted from 0: (B,) int64."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            rng = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", epoch))
            self._epoch, self._order = epoch, torch.randperm(len(self._counts), generator=rng)
        units = self._order[position * self._units_per_batch : (position + 1) * self._units_per_batch]
        counts = self._counts[units]
        within = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        return self._by_unit[self._starts[units].repeat_interleave(counts) + within]

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """The samples (B, *shape) and conditions (B, C) of the batch of a step."""
        rows = self.rows(step)
        return self.samples[rows], self.conditions[rows]
