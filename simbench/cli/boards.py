"""The verbs for many results: leaderboard add, render, verify; export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from simbench.cli.options import DataDirOption, JsonOption, print_json, stdout_console, stdout_kept_for_data
from simbench.core.errors import DataError, UsageError

DRIFTED = 1
"""Metrics that differ that a message names before it only counts."""

BoardsOption = Annotated[Path, typer.Option("--boards", metavar="FOLDER", help="The folder of boards.")]
BOARDS = Path("leaderboards")


def add(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="The JSON file that `simbench run` wrote.")],
    boards: BoardsOption = BOARDS,
    json: JsonOption = False,
) -> None:
    """Make a result an entry of its task's board. Exits with 4, and says why, where the board does not take it.

    \b
    Examples:
      simbench leaderboard add runs/zn-geant3/vae/20260102T030405Z-0a1b2c3d.json
      simbench leaderboard add result.json --boards ../benchmarks/leaderboards
    """
    from simbench.boards import board as leaderboard

    entry = leaderboard.add(result, boards)
    if json:
        print_json({"entry": str(entry)})
    else:
        print(f"{entry} is added. Next: simbench leaderboard render{'' if boards == BOARDS else f' --boards {boards}'}")


def render(
    boards: BoardsOption = BOARDS,
    readme: Annotated[
        Path | None,
        typer.Option(
            "--readme",
            metavar="FILE",
            help="The README whose results are rewritten; that beside the boards if not given.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 where a file is not up to date.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Render the pages of all boards from their entries: README.md, board.csv, board.tex, board.html.

    The part of the project's README between `<!-- results -->` and `<!-- /results -->` is rendered too.

    \b
    Examples:
      simbench leaderboard render
      simbench leaderboard render --check
    """
    from simbench.boards import pages as board_pages

    pages = board_pages.render(boards, readme)
    changed = board_pages.drift(pages) if check else board_pages.write(pages)
    if json:
        print_json(
            {
                "pages": [str(path) for path in pages],
                "out_of_date" if check else "written": [str(path) for path in changed],
            }
        )
    elif check:
        print(
            f"{len(pages)} files are up to date."
            if not changed
            else f"{len(changed)} of {len(pages)} files are not up to date:"
        )
        for path in changed:
            print(f"  {path}")
        if changed:
            print("Render them: simbench leaderboard render", file=sys.stderr)
    else:
        print(f"{len(pages)} files rendered, {len(changed)} of them changed.")
        for path in changed:
            print(f"  {path}")
    if check and changed:
        raise typer.Exit(DRIFTED)


def verify(
    entry: Annotated[
        Path, typer.Argument(metavar="ENTRY", help="A file of leaderboards/<task>/entries, or any result.")
    ],
    samples: Annotated[
        list[Path] | None,
        typer.Option(
            "--samples", metavar="FILE", help="The samples of the first repetition; again for each further one."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Score submitted samples again and compare every deterministic metric. Exits with 4 where one differs.

    \b
    Examples:
      simbench leaderboard verify leaderboards/mnist/entries/flow-20260102T030405Z-0a1b2c3d.json --samples samples.h5
    """
    from simbench.boards.board import verify as verify_entry
    from simbench.core.progress import Progress
    from simbench.core.text import listed
    from simbench.results.schema import read_result
    from simbench.tasks import get_task

    if not samples:
        raise UsageError("no samples are named", fix="Pass --samples FILE, once for each repetition.")
    result = read_result(entry)
    task = get_task(result.task.name, data_dir)
    with stdout_kept_for_data(json), Progress() as progress:
        compared = verify_entry(entry, samples, task, progress)
    wrong = list(dict.fromkeys(one.key for one in compared if one.agrees is False))
    if json:
        print_json({"verified": not wrong, "metrics": [vars(one) for one in compared]})
    else:
        _print_verified([(one.key, one.submitted, one.again, one.agrees) for one in compared])
    if wrong:
        raise DataError(
            f"{entry} is not what these samples score: {len(wrong)} of {len(result.measurements)} metrics differ, "
            + listed(wrong, ", "),
            fix="Pass the samples of the entry's own repetitions, in their order; "
            "or submit the result of these very samples.",
        )


def _print_verified(rows: list[tuple[str, float | None, float | None, bool | None]]) -> None:
    from rich.table import Table
    from rich.text import Text

    words = {True: Text("same", "green"), False: Text("differs", "red"), None: Text("not compared", "dim")}
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("metric", "submitted", "scored again", ""):
        table.add_column(name, justify="left" if name in ("metric", "") else "right")
    for key, submitted, again, agrees in rows:
        table.add_row(
            Text(key),
            *(Text("none" if value is None else f"{value:.7g}") for value in (submitted, again)),
            words[agrees],
        )
    stdout_console().print(table)


def export(
    patterns: Annotated[list[str], typer.Argument(metavar="RESULTS", help="Files, folders, or globs in quotes.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A new .csv or .parquet file.")],
    json: JsonOption = False,
) -> None:
    """Write many results as one table: a row per run and metric. Files that are no results are left out and named.

    \b
    Examples:
      simbench export "runs/**/*.json" -o results.csv
      simbench export runs -o results.parquet
    """
    from simbench.core.text import printable
    from simbench.results.frame import bad_files, read_frame
    from simbench.results.frame import export as write

    frame, bad = read_frame(patterns)
    write(frame, output)
    if bad:
        print(f"Warning: {printable(bad_files(bad), 2000)}", file=sys.stderr)
    runs = int(frame["file"].nunique())
    if json:
        print_json({"file": str(output), "runs": runs, "rows": len(frame), "left_out": bad})
    else:
        print(f"{output} holds {len(frame)} rows: {runs} runs.")


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    leaderboard = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Boards of submitted results: add, render, verify."
    )
    for verb in (add, render, verify):
        leaderboard.command()(verb)
    leaderboard.callback()(_leaderboard)
    app.add_typer(leaderboard, name="leaderboard")
    app.command()(export)


def _leaderboard() -> None:
    """Boards of submitted results: add, render, verify."""
