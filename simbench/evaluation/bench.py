"""`simbench bench`: the throughput of generators alone, also in the JSON format of pytest-benchmark.

There each batch size and number of threads is a benchmark: seconds per call of `sample`, a round for each repeat.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pytest_benchmark.stats import Stats

from simbench.core.errors import GeneratorError
from simbench.core.progress import Progress
from simbench.evaluation.devices import Opening, time_on_devices
from simbench.evaluation.evaluate import Options, generator_record, open_session, training_of
from simbench.evaluation.memory import MemoryLimit, memory_limit
from simbench.evaluation.provenance import collect
from simbench.evaluation.speedup import speedup
from simbench.evaluation.throughput import Rounds
from simbench.generators.resolve import Resolved
from simbench.results.schema import GeneratorRecord, GeneratorSpeeds, Provenance, Speeds, Speedup, Throughput
from simbench.tasks.base import Task

FORMAT = "5.1.0"
"""The version of pytest-benchmark whose format this is."""


@dataclass(frozen=True)
class Timed:
    """A generator's rows of the ladder with their repeats, the speed-up over the Monte Carlo, and what was left out."""

    generator: GeneratorRecord
    rows: list[Throughput]
    rounds: list[Rounds]
    speedup: Speedup | None
    notes: list[str]
    limits: dict[str, MemoryLimit]


def bench(
    generators: Sequence[Resolved], task: Task, options: Options, progress: Progress, *, limits: bool = False
) -> list[Timed]:
    """Time generators as `simbench run` does; the repeats of several alternate. With `limits`, find the largest batch
    that each makes on each device, too.

    Raises GeneratorError where one cannot be used, or no batch of it succeeds.
    """
    reference, cost = task.load("test"), options.cost(task)
    opened = [open_session(resolved, task, options, progress) for resolved in generators]
    openings = [
        Opening(resolved, each.session, generator_record(resolved, each.preflight))
        for resolved, each in zip(generators, opened, strict=True)
    ]
    with progress.step("timing") as advance:
        ladders = time_on_devices(
            openings, reference.conditions, options.devices, options.modes, options.ladder(task), on_batch=advance
        )
    timed = []
    for opening, each, found in zip(openings, opened, ladders, strict=True):
        if not found.rows:
            raise GeneratorError(
                f"{opening.record.name} cannot be timed", got=found.error or "no time for a single batch"
            )
        notes = [*each.preflight.warnings, *found.notes, *(f"not timed: {error}" for error in found.errors)]
        sped = speedup(found.rows, cost, opening.session, training_of(opening.resolved, task))
        largest = {on: memory_limit(opening.on(on), opening.record) for on in options.devices} if limits else {}
        timed.append(Timed(opening.record, found.rows, found.rounds, sped, notes, largest))
    return timed


def speeds_json(timed: Sequence[Timed], task: Task, command: str) -> str:
    """The text of a file for the folder `speeds` of a leaderboard."""
    speeds = [GeneratorSpeeds(generator=each.generator, throughput=each.rows) for each in timed]
    made = Speeds(task=task.name, task_version=task.version, speeds=speeds, provenance=collect(command))
    return made.model_dump_json(indent=1, by_alias=True) + "\n"


def pytest_benchmark_json(timed: Sequence[Timed], *, task: str, command: str) -> str:
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
        "benchmarks": [_benchmark(kept, each.generator.name, task) for each in timed for kept in each.rounds],
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
    label += "" if row.precision == "float32" else f"-{row.precision}"
    label += "-compiled" if row.compiled else ""
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
