"""Jobs: runs that are asked for together. Each is a generator with its parameters on a task, and becomes one Result.

A job is plain text, so that another process can do it as it is: `perform` needs nothing that an earlier job left.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from simbench.core.errors import UsageError
from simbench.core.progress import Progress
from simbench.core.text import printable
from simbench.evaluation.evaluate import Evaluated, Options, evaluate, score_files
from simbench.generators.resolve import resolve
from simbench.tasks import get_task
from simbench.tasks.base import Task

SAMPLES = "samples:"
"""What a generator begins with that is a file of samples, made already."""


@dataclass(frozen=True)
class Job:
    """One run: what `--generator`, `--task`, `--param` and `--name` of `simbench run` take, of each one value."""

    generator: str
    task: str
    params: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None

    @property
    def samples(self) -> Path | None:
        """The file of samples that stands in the place of a generator, if one does."""
        return Path(self.generator.removeprefix(SAMPLES)) if self.generator.startswith(SAMPLES) else None

    def __str__(self) -> str:
        params = ", ".join(f"{key}={value}" for key, value in self.params.items())
        name = self.generator if self.label is None else f"{self.label}: {self.generator}"
        return printable(f"{name}{f' ({params})' if params else ''} on {self.task}", 300)


def grid(
    generators: Sequence[str], tasks: Sequence[str], params: Mapping[str, Sequence[str]], labels: Sequence[str] = ()
) -> list[Job]:
    """Every generator on every task with every combination of the parameters' values, the last of them first to change.

    Args:
        labels: one for each generator, or none.

    Raises:
        UsageError: there are other numbers of labels and generators, or a job is there twice.
    """
    if labels and len(labels) != len(generators):
        got = f"{len(labels)} for {len(generators)} generator{'s' * (len(generators) != 1)}"
        raise UsageError("--name goes with --generator", got=got, fix="Give one for each, in the same order.")
    jobs: list[Job] = []
    for (place, generator), task in itertools.product(enumerate(generators), tasks):
        label = labels[place] if labels else None
        for values in itertools.product(*params.values()):
            job = Job(generator, task, dict(zip(params, values, strict=True)), label)
            if replace(job, label=None) in [replace(other, label=None) for other in jobs]:
                raise UsageError("a run is asked for twice", got=str(job), fix="Give each value once.")
            jobs.append(job)
    return jobs


def perform(
    job: Job, options: Options, progress: Progress, *, smoke: bool = False, data_dir: Path | None = None
) -> tuple[Evaluated, Task]:
    """Do one job: measure the generator, or score its file of samples. Nothing is written.

    Args:
        options: for all jobs alike; the label is the job's.
        smoke: as many events as the task has for a first try, where `options` names no number.

    Raises:
        UsageError, DataError, GeneratorError: as `resolve`, `evaluate` and `score_files`.
    """
    task = get_task(job.task, data_dir)
    options = replace(options, label=job.label)
    if job.samples is not None:
        if job.params:
            what = "samples that are made already take no --param"
            raise UsageError(what, got=", ".join(job.params), fix="Leave it out.")
        return score_files([job.samples], task, options, progress), task
    if smoke and options.events is None:
        options = replace(options, events=task.smoke_events)
    return evaluate(resolve(job.generator, job.params), task, options, progress), task
