"""The speed-up over the Monte Carlo: for all test conditions, by species and energy, and what the training cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from simbench.core.errors import DataError
from simbench.core.text import thread_count
from simbench.core.threads import torch_threads
from simbench.evaluation.throughput import FEWEST_REPEATS, SIZES, Clock
from simbench.generators.session import Session
from simbench.results.schema import MonteCarloRecord, Speedup, StratumSpeedup, Throughput, Training
from simbench.samples.monte_carlo import read_record
from simbench.tasks.base import MonteCarlo, Task

STRATA_SECONDS = 8.0
"""All strata together take about this long at most: a slow generator answers fewer events of each."""
STRATUM_BATCH = 256
"""Events of a stratum in one call, at most; no more than a scoring block, for which there is memory."""


@dataclass(frozen=True)
class Cost:
    """What the Monte Carlo took for the test conditions.

    Attributes:
        record: how that was measured; its seconds are the mean.
        seconds: (N,) of each event.
        strata: what the events belong to (species, energy), (N,) names each.
    """

    record: MonteCarlo
    seconds: NDArray[np.float64]
    strata: Mapping[str, NDArray[np.str_]]


def recorded_cost(task: Task) -> Cost | None:
    """The cost that came with the task's events; None where none was recorded."""
    record, test = task.monte_carlo, task.load("test")
    if record is None or test.mc_seconds is None:
        return None
    return Cost(record, test.mc_seconds.double().numpy(), test.strata)


def measured_cost(path: Path, task: Task) -> Cost:
    """The cost that `simbench simulate` measured for the test conditions, equally many events of each.

    Raises:
        UsageError: `path` is a bare number.
        DataError: no record of this task, or one of other conditions than the test split's.
    """
    found, test = read_record(path, task), task.load("test")
    if found.condition_id is None or not found.whole:
        count = len(test.condition_id.unique())
        raise DataError(
            f"{path} does not hold the conditions of the test split, equally many events of each",
            expected="a speed-up is for the same conditions",
            fix=f"Simulate them: `simbench simulate --conditions test --events {count}`.",
        )
    first = {int(name): row for row, name in reversed(list(enumerate(test.condition_id.tolist())))}
    rows = np.array([first[int(name)] for name in found.condition_id])
    return Cost(found.monte_carlo, found.seconds, {kind: names[rows] for kind, names in test.strata.items()})


def speedup(
    measured: Sequence[Throughput], cost: Cost | None, session: Session, training: Training | None
) -> Speedup | None:
    """Mean Monte Carlo seconds an event of the test conditions over the generator's, at its fastest batch size.

    `value` is the best of all rows, `per_core` the best of those on one CPU thread (the Monte Carlo ran on one core).
    By stratum, the generator is timed anew, on one thread of a CPU, or on the session's GPU, for conditions of that
    stratum alone. None where no Monte Carlo cost is known or nothing was timed.
    """
    if cost is None or not measured:
        return None

    def rate(row: Throughput) -> float:
        return row.events_per_s.p50

    best = max(measured, key=rate)
    core = max((rate(row) for row in measured if row.device == "cpu" and row.threads == 1), default=None)
    seconds = cost.record.seconds_per_event
    alike = [row for row in measured if (row.device == "cpu") == (session.device == "cpu")]
    return Speedup(
        value=rate(best) * seconds,
        per_core=None if core is None else core * seconds,
        batch=best.batch,
        device=f"{best.device}, {thread_count(best.threads)}" if best.device == "cpu" else best.device,
        monte_carlo=MonteCarloRecord(**vars(cost.record)),
        strata=_by_stratum(session, cost, max(map(rate, alike))) if alike else {},
        training=training,
    )


def _by_stratum(session: Session, cost: Cost, rate: float) -> dict[str, StratumSpeedup]:
    """`species=neutron` and the like: seconds per event of both."""
    test = session.task.load("test")
    members = {
        f"{kind}={name}": (names == name, test.strata[kind] == name)
        for kind, names in cost.strata.items()
        for name in np.unique(names)
    }
    if len(members) < 2:
        return {}
    affordable = STRATA_SECONDS * rate / (len(members) * (FEWEST_REPEATS + SIZES))
    batch = max(1, min(STRATUM_BATCH, session.task.block_size, int(affordable)))
    clock, found = Clock(session), {}
    with torch_threads(1):
        for name, (of_cost, of_test) in members.items():
            conditions = test.conditions[torch.from_numpy(of_test)].to(session.device)
            row = clock.measure(conditions, 1, FEWEST_REPEATS, batch=batch)
            took, events = float(cost.seconds[of_cost].mean()), int(of_cost.sum())
            found[name] = StratumSpeedup(monte_carlo_s=took, generator_s=1 / row.events_per_s.p50, events=events)
    return found
