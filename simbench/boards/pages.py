"""The pages of a board, and the results in the project's README: entries -> Tables -> Markdown, CSV, LaTeX, HTML.

Pages depend on the board's files alone: the same files give the same bytes, wherever and whenever they are rendered.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from statistics import fmean, stdev

from simbench.boards.board import (
    Board,
    Entry,
    MetricColumn,
    Published,
    Scored,
    board_names,
    read_board,
    read_entries,
    read_published,
)
from simbench.boards.pareto import MARKS, Quality, board_quality, caption, figure_text
from simbench.boards.seeds import by_model, telling_first
from simbench.boards.table import (
    EMPTY,
    LONGEST,
    Cell,
    Column,
    Row,
    Table,
    escape_markdown,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)
from simbench.boards.verified import How
from simbench.core.errors import DataError, UsageError
from simbench.core.files import read_bytes, replace_text
from simbench.core.templates import render_template
from simbench.core.text import count, duration, listed, number, printable, thread_count, times, with_error
from simbench.metrics.direction import Direction
from simbench.results.pareto import TIES, Placed, places
from simbench.results.ranking import ranks
from simbench.results.schema import Throughput, many_results

BATCHES = (1, 100, 1000, 10_000)
"""The batch sizes of the speed tables: the ladder that every run times."""

LONG = 100
"""Entries on README.md, in board.tex and in a speed table; board.html and board.csv hold all."""

RESCORED = (
    "Re-scored: the entry's events were made again, or read, and gave its scores (`simbench leaderboard verify`). "
    "An entry that was not re-scored is its submitter's word. Speeds are never verified."
)
SELF_REPORTED = "What the submitted files of samples say of their own speed. Not measured here, and in no rank."
HOW: dict[How, str] = {"re-run": "generator run again", "samples": "from its samples"}

SEEDS = "training-seeds"
SEEDS_CAPTION = (
    "Models of which there are entries of several training seeds: mean ± sample standard deviation over the seeds, and "
    "each seed's score ± its error from sampling. The lowest seed alone is ranked and timed above."
)

HEAD = ("rank", "model", "equivalent events")
NO_BREAK = "\u00a0"
FIGURE = "pareto.svg"
IN_README = (
    "Quality against time per event, alone (left) and at the fastest batch (right). On the dashed line, the Pareto "
    "front, are the models than which no faster one is as good. How to read it: [docs/speed.md](docs/speed.md)."
)
START, END = "<!-- results -->", "<!-- /results -->"
MAX_README = 4 * 2**20

RANKED = (
    "Rank is 1 + the number of entries that are significantly better in {primary}: those whose 95 % interval of the "
    "paired difference leaves out zero. Entries that cannot be told apart share a rank."
)
READING = (
    "Value ± standard error from sampling, with its distance from the floor beside it: `2.1x` the floor, or σ, "
    "standard errors from the target or from a floor of about 0. ↓ less is better, ↑ more is better, →1 right at 1."
)


@many_results()
def render(boards: Path, readme: Path | None = None) -> dict[Path, str]:
    """The text of every page of every board below `boards`, and of the README; nothing is written.

    `readme` None is the README.md beside the folder, if it has the markers.

    Raises:
        DataError: a board or an entry is broken, or the README that was asked for has no markers.
    """
    beside = boards.resolve().parent / "README.md"
    target = readme or (beside if beside.is_file() and START in _text(beside) else None)
    pages: dict[Path, str] = {}
    summaries = []
    for name in board_names(boards):
        folder = boards / name
        board = read_board(folder)
        entries = read_entries(folder, board)
        shown, several = by_model(telling_first(entries))
        quality = board_quality(board, shown)
        tables = board_tables(board, shown, several, quality, read_published(folder))
        drawing = figure_text(quality, folder / FIGURE) if quality else ""
        texts = board_pages(board, tables, len(entries), quality, drawing)
        pages |= {folder / file: text for file, text in texts.items()}
        base = os.path.relpath(folder.resolve(), (target or beside).resolve().parent)
        summaries.append(_summary(board, tables[0], quality, f"{Path(base).as_posix()}/"))
    if target is not None:
        pages[target] = _between_markers(target, "\n\n".join(summaries))
    return pages


def write(pages: dict[Path, str]) -> list[Path]:
    """Write the pages that differ from the files; returns those. Raises UsageError where one cannot be written."""
    changed = drift(pages)
    for path in changed:
        replace_text(path, pages[path])
    return changed


def drift(pages: dict[Path, str]) -> list[Path]:
    """The files that are not what would be rendered."""
    return [path for path, text in pages.items() if not path.is_file() or path.read_bytes() != text.encode("utf-8")]


def board_pages(
    board: Board, tables: Sequence[Table], entries: int, quality: Quality | None, drawing: str
) -> dict[str, str]:
    """The files of a board: four, and the figure where something was timed."""
    latex = [to_latex(table.head(LONG), f"simbench-{board.task}-{table.name}") for table in tables if table.rows]
    return {
        "README.md": _readme(board, tables, entries, quality),
        "board.csv": to_csv(tables[0]),
        "board.tex": "% Made by `simbench leaderboard render`. Needs \\usepackage{booktabs}.\n" + "\n".join(latex),
        "board.html": _html(board, tables, entries, quality, drawing),
        **({FIGURE: drawing} if drawing else {}),
    }


# Entries -> tables


def board_tables(
    board: Board,
    entries: Sequence[Entry],
    several: Sequence[Sequence[Entry]],
    quality: Quality | None,
    published: Published | None,
) -> list[Table]:
    """The board's own table first, then the spread over training seeds, a table of speeds for each hardware, and the
    numbers in print. `entries` are those that have a row, `several` those of models with several seeds."""
    ranked = [entry for entry in entries if entry.ranked]
    rank_of = dict(zip((entry.file for entry in ranked), ranks([entry.primary for entry in ranked]), strict=True))
    ordered = sorted(
        entries, key=lambda entry: (not entry.ranked, rank_of.get(entry.file, 0), entry.primary.badness, entry.file)
    )
    trades = {one.trade.key: one for one in quality.trades} if quality else {}
    tables = [_main(board, ordered, rank_of, trades), *_seed_tables(board, several), *_speed_tables(board, ordered)]
    return tables if published is None else [*tables, _printed(published)]


def _main(board: Board, ordered: Sequence[Entry], rank_of: dict[str, int], trades: dict[str, Placed]) -> Table:
    equivalent = f"How many {board.equivalent} are as far from the truth, where it is fewest: more is better."
    per_core = "Seconds of the Monte Carlo over those of the generator, one CPU core each."
    columns = (
        Column("rank", "rank", meaning=RANKED.format(primary=board.primary_column.label)),
        Column("model", "model", words=True),
        Column(f"equivalent {board.equivalent}", "equivalent events", meaning=equivalent),
        *(_metric_column(column) for column in board.columns),
        Column("speed-up per core", "speedup per core", meaning=per_core),
        Column("self-reported time", "self-reported", words=True, meaning=SELF_REPORTED),
        Column("front", "front", words=True, meaning=f"Quality against time, see the figure. {TIES}"),
        Column("re-scored", "re-scored", words=True, meaning=RESCORED),
        Column("made", "made", words=True),
    )
    rows = [_row(board, entry, rank_of.get(entry.file), trades.get(entry.id)) for entry in ordered]
    table = Table("board", board.title, _caption(board), columns, (*rows, *_yardsticks(board, ordered)))
    empty = {
        "equivalent events": bool(ordered) and not any(entry.equivalent_text for entry in ordered),
        "speedup per core": not any(entry.speedup for entry in ordered),
        "self-reported": not any(entry.self_reported for entry in ordered),
        "front": not trades,
    }
    return table.select([column.key for column in columns if not empty.get(column.key)])


def _metric_column(column: MetricColumn) -> Column:
    direction = Direction.of(column)
    space = " " if column.direction == "target" else NO_BREAK
    meaning = f"{column.metric}{f', in {column.unit}' if column.unit else ''}: {direction.words}."
    return Column(f"{column.label}{space}{direction.arrow}", column.metric, meaning=meaning)


def _caption(board: Board) -> str:
    return (
        f"{board.title}: {count(board.events)} test events, at least {board.repetitions} repetitions. "
        f"Rank by {board.primary_column.label}."
    )


def _row(board: Board, entry: Entry, rank: int | None, trade: Placed | None) -> Row:
    link = f"entries/{entry.file}"
    cells = [
        Cell(str(rank), rank, link=link) if rank is not None else Cell("–", link=link),
        Cell(_name(entry), link=link, note=entry.note or _details(entry), full=_in_full(entry)),
        Cell(entry.equivalent_text, entry.equivalent, link=link),
        *(_score(entry, column, link) for column in board.columns),
        _speedup(entry, link),
        Cell(entry.self_reported),
        EMPTY if trade is None else Cell(_front(trade)),
        Cell("re-scored", note=HOW[entry.verified]) if entry.verified else Cell("not re-scored"),
        Cell(f"{entry.created:%Y-%m-%d}"),
    ]
    return Row(tuple(cells), "entry" if rank is not None else "reference")


def _front(trade: Placed) -> str:
    """`● batch 1, best batch`; `● batch 1; ○ best batch`; empty off the front."""
    if trade.single == trade.best:
        return f"{MARKS[trade.best]} batch 1, best batch" if MARKS[trade.best] else ""
    where = (trade.single, "batch 1"), (trade.best, "best batch")
    return "; ".join(f"{MARKS[place]} {name}" for place, name in where if MARKS[place])


def _name(entry: Entry) -> str:
    return printable(entry.name, 60) or "unnamed"


def _details(entry: Entry, limit: int = 60) -> str:
    parameters = ", ".join(f"{key}={value}" for key, value in entry.parameters.items())
    parts = printable(entry.version, limit // 2), _seed(entry), printable(parameters, limit)
    return ", ".join(part for part in parts if part)


def _in_full(entry: Entry) -> str:
    """Name and details as no reader needs them, but whoever reads the CSV."""
    note = entry.note or _details(entry, LONGEST)
    return f"{printable(entry.name, LONGEST) or 'unnamed'}{f' ({note})' if note else ''}"


def _seed(entry: Entry) -> str:
    """`training seed 0`, `training seed 0 (of 0, 1, 2)`; empty where it is not known."""
    others = f" (of {listed([str(seed) for seed in entry.seeds], ', ')})" if len(entry.seeds) > 1 else ""
    return "" if entry.training_seed is None else f"training seed {entry.training_seed}{others}"


def _score(entry: Entry, column: MetricColumn, link: str) -> Cell:
    score = entry.scores.get(column.metric)
    if score is None:  # measured with an older version of the metric
        return EMPTY
    if score.value is None:
        return Cell("failed", link=link, note=printable(score.error, 80))
    return Cell(with_error(score.value, score.stderr), score.value, score.stderr, link, score.standing)


def _speedup(entry: Entry, link: str) -> Cell:
    found = entry.speedup.per_core if entry.speedup else None
    return EMPTY if found is None else Cell(times(found), found, link=link)


def _yardsticks(board: Board, entries: Sequence[Entry]) -> list[Row]:
    """The floor and the memoriser, as the entries' measurements have them, unless there is an entry of that name."""
    present = {entry.name for entry in entries if not entry.ranked}
    floors, memorisers = [], []
    for column in board.columns:
        scores = [entry.scores[column.metric] for entry in entries if column.metric in entry.scores]
        floor = next((score for score in scores if score.floor is not None), None)
        memoriser = next((score.memoriser for score in scores if score.memoriser is not None), None)
        if floor is None or floor.floor is None:
            floors.append(EMPTY)
        else:
            floors.append(Cell(with_error(floor.floor, floor.floor_sd), floor.floor, floor.floor_sd))
        memorisers.append(EMPTY if memoriser is None else Cell(number(memoriser), memoriser))
    rows = []
    yardsticks = (("floor", "independent real events", floors), ("memoriser", "training events replayed", memorisers))
    for name, note, cells in yardsticks:
        if name not in present and any(cell is not EMPTY for cell in cells):
            rows.append(Row((Cell("–"), Cell(name, note=note), EMPTY, *cells, *[EMPTY] * 5), "reference"))
    return rows


def _seed_tables(board: Board, several: Sequence[Sequence[Entry]]) -> list[Table]:
    """A table of the models that were trained several times, if there are any."""
    if not several:
        return []
    columns = (
        Column("model", "model", words=True),
        Column("training seed", "training seed", words=True),
        *(_metric_column(column) for column in board.columns),
    )
    rows = []
    for entries in several:
        means = [_over_seeds([entry.scores.get(column.metric) for entry in entries]) for column in board.columns]
        note = _details(replace(entries[0], training_seed=None))
        rows.append(Row((Cell(_name(entries[0]), note=note), Cell(f"mean of {len(entries)}"), *means)))
        for entry in entries:
            link = f"entries/{entry.file}"
            scores = [replace(_score(entry, column, link), note="") for column in board.columns]
            rows.append(Row((Cell(_name(entry), link=link), Cell(str(entry.training_seed)), *scores)))
    return [Table(SEEDS, "Spread over training seeds", SEEDS_CAPTION, columns, tuple(rows))]


def _over_seeds(scores: Sequence[Scored | None]) -> Cell:
    if None in scores:
        return EMPTY
    values = [score.value for score in scores if score is not None and score.value is not None]
    if len(values) < len(scores):
        return Cell("failed")
    mean, sd = fmean(values), stdev(values)
    return Cell(with_error(mean, sd), mean, sd)


def _speed_tables(board: Board, ordered: Sequence[Entry]) -> list[Table]:
    """A table for each hardware: speeds on different machines are not compared."""
    by_hardware: dict[str, dict[tuple[str, str], list[Throughput]]] = {}
    entry_of = {entry.file: entry for entry in ordered}
    for entry in ordered:
        for row in (*entry.throughput, *entry.elsewhere):
            if row.batch in BATCHES:
                variant = f"{printable(row.precision, 20)}{', compiled' if row.compiled else ''}"
                by_hardware.setdefault(_machine(entry, row), {}).setdefault((entry.file, variant), []).append(row)
    primary = _metric_column(board.primary_column)
    best = "On this hardware no faster model is as good in the primary metric, ties included."
    columns = (
        Column("model", "model", words=True),
        *(
            Column(f"events/s, batch {count(n)}", f"events per second at batch {n}", meaning="Median of the repeats.")
            for n in BATCHES
        ),
        Column("latency", "latency ms", meaning="Median milliseconds of a single event (batch 1)."),
        Column("peak memory", "peak MiB", meaning="At the largest batch."),
        Column(primary.title, primary.key),
        Column("best trade", "pareto", words=True, meaning=best),
    )
    tables = []
    for index, hardware in enumerate(sorted(by_hardware), 1):
        found = by_hardware[hardware]
        ranked = [key for key in found if entry_of[key[0]].ranked]
        rates = [max(row.events_per_s.p50 for row in found[key]) for key in ranked]
        trades = [(-rate, entry_of[key[0]].primary) for key, rate in zip(ranked, rates, strict=True)]
        front = {key for key, place in zip(ranked, places(trades), strict=True) if place == "front"}
        kept = [key for place, key in enumerate(found) if place < LONG or key in front]
        rows = tuple(_speed_row(board, entry_of[key[0]], key[1], found[key], key in front) for key in kept)
        tables.append(Table(f"speed-{index}", f"Speed on {hardware}", f"Speed on {hardware}.", columns, rows))
    return tables


def _machine(entry: Entry, row: Throughput) -> str:
    """The processor with its threads, or the GPU without its number."""
    if row.device == "cpu":
        return printable(f"{entry.hardware.get('cpu', 'an unnamed CPU')}, {thread_count(row.threads)}", 120)
    return printable(re.sub(r"^[a-z]+:\d+\s+", "", row.device), 120)


def _speed_row(board: Board, entry: Entry, variant: str, speeds: Sequence[Throughput], best: bool) -> Row:
    link = f"entries/{entry.file}"
    at = {row.batch: row for row in speeds}
    rates = [
        Cell(number(at[b].events_per_s.p50), at[b].events_per_s.p50, link=link) if b in at else EMPTY for b in BATCHES
    ]
    latency = at[1].latency_ms.p50 if 1 in at else None
    peak = at[max(at)].peak_mib
    cells = (
        Cell(_name(entry), link=link, note=", ".join(part for part in (_details(entry), variant) if part)),
        *rates,
        EMPTY if latency is None else Cell(duration(latency / 1000), latency, link=link),
        EMPTY if peak is None else Cell(f"{number(peak)} MiB", peak, link=link),
        _score(entry, board.primary_column, link),
        Cell("●") if best else EMPTY,
    )
    return Row(cells, "entry" if entry.ranked else "reference")


def _printed(published: Published) -> Table:
    columns = (
        Column("model", "model", words=True),
        *(Column(name, name) for name in published.columns),
        Column("data", "data", words=True),
        Column("source", "source", words=True),
    )
    rows = []
    for row in published.rows:
        cells = [_as_printed(row.values[name]) if name in row.values else EMPTY for name in published.columns]
        rows.append(Row((Cell(row.model), *cells, Cell(row.data), Cell(row.source, link=row.url or "")), "printed"))
    return Table("in-print", "In print: other data, not comparable", published.note, columns, tuple(rows))


def _as_printed(text: str) -> Cell:
    """A number as the paper prints it, sorted by the first number in it."""
    found = re.search(r"\d+(\.\d+)?", text)
    return Cell(text, float(found[0]) if found else None)


# Tables -> pages


def _readme(board: Board, tables: Sequence[Table], entries: int, quality: Quality | None) -> str:
    main, *others = tables
    parts = [
        f"# {board.title}",
        f"{board.summary} `{board.task}` {board.task_version}, data sha256 `{board.scored_sha256[:16]}`.",
        to_markdown(main.head(LONG)).rstrip() if main.rows else "No entries yet.",
        RANKED.format(primary=board.primary_column.label),
        READING,
        RESCORED,
        "The other forms of this page: [board.html](board.html) (sortable), [board.csv](board.csv), "
        f"[board.tex](board.tex). {_counted(entries)}; a model's name leads to its Result file. "
        "Rendered by `simbench leaderboard render`; edits are lost.",
    ]
    if quality is not None:
        parts += ["## Quality against time", f"![{_alt(board, quality)}]({FIGURE})", _reading_figure(quality)]
    for table in others:
        caption = [table.caption] if table.name in ("in-print", SEEDS) else []
        parts += [f"## {escape_markdown(table.title)}", *caption, to_markdown(table).rstrip()]
    parts += ["## Add yours", f"```bash\n{_commands(board)}\n```", _conditions(board)]
    return "\n\n".join(parts) + "\n"


def _alt(board: Board, quality: Quality) -> str:
    return f"{quality.label} against time per event: {board.title}"


def _reading_figure(quality: Quality) -> str:
    return f"{caption(quality)} {TIES} The table of it: `simbench pareto --board`."


def _counted(entries: int) -> str:
    return f"{count(entries)} entr{'y' if entries == 1 else 'ies'}"


def _commands(board: Board) -> str:
    task = board.task_source or board.task
    return (
        f"simbench run --generator mymodel.py:Model --task {task} --repetitions {board.repetitions}\n"
        "simbench leaderboard add runs/.../RESULT.json\n"
        "simbench leaderboard render"
    )


def _conditions(board: Board) -> str:
    return (
        f"A result is taken where it is complete, of all {count(board.events)} test events, of at least "
        f"{board.repetitions} repetitions, and made in a clean git tree. It is marked as not re-scored until its "
        "generator was run again (simbench leaderboard verify ENTRY), or its samples were scored "
        "again (--samples FILE, once for "
        "each repetition)."
    )


def _summary(board: Board, main: Table, quality: Quality | None, base: str) -> str:
    """A board in the project's README: its first columns, ranked rows and yardsticks; the figure where the Monte Carlo
    is in it."""
    if not main.rows:
        return f"**{board.title}** ([board]({base}README.md)): no entries yet."
    unchecked = any(cell.display == "not re-scored" for row in main.rows for cell in row.cells)
    columns = [*HEAD, *board.readme, *(["re-scored"] if unchecked else [])]
    rows = to_markdown(main.select(columns).head(LONG), base).rstrip()
    parts = [f"**{board.title}** ([all columns and speeds]({base}README.md))", rows]
    if quality is not None and any(one.trade.monte_carlo for one in quality.trades):
        parts += [f"![{_alt(board, quality)}]({base}{FIGURE})", IN_README]
    return "\n\n".join(parts)


def _html(board: Board, tables: Sequence[Table], entries: int, quality: Quality | None, drawing: str) -> str:
    from simbench.report.style import svg_element

    script = (resources.files("simbench") / "data" / "board.js").read_text(encoding="utf-8")
    return render_template(
        "board.html.j2",
        board=board,
        tables=tables,
        bodies={table.name: to_html(table) for table in tables},
        entries=_counted(entries),
        ranked=RANKED.format(primary=board.primary_column.label),
        reading=READING.replace("`", ""),
        rescored=RESCORED.replace("`", ""),
        drawing=svg_element(drawing, "pareto", _alt(board, quality)) if quality else "",
        caption=_reading_figure(quality).replace("`", "") if quality else "",
        script=script,
        commands=_commands(board),
        conditions=_conditions(board),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
    )


def _text(path: Path) -> str:
    try:
        return read_bytes(path, MAX_README, "Pass the README with --readme FILE.").decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8", got=str(error)) from error


def _between_markers(path: Path, text: str) -> str:
    """The file's text with a new one between the markers. Raises UsageError unless they are there once, in order."""
    old = _text(path)
    before, start, rest = old.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end or START in rest:
        raise UsageError(
            f"{path} has no place for the results", expected=f"{START} and {END}, once each, on lines of their own"
        )
    return f"{before}{start}\n{text}\n{end}{after}"
