"""Several runs in one call: each leaves its result as soon as it is done; one table and one page a task at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from simbench.cli.leave import check_complete, report_of, samples_beside
from simbench.cli.output import INTERNAL_ERROR, print_json, print_text, print_traceback, working
from simbench.core.errors import SimbenchError

if TYPE_CHECKING:
    from simbench.evaluation.evaluate import Options
    from simbench.evaluation.jobs import Job
    from simbench.results.schema import Result


@dataclass(frozen=True)
class Request:
    """What all jobs have in common: `options`, and what they leave. `samples` MB are kept of each at most."""

    options: Options
    out: Path
    samples: int
    report: bool
    smoke: bool
    data_dir: Path | None
    json: bool


@dataclass(frozen=True)
class Done:
    """A job that has a result, and where that is written."""

    job: Job
    path: Path
    result: Result


@dataclass(frozen=True)
class Failure:
    """A job that went wrong, and what the command would have exited with for it alone."""

    job: Job
    error: str
    exit_code: int

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for `--json`."""
        of = {"generator": self.job.generator, "task": self.job.task, "parameters": dict(self.job.params)}
        return of | {"error": self.error, "exit_code": self.exit_code}


def run_jobs(jobs: Sequence[Job], request: Request) -> None:
    """Do the jobs one after the other. One that fails is said at once and at the end, and the others go on.

    Raises:
        typer.Exit: some failed: with their exit code, the largest where they differ.
    """
    done: list[Done] = []
    failed: list[Failure] = []
    for place, job in enumerate(jobs, 1):
        with working(request.json) as progress:
            progress.note(f"Run {place} of {len(jobs)}: {job}")
        try:
            done.append(_run(job, request, {each.result.id for each in done}))
            check_complete(done[-1].result, done[-1].path)
        except Exception as error:  # whatever it is, it is this job's
            failed.append(_failure(job, error))
            with working(request.json) as progress:
                progress.note(failed[-1].error)
    reports: list[Path] = []
    try:
        if request.report:
            reports = _reports(done, request)
    finally:
        _show(len(jobs), done, failed, reports, request.json)
    if failed:
        raise typer.Exit(max(failure.exit_code for failure in failed))


def _run(job: Job, request: Request, spare: set[str]) -> Done:
    """One job. What it holds in memory ends with it."""
    from simbench.evaluation.jobs import perform
    from simbench.results.schema import write_result

    with working(request.json) as progress:
        evaluated, task = perform(job, request.options, progress, smoke=request.smoke, data_dir=request.data_dir)
        path = write_result(evaluated.result, request.out)
        progress.note(f"Written to {path}")
    samples_beside(evaluated, task, path, request.samples, spare)
    return Done(job, path, evaluated.result)


def _failure(job: Job, error: Exception) -> Failure:
    from simbench.core.text import printable

    if isinstance(error, SimbenchError):
        return Failure(job, f"{type(error).__name__}: {printable(str(error), 2000)}", error.exit_code)
    print_traceback(error)
    return Failure(job, f"InternalError: {type(error).__name__}: {printable(str(error), 2000)}", INTERNAL_ERROR)


def _reports(done: Sequence[Done], request: Request) -> list[Path]:
    """A page for each task, above the folders of its generators."""
    from simbench.core.text import printable
    from simbench.tasks import get_task

    pages = []
    for name in dict.fromkeys(each.job.task for each in done):
        members = [each for each in done if each.job.task == name]
        paths, results = [each.path for each in members], [each.result for each in members]
        files = [each.job.samples for each in members if each.job.samples is not None]
        page = paths[0].parent.parent / f"comparison-{results[0].id}.html"
        with working(request.json) as progress:
            written = report_of(results, paths, get_task(name, request.data_dir), page, "all", files)
            progress.note(f"The report on {printable(name, 100)} is {written}.")
        pages.append(written)
    return pages


def _show(asked: int, done: Sequence[Done], failed: Sequence[Failure], reports: Sequence[Path], json: bool) -> None:
    if json:
        results = [each.result.model_dump(mode="json", by_alias=True) for each in done]
        failures = [failure.as_dict() for failure in failed]
        print_json({"results": results, "failed": failures, "reports": [str(page) for page in reports]})
        return
    show_comparison([each.result for each in done])
    for page in reports:
        print_text(f"The report is {page}")
    for failure in failed:
        print_text(f"Failed: {failure.job}: {failure.error}", "red")
    print_text(f"{len(done)} of {asked} runs have a result.", "bold")


def show_comparison(results: Sequence[Result], sort: str | None = None) -> None:
    """Print a table of results for each group of those whose scores compare."""
    from simbench.core.console import stdout_console
    from simbench.report.comparison import LEGEND, comparison, comparison_table
    from simbench.results.comparable import comparable_groups

    console = stdout_console()
    for group in comparable_groups(results):
        rows = comparison([results[place] for place in group.places], sort)
        title = group.words or f"{rows[0].result.task.name}, {rows[0].result.task.events} events"
        console.print(comparison_table(rows, sort, console.width, title))
    if results:
        print_text(LEGEND, "dim")
