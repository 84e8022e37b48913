"""What `simbench simulate` says in the end: the cost of an event here, beside what the task recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from simbench.core.text import count, duration, percent
from simbench.samples.monte_carlo import read_record
from simbench.tasks.zn import Geant3Task


@dataclass(frozen=True)
class Summary:
    """The same as JSON and as lines of text."""

    data: dict[str, Any]
    lines: list[str]


def summary(path: Path, task: Geant3Task) -> Summary:
    """The summary of a file. Raises DataError as `read_record`.

    `recorded_seconds_per_event`, for test conditions: what the task's Monte Carlo took for the same ones, the mean over
    its own showers of them.
    """
    found = read_record(path, task)
    record = found.record
    recorded = None if found.condition_id is None else recorded_seconds(task, found.condition_id)
    with h5py.File(path) as file:
        per_gev = float(found.seconds.sum() / file["conditions"][:, 0].sum())
        empty = 1 - float(file["photons"][:].any((1, 2)).mean())
    data = {
        "file": str(path),
        "seconds_per_gev": per_gev,
        "empty_fraction": empty,
        "recorded_seconds_per_event": recorded,
        "whole_test_split": found.whole,
        **record.model_dump(),
    }
    lines = [
        f"{path} holds {count(record.events)} events of {record.engine} ({record.physics}), {percent(empty)} empty.",
        f"{duration(record.seconds_per_event)} per event, {duration(per_gev)} per GeV, on {record.cpu}: "
        f"{record.measured}.",
    ]
    if recorded is not None:
        was = task.monte_carlo
        lines.append(f"Recorded for the same conditions: {duration(recorded)} per event, {was.engine} on {was.cpu}.")
    return Summary(data, lines)


def recorded_seconds(task: Geant3Task, condition_id: NDArray[np.int64]) -> float:
    """The mean recorded seconds of an event, over events of these test conditions."""
    test = task.load("test")
    assert test.mc_seconds is not None
    names, index = np.unique(test.condition_id.numpy(), return_inverse=True)
    means = np.bincount(index, test.mc_seconds.numpy()) / np.bincount(index)
    return float(means[np.searchsorted(names, condition_id)].mean())
