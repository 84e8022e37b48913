"""Write synthetic ZN events to HDF5: Poisson draws about real showers of the same particle, `samples` uint16.

    python docs/synthetic_events.py EVENTS FILE [SEED]

EVENTS is a multiple of the 4000 test rows, each of which gets equally many answers. The rate of an answer is one of the
eight showers of its particle in the split `floor`: good enough to measure cost.
"""

from __future__ import annotations

import sys

import h5py
import numpy as np

from simbench.tasks import get_task


def main(events: int, path: str, seed: int = 0) -> None:
    """Write the file, one answer to every test row at a time."""
    task = get_task("zn-geant3")
    real = task.load("floor")
    rows, repeats = len(real), task.repeats
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file.attrs.update({"task": task.name, "generator": "synthetic", "seed": seed})
        how = {"chunks": (250, *task.shape), "compression": "lzf", "shuffle": True}
        samples = file.create_dataset("samples", (events, *task.shape), np.uint16, **how)
        index = file.create_dataset("condition_index", (events,), np.int64)
        for start in range(0, events, rows):
            shower = np.arange(rows) // repeats * repeats + rng.integers(repeats, size=rows)
            rates = real.samples.numpy()[shower]
            samples[start : start + rows] = rng.poisson(rates)
            index[start : start + rows] = np.arange(rows)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
