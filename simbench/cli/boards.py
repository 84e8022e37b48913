"""The verbs for many results: leaderboard init, add, render, verify; submit; export; table1; pareto."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simbench.cli import options
from simbench.cli.output import answer, print_json, print_table, print_text, working
from simbench.core.errors import DataError, UsageError
from simbench.tasks import DEFAULT

if TYPE_CHECKING:
    from simbench.boards.table import Table

DRIFTED = 1

BoardsOption = Annotated[Path, options.folder("--boards", help="The folder of boards.")]
BOARDS = Path("leaderboards")


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where boards are, or will be: one folder a task.")],
    task: options.Task = DEFAULT,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Begin a board of one's own: FOLDER/<task>/board.toml, made from the task, for you to edit.

    \b
    Examples:
      simbench leaderboard init leaderboards --task mnist
      simbench leaderboard init ourboards --task mytask.py:Task
    """
    from simbench.boards.new import REPETITIONS
    from simbench.boards.new import init as init_board
    from simbench.tasks import get_task

    path = init_board(folder, get_task(task, data_dir))
    where = "" if folder == BOARDS else f" --boards {folder}"
    following = [
        f"simbench run --generator mymodel.py:Model --task {task} --repetitions {REPETITIONS}",
        f"simbench leaderboard add RESULT{where}",
        f"simbench leaderboard render{where}",
    ]
    written = f"{path} is written: edit its words and columns. Next:"
    answer(json, {"board": str(path), "next": following}, written, *(f"  {line}" for line in following))


def add(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="The JSON file that `simbench run` wrote.")],
    boards: BoardsOption = BOARDS,
    json: options.Json = False,
) -> None:
    """Make a result an entry of its task's board. Exits with 4, and says why, where the board does not take it.

    \b
    Examples:
      simbench leaderboard add runs/zn-geant3/vae/20260102T030405Z-0a1b2c3d.json
      simbench leaderboard add result.json --boards ../benchmarks/leaderboards
    """
    from simbench.boards.board import add as add_entry

    entry = add_entry(result, boards)
    following = f"simbench leaderboard render{'' if boards == BOARDS else f' --boards {boards}'}"
    answer(
        json,
        {"entry": str(entry)},
        f"{entry} is added, and not re-scored yet. Next: simbench leaderboard verify {entry}, "
        "or with --samples FILE for "
        f"each repetition; then {following}",
    )


def render(
    boards: BoardsOption = BOARDS,
    readme: Annotated[
        Path | None,
        options.file("--readme", help="The README whose results are rewritten; that beside the boards if not given."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 where a file is not up to date.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Render the pages of all boards from their entries: README.md, board.csv, board.tex, board.html.

    The part of the project's README between `<!-- results -->` and `<!-- /results -->` is rendered too.

    \b
    Examples:
      simbench leaderboard render
      simbench leaderboard render --check
    """
    from simbench.boards import pages

    rendered = pages.render(boards, readme)
    changed = [str(path) for path in (pages.drift(rendered) if check else pages.write(rendered))]
    if not check:
        summary = f"{len(rendered)} files rendered, {len(changed)} of them changed."
    elif changed:
        summary = f"{len(changed)} of {len(rendered)} files are not up to date:"
    else:
        summary = f"{len(rendered)} files are up to date."
    found = {"pages": [str(path) for path in rendered], "out_of_date" if check else "written": changed}
    answer(json, found, summary, *(f"  {path}" for path in changed))
    if check and changed:
        if not json:
            print("Render them: simbench leaderboard render", file=sys.stderr)
        raise typer.Exit(DRIFTED)


def verify(
    entry: Annotated[
        Path, typer.Argument(metavar="ENTRY", help="A file of leaderboards/<task>/entries, or any result.")
    ],
    samples: Annotated[
        list[Path] | None,
        options.file("--samples", help="The samples of the first repetition; again for each further one."),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Score the samples that were submitted with the entry: download them.")
    ] = False,
    device: options.Device = "cpu",
    task: options.TaskOfResult = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Score a result's events again and compare every deterministic number. Exits with 4 where one differs.

    Without --samples or --fetch its generator is run again, with the recorded parameters and seeds: it runs the
    submitter's code. Files must be those that leaderboards/<task>/samples records, where it does. The events must have
    the checksums of the result. On success an entry of a board is marked as re-scored, in leaderboards/<task>/verified.

    \b
    Examples:
      simbench leaderboard verify leaderboards/mnist/entries/flow-20260102T030405Z-0a1b2c3d.json
      simbench leaderboard verify leaderboards/mnist/entries/flow-20260102T030405Z-0a1b2c3d.json --samples samples.h5
      simbench leaderboard verify leaderboards/mnist/entries/flow-20260102T030405Z-0a1b2c3d.json --fetch
    """
    from simbench.boards.submitted import check_submitted, fetch_submitted, read_samples_record
    from simbench.boards.verified import write_record
    from simbench.core.devices import choose_device
    from simbench.core.files import read_bytes
    from simbench.core.text import listed
    from simbench.evaluation.verify import verify as verify_entry
    from simbench.results.schema import PASS_RESULT, parse_result
    from simbench.tasks import task_of

    content = read_bytes(entry, fix=PASS_RESULT)
    chosen = task_of(parse_result(content, entry).task, task, data_dir)
    if samples and fetch:
        raise UsageError("--samples and --fetch exclude each other", fix="Leave out one of them.")
    submitted = read_samples_record(entry, content)
    with tempfile.TemporaryDirectory() as folder, working(json) as progress:
        if fetch:
            samples = fetch_submitted(entry, submitted, Path(folder), progress)
        elif samples and submitted is not None:
            check_submitted(submitted, samples)
        found = verify_entry(entry, samples or [], chosen, progress, device=choose_device(device))
    wrong = found.wrong
    record = None
    if not wrong and found.whole:
        record = write_record(entry, content, "samples" if samples else "re-run")
    if json:
        print_json(
            {
                "verified": not wrong,
                "samples": found.samples,
                "changes": found.changes,
                "record": record and str(record),
                "metrics": [vars(one) for one in found.compared],
            }
        )
    else:
        _print_verified([(one.key, one.submitted, one.again, one.agrees) for one in found.compared])
        if record:
            print(f"{record} says so. Next: simbench leaderboard render")
        elif not wrong and not found.whole:
            print("Not all repetitions were verified, so nothing is recorded: pass --samples for each.")
    if wrong:
        changed = f" Since then, {listed(found.changes)}." if found.changes else ""
        raise DataError(
            f"{entry} is not what these samples score: {len(wrong)} differ, {listed(wrong, ', ')}",
            fix="Pass the samples of the entry's own repetitions, in their order; or submit the result of these "
            "samples."
            if samples
            else f"Verify it on a machine like the entry's, or with its --samples; or submit a new result.{changed}",
        )


def submit(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="The JSON file that `simbench run` wrote.")],
    boards: BoardsOption = BOARDS,
    samples: Annotated[
        list[Path] | None,
        options.file(
            "--samples", help="The samples of a repetition; again for each further one.  [default: made again]"
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="The folder on the web where you put the samples: https://..."),
    ] = None,
    out: Annotated[
        Path | None, options.folder("--out", "-o", help="For samples and text.  [default: submission/<entry>]")
    ] = None,
    task: options.TaskOfResult = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Prepare the submission of a result: its entry, the record of its samples, and the text of a pull request.

    Nothing is uploaded or committed. Exits with 4, and says why, where the board does not take the result. See
    docs/submit.md.

    \b
    Examples:
      simbench submit runs/zn-geant3/vae/20260102T030405Z-0a1b2c3d.json
      simbench submit result.json --boards ../simbench/leaderboards --url https://zenodo.org/records/1/files
    """
    from simbench.boards.submit import submit as prepare

    with working(json) as progress:
        made = prepare(
            result, progress, boards=boards, samples=samples or [], url=url, out=out, task=task, data_dir=data_dir
        )
    files, clone = [str(file) for file in made.samples], boards.parent
    tracked = [str(path.relative_to(clone)) for path in (made.entry, made.record)]
    commit = [
        *([] if clone == Path() else [shlex.join(["cd", str(clone)])]),
        shlex.join(["git", "checkout", "-b", made.branch]),
        shlex.join(["git", "add", *tracked]),
        shlex.join(["git", "commit", "-m", made.subject]),
        shlex.join(["git", "push", "-u", "origin", made.branch]),
    ]
    again = [] if made.uploaded else [f"simbench {shlex.join(sys.argv[1:])} --url https://..."]
    found = {"entry": str(made.entry), "record": str(made.record), "samples": files, "text": str(made.text)}
    answer(
        json,
        found | {"place": made.place, "branch": made.branch, "subject": made.subject, "next": [*again, *commit]},
        f"{made.entry} is prepared: {made.place}, if it is merged today.",
        "Upload the samples, one file a repetition:",
        *(f"  {file}" for file in files),
        *(["Then say where they are:", *(f"  {line}" for line in again)] if again else []),
        "Then, in your clone of the board's repository:",
        *(f"  {line}" for line in commit),
        f"The text of the pull request is {made.text}.",
    )


def _print_verified(compared: list[tuple[str, float | None, float | None, bool | None]]) -> None:
    from rich.text import Text

    from simbench.core.console import right

    words = {True: Text("same", "green"), False: Text("differs", "red"), None: Text("not compared", "dim")}
    rows = [
        (key, *("none" if value is None else f"{value:.7g}" for value in values), words[agrees])
        for key, *values, agrees in compared
    ]
    print_table(["metric", *right("submitted", "scored again"), ""], rows)


def export(
    patterns: Annotated[list[str], typer.Argument(metavar="RESULTS", help="Files, folders, or globs in quotes.")],
    output: Annotated[Path, options.file("--output", "-o", help="A new .csv or .parquet file.")],
    json: options.Json = False,
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
    found = {"file": str(output), "runs": runs, "rows": len(frame), "left_out": bad}
    answer(json, found, f"{output} holds {len(frame)} rows: {runs} runs.")


def table1(
    results: Annotated[
        list[str] | None,
        typer.Argument(metavar="RESULTS", help="Files, folders, or globs in quotes; the boards' entries if not given."),
    ] = None,
    format: Annotated[Literal["md", "tex"], typer.Option("--format", help="Markdown or LaTeX.")] = "md",
    output: Annotated[Path | None, options.file("--output", "-o", help="Write to FILE instead of stdout.")] = None,
    json: options.Json = False,
) -> None:
    """Table 1 of the founding paper: what the board's entries measure, beside the numbers in print.

    Trainings of one model with several seeds are one row: mean ± standard deviation over the seeds. What each column
    means, and what cannot be compared: docs/founding-table.md.

    \b
    Examples:
      simbench table1
      simbench table1 --format tex -o table1.tex
      simbench table1 runs/mnist "runs/zn-geant3/vae/*.json"
    """
    from simbench.boards.founding import as_json, as_latex, as_markdown, founding, read_results
    from simbench.core.files import check_replaceable, replace_text

    if output is not None:
        check_replaceable(output)
    found = founding(read_results(results or []))
    text = as_latex(found) if format == "tex" else as_markdown(found)
    if output is not None:
        replace_text(output, text)
    data = as_json(found) | {"file": output and str(output)}
    answer(json, data, f"{output} is written, of {len(found.results)} results." if output else text.rstrip("\n"))


def pareto(
    results: Annotated[
        list[str] | None,
        typer.Argument(metavar="RESULTS", help="Files, folders, or globs in quotes, of one task; or --board."),
    ] = None,
    board: Annotated[
        Path | None, options.folder("--board", help="The entries of a board, such as leaderboards/zn-geant3.")
    ] = None,
    metric: Annotated[
        str | None, options.name("--metric", help="The score; the board's or the task's primary one if not given.")
    ] = None,
    device: Annotated[
        Literal["all", "cpu", "cuda"], typer.Option("--device", help="Speeds of CPUs, of GPUs, or the fastest of all.")
    ] = "all",
    threads: Annotated[
        int | None,
        options.number("--threads", help="CPU speeds of N threads; of one, as the Monte Carlo has, if not given."),
    ] = None,
    unranked: Annotated[
        list[str] | None,
        options.name("--unranked", help="A generator that is shown but never on the front; repeatable."),
    ] = None,
    output: Annotated[
        Path | None, options.file("--output", "-o", help="Draw the figure: a .svg, .pdf or .png file.")
    ] = None,
    format: Annotated[
        Literal["text", "md"], typer.Option("--format", help="The table for a terminal, or in Markdown.")
    ] = "text",
    json: options.Json = False,
) -> None:
    """Quality against time per event, at batch 1 and at each generator's best batch, with the Pareto front.

    On the front: no faster generator is as good, and none as fast is better. Two scores are tied where the 95 %
    interval of their difference holds zero; tied scores do not beat each other on quality alone, so that the faster
    one is on the front. The Monte Carlo stands at the floor. Yardsticks of a board (floor, memoriser, controls) are in
    the table, but never on the front nor in the figure.

    \b
    Examples:
      simbench pareto --board leaderboards/zn-geant3 -o pareto.svg
      simbench pareto --board leaderboards/zn-geant3 --metric channel_wasserstein --device cpu --threads 2
      simbench pareto "runs/zn-geant3/**/*.json" --format md
    """
    from simbench.boards import pareto as found
    from simbench.boards.table import to_markdown
    from simbench.core.files import check_replaceable, replaced_file

    if (board is None) == (not results):
        raise UsageError("name results, or a board", got="both" if board else "neither", fix="Leave out one of them.")
    if output is not None:
        found.check_figure(output)
        check_replaceable(output)
    if board is not None:
        quality = found.read_board_quality(board, metric, device, threads, unranked or [])
    else:
        quality = found.read_quality(results or [], metric, device, threads, unranked or [])
    if output is not None:
        from simbench.report.style import save_figure

        drawing = found.figure(quality)
        with replaced_file(output) as scratch:
            save_figure(drawing, scratch, output.suffix[1:])
    table = found.quality_table(quality)
    if json:
        print_json(found.as_json(quality) | {"figure": output and str(output)})
        return
    if format == "md":
        print(to_markdown(table))
    else:
        _print_trades(table)
    for line in [*found.notes(quality), *([f"{output} is drawn."] if output else [])]:
        print_text(line)


def _print_trades(table: Table) -> None:
    """The table, with the marks before the times and where the times are of behind them, to fit a terminal."""
    from rich.table import Column

    from simbench.core.console import right

    rows = []
    for name, score, single, first, best, second in (row.cells for row in table.rows):
        alike = single.note in ("", best.note, best.note.partition(", ")[2])
        where = best.note if alike else f"{best.note}; batch 1: {single.note}"
        times = [f"{m.display or ' '} {time.display}" for time, m in ((single, first), (best, second))]
        rows.append((name.display, score.display, *times, where.removeprefix("batch ").replace("\u202f", "")))
    head = table.columns[1].title.replace(" ", "\n", 1)
    columns = [Column("model", no_wrap=True), *right(head, "batch 1", "best batch"), "best at batch"]
    print_table(columns, rows, styles=["dim" if row.kind == "reference" else "" for row in table.rows])


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    leaderboard = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Boards of submitted results: init, add, render, verify."
    )
    for verb in (init, add, render, verify):
        leaderboard.command()(verb)
    app.add_typer(leaderboard, name="leaderboard")
    app.command()(submit)
    app.command()(export)
    app.command()(table1)
    app.command()(pareto)
