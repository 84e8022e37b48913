"""The verbs that judge: selftest (are the metrics right?) and compare (is B better than A?)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simbench.cli.options import DataDirOption, JsonOption, TaskOption, print_json, stdout_console
from simbench.tasks import DEFAULT

if TYPE_CHECKING:
    from simbench.selftest.run import ControlResult

FAILED = 1


def selftest(
    task: TaskOption = DEFAULT,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="At a few hundred events; a weak defect may then go unseen.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Leave out the slow metrics.")] = False,
    curves: Annotated[
        Path | None,
        typer.Option(
            "--curves",
            metavar="FOLDER",
            help="Also measure every metric against the strength of every defect, as figures and a table in FOLDER.",
        ),
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Check the metrics themselves: real events are spoilt in known ways, and the metrics named beforehand must notice.

    Each row is a defect; flagged are the metrics whose value differs from the floor at a family error of 1 % (Holm). The floor itself, real events
    against real events, must be flagged by none. Exits with 1 if a control fails.

    \b
    Examples:
      simbench selftest
      simbench selftest --task mnist --smoke --fast
      simbench selftest --fast --curves docs/curves
    """
    from simbench.core.progress import Progress
    from simbench.selftest.run import CURVES, controls
    from simbench.selftest.run import curves as run_curves
    from simbench.selftest.run import selftest as run_selftest
    from simbench.tasks import get_task

    chosen = get_task(task, data_dir)
    events = chosen.smoke_events if smoke else None
    with Progress() as progress:
        with progress.step("controls", len(controls(chosen))) as advance:
            results = run_selftest(chosen, events=events, fast=fast, advance=advance)
        if curves is not None:
            from simbench.selftest.curves import write_curves

            with progress.step("curves", sum(len(strengths) for _, strengths in CURVES.values())) as advance:
                responses = run_curves(chosen, events=events, fast=fast, advance=advance)
            for path in write_curves(responses, chosen, curves):
                progress.note(f"{path} is written.")
    if json:
        print_json([_described(result) for result in results])
    else:
        _show(results)
    if not all(result.passed for result in results):
        raise typer.Exit(FAILED)


def _described(result: ControlResult) -> dict[str, Any]:
    return {
        "control": result.control.name,
        "passed": result.passed,
        "must_flag": list(result.control.must_flag),
        "missed": result.missed,
        "flags": result.flags,
        "values": {key: m.value for key, m in result.measurements.items()},
    }


def _show(results: list[ControlResult]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "control", "must be flagged by", "flagged by"):
        table.add_column(column, overflow="fold")
    for result in results:
        must = ", ".join(key.partition("/")[0] for key in result.control.must_flag) or "none"
        flags = (
            ", ".join(key.partition("/")[0] for key in sorted(result.flags, key=lambda key: result.flags[key]))
            or "none"
        )
        table.add_row("[green]ok[/]" if result.passed else "[red]FAILED[/]", result.control.name, must, flags)
    console = stdout_console()
    console.print(table)
    passed = sum(result.passed for result in results)
    console.print(f"{passed} of {len(results)} controls passed (family error 1 % a control).")


def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="A result of `simbench run`.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Another, of the same task and size.")],
    json: JsonOption = False,
) -> None:
    """Is B better than A? Paired differences with 95 % intervals, Holm-corrected over all metrics.

    \b
    Examples:
      simbench compare runs/zn-geant3/vae/A.json runs/zn-geant3/vae/B.json
    """
    from simbench.results.compare import compare as differences
    from simbench.results.schema import read_result

    first, second = read_result(a), read_result(b)
    found = differences(first, second)
    if json:
        print_json([vars(difference) for difference in found])
        return
    from rich.table import Table
    from rich.text import Text

    from simbench.core.text import number, printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("metric", "A", "B", "B - A, 95 % interval", "p", "better"):
        table.add_column(column, justify="left" if column in ("metric", "better") else "right")
    for difference in found:
        interval = f"{number(difference.value)} [{number(difference.low)}, {number(difference.high)}]"
        style = "" if difference.ranks else "dim"
        cells = (
            difference.key,
            number(difference.a),
            number(difference.b),
            interval,
            f"{difference.p:.2g}",
            difference.better,
        )
        table.add_row(*(Text(cell) for cell in cells), style=style)
    console = stdout_console()
    console.print(
        Text(
            f"A: {printable(first.generator.name, 80)} {first.id}\nB: {printable(second.generator.name, 80)} {second.id}"
        )
    )
    console.print(table)
    wins = {side: sum(d.better == side and d.ranks for d in found) for side in ("A", "B")}
    ranked = sum(d.ranks for d in found)
    console.print(f"B is better on {wins['B']} and A on {wins['A']} of {ranked} metrics that rank (family error 5 %).")


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(selftest)
    app.command()(compare)
