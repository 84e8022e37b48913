"""The verbs for who writes a generator: init, check, conditions export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simbench.cli.options import (
    DataDirOption,
    DeviceOption,
    JsonOption,
    ParamOption,
    SeedOption,
    TaskOption,
    print_checks,
    print_json,
    stdout_kept_for_data,
)
from simbench.tasks import DEFAULT

INVALID_GENERATOR = 3


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="The file to write; it is never overwritten.")],
    task: TaskOption = DEFAULT,
    json: JsonOption = False,
) -> None:
    """Write a generator of ten lines that already passes `simbench check`.

    \b
    Examples:
      simbench init mymodel.py
      simbench init digits.py --task mnist
    """
    from simbench.generators.template import write_scaffold
    from simbench.tasks import get_task

    write_scaffold(file, get_task(task))
    chosen = "" if task == DEFAULT else f" --task {task}"
    following = [f"simbench check {file}:Model{chosen}", f"simbench run --generator {file}:Model{chosen} --smoke"]
    if json:
        print_json({"file": str(file), "task": task, "next": following})
        return
    print(f"{file} is written. Next:")
    for line in following:
        print(f"  {line}")


def check(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="As --generator of `simbench run`.")],
    task: TaskOption = DEFAULT,
    param: ParamOption = None,
    device: DeviceOption = "auto",
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Test whether a generator keeps its contract.

    Shapes, values, seeds, order, side effects. Exits with 3 where it does not.

    \b
    Examples:
      simbench check mymodel.py:Model
      simbench check mypkg:Flow --task mnist --param steps=20 --device cuda
    """
    from simbench.core.devices import choose_device
    from simbench.core.progress import Progress
    from simbench.generators.contract import Check, check_generator
    from simbench.generators.parameters import parse_params
    from simbench.tasks import get_task

    params, chosen, on = parse_params(param or []), get_task(task, data_dir), choose_device(device)
    checks: list[Check] = []
    with stdout_kept_for_data(json), Progress() as progress, progress.step("checking") as advance:
        for result in check_generator(spec, params, chosen, on):
            checks.append(result)
            advance(1)
    listed = [result.as_dict() for result in checks]
    failed = any(result.status == "fail" for result in checks)
    if json:
        print_json({"generator": spec, "task": task, "passed": not failed, "checks": listed})
    else:
        print_checks(f"{spec} on {task}", listed)
    if failed:
        raise typer.Exit(INVALID_GENERATOR)


def export(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A new .h5, .npz or .csv file.")],
    task: TaskOption = DEFAULT,
    seed: SeedOption = 0,
    events: Annotated[
        int | None, typer.Option("--events", min=1, metavar="N", help="The first N test events instead of all.")
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
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
    if json:
        print_json({"file": str(output), "task": task, "events": count})
    else:
        print(
            f"{output} holds the conditions of {count} events. Score what answers them: simbench score SAMPLES --task {task}"
        )


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(init)
    app.command()(check)
    conditions = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="The conditions that a generator must answer."
    )
    conditions.command("export")(export)
    conditions.callback()(_conditions)
    app.add_typer(conditions, name="conditions")


def _conditions() -> None:
    """The conditions that a generator must answer."""
