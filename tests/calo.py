"""Files as the CaloChallenge has them, small: a binning of a few layers, and showers that look like showers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from simbench.tasks.calo_files import Dataset

Array = NDArray[Any]

BINNING = """<Bins>
   <Bin pid="{pid}" etaMin="0" etaMax="130" name="{particle}">
      <Layer id="0" r_edges="0,5,10,30" n_bin_alpha="1" />
      <Layer id="1" r_edges="0,2,4,8" n_bin_alpha="4"/>
      <Layer id="2" r_edges="0" n_bin_alpha="1" />
      <Layer id="12" r_edges="0,100,200" n_bin_alpha="3" />
   </Bin>
</Bins>
"""
VOXELS = 3 + 12 + 6
RADII = ((2.5, 7.5, 20.0), (1.0, 3.0, 6.0), (50.0, 150.0))


def energies_of(events: int, *, discrete: bool, rng: np.random.Generator) -> Array:
    """Powers of two, or log-uniform, MeV: (events, 1)."""
    found = 2.0 ** rng.integers(8, 14, events) if discrete else 10 ** rng.uniform(3, 6, events)
    return found[:, None].astype(np.float32).astype(np.float64)


def showers_of(energies: Array, rng: np.random.Generator) -> Array:
    """Voxels (events, 21) MeV, many of them empty, that float32 holds exactly."""
    weights = np.exp(-np.arange(VOXELS) / 6) * rng.exponential(1, (len(energies), VOXELS))
    weights *= rng.random(weights.shape) < 0.6
    total = weights.sum(1, keepdims=True)
    showers = weights / np.where(total > 0, total, 1) * energies * rng.normal(0.95, 0.05, (len(energies), 1))
    return showers.astype(np.float32).astype(np.float64)


def write_showers(path: Path, showers: Array, energies: Array, **how: Any) -> None:
    """A file in the challenge's layout."""
    with h5py.File(path, "w") as file:
        file.create_dataset("incident_energies", data=energies, compression="gzip")
        file.create_dataset("showers", data=showers, **({"compression": "gzip"} | how))


def write_dataset(folder: Path, dataset: Dataset, events: int = 400) -> Path:
    """Every file of a dataset, with `events` showers in each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / dataset.binning).write_text(BINNING.format(pid=22, particle=dataset.particle))
    for seed, name in enumerate((*dataset.train, *dataset.test)):
        rng = np.random.default_rng(seed)
        energies = energies_of(events, discrete=dataset.discrete, rng=rng)
        write_showers(folder / name, showers_of(energies, rng), energies)
    return folder
