"""The verb that works through a plan of runs and trainings on a cluster."""

from __future__ import annotations

import json as json_lines
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simbench.cli import options
from simbench.cli.grid import conclude
from simbench.cli.measure import ReportOption, SamplesLimitOption, SamplesOption

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from simbench.evaluation.jobs import Ended
    from simbench.sweep.plan import Asked, ClusterTable, Step
    from simbench.sweep.run import State


def sweep(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="What to run; docs/sweep.md shows one.")],
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler that runs already: tcp://HOST:8786."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    out: options.Out = Path("runs"),
    training: Annotated[Path, options.folder("--training", help="Where models are trained.")] = Path("training"),
    report: ReportOption = True,
    samples: SamplesOption = True,
    samples_limit: SamplesLimitOption = 64,
    data_dir: options.DataDir = None,
    json: Annotated[
        bool, typer.Option("--json", help="On stdout one line of JSON for each job as it ends, then one for all.")
    ] = False,
) -> None:
    """Run generators x tasks x seeds x presets, each job one result, on a cluster: this machine, a batch system (SLURM,
    HTCondor, PBS), or a Dask scheduler that runs already.

    The results on disk are the state: the same command again does what is left, and a job whose generator, task or
    options have changed is another job. Ctrl-C leaves what is finished. A job that brings down its worker is tried
    again, three times in all. A table and a report (one a task) compare all results at the end.

    \b
    Examples:
      simbench sweep plan.toml
      simbench sweep plan.toml --dry-run
      simbench sweep plan.toml --scheduler tcp://head-node:8786
    """
    from simbench.core.files import check_writable
    from simbench.evaluation.jobs import Job, Leave
    from simbench.sweep.plan import Asked, read_plan, steps_of
    from simbench.sweep.run import found_on_disk, needed

    read = read_plan(plan)
    read.run.options()
    steps = steps_of(read, training, data_dir)
    leave = Leave(out, samples_limit if samples else 0, read.run.smoke, data_dir)
    known = found_on_disk(steps, out)
    left = needed(steps, known)
    runs = {step.key: step.job for step in steps if isinstance(step.job, Job)}
    watch = _Watch(left, len(runs), len(known), json)
    if dry_run:
        for step in steps:
            print(f"{'there' if step.key in known else 'to do' if step in left else 'not needed'}  {step}")
        watch.note(watch.summary())
        return
    check_writable(out)
    if left:
        table = read.cluster if scheduler is None else read.cluster.model_copy(update={"scheduler": scheduler})
        known = _work(left, known, table, Asked(read.run, leave, str(Path.cwd())), watch)
    conclude([(job, known[key]) for key, job in runs.items()], leave, report=report, json=json, brief=True)


def _work(
    left: Sequence[Step], known: dict[str, Ended], table: ClusterTable, asked: Asked, watch: _Watch
) -> dict[str, Ended]:
    """Work through what is left on the cluster. Ctrl-C says what is there before it goes on its way."""
    from simbench.sweep.cluster import dask_pool
    from simbench.sweep.run import work_through

    watch.note(watch.summary())
    try:
        with dask_pool(table, asked, asked.leave.out / "logs", watch.note) as pool, watch.shown():
            return work_through(left, pool, watch, known)
    except KeyboardInterrupt:
        watch.note(f"{watch.summary()} The same command goes on from there.")
        raise


class _Watch:
    """The states of the steps: a table on a terminal, a line for each step that ends elsewhere, JSON on stdout."""

    def __init__(self, left: Sequence[Step], runs: int, there: int, json: bool) -> None:
        self.runs, self.there, self.json = runs, there, json
        self.left = len(left)
        self.states = {step.key: "waiting" for step in left}
        self.groups = {step.key: _group(step) for step in left}
        self.began = time.monotonic()
        self._live: Live | None = None

    def __call__(self, step: Step, state: State, ended: Ended | None) -> None:
        if ended is not None:
            self.states[step.key] = "failed" if ended.error else "done"
            self._say(step, ended)
        else:
            self.states[step.key] = state

    def _say(self, step: Step, ended: Ended) -> None:
        from simbench.evaluation.jobs import Job

        if self.json:
            kind = "run" if isinstance(step.job, Job) else "training"
            path = None if ended.path is None else str(ended.path)
            line = {"kind": kind, "key": step.key, **_plain(step), "file": path, "error": ended.error or None}
            print(json_lines.dumps(line, ensure_ascii=False), flush=True)
        if ended.error:
            self.note(f"Failed: {step}: {ended.error}")
        elif self._live is None:
            count = Counter(self.states.values())
            self.note(f"{count['done'] + count['failed']} of {self.left}: {step}")

    def note(self, text: str) -> None:
        """A line on stderr, above the table."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def summary(self) -> str:
        """How far the sweep is."""
        count = Counter(self.states.values())
        left = self.left - count["done"] - count["failed"]
        said = [f"{count['done']} done"] if count["done"] else []
        said += [f"{count['failed']} failed"] if count["failed"] else []
        said += [f"{left} to do"]
        return f"Results: {self.there} of {self.runs} were there. Jobs: {', '.join(said)}."

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The table, as long as the work goes on."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        with Live(get_renderable=self.table, console=console, refresh_per_second=2, transient=True) as self._live:
            yield
        self._live = None

    def table(self) -> Table:
        """A row for each generator on each task, and one for all."""
        from simbench.core.console import right, text_table
        from simbench.core.text import duration

        states = ("waiting", "running", "done", "failed")
        rows: dict[str, Counter[str]] = {}
        for key, state in self.states.items():
            rows.setdefault(self.groups[key], Counter())[state] += 1
        total = sum(rows.values(), Counter())
        shown = [(name, *(count[state] or "" for state in states)) for name, count in list(rows.items())[:30]]
        took = duration(time.monotonic() - self.began)
        return text_table(["", *right(*states)], [*shown, (f"all, {took}", *(total[state] for state in states))])


def _group(step: Step) -> str:
    from simbench.core.text import printable
    from simbench.evaluation.jobs import Job

    kind = "" if isinstance(step.job, Job) else "training of "
    name = (step.job.label if isinstance(step.job, Job) else None) or step.job.generator
    return printable(f"{kind}{name} on {step.job.task}", 60)


def _plain(step: Step) -> dict[str, Any]:
    job = step.job
    return {"generator": job.generator, "task": job.task, "parameters": dict(job.params), "seed": job.seed}


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(sweep)
