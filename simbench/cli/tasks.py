"""The verb `tasks`: which there are, what one is, and how a user adds one that a TOML file describes."""

from __future__ import annotations

from importlib import resources
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from simbench.cli import options
from simbench.cli.output import answer, print_json, print_rows, print_text, working
from simbench.core.errors import DataError
from simbench.core.plugins import unknown_name

if TYPE_CHECKING:
    from simbench.tasks.base import Task
    from simbench.tasks.importing import Found

TASK = (
    "name version summary shape unit maximum conditions repeats block_size test_events smoke_events metrics primary "
    "options"
)
"""What is told of a task."""

SHOW = "show"


class NamesAndVerbs(TyperGroup):
    """`simbench tasks NAME` shows a task; import, remove and template are verbs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb, or the one that shows a task."""
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        if len(args) > 1 and not args[1].startswith("-"):
            raise unknown_name("verb of `simbench tasks`", args[0], self.commands)
        return super().resolve_command(ctx, [SHOW, *args])


def listed(ctx: typer.Context, json: options.Json = False) -> None:
    """List the tasks, describe one, or add one of your own that a TOML file describes.

    \b
    Examples:
      simbench tasks
      simbench tasks zn-geant3
      simbench tasks template > mydetector.toml
      simbench tasks import mydetector.toml
      simbench tasks remove mydetector
    """
    from simbench.tasks import every_task

    if ctx.invoked_subcommand is not None:
        return
    found_tasks, wrong = every_task()
    described = [describe_task(task) for task in found_tasks]
    if json:
        print_json([*described, *({"name": name, "error": why} for name, why in wrong.items())])
        return
    for found in described:
        found |= {"event": " x ".join(map(str, found["shape"])), "count": len(found["conditions"])}
        found["test_events"] = _count(found["test_events"])
    shown = itemgetter("name", "version", "event", "count", "test_events", "summary")
    print_rows(("task", "version", "an event", "conditions", "test events", "what"), map(shown, described))
    for name, why in wrong.items():
        print_text(f"{name} cannot be read: {why}", "yellow")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A task, path/file.py:Task or path/file.toml.")],
    json: options.Json = False,
) -> None:
    """Describe one task, in full: `simbench tasks NAME` is the same.

    \b
    Examples:
      simbench tasks show zn-geant3
    """
    from simbench.tasks import get_task

    task = describe_task(get_task(name))
    if json:
        print_json(task)
        return
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
    print_rows(("", ""), rows.items())


def _count(events: int | None) -> int | str:
    return "as many as the files hold" if events is None else events


def describe_task(task: Task) -> dict[str, Any]:
    """What is told of a task, as JSON shows it."""
    conditions = dict(zip(task.condition_names, task.condition_units, strict=True))
    found = {key: conditions if key == "conditions" else _known(task, key) for key in TASK.split()}
    return found | {"scored_sha256": _known(task, "scored_sha256")}


def _known(task: Task, attribute: str) -> Any:
    """An attribute of a task; None where its data are not on this machine, and tell it."""
    try:
        return getattr(task, attribute)
    except DataError:
        return None


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="What describes the task: docs/own-task.md.")],
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Check a task that a TOML file describes, say what was understood, and give it its name.

    Every event is read: shapes, keys, NaN, range. The description and the checksums of the files are copied into your
    folder of simbench; the events stay where they are. `--task FILE.toml` measures without an import.

    \b
    Examples:
      simbench tasks import mydetector.toml
      simbench tasks import mydetector.toml --data-dir ~/data
    """
    from dataclasses import asdict

    from simbench.tasks.importing import import_task

    with working(json) as progress:
        found = import_task(file, data_dir, lambda split: progress.note(f"{split} is read."))
    if json:
        print_json(asdict(found))
    else:
        _tell(found)


def _tell(found: Found) -> None:
    """What was understood, in words."""
    from simbench.core.text import count, number

    print_text(f"{found.name} {found.version}", "bold")
    rows = [
        (name, count(split.events), count(split.conditions), _several(*split.repeats))
        + (count(split.empty), number(split.largest), split.file)
        for name, split in found.splits.items()
    ]
    heads = ("split", "events", "conditions", "events of each", "empty", "largest", "file")
    print_rows(heads, rows)
    shared = found.units == "events"
    lines = [
        "Floor: independent real events answer the test conditions."
        if "floor" in found.splits
        else "No floor: no independent real events answer the test conditions, so no score has one beside it.",
        "Every test condition is in train, too: errors are computed over events."
        if shared
        else "The test has conditions that are not in train: errors are computed over conditions.",
    ]
    if found.channels is not None:
        dark = f"; {found.unsummed} values of an event are in none" if found.unsummed else ""
        lines.append(f"Channels: {found.channels}{dark}.")
    if found.copies:
        lines.append(f"Look at this: {found.copies} test events stand in train, value for value.")
    lines += [f"Measured: {', '.join(found.measured)}.", f"Without {', '.join(found.primary)} a run fails."]
    lines += [f"Left out: {key}, {why}." for key, why in found.left_out.items()]
    lines += [f"Registered in {found.registered}. Next: simbench run --task {found.name} --generator memoriser --smoke"]
    for line in lines:
        print_text(line)


def _several(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An imported task.")], json: options.Json = False
) -> None:
    """Forget an imported task. Its files of events, and results, stay.

    \b
    Examples:
      simbench tasks remove mydetector
    """
    from simbench.tasks.imported import remove_task

    path = remove_task(name)
    answer(json, {"removed": str(path)}, f"{name} is forgotten ({path} is removed); its events stay.")


def template(json: options.Json = False) -> None:
    """Print a description to start from, every field with a comment.

    \b
    Examples:
      simbench tasks template > mydetector.toml
    """
    text = (resources.files("simbench") / "data" / "task.toml").read_text(encoding="utf-8")
    answer(json, {"template": text}, text.rstrip())


def register(app: typer.Typer) -> None:
    """Add this verb."""
    tasks = typer.Typer(cls=NamesAndVerbs, invoke_without_command=True, rich_markup_mode=None)
    tasks.callback()(listed)
    for verb, name in ((show, SHOW), (import_, "import"), (remove, "remove"), (template, "template")):
        tasks.command(name)(verb)
    app.add_typer(tasks, name="tasks")
