"""Several results side by side on the terminal: a row a result, a column a score, sorted by one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from simbench.core.console import right, text_table
from simbench.core.plugins import unknown_name
from simbench.core.text import number, with_error
from simbench.metrics.direction import Direction
from simbench.results.compare import winners
from simbench.results.findings import copying
from simbench.results.schema import Measurement, Result
from simbench.results.words import entry_labels, equivalent_number, metric_label

NAME, EQUIVALENT, SPEED = "name", "equivalent", "speed"
LEGEND = "* better than each of the others (paired test, family error 5 %)  ↓ less is better  ↑ more is better"
FIXED, WIDE = 48, 16
"""Characters of the columns that are always there, and of one score."""


@dataclass(frozen=True)
class Row:
    """A result in the table. `best`: the metrics in which it is better than each of the others."""

    label: str
    result: Result
    best: frozenset[str]

    @property
    def events_per_s(self) -> float | None:
        """The fastest median of the speed table."""
        return max((row.events_per_s.p50 for row in self.result.throughput), default=None)

    def as_dict(self) -> dict[str, Any]:
        """The row as plain values, for `--json`."""
        found = self.result.equivalent_events
        return {
            "label": self.label,
            "result": self.result.id,
            "equivalent_events": found.headline.value if found and not copying(self.result) else None,
            "events_per_s": self.events_per_s,
            "scores": {
                m.key: {"value": m.value, "stderr": m.stderr, "ranks": m.ranks, "best": m.key in self.best}
                for m in self.result.measurements
            },
        }


def comparison(results: Sequence[Result], sort: str | None = None) -> list[Row]:
    """The rows of results whose scores compare, best first by `sort`: `name`, `equivalent`, `speed` or a metric.

    None: the first metric that ranks. Those that lack the value come last.

    Raises:
        UsageError: no result has such a metric.
    """
    won: dict[int, set[str]] = {}
    for key, place in winners(results).items():
        won.setdefault(place, set()).add(key)
    labels = entry_labels(results)
    rows = [
        Row(label, result, frozenset(won.get(place, ())))
        for place, (label, result) in enumerate(zip(labels, results, strict=True))
    ]
    by = sort or next(iter(_ranking(results)), NAME)
    if by == NAME:
        return sorted(rows, key=lambda row: row.label)
    return sorted(rows, key=lambda row: _worth(row, by if by in (EQUIVALENT, SPEED) else sort_key(results, by)))


def sort_key(results: Sequence[Result], metric: str) -> str:
    """The `name/version` that `--sort` means, the newest of a name. Raises UsageError where none was measured."""
    keys = list(dict.fromkeys(m.key for result in results for m in result.measurements))
    meant = [key for key in keys if metric in (key, key.partition("/")[0])]
    if not meant:
        raise unknown_name("--sort", metric, {NAME, EQUIVALENT, SPEED, *(key.partition("/")[0] for key in keys)})
    return max(meant, key=lambda key: (len(key), key))


def _worth(row: Row, by: str) -> tuple[bool, float]:
    """What rows are sorted by: those without a value last, then less is better."""
    value: float | None
    if by == EQUIVALENT:
        value = row.as_dict()["equivalent_events"]
        return value is None, -(value or 0.0)
    if by == SPEED:
        return row.events_per_s is None, -(row.events_per_s or 0.0)
    found = row.result.measurement(by)
    if found is None or found.value is None:
        return True, 0.0
    return False, Direction.of(found).badness(found.value)


def _ranking(results: Sequence[Result]) -> list[str]:
    """The keys of the metrics that rank and have a value, in the order of the results."""
    found = (m for result in results for m in result.measurements if m.ranks and m.value is not None)
    return list(dict.fromkeys(m.key for m in found))


def comparison_table(rows: Sequence[Row], sort: str | None, width: int, title: str = "") -> Table:
    """The table, of as many scores as `width` characters hold: that of `sort`, then those that rank."""
    results = [row.result for row in rows]
    first = [] if sort in (None, NAME, EQUIVALENT, SPEED) else [sort_key(results, sort)]
    keys = list(dict.fromkeys([*first, *_ranking(results)]))[: max(1, (width - FIXED) // WIDE)]
    heads = [_head(results, key) for key in keys]
    columns = [Column("result", overflow="fold", min_width=20), *right("equivalent", *heads, "events/s", no_wrap=True)]
    shown = [
        (
            row.label,
            equivalent_number(row.result) or "–",
            *(_cell(row, key) for key in keys),
            "–" if row.events_per_s is None else number(row.events_per_s, 2),
        )
        for row in rows
    ]
    return text_table(columns, shown, title=title or None, title_justify="left", title_style="bold")


def _head(results: Sequence[Result], key: str) -> str:
    found: Measurement = next(m for result in results if (m := result.measurement(key)) is not None)
    words = f"{Direction.of(found).arrow} {metric_label(found)}".split(" ")
    half = (len(words) + 1) // 2  # in two lines: a name is wider than its scores
    return "\n".join([" ".join(words[:half]), " ".join(words[half:])])


def _cell(row: Row, key: str) -> Text:
    found = row.result.measurement(key)
    if found is None or found.value is None:
        return Text("–")
    best = key in row.best
    return Text(f"{with_error(found.value, found.stderr)}{'*' if best else ' '}", "bold" if best else "")
