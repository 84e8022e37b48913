"""Several jobs in one call, of `simbench run` or `simbench sweep`: what is said of them in the end, for both alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from simbench.cli.leave import report_of
from simbench.cli.output import print_json, print_text, working

if TYPE_CHECKING:
    from simbench.evaluation.evaluate import Options
    from simbench.evaluation.jobs import Ended, Job, Leave
    from simbench.results.schema import Result
    from simbench.sweep.plan import Step

MOST_ON_A_PAGE = 20
"""Results on the page of a task: the first so many, of more the figures could not be told apart."""


@dataclass(frozen=True)
class Done:
    """A job that has a result, and where that is written."""

    job: Job
    path: Path
    result: Result


def as_dict(job: Job, ended: Ended) -> dict[str, Any]:
    """A job that went wrong, as plain values, for `--json`."""
    of = {"generator": job.generator, "task": job.task, "parameters": dict(job.params)}
    return of | {"error": ended.error, "exit_code": ended.exit_code}


def run_jobs(jobs: Sequence[Job], options: Options, leave: Leave, *, report: bool, json: bool) -> None:
    """Do the jobs one after the other. One that fails is said at once and at the end, and the others go on.

    Raises:
        typer.Exit: some failed: with their exit code, the largest where they differ.
    """
    from simbench.evaluation.jobs import attempt
    from simbench.sweep.plan import Step
    from simbench.sweep.run import Here, work_through

    of = {str(place): job for place, job in enumerate(jobs, 1)}
    left: set[str] = set()

    def one(step: Step) -> Ended:
        with working(json) as progress:
            progress.note(f"Run {step.key} of {len(jobs)}: {step}")
            ended = attempt(of[step.key], options, leave, progress, spare=left)
            if ended.error:
                progress.note(ended.error)
        if ended.path is not None:
            left.add(ended.path.stem)
        return ended

    ended = work_through([Step(key, job) for key, job in of.items()], Here(one))
    conclude([(job, ended[key]) for key, job in of.items()], leave, report=report, json=json)


def conclude(
    ended: Sequence[tuple[Job, Ended]], leave: Leave, *, report: bool, json: bool, brief: bool = False
) -> None:
    """The table and the pages of all results, and what has none; with `brief`, the JSON is one line, and names files.

    Raises:
        typer.Exit: some failed: with their exit code, the largest where they differ.
    """
    from simbench.results.schema import read_result

    done = [Done(job, end.path, read_result(end.path)) for job, end in ended if end.path is not None]
    failed = [(job, end) for job, end in ended if end.error]
    reports: list[Path] = []
    try:
        if report:
            reports = _reports(done, leave, json)
    finally:
        if json:
            _print_data(done, failed, reports, brief)
        else:
            _show(len(ended), done, failed, reports)
    if failed:
        raise typer.Exit(max(end.exit_code for _, end in failed))


def _reports(done: Sequence[Done], leave: Leave, json: bool) -> list[Path]:
    """A page for each task, above the folders of its generators."""
    from simbench.core.text import printable
    from simbench.tasks import get_task

    pages = []
    for name in dict.fromkeys(each.job.task for each in done):
        all_of_it = [each for each in done if each.job.task == name]
        members = all_of_it[:MOST_ON_A_PAGE]
        paths, results = [each.path for each in members], [each.result for each in members]
        files = [each.job.samples for each in members if each.job.samples is not None]
        page = paths[0].parent.parent / f"comparison-{results[0].id}.html"
        with working(json) as progress:
            if len(members) < len(all_of_it):
                progress.note(f"The page shows the first {len(members)} of {len(all_of_it)} results; the table all.")
            written = report_of(results, paths, get_task(name, leave.data_dir), page, "all", files)
            progress.note(f"The report on {printable(name, 100)} is {written}.")
        pages.append(written)
    return pages


def _print_data(
    done: Sequence[Done], failed: Sequence[tuple[Job, Ended]], reports: Sequence[Path], brief: bool
) -> None:
    failures = [as_dict(job, end) for job, end in failed]
    pages = [str(page) for page in reports]
    if brief:
        found = {"results": [str(each.path) for each in done], "failed": failures, "reports": pages}
        print(dumps(found, ensure_ascii=False), flush=True)
        return
    results = [each.result.model_dump(mode="json", by_alias=True) for each in done]
    print_json({"results": results, "failed": failures, "reports": pages})


def _show(asked: int, done: Sequence[Done], failed: Sequence[tuple[Job, Ended]], reports: Sequence[Path]) -> None:
    show_comparison([each.result for each in done])
    for page in reports:
        print_text(f"The report is {page}")
    for job, end in failed:
        print_text(f"Failed: {job}: {end.error}", "red")
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
