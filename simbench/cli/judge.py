"""The verbs that judge: selftest (are the metrics right?) and compare (is B better than A?)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simbench.cli import options
from simbench.cli.grid import show_comparison
from simbench.cli.output import print_json, print_table, print_text
from simbench.core.errors import UsageError
from simbench.tasks import DEFAULT

if TYPE_CHECKING:
    from simbench.results.schema import Result
    from simbench.selftest.run import ControlResult

FAILED = 1


def selftest(
    task: options.Task = DEFAULT,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="At a few hundred events, which cannot show the weakest defects.")
    ] = False,
    fast: options.Fast = False,
    curves: Annotated[
        Path | None,
        options.folder(
            "--curves",
            help="Also measure every metric against the strength of every defect, as figures and a table in FOLDER.",
        ),
    ] = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Check the metrics themselves: real events are spoilt in known ways, and the metrics named beforehand must notice.

    Each row is a defect; flagged are the metrics whose value differs from the floor at a family error of 1 % (Holm).
    The floor itself, real events against real events, must be flagged by none. Exits with 1 if a control fails; what
    a few hundred events cannot show, or metrics that --fast leaves out, is named and no failure.

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
        "status": result.status,
        "must_flag": list(result.control.must_flag),
        "missed": result.missed,
        "flags": result.flags,
        "values": {key: m.value for key, m in result.measurements.items()},
    }


def _show(results: list[ControlResult]) -> None:
    from rich.table import Column
    from rich.text import Text

    def named(keys: Iterable[str]) -> str:
        return ", ".join(key.partition("/")[0] for key in keys) or "none"

    styles = {"ok": Text("ok", "green"), "failed": Text("FAILED", "red"), "cannot tell": Text("cannot tell", "yellow")}
    rows = [
        (
            styles[result.status],
            result.control.name,
            named(result.control.must_flag),
            named(sorted(result.flags, key=lambda key: result.flags[key])),
        )
        for result in results
    ]
    columns = [Column(name, overflow="fold") for name in ("", "control", "must be flagged by", "flagged by")]
    print_table(columns, rows)
    passed = sum(result.status == "ok" for result in results)
    print_text(f"{passed} of {len(results)} controls passed (family error 1 % a control).")
    untold = "; ".join(result.control.name for result in results if result.status == "cannot tell")
    if untold:
        print_text(f"So few events or metrics cannot tell (leave out --smoke and --fast): {untold}.")


def compare(
    files: Annotated[
        list[Path], typer.Argument(metavar="A.json B.json ...", help="Results of `simbench run`, of one task and size.")
    ],
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="A table of all, sorted by a metric, equivalent, speed or name.  [default of more than two: the first "
            "metric that ranks]",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Is B better than A? Paired differences with 95 % intervals, Holm-corrected over all metrics.

    More than two results are a table, the best first. A score that is better than each of the others has a star.

    \b
    Examples:
      simbench compare runs/zn-geant3/vae/A.json runs/zn-geant3/vae/B.json
      simbench compare runs/zn-geant3/*/*.json --sort conditional_energy
    """
    from simbench.results.schema import read_result

    if len(files) < 2:
        raise UsageError("there is nothing to compare with", got="one result", expected="two or more")
    results = [read_result(path) for path in files]
    if len(results) > 2 or sort is not None:
        _compare_many(results, files, sort, json)
    else:
        _compare_two(results[0], results[1], json)


def _compare_many(results: Sequence[Result], files: Sequence[Path], sort: str | None, json: bool) -> None:
    from simbench.report.comparison import comparison
    from simbench.results.compare import check_basis

    for other in results[1:]:
        check_basis(results[0], other)
    rows = comparison(results, sort)
    if not json:
        show_comparison(results, sort)
        return
    of = {id(result): str(path) for result, path in zip(results, files, strict=True)}
    print_json([row.as_dict() | {"file": of[id(row.result)]} for row in rows])


def _compare_two(first: Result, second: Result, json: bool) -> None:
    from simbench.results.compare import LEAST_P, same_events
    from simbench.results.compare import compare as differences

    found = differences(first, second)
    if json:
        print_json([vars(difference) for difference in found])
        return
    from simbench.core.console import right
    from simbench.core.text import number
    from simbench.results.words import entry_labels

    for side, result, label in zip("AB", (first, second), entry_labels([first, second]), strict=True):
        print_text(f"{side}: {label}, {result.id}")
    if same_events(first, second):
        print_text("Both are scores of the same events: no score can differ.")
    rows = [
        (
            d.key,
            number(d.a),
            number(d.b),
            f"{number(d.value)} [{number(d.low)}, {number(d.high)}]",
            f"{d.p:.2g}" if d.p > LEAST_P else f"< {LEAST_P:.0g}",
            d.better,
        )
        for d in found
    ]
    columns = ["metric", *right("A", "B", "B - A, 95 % interval", "p"), "better"]
    print_table(columns, rows, styles=["" if d.ranks else "dim" for d in found])
    wins = {side: sum(d.better == side and d.ranks for d in found) for side in ("A", "B")}
    ranked = sum(d.ranks for d in found)
    print_text(f"B is better on {wins['B']} and A on {wins['A']} of {ranked} metrics that rank (family error 5 %).")


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(selftest)
    app.command()(compare)
