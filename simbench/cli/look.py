"""The verbs that look around: metrics, generators, doctor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simbench.cli import options
from simbench.cli.output import described, print_checks, print_json, print_rows, print_table, print_text

if TYPE_CHECKING:
    from simbench.metrics.base import Metric
    from simbench.tasks.base import Task

DATA_PROBLEM = 4
METRIC = "key unit direction target ranks summary definition"
"""What is told of a metric."""


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
    from simbench.tasks import every_task, get_task

    tasks = [get_task(task)] if task else every_task()[0]
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

    tables: dict[str, tuple[Task | None, dict[str, str]]] = {}
    for task in tasks:
        tables[task.name] = task, {key: _role(get_metric(key), task) for key in task.metrics}
        tables[f"{task.name}, by --definitions"] = task, _published(task)
    if whole:
        listed = {key for _, roles in tables.values() for key in roles}
        tables["of no task, by --metrics +NAME"] = None, {m.key: _role(m) for m in chosen if m.key not in listed}
    for title, (of, roles) in tables.items():
        if roles:
            print_text(title, "bold")
            rows = []
            for m in map(get_metric, roles):
                unit = of.unit_of(m) if of else m.unit
                rows.append((m.key, printable(m.label, 24), printable(unit, 10), _better(m), roles[m.key]))
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
        print_rows(("generator", "object", "package"), [entry.values() for entry in listed])


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


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (metrics, generators, doctor):
        app.command()(verb)
