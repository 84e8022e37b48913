"""The verbs that look around: tasks, metrics, generators, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simbench.cli.options import DataDirOption, JsonOption, print_checks, print_json, stdout_console

DATA_PROBLEM = 4


def tasks(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One task, in full.")] = None,
    json: JsonOption = False,
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
        rows = [
            ("task", f"{task['name']} {task['version']}"),
            ("what", task["summary"]),
            ("events", task["test_events"]),
        ]
        rows += [("an event", f"{tuple(task['shape'])} {task['unit']}, 0 to {task['maximum']:g}")]
        rows += [("conditions", ", ".join(f"{key} [{unit}]" for key, unit in task["conditions"].items()) or "none")]
        rows += [
            ("repeats", task["repeats"]),
            ("metrics", ", ".join(task["metrics"])),
            ("primary", ", ".join(task["primary"])),
        ]
        _table(("", ""), rows)
    else:
        columns = ("task", "version", "an event", "conditions", "test events", "what")
        _table(
            columns,
            [
                (
                    t["name"],
                    t["version"],
                    " x ".join(map(str, t["shape"])),
                    len(t["conditions"]),
                    t["test_events"],
                    t["summary"],
                )
                for t in described
            ],
        )


def _describe_task(task: Any) -> dict[str, Any]:
    return {
        "name": task.name,
        "version": task.version,
        "summary": task.summary,
        "shape": list(task.shape),
        "unit": task.unit,
        "maximum": task.maximum,
        "conditions": dict(zip(task.condition_names, task.condition_units, strict=True)),
        "repeats": task.repeats,
        "block_size": task.block_size,
        "test_events": task.test_events,
        "smoke_events": task.smoke_events,
        "metrics": list(task.metrics),
        "primary": list(task.primary),
        "dataset_sha256": task.dataset_sha256,
    }


def metrics(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One metric, in full: name, or name/version.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the metrics, or define one.

    \b
    Examples:
      simbench metrics
      simbench metrics channel_wasserstein
    """
    from simbench.metrics.registry import get_metric
    from simbench.metrics.registry import metrics as known

    chosen = [get_metric(name if "/" in name else f"{name}/1")] if name else list(known().values())
    described = [
        {
            "key": metric.key,
            "unit": metric.unit,
            "direction": metric.direction,
            "target": metric.target,
            "ranks": metric.ranks,
            "summary": metric.summary,
            "definition": metric.definition,
        }
        for metric in chosen
    ]
    if json:
        print_json(described[0] if name else described)
    elif name:
        metric = described[0]
        best = f"right at {metric['target']:g}" if metric["target"] is not None else f"{metric['direction']} is better"
        print(
            f"{metric['key']}: {best}; {'ranks models' if metric['ranks'] else 'reported, never ranks'}.\n\n{metric['definition']}"
        )
        if chosen[0].example is not None:
            print(f"\n{chosen[0].example()}")
    else:
        rows = [
            (m["key"], m["unit"], _better(m), "ranks" if m["ranks"] else "reports", m["summary"]) for m in described
        ]
        _table(("metric", "unit", "better", "", "what"), rows)


def _better(metric: dict[str, Any]) -> str:
    return f"at {metric['target']:g}" if metric["target"] is not None else str(metric["direction"])


def generators(json: JsonOption = False) -> None:
    """List the installed generators.

    simbench's own, and those that other packages register in the entry-point group `simbench.generators`.

    \b
    Examples:
      simbench generators
      simbench generators --json
    """
    from simbench.core.plugins import entry_points
    from simbench.generators.resolve import GROUP

    points = sorted(entry_points(GROUP).items())
    listed = [
        {
            "name": name,
            "object": point.value,
            "package": f"{point.dist.name} {point.dist.version}" if point.dist else "",
        }
        for name, point in points
    ]
    if json:
        print_json(listed)
    else:
        _table(("generator", "object", "package"), [tuple(entry.values()) for entry in listed])


def doctor(
    data_dir: DataDirOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where results would go.")] = Path("runs"),
    json: JsonOption = False,
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

    with Progress(quiet=True) as progress, progress.step("looking") as advance:
        checks = []
        for check in diagnose(data_dir, out):
            checks.append(check.as_dict())
            advance(1)
    failed = any(check["status"] == "fail" for check in checks)
    if json:
        print_json({"healthy": not failed, "checks": checks})
    else:
        print_checks("simbench doctor", checks)
    if failed:
        raise typer.Exit(DATA_PROBLEM)


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=any(columns))
    for position, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    stdout_console().print(table)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (tasks, metrics, generators, doctor):
        app.command()(verb)
