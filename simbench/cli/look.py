"""The verbs that look around: tasks, metrics, generators, doctor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simbench.cli import options
from simbench.cli.output import described, print_checks, print_json, print_table, print_text
from simbench.core.errors import DataError

if TYPE_CHECKING:
    from simbench.metrics.base import Metric
    from simbench.tasks.base import Task

DATA_PROBLEM = 4
TASK = (
    "name version summary shape unit maximum conditions repeats block_size test_events smoke_events metrics primary "
    "options"
)
METRIC = "key unit direction target ranks summary definition"
"""What is told of a task and of a metric."""


def tasks(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One task, in full.")] = None,
    json: options.Json = False,
) -> None:
    """List the tasks, or describe one.

    \b
    Examples:
      simbench tasks
      simbench tasks zn-geant3
    """
    from simbench.tasks import get_task, task_names

    described = [_describe_task(get_task(known)) for known in ([name] if name else task_names())]
    if json:
        print_json(described[0] if name else described)
    elif name:
        task = described[0]
        conditions = ", ".join(f"{key} [{unit}]" for key, unit in task["conditions"].items())
        rows = {
            "task": f"{task['name']} {task['version']}",
            "what": task["summary"],
            "events": _count(task["test_events"]),
            "an event": f"{tuple(task['shape'])} {task['unit']}, 0 to {task['maximum']:g}",
            "conditions": conditions or "none",
            "repeats": task["repeats"],
            "block": f"{task['block_size']} events in one call, where they are scored (--block-size)",
            "metrics": ", ".join(task["metrics"]),
            "primary": ", ".join(task["primary"]),
        } | {f"option {key}": meaning for key, meaning in task["options"].items()}
        _table(("", ""), rows.items())
    else:
        for t in described:
            t |= {"event": " x ".join(map(str, t["shape"])), "count": len(t["conditions"])}
            t["test_events"] = _count(t["test_events"])
        shown = itemgetter("name", "version", "event", "count", "test_events", "summary")
        _table(("task", "version", "an event", "conditions", "test events", "what"), map(shown, described))


def _count(events: int | None) -> int | str:
    return "as many as the files hold" if events is None else events


def _describe_task(task: Task) -> dict[str, Any]:
    conditions = dict(zip(task.condition_names, task.condition_units, strict=True))
    found = {key: conditions if key == "conditions" else _known(task, key) for key in TASK.split()}
    return found | {"scored_sha256": _known(task, "scored_sha256")}


def _known(task: Task, attribute: str) -> Any:
    """An attribute of a task; None where its data are not on this machine, and tell it."""
    try:
        return getattr(task, attribute)
    except DataError:
        return None


def metrics(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One metric, in full: name, or name/version.")
    ] = None,
    task: Annotated[str | None, options.name("--task", "-t", help="Those of one task alone.")] = None,
    json: options.Json = False,
) -> None:
    """List the metrics of each task, or define one.

    \b
    Examples:
      simbench metrics
      simbench metrics --task mnist
      simbench metrics channel_wasserstein
    """
    from simbench.metrics.registry import metric_named
    from simbench.metrics.registry import metrics as known
    from simbench.tasks import get_task, task_names

    tasks = [get_task(each) for each in ([task] if task else task_names())]
    if name:
        chosen = [metric_named(name, tasks[0].metrics if task else ())]
    else:
        chosen = [m for m in known().values() if not task or m.key in {*tasks[0].metrics, *_published(tasks[0])}]
    described = [{field: getattr(metric, field) for field in METRIC.split()} for metric in chosen]
    if json:
        print_json(described[0] if name else described)
    elif name:
        metric = described[0]
        best = f"right at {metric['target']:g}" if metric["target"] is not None else f"{metric['direction']} is better"
        role = "ranks models" if metric["ranks"] else "reported, never ranks"
        takes = "every event" if chosen[0].stream else "a fixed subsample"
        print(f"{metric['key']}: {best}; {role}; of more than memory holds {takes}.\n\n{metric['definition']}")
        if chosen[0].example is not None:
            print(f"\n{chosen[0].example()}")
    else:
        _print_metrics(tasks, chosen, whole=not task)


def _published(task: Task) -> dict[str, str]:
    """The metrics that other definitions bring to a task, with the name for `--definitions`."""
    return {key: name for name, keys in task.definitions.items() for key in keys if key not in task.metrics}


def _print_metrics(tasks: Sequence[Task], chosen: Sequence[Metric], *, whole: bool) -> None:
    """A table for each task, one line a metric, and one for what other definitions bring; `whole`: the others, too."""
    from rich.table import Column

    from simbench.core.text import printable
    from simbench.metrics.registry import get_metric

    tables: dict[str, dict[str, str]] = {}
    for task in tasks:
        tables[task.name] = {key: _role(get_metric(key), task) for key in task.metrics}
        tables[f"{task.name}, by --definitions"] = _published(task)
    if whole:
        listed = {key for roles in tables.values() for key in roles}
        tables["of no task, by --metrics +NAME"] = {m.key: _role(m) for m in chosen if m.key not in listed}
    for title, roles in tables.items():
        if roles:
            print_text(title, "bold")
            found = [(get_metric(key), role) for key, role in roles.items()]
            rows = [(m.key, printable(m.label, 24), printable(m.unit, 10), _better(m), role) for m, role in found]
            columns = [Column(name, no_wrap=True) for name in ("metric", "what", "unit", "better", "")]
            print_table(columns, rows, padding=(0, 1))
            print_text("")
    print_text("What one is, in full: simbench metrics NAME.")


def _role(metric: Metric, task: Task | None = None) -> str:
    if task is not None and metric.key in task.primary:
        return "primary"
    return "ranks" if metric.ranks else "reports"


def _better(metric: Metric) -> str:
    return f"at {metric.target:g}" if metric.target is not None else str(metric.direction)


def generators(json: options.Json = False) -> None:
    """List the installed generators.

    simbench's own, and those that other packages register in the entry-point group `simbench.generators`.

    \b
    Examples:
      simbench generators
      simbench generators --json
    """
    from simbench.core.plugins import entry_points
    from simbench.generators.resolve import GROUP

    listed = []
    for name, point in sorted(entry_points(GROUP).items()):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else ""
        listed.append({"name": name, "object": point.value, "package": package})
    if json:
        print_json(listed)
    else:
        _table(("generator", "object", "package"), [entry.values() for entry in listed])


def doctor(
    data_dir: options.DataDir = None,
    out: Annotated[Path, options.folder("--out", "-o", help="Where results would go.")] = Path("runs"),
    json: options.Json = False,
) -> None:
    """Say what this installation has and lacks.

    Versions, devices, data, weights, plugins, room on the disk. Exits with 4 where something fails.

    \b
    Examples:
      simbench doctor
      simbench doctor --data-dir ~/data
    """
    from simbench.cli.doctor import diagnose
    from simbench.core.progress import Progress

    with Progress(quiet=True) as progress:
        found = list(progress.each("looking", diagnose(data_dir, out)))
    checks = described(found)
    failed = any(check["status"] == "fail" for check in checks)
    if json:
        print_json({"healthy": not failed, "checks": checks})
    else:
        print_checks("simbench doctor", checks)
    if failed:
        raise typer.Exit(DATA_PROBLEM)


def _table(names: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    from rich.table import Column

    columns = [Column(name, overflow="fold", no_wrap=place == 0) for place, name in enumerate(names)]
    print_table(columns, rows, padding=(0, 1), show_header=any(names))


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (tasks, metrics, generators, doctor):
        app.command()(verb)
