"""Count the splits of zn-geant3 for its data card: `python docs/tasks/count.py` from the project's root."""

import h5py
import numpy as np

from simbench.tasks.zn import data_file

with h5py.File(data_file()) as file:
    for split in ("train", "validation", "test", "floor"):
        photons = file[split]["photons"][:].sum((1, 2), dtype=np.int64)
        particles = len(np.unique(file[split]["condition_id"][:]))
        hours = file[split]["mc_seconds"][:].sum(dtype=np.float64) / 3600
        print(
            f"{split}: {len(photons)} events, {particles} particles, {(photons == 0).mean():.1%} empty, "
            f"median {np.median(photons):.0f} photons, {hours:.2f} CPU hours"
        )
