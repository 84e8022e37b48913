"""The particles that enter the detector: those of a split of the task, or new ones of p-p collisions."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simbench.core.errors import UsageError
from simbench.core.seeds import derive_seed
from simbench.tasks.zn import ZnGeant3

Conditions = Literal["test", "train", "validation"]


@dataclass(frozen=True)
class Particles:
    """N particles, one an event.

    Attributes:
        conditions: (N, 9) float64 in task units.
        pdg: (N,) int32, their PDG codes.
        condition_id: (N,) int32, equal where events share a particle; the split's own for particles of a split.
    """

    conditions: NDArray[np.float64]
    pdg: NDArray[np.int32]
    condition_id: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.pdg)

    def __getitem__(self, rows: slice) -> Particles:
        return Particles(self.conditions[rows], self.pdg[rows], self.condition_id[rows])

    def repeated(self, times: int) -> Particles:
        """Each of these particles `times` times, side by side."""
        rows = np.repeat(np.arange(len(self)), times)
        return Particles(self.conditions[rows], self.pdg[rows], self.condition_id[rows])


def of_split(task: ZnGeant3, split: Conditions, events: int, repeats: int | None = None) -> Particles:
    """The first particles of a split, in its order.

    Each is there `repeats` times; None: once, or as often as is needed to reach `events` with all of them.

    Raises:
        UsageError: `events` are not equally many of each particle, or more than all of them, `repeats` times.
    """
    known = Particles(*task.particles(split))
    repeats = repeats or -(-events // len(known))
    count = _count(events, repeats)
    if count > len(known):
        raise UsageError(
            f"{split} has {len(known)} particles",
            got=f"--events {events} --repeats {repeats}",
            fix="Ask for fewer events, or leave out --repeats.",
        )
    return known[:count].repeated(repeats)


def of_collisions(events: int, repeats: int | None, seed: int) -> Particles:
    """New particles of p-p collisions at 13 TeV, from Sibyll, as those of the task were made.

    Raises:
        UsageError: `chromo` is not installed, or `events` are not `repeats` (default: 1) of each particle.
    """
    repeats = repeats or 1
    count = _count(events, repeats)
    try:
        primaries = importlib.import_module("simbench.data.zn_geant3.primaries")
    except ImportError as error:
        fix = "Install it: pip install 'simbench[generators]' (or pip install chromo)."
        raise UsageError("--primaries chromo needs the package chromo", got=str(error), fix=fix) from error
    conditions, pdg = primaries.draw(count, derive_seed(seed, "primaries"))
    return Particles(conditions, pdg, np.arange(count, dtype=np.int32)).repeated(repeats)


def _count(events: int, repeats: int) -> int:
    """How many particles `events` are, `repeats` of each. Raises UsageError where that is no whole number."""
    if events % repeats:
        near = max(events // repeats, 1) * repeats
        raise UsageError(
            "each particle has equally many events",
            got=f"--events {events} with {repeats} events of each particle",
            fix=f"Try --events {near}.",
        )
    return events // repeats
