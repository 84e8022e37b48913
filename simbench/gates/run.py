"""Running a generator for its gate: with the golden file's own options unless told otherwise."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

from simbench.core.errors import UsageError
from simbench.core.progress import Progress
from simbench.evaluation.evaluate import DEFINITIONS, Options, evaluate, metric_keys
from simbench.gates.golden import GoldenEntry
from simbench.gates.quality import check_same, check_version
from simbench.generators.resolve import resolve, resolve_again
from simbench.metrics.registry import get_metric
from simbench.results.schema import Result
from simbench.tasks import DEFAULT, get_task
from simbench.tasks.base import Task


@dataclass(frozen=True)
class Request:
    """What to run. None: as the golden values were made; where there are none yet, the default task, all its test
    events and seed 0.

    `params` belong to `generator`: the golden generator comes with its own.
    """

    generator: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    task: str | None = None
    events: int | None = None
    smoke: bool = False
    seed: int | None = None
    repetitions: int = 1
    device: str = "cpu"
    fast: bool = False
    data_dir: Path | None = None


def run_for_gate(
    request: Request, entry: GoldenEntry | None, *, comparable: bool = True, command: str = "", progress: Progress
) -> Result:
    """Evaluate a generator to compare it with `entry`, or, not `comparable`, to put its values in the place of `entry`.

    What can be refused is refused before a single event is generated. The generator is timed at batch 1 only:
    `gate-speed` is for speed.

    Raises:
        DataError: the golden values are of another task or data, or their generator no longer takes its parameters.
        UsageError: no generator is named, and there is no golden one.
        GeneratorError: as `evaluate`.
    """
    if request.generator is None and entry is None:
        raise UsageError("no generator is named and there are no golden values yet", fix="Pass --generator.")
    task = get_task(request.task or (entry.task.source or entry.task.name if entry else DEFAULT), request.data_dir)
    events = task.smoke_events if request.smoke else request.events or (entry.task.events if entry else None)
    definitions = entry.spec.definitions if entry else DEFINITIONS
    if entry is not None and comparable:
        check_task(entry, task, events or task.test_events)
    if request.generator is not None:
        resolved = resolve(request.generator, request.params)
    else:
        assert entry is not None
        resolved = resolve_again(entry.spec.generator, entry.generator)
    seed = request.seed if request.seed is not None else entry.spec.root_seed if entry else 0
    options = Options(
        root_seed=seed,
        events=events,
        repetitions=request.repetitions,
        batches=(1,),
        devices=(request.device,),
        fast=request.fast,
        block_size=entry.spec.block if entry else None,
        definitions=definitions,
        metrics=chosen_metrics(entry),
        command=command,
    )
    return evaluate(resolved, _ranking_only(task), options, progress).result


def _ranking_only(task: Task) -> Task:
    """The task with those metrics alone that are gated: what is only reported would take most of the time."""
    narrowed = copy.copy(task)
    vars(narrowed)["metrics"] = tuple(key for key in task.metrics if get_metric(key).ranks)
    return narrowed


def check_task(entry: GoldenEntry, task: Task, events: int) -> None:
    """Refuse golden values of another task, data or metric version than those at hand. Raises DataError."""
    check_same(entry, task.record(task.load("test", events)), entry.spec.definitions)
    known = [get_metric(key) for key in metric_keys(task, entry.spec.definitions, chosen_metrics(entry))]
    for value in entry.values:
        check_version(value, [metric.version for metric in known if metric.name == value.metric])


def chosen_metrics(entry: GoldenEntry | None) -> str:
    """Those that the golden values were chosen from with `--metrics`."""
    return ",".join(entry.spec.metrics or ()) if entry else ""
