"""A Result on the terminal: legible at 80 columns and without colour; strangers' text is never read as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from simbench.core.console import cells, right, text_table
from simbench.core.text import count, duration, matching, number, printable, with_error
from simbench.metrics.direction import Direction
from simbench.results.cost import cost_sentences
from simbench.results.schema import Measurement, Result, Throughput
from simbench.results.timing import scored_sentence
from simbench.results.words import equivalent_sentence, metric_label, speed_sentence, standing, verdict, way_of

LEGEND = (
    "↓ less is better  ↑ more is better  →1 right at 1",
    "standing: times the floor, or standard errors (σ) from the target or from a floor of about 0",
)


def print_result(result: Result, path: Path | None, console: Console) -> None:
    """Print a Result: equivalent events, scores, speed, warnings, where it was written, and the verdict last."""
    for line in _head(result):
        console.print(line)
    measured = [m for m in result.measurements if m.status == "ok" and m.value is not None]
    ranking, reported = [m for m in measured if m.ranks], [m for m in measured if not m.ranks]
    if measured:
        console.print()
        console.print(_scores(ranking, reported))
        for words in LEGEND:
            console.print(Text(words, style="dim"))
    _print_section(console, "Not measured", (_reason(m) for m in result.measurements if m not in measured), "yellow")
    console.print()
    if result.throughput:
        console.print(speed_table(result.throughput))
    if result.throughput_error:
        console.print(Text(f"Not timed: {printable(result.throughput_error, 500)}", style="yellow"))
    if result.throughput or result.speedup:
        console.print(Text(speed_sentence(result)))
    for sentence in cost_sentences(result):
        console.print(Text(sentence))
    if told := scored_sentence(result):
        console.print(Text(f"{told}."))
    _print_section(console, "Warnings", (printable(warning, 500) for warning in result.warnings), "yellow")
    console.print()
    if path is not None:
        console.print(Text(f"Written to {path}", overflow="fold"), soft_wrap=True)
    console.print(Text(verdict(result), style="bold"))


def _head(result: Result) -> Iterable[Text]:
    sentence = equivalent_sentence(result)
    yield Text(sentence[0].upper() + sentence[1:], style="bold")
    name = printable(result.label, 60)
    parameters = ", ".join(
        f"{printable(key, 30)}={printable(str(value), 30)}" for key, value in result.generator.parameters.items()
    )
    repeats = f", {result.spec.repetitions} repetitions" if result.spec.repetitions > 1 else ""
    version = f" {printable(result.generator.version, 30)}" if result.generator.version else ""
    task, source = f"on {result.task.name} {result.task.version}", printable(result.task.source or "", 100)
    if result.task.absent:
        task = f"against {source.removeprefix('samples:')}, without a task"
    elif source:
        task += f" ({source})"
    yield Text(
        f"{name}{version}{f' ({parameters})' if parameters else ''} {task}: "
        f"{count(result.task.events)} events{repeats}, seed {result.spec.root_seed}"
    )
    if result.status != "complete":
        yield Text("Incomplete: a primary metric of the task has no value.", style="bold red")


def _scores(ranking: list[Measurement], reported: list[Measurement]) -> Table:
    table = text_table(
        [
            Column("", no_wrap=True),
            Column("metric", overflow="fold", min_width=15),
            *right("value ± error", no_wrap=True),
            "unit",
            *right("floor", "standing", "memoriser", no_wrap=True),
        ],
        padding=(0, 1, 0, 0),
    )
    for measurement in ranking:
        table.add_row(*_score(measurement))
    if ranking and reported:
        table.add_section()
    if reported:
        table.add_row("", Text("reported only"), style="dim italic")
        for measurement in reported:
            table.add_row(*_score(measurement), style="dim")
    return table


def _score(measurement: Measurement) -> list[Text]:
    value, floor, memoriser = measurement.value or 0.0, measurement.floor, measurement.memoriser
    return cells(
        (
            Direction.of(measurement).arrow,
            metric_label(measurement),
            with_error(value, measurement.stderr),
            printable(measurement.unit, 12),
            "" if floor is None else matching(floor, value, measurement.stderr),
            standing(measurement).text,
            "" if memoriser is None else matching(memoriser, value, measurement.stderr),
        )
    )


def _reason(measurement: Measurement) -> str:
    reason = printable(measurement.error or "no reason recorded", 300)
    return f"{printable(measurement.key, 60)} {measurement.status}: {reason}"


def speed_table(rows: Sequence[Throughput]) -> Table:
    """The speeds on each device, for each number of threads and batch size."""
    ways = [way_of(row) for row in rows]
    told = [Column("as", no_wrap=True)] if any(ways) else []
    columns = ("threads", "batch", "events/s", "p5", "p95", "latency", "peak")
    return text_table(
        [Column("device", overflow="fold", min_width=8), *told, *right(*columns, no_wrap=True)],
        [
            (
                printable(row.device, 40),
                *([way] if told else []),
                row.threads,
                count(row.batch),
                *(number(rate) for rate in (row.events_per_s.p50, row.events_per_s.p5, row.events_per_s.p95)),
                duration(row.latency_ms.p50 / 1000),
                "" if row.peak_mib is None else f"{number(row.peak_mib)} MiB",
            )
            for row, way in zip(rows, ways, strict=True)
        ],
    )


def _print_section(console: Console, title: str, lines: Iterable[str], style: str) -> None:
    found = list(lines)
    if found:
        console.print()
        console.print(Text(title, style=style))
        for line in found:
            console.print(Text(f"  {line}"))
