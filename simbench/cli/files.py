"""The verbs for who writes a generator: init, check, conditions export; and clean, which removes kept samples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simbench.cli import options
from simbench.cli.output import (
    answer,
    described,
    print_checks,
    print_json,
    print_table,
    print_text,
    read_options,
    working,
)
from simbench.core.errors import DataError
from simbench.tasks import DEFAULT

INVALID_GENERATOR = 3


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="The file to write; it is never overwritten.")],
    task: options.Task = DEFAULT,
    json: options.Json = False,
) -> None:
    """Write a generator of ten lines that already passes `simbench check`.

    my_flow.py gets a class MyFlow, mymodel.py a class Model.

    \b
    Examples:
      simbench init mymodel.py
      simbench init digits.py --task mnist
    """
    from simbench.generators.template import write_scaffold
    from simbench.tasks import get_task

    spec = f"{file}:{write_scaffold(file, get_task(task))}"
    chosen = "" if task == DEFAULT else f" --task {task}"
    following = [f"simbench check {spec}{chosen}", f"simbench run --generator {spec}{chosen} --smoke"]
    found = {"file": str(file), "task": task, "next": following}
    answer(json, found, f"{file} is written. Next:", *(f"  {line}" for line in following))


def check(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="As --generator of `simbench run`.")],
    task: options.Task = DEFAULT,
    param: options.Param = None,
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Test whether a generator keeps its contract.

    Shapes, values, seeds, order, side effects. Exits with 3 where it does not.

    \b
    Examples:
      simbench check mymodel.py:Model
      simbench check mypkg:Flow --task mnist --param steps=20 --device cuda
      simbench check mymodel.py:Model --task mytask.py:Task
    """
    from simbench.core.devices import choose_device
    from simbench.generators.contract import check_generator

    params, chosen = read_options(param, task, data_dir)
    with working(json) as progress:
        checks = list(progress.each("checking", check_generator(spec, params, chosen, choose_device(device))))
    listed = described(checks)
    failed = any(check["status"] == "fail" for check in listed)
    if json:
        print_json({"generator": spec, "task": task, "passed": not failed, "checks": listed})
    else:
        print_checks(f"{spec} on {task}", listed)
    if failed:
        raise typer.Exit(INVALID_GENERATOR)


def export(
    output: Annotated[Path, options.file("--output", "-o", help="A new .h5, .npz or .csv file.")],
    task: options.Task = DEFAULT,
    seed: options.Seed = 0,
    events: options.Events = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Write the test conditions for a program that simbench cannot call; `simbench score` takes what it made.

    \b
    Examples:
      simbench conditions export --task zn-geant3 -o conditions.h5
      simbench conditions export --task mnist -o conditions.csv --events 1000
    """
    from simbench.samples.files import export_conditions
    from simbench.tasks import get_task

    count = export_conditions(get_task(task, data_dir), output, root_seed=seed, events=events)
    answer(
        json,
        {"file": str(output), "task": task, "events": count},
        f"{output} holds the conditions of {count} events. "
        f"Score what answers them: simbench score SAMPLES --task {task}",
    )


def clean(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of results, or one below it.")] = Path(
        "runs"
    ),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove them without asking.")] = False,
    json: options.Json = False,
) -> None:
    """Show the samples that runs have kept, and remove them. Results and reports stay.

    \b
    Examples:
      simbench clean
      simbench clean runs/zn-geant3/mymodel --yes
    """
    from rich.table import Column

    from simbench.core.console import right
    from simbench.core.text import count, megabytes, printable
    from simbench.samples.kept import kept_samples

    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", fix="Name the folder that `simbench run --out` wrote to.")
    found = list(kept_samples(folder))
    if not json:
        rows = [
            (printable(kept.result.label, 40), kept.result.task.name, count(kept.result.task.events))
            + (f"{kept.result.created:%Y-%m-%d %H:%M}", megabytes(kept.size), str(kept.path))
            for kept in found
        ]
        if rows:
            print_table(["generator", "task", *right("events", "made", "size"), Column("file", overflow="fold")], rows)
        total = megabytes(sum(kept.size for kept in found))
        print_text(f"{count(len(found))} file{'s' * (len(found) != 1)} of samples below {folder}, {total}.")
    if found and not yes and not json:
        if not sys.stdin.isatty():
            print_text("Remove them with --yes; the results stay.")
        else:
            yes = typer.confirm("Remove them? The results stay.")
    removed = found if yes else []
    for kept in removed:
        kept.remove()
    if json:
        files = [{"file": str(kept.path), "result": kept.result.id, "bytes": kept.size} for kept in found]
        print_json({"samples": files, "removed": bool(removed)})
    elif removed:
        print_text("They are removed; the results stay.")


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(init)
    app.command()(check)
    app.command()(clean)
    conditions = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="The conditions that a generator must answer."
    )
    conditions.command("export")(export)
    app.add_typer(conditions, name="conditions")
