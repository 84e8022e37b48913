"""The particles that enter the detector: those of a split of the task, or new ones of p-p collisions."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simbench.core.errors import GeneratorError, UsageError
from simbench.core.seeds import derive_seed
from simbench.simulation.children import last_words, same_modules
from simbench.tasks.zn import Geant3Task, data_file

Conditions = Literal["test", "train", "validation"]

PRIMARIES = data_file().with_name("zn_geant3") / "primaries.py"
"""The program that drew the particles of the task."""


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


def of_split(task: Geant3Task, split: Conditions, events: int, repeats: int | None = None) -> Particles:
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


def of_collisions(task: Geant3Task, events: int, repeats: int | None, seed: int) -> Particles:
    """New particles of p-p collisions at 13 TeV, from Sibyll, drawn by the program that drew those of the task.

    Raises:
        UsageError: `chromo` is not installed, or `events` are not `repeats` (default: 1) of each particle.
        GeneratorError: the program failed.
    """
    repeats = repeats or 1
    count = _count(events, repeats)
    if find_spec("chromo") is None:
        fix = "Install it: pip install 'simbench[generators]' (or pip install chromo)."
        raise UsageError("--primaries chromo needs the package chromo", got="no such package", fix=fix)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "primaries.npz")
        # a process of its own: the state of Sibyll is global, and it prints
        command = [sys.executable, str(PRIMARIES), str(count), str(derive_seed(seed, "primaries")), str(path)]
        command += [task.detector]
        done = subprocess.run(
            command, env=same_modules(), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
        if done.returncode or not path.exists():
            got = f"exit code {done.returncode}; its last words: {last_words(done.stderr)}"
            raise GeneratorError(f"{PRIMARIES.name} failed to draw {count} particles", got=got)
        with np.load(path, allow_pickle=False) as drawn:
            known = Particles(drawn["conditions"], drawn["pdg"], np.arange(count, dtype=np.int32))
    return known.repeated(repeats)


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
