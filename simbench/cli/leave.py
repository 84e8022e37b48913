"""The pages that runs leave: of one result, or of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simbench.evaluation.evaluate import Evaluated
    from simbench.report.opened import Models
    from simbench.results.schema import Result
    from simbench.tasks.base import Task


def report_beside(evaluated: Evaluated, task: Task, path: Path) -> None:
    """Write the page of one result beside it."""
    from simbench.core.progress import Progress
    from simbench.report.page import ReportEntry, write_report

    entry = ReportEntry(evaluated.result, evaluated.pair, evaluated.session)
    with Progress() as progress, progress.step("report", 1) as advance:
        written = write_report([entry], task, path.with_suffix(".html"))
        advance(1)
        progress.note(f"The report is {written}.")


def report_of(
    results: Sequence[Result],
    paths: Sequence[Path],
    task: Task,
    output: Path,
    models: Models,
    samples: Sequence[Path] = (),
    figures: Path | None = None,
) -> Path:
    """Write one page of several results, with the samples beside their files, or in `samples`. Returns its path.

    Raises:
        DataError, GeneratorError: as `simbench.samples.repetitions.find_pairs`.
        UsageError: as `simbench.report.page.write_report`.
    """
    from simbench.core.progress import Progress
    from simbench.report.opened import open_entry
    from simbench.report.page import write_report
    from simbench.samples.repetitions import find_pairs

    with Progress() as progress, progress.step("report", len(results)) as advance:
        entries = []
        for result, pair in zip(results, find_pairs(results, paths, samples, task), strict=True):
            entries.append(open_entry(result, pair, task, models))
            advance(1)
        return write_report(entries, task, output, figures=figures)
