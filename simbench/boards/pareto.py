"""Quality against time: `simbench pareto`, and a board's figure. Results or entries -> trades -> table and figure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simbench.boards.board import Board, Entry, read_board, read_entries
from simbench.boards.seeds import by_model
from simbench.boards.table import EMPTY, Cell, Column, Row, Table
from simbench.core.errors import DataError, UsageError
from simbench.core.files import read_bytes
from simbench.core.plugins import unknown_name
from simbench.core.text import count, duration, listed, printable, with_error
from simbench.metrics.direction import Direction
from simbench.results.comparable import Basis
from simbench.results.cost import self_reported
from simbench.results.frame import find_files
from simbench.results.pareto import (
    MOST,
    TIES,
    Device,
    Pace,
    Place,
    Placed,
    Trade,
    drawn,
    monte_carlo,
    named,
    paces,
    placed,
    quality_caption,
)
from simbench.results.schema import Measurement, Result, many_results, read_result
from simbench.results.words import metric_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".pdf", ".png")
MARKS: dict[Place | None, str] = {"front": "●", "tied": "○", "beaten": "", None: ""}
MAX_FIGURE = 4 * 2**20


@dataclass(frozen=True)
class Quality:
    """Trades in one metric.

    Attributes:
        key, label, direction: of the metric, `name/version`.
        trades: those that are ranked, with the Monte Carlo, then yardsticks, which are not.
        floor: the score of independent real events.
        machines: the processors and GPUs that the speeds are of.
        left_out: results that are not among the trades, and why.
    """

    task: str
    key: str
    label: str
    direction: Direction
    trades: tuple[Placed, ...]
    floor: float | None
    machines: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def shown(self) -> list[Placed]:
        """The trades of the figure and the table, with names that tell them apart; yardsticks at the end."""
        ranked = [one for one in self.trades if one.trade.ranked]
        return [*named(drawn(ranked)), *(one for one in self.trades if not one.trade.ranked)]

    @property
    def further(self) -> str:
        """How many are in neither, in a sentence; empty where all are."""
        ranked = [one for one in self.trades if one.trade.ranked]
        more = len(ranked) - len(drawn(ranked))
        return (
            f"{count(more)} of {count(len(ranked))} are not shown: off the front, and not of the best {MOST}."
            if more
            else ""
        )


# Reading


@many_results()
def read_quality(
    patterns: Sequence[str], metric: str | None, device: Device, threads: int | None, unranked: Sequence[str] = ()
) -> Quality:
    """The trades of the results that files, folders or globs name, in a metric or the task's first primary one.

    Raises:
        DataError: a file is no result, two do not compare, or none was timed as asked.
        UsageError: no result has the metric.
    """
    results = [read_result(path) for path in find_files(patterns)]
    _one_basis(results)
    names = dict.fromkeys(unranked, "not ranked")
    return _quality(results, _key(results, metric or _primary(results)), device, threads, names)


@many_results()
def read_board_quality(
    folder: Path, metric: str | None, device: Device, threads: int | None, unranked: Sequence[str] = ()
) -> Quality:
    """The trades of a board's entries, in a metric or in the one that ranks. Of several training seeds the lowest.

    Raises:
        DataError: the board or an entry is broken, or none was timed as asked.
        UsageError: no entry has the metric.
    """
    board = read_board(folder)
    entries, _ = by_model(read_entries(folder, board))
    if not entries:
        raise DataError(f"{folder} has no entries", fix="Add some: simbench leaderboard add RESULT.")
    results = [read_result(folder / "entries" / entry.file) for entry in entries]
    key = _key(results, metric or board.primary)
    found = _quality(results, key, device, threads, dict.fromkeys(unranked, "not ranked") | board.unranked)
    label = next((column.label for column in board.columns if column.metric == key), found.label)
    return replace(found, label=label)


def _one_basis(results: Sequence[Result]) -> None:
    first = results[0]
    for other in results[1:]:
        mine, theirs = (Basis.of(result.task, result.spec.definitions) for result in (first, other))
        for name, one, two in mine.unlike(theirs):
            raise DataError(
                f"the results differ in {name} and cannot be compared",
                got=f"{first.id}: {one}, {other.id}: {two}",
                fix="Pass results of one task, with the same options.",
            )


def _primary(results: Sequence[Result]) -> str:
    from simbench.tasks import get_task

    task = results[0].task
    if task.source is not None:
        what = f"the primary metric of {printable(task.name, 60)} is known to {printable(task.source, 200)} alone"
        raise UsageError(what, fix="Pass --metric NAME.")
    return get_task(task.name).primary[0]


def _key(results: Sequence[Result], metric: str) -> str:
    """The `name/version` that was meant, the newest version of a name. Raises UsageError where none was measured."""
    keys = {m.key for result in results for m in result.measurements}
    meant = [key for key in keys if metric in (key, key.partition("/")[0])]
    if not meant:
        raise unknown_name("metric of these results", metric, {key.partition("/")[0] for key in keys})
    return max(meant, key=lambda key: (len(key), key))


def _quality(
    results: Sequence[Result], key: str, device: Device, threads: int | None, unranked: Mapping[str, str]
) -> Quality:
    trades, machines, left_out = [], [], []
    first: Measurement | None = None
    for result in results:
        measurement = result.measurement(key)
        single, best = paces(result.throughput, device, threads)
        if measurement is None or measurement.value is None or best is None:
            why = f"was not timed{_on(device, threads)}" if best is None else f"has no value of {key}"
            told = self_reported(result.self_reported_seconds)
            why += f" (self-reported: {told})" if told else ""
            left_out.append(f"{printable(result.label, 60)} {result.id} {why}")
            continue
        first = first or measurement
        name = result.generator.name
        trade = Trade.of(result, measurement, single, best)
        trades.append(replace(trade, ranked=name not in unranked, note=unranked.get(name, ""), key=result.id))
        if trades[-1].ranked:
            machines += _machines(result.provenance.hardware, single, best)
    if first is None or not any(trade.ranked for trade in trades):
        raise DataError(
            "there is no generator to compare",
            got=listed(left_out) or "yardsticks alone",
            expected=f"a score and a speed{_on(device, threads)} of at least one generator",
            fix="Run it with timing, or choose another --device, --threads or --metric.",
        )
    label = f"{metric_label(first)} [{first.unit}]" if first.unit else metric_label(first)
    every = sorted([*trades, *monte_carlo(results, first)], key=lambda t: (not t.ranked, t.score.badness))
    return Quality(
        results[0].task.name,
        key,
        label,
        Direction.of(first),
        tuple(placed(every)),
        first.floor,
        tuple(dict.fromkeys(machines)),
        tuple(left_out),
    )


def _on(device: Device, threads: int | None) -> str:
    where = "" if device == "all" else f" on {'a GPU' if device == 'cuda' else 'a CPU'}"
    return where if threads is None else f"{where} with {threads} thread{'s' * (threads != 1)}"


def _machines(hardware: Mapping[str, str], *found: Pace | None) -> list[str]:
    cpu = printable(hardware.get("cpu", "an unnamed CPU"), 60)
    return [pace.device if pace.gpu else cpu for pace in found if pace is not None]


def board_quality(board: Board, entries: Sequence[Entry]) -> Quality | None:
    """The trades of entries that have a row, in the metric that ranks; None where none that is ranked was timed."""
    trades, machines = [], []
    column = board.primary_column
    for entry in entries:
        single, best = paces(entry.throughput)
        score = entry.scores[board.primary]
        if best is None or not entry.ranked or score.value is None:
            continue
        name = printable(entry.name, 60) or "unnamed"
        trades.append(
            Trade(
                name,
                score.value,
                score.stderr,
                entry.primary,
                single,
                best,
                weights=entry.weights,
                key=entry.id,
                parameters=entry.parameters,
            )
        )
        machines += _machines(entry.hardware, single, best)
    if not trades:
        return None
    direction = Direction.of(column)
    floor = next((e.scores[board.primary] for e in entries if e.scores[board.primary].floor is not None), None)
    record = next((entry.speedup.monte_carlo for entry in entries if entry.speedup), None)
    known = floor.floor if floor else None
    if floor is not None and known is not None and record is not None and record.seconds_per_event > 0:
        trades.append(Trade.of_monte_carlo(record, known, floor.floor_sd, direction))
    label = f"{column.label} [{column.unit}]" if column.unit else column.label
    machines = list(dict.fromkeys(machines))
    return Quality(board.task, column.metric, label, direction, tuple(placed(trades)), known, tuple(machines))


# The table


def quality_table(quality: Quality) -> Table:
    """A row for each trade that is shown, the best first: score, time at batch 1 and at the best batch, marks."""
    columns = (
        Column("model", "model", words=True),
        Column(f"{quality.label} {quality.direction.arrow}", quality.key),
        Column("time per event, batch 1", "seconds per event at batch 1"),
        Column("front", "front at batch 1", words=True),
        Column("time per event, best batch", "seconds per event at the best batch"),
        Column("front", "front at the best batch", words=True),
    )
    rows = []
    for one in sorted(quality.shown, key=lambda o: (not o.trade.ranked, o.trade.score.badness)):
        trade = one.trade
        note = "the Monte Carlo, at the floor" if trade.monte_carlo else trade.note
        marks = [MARKS[place] for place in (one.single, one.best)]
        cells = (
            Cell(trade.label, note=note),
            Cell(with_error(trade.value, trade.error), trade.value, trade.error),
            *(_pace_cell(trade.single, "device"), Cell(marks[0])),
            *(_pace_cell(trade.best, "where"), Cell(marks[1])),
        )
        rows.append(Row(cells, "entry" if trade.ranked else "reference"))
    return Table("pareto", "Quality against time", f"Quality against time per event. {TIES}", columns, tuple(rows))


def _pace_cell(pace: Pace | None, where: str) -> Cell:
    return EMPTY if pace is None else Cell(duration(pace.seconds), pace.seconds, note=getattr(pace, where))


def notes(quality: Quality) -> list[str]:
    """What is to be said below the table, in sentences: the rule of ties, machines, and what is left out."""
    found = [TIES, *([quality.further] if quality.further else [])]
    if len(quality.machines) > 1:
        found.append(_several(quality))
    if quality.left_out:
        found.append(f"Left out: {listed(quality.left_out)}.")
    return found


def _several(quality: Quality) -> str:
    return f"Measured on {listed(quality.machines, ', ')}: a difference in speed may be that of the machines."


def as_json(quality: Quality) -> dict[str, Any]:
    """All trades, those that are not shown too."""

    def pace(found: Pace | None, place: Place | None) -> dict[str, Any] | None:
        return None if found is None else vars(found) | {"front": place == "front", "place": place}

    rows = [
        {
            "model": one.trade.label,
            "result": one.trade.key or None,
            "parameters": dict(one.trade.parameters),
            "value": one.trade.value,
            "stderr": one.trade.error,
            "ranked": one.trade.ranked,
            "monte_carlo": one.trade.monte_carlo,
            "batch_1": pace(one.trade.single, one.single),
            "best_batch": pace(one.trade.best, one.best),
        }
        for one in quality.trades
    ]
    return {
        "task": quality.task,
        "metric": quality.key,
        "direction": quality.direction.way,
        "target": quality.direction.target,
        "floor": quality.floor,
        "ties": TIES,
        "machines": list(quality.machines),
        "left_out": list(quality.left_out),
        "rows": rows,
    }


# The figure


def caption(quality: Quality) -> str:
    """What the figure shows, in a few sentences."""
    parts = [quality_caption([one.trade for one in quality.shown]), quality.further]
    return " ".join([*filter(None, parts), *([_several(quality)] if len(quality.machines) > 1 else [])])


def figure(quality: Quality) -> Figure:
    """The figure of the trades that are shown and ranked."""
    from simbench.report.speed import quality_against_time

    label = f"{quality.label} {quality.direction.arrow}"
    return quality_against_time(quality.shown, label, quality.direction, floor=quality.floor)


def check_figure(path: Path) -> None:
    """Refuse a name that is of no figure. Raises UsageError."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: unknown kind of figure", got=repr(path.suffix), expected=listed(SUFFIXES, ", "))


def figure_text(quality: Quality, path: Path) -> str:
    """The text of a board's SVG file; what `path` holds where that shows the same already.

    Another version of matplotlib draws the same figure in other bytes: the file says, in a comment, what it was drawn
    from and the checksum of the drawing.
    """
    made_from = _made_from(quality)
    try:
        old = read_bytes(path, MAX_FIGURE).decode("utf-8")
    except (DataError, UnicodeDecodeError):
        old = ""
    if old and old == _signed(_UNSIGNED.sub("", old), made_from):
        return old
    from simbench.report.style import svg_file

    return _signed(svg_file(figure(quality)), made_from)


_UNSIGNED = re.compile(r"<!-- simbench [0-9a-f]{16} [0-9a-f]{16} -->\n\Z")


def _signed(drawing: str, made_from: str) -> str:
    return f"{drawing}<!-- simbench {made_from} {hashlib.sha256(drawing.encode()).hexdigest()[:16]} -->\n"


def _made_from(quality: Quality) -> str:
    """A checksum of what is drawn and of the code that draws it."""
    trades = [
        (one.trade.label, one.trade.value, one.trade.error, one.trade.single, one.trade.best, one.single, one.best)
        for one in quality.shown
    ]
    code = [(resources.files("simbench") / "report" / name).read_bytes() for name in ("speed.py", "style.py")]
    shown = repr((trades, quality.label, quality.direction, quality.floor)).encode()
    return hashlib.sha256(b"".join([shown, *code])).hexdigest()[:16]
