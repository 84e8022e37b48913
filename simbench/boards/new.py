"""A board of one's own: `simbench leaderboard init` writes its `board.toml` from a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simbench.boards.board import Board, MetricColumn
from simbench.core.errors import DataError, UsageError
from simbench.core.files import write_new
from simbench.core.text import toml_text
from simbench.metrics.base import Metric
from simbench.metrics.registry import get_metric
from simbench.tasks.base import Task

REPETITIONS = 3
IN_README = 4
"""Columns of metrics in a README that holds the results."""
YARDSTICKS = {"floor": "independent real events", "memoriser": "training events replayed"}
COMMENTS = {
    "task": "What entries are of. These lines follow from the task: change them together, with a new version of it.",
    "title": "What the page says.",
    "definitions": "What an entry must bring: so many test events, at least so many repetitions, each of the columns.",
    "primary": "The metric that ranks, and what the equivalent events are events of.",
    "columns": "The metrics on the page, in this order.",
    "readme": "Metrics among the results of a README: simbench leaderboard render --readme README.md",
    "unranked": "Generators that are shown and never ranked, by name.",
}


def new_board(task: Task) -> Board:
    """The board of a task: its ranking metrics, all of its test events.

    Raises:
        DataError: the task's data are missing, or it has no metric that can rank.
    """
    metrics = [metric for metric in map(get_metric, task.measured()) if metric.ranks]
    able = [metric for metric in metrics if metric.direction != "target"]
    if not able:
        what = f"no metric of {task.name} can rank a board"
        expected = "one that ranks, and of which less or more is better"
        raise DataError(what, got=", ".join(task.metrics), expected=expected, fix="Add one to the task's `metrics`.")
    primary = next((metric for metric in able if metric.key in task.primary), able[0])
    shown = [primary, *(metric for metric in metrics if metric is not primary)]
    return Board(
        task=task.name,
        task_version=task.version,
        scored_sha256=task.scored_sha256,
        features_sha256=task.features_sha256 or "",
        task_source=task.source or "",
        task_file_sha256=task.source_sha256 or "",
        title=f"{task.name} {task.version}",
        summary=f"{task.summary[:1].upper()}{task.summary[1:].rstrip('.')}.",
        definitions="simbench",
        events=task.test_events,
        repetitions=REPETITIONS,
        primary=primary.key,
        equivalent="real events",
        columns=[_column(task, metric) for metric in shown],
        readme=[metric.key for metric in shown[:IN_README]],
        unranked=YARDSTICKS,
    )


def _column(task: Task, metric: Metric) -> MetricColumn:
    unit = task.unit_of(metric)
    return MetricColumn(
        metric=metric.key, label=metric.label, direction=metric.direction, target=metric.target, unit=unit
    )


def init(folder: Path, task: Task) -> Path:
    """Write `<folder>/<task>/board.toml`; returns its path. Raises as `new_board`, and UsageError where it exists."""
    path = folder / task.name / "board.toml"
    if path.exists():
        raise UsageError(f"{path} exists already", fix="Edit it; its fields are told in docs/own-board.md.")
    write_new(path, board_toml(new_board(task)))
    return path


def board_toml(board: Board) -> str:
    """The text of a `board.toml`, with comments."""
    lines = [
        "# The rules of this board. Its fields are told in docs/own-board.md; the other files are made from this one"
    ]
    lines += ["# and entries/*.json by `simbench leaderboard render`."]
    for name, value in board.model_dump().items():
        if name in COMMENTS:
            lines += ["", f"# {COMMENTS[name]}"]
        if name == "columns":
            rows = [_inline({key: held for key, held in row.items() if held not in (None, "")}) for row in value]
            lines += ["columns = [", *(f"    {row}," for row in rows), "]"]
        elif name == "unranked":
            lines += ["[unranked]", *(f"{toml_text(key)} = {toml_text(note)}" for key, note in value.items())]
        elif value != "":
            lines.append(f"{name} = {toml_text(value)}")
    return "\n".join(lines) + "\n"


def _inline(row: dict[str, Any]) -> str:
    return f"{{ {', '.join(f'{key} = {toml_text(value)}' for key, value in row.items())} }}"
