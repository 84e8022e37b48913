"""`simbench bench`: the throughput of a generator alone, also in the JSON format of pytest-benchmark.

There each batch size and number of threads is a benchmark: seconds per call of `sample`, a round for each repeat.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from pytest_benchmark.stats import Stats
from torch import Tensor

from simbench.core.progress import Progress
from simbench.evaluation.evaluate import Options, open_session
from simbench.evaluation.provenance import collect
from simbench.evaluation.throughput import REPEATS, Clock, measure_ladder, speedup
from simbench.generators.resolve import Resolved
from simbench.results.schema import Provenance, Speedup, Throughput
from simbench.tasks.base import Task

FORMAT = "5.1.0"
"""The version of pytest-benchmark whose format this is."""


@dataclass(frozen=True)
class Rounds:
    """The repeats behind a row: seconds per call in each, and how many calls a repeat was."""

    row: Throughput
    seconds: tuple[float, ...]
    calls: int


@dataclass(frozen=True)
class RecordingClock(Clock):
    """The harness's clock, which also keeps every repeat: a row of a Result has its percentiles alone."""

    rounds: list[Rounds] = field(default_factory=list)
    _calls: list[float] = field(default_factory=list)

    def timed(self, conditions: Tensor, call_index: int) -> tuple[Any, float]:
        """One call, kept."""
        samples, seconds = super().timed(conditions, call_index)
        self._calls.append(seconds)
        return samples, seconds

    def measure(self, conditions: Tensor, threads: int, repeats: int = REPEATS) -> Throughput:
        """The speed for a batch; its repeats go to `rounds`. The first two calls warm up."""
        self._calls.clear()
        row = super().measure(conditions, threads, repeats)
        calls = np.array(self._calls[2:]).reshape(repeats, -1)
        self.rounds.append(Rounds(row, tuple(calls.mean(1).tolist()), calls.shape[1]))
        return row


@dataclass(frozen=True)
class Timed:
    """The rows of the ladder with their repeats, the speed-up over the Monte Carlo, and what was left out."""

    rows: list[Throughput]
    rounds: list[Rounds]
    speedup: Speedup | None
    notes: list[str]


def bench(resolved: Resolved, task: Task, options: Options, progress: Progress) -> Timed:
    """Time a generator as `simbench run` does. Raises GeneratorError where it cannot be used."""
    reference = task.load("test")
    session, checked = open_session(resolved, task, options, progress)
    clock = RecordingClock(session)
    with progress.step("timing") as advance:
        rows, notes = measure_ladder(clock, reference.conditions, batches=options.batches(), on_batch=advance)
    return Timed(rows, clock.rounds, speedup(rows, reference, task.monte_carlo), [*checked.warnings, *notes])


def pytest_benchmark_json(rounds: list[Rounds], *, generator: str, task: str, command: str) -> str:
    """The text of a file for `pytest-benchmark compare`."""
    origin = collect(command)
    content = {
        "machine_info": _machine(origin),
        "commit_info": {
            "id": origin.git_sha or "unversioned",
            "time": None,
            "author_time": None,
            "dirty": bool(origin.git_dirty),
            "project": "simbench",
            "branch": "(unknown)",
        },
        "benchmarks": [_benchmark(kept, generator, task) for kept in rounds],
        "datetime": datetime.datetime.now(datetime.UTC).isoformat(),
        "version": FORMAT,
    }
    return json.dumps(content, indent=4, allow_nan=False) + "\n"


def _machine(origin: Provenance) -> dict[str, Any]:
    """As pytest-benchmark describes a machine; the host's name is hashed."""
    return {
        "node": origin.host_sha256,
        "processor": platform.processor(),
        "machine": platform.machine(),
        "python_compiler": platform.python_compiler(),
        "python_implementation": platform.python_implementation(),
        "python_implementation_version": origin.python,
        "python_version": origin.python,
        "python_build": list(platform.python_build()),
        "release": platform.release(),
        "system": platform.system(),
        "cpu": {"brand_raw": origin.hardware["cpu"]},
        "simbench": origin.simbench,
        "hardware": origin.hardware,
        "packages": origin.packages,
    }


def _benchmark(kept: Rounds, generator: str, task: str) -> dict[str, Any]:
    row = kept.row
    params = {"task": task, "device": row.device, "threads": row.threads, "batch": row.batch}
    label = f"{row.device}-{row.threads}threads-batch{row.batch}"
    return {
        "group": f"{task} {label}",
        "name": f"{generator}[{label}]",
        "fullname": f"simbench/{task}::{generator}[{label}]",
        "params": params,
        "param": label,
        "extra_info": row.model_dump(include={"events_per_s", "first_call_s", "host_copy_ms", "peak_mib", "precision"}),
        "options": {
            "disable_gc": False,
            "timer": "perf_counter",
            "min_rounds": row.repeats,
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": True,
        },
        "stats": statistics(kept.seconds) | {"data": list(kept.seconds), "iterations": kept.calls},
    }


def statistics(seconds: Iterable[float]) -> dict[str, Any]:
    """The statistics of pytest-benchmark."""
    stats = Stats()
    for each in seconds:
        stats.update(each)
    return cast(dict[str, Any], stats.as_dict())
