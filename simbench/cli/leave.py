"""What runs leave: the result, the samples beside it, and pages of one result or of several."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simbench.core.errors import NothingMeasuredError, UsageError

if TYPE_CHECKING:
    from simbench.evaluation.evaluate import Evaluated
    from simbench.report.opened import Models
    from simbench.results.schema import Result
    from simbench.tasks.base import Task


def samples_beside(evaluated: Evaluated, task: Task, path: Path, limit: int, spare: Collection[str] = ()) -> None:
    """Keep the samples of a generator, up to `limit` MB, or say why not: the result is there already, and it is what
    was asked for."""
    from simbench.core.progress import Progress
    from simbench.samples.files import TooLargeError
    from simbench.samples.kept import keep_samples

    if not limit or evaluated.session is None:  # the samples of files are at hand
        return
    with Progress() as progress:
        try:
            written = keep_samples(evaluated.result, evaluated.pair, task, path, limit * 1e6, spare)
            progress.note(f"The samples of repetition 0 are {written}; `simbench clean` removes them.")
        except TooLargeError:
            progress.note(f"The samples are not kept: they take more than {limit} MB (--samples-limit).")
        except UsageError as error:
            progress.note(f"The samples are not kept: {error}")


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


def check_complete(result: Result, path: Path) -> None:
    """Raises NothingMeasuredError where a primary metric has no value; the result is at `path`."""
    from simbench.core.text import printable

    if result.status != "complete":
        failed = [f"{m.key}: {m.error}" for m in result.measurements if m.value is None and m.status != "skipped"]
        raise NothingMeasuredError(
            "a primary metric of the task has no value",
            got=printable("; ".join(failed), 500),
            fix=f"The reasons are in {path}.",
        )
