"""Jobs: runs that are asked for together. Each is a generator with its parameters on a task, and becomes one Result.

A job is plain text, so that another process can do it as it is: `perform` needs nothing that an earlier job left.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from simbench.core.errors import INTERNAL_ERROR, NothingMeasuredError, SimbenchError, UsageError, print_traceback
from simbench.core.progress import Progress
from simbench.core.text import printable
from simbench.evaluation.evaluate import Evaluated, Options, evaluate, score_files
from simbench.generators.resolve import resolve
from simbench.results.schema import Result, read_result, result_path, write_result
from simbench.samples.files import TooLargeError
from simbench.samples.kept import keep_samples
from simbench.tasks import get_task
from simbench.tasks.base import Task

SAMPLES = "samples:"
"""What a generator begins with that is a file of samples, made already."""


@dataclass(frozen=True)
class Job:
    """One run: what `--generator`, `--task`, `--param`, `--name`, `--seed` of `simbench run` take, of each one value.

    `seed` None: that of the options for all jobs.
    """

    generator: str
    task: str
    params: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    seed: int | None = None

    @property
    def samples(self) -> Path | None:
        """The file of samples that stands in the place of a generator, if one does."""
        return Path(self.generator.removeprefix(SAMPLES)) if self.generator.startswith(SAMPLES) else None

    def __str__(self) -> str:
        seed = {} if self.seed is None else {"seed": self.seed}
        params = ", ".join(f"{key}={value}" for key, value in {**self.params, **seed}.items())
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
        options: for all jobs alike; the label is the job's, and the seed, if it has one.
        smoke: as many events as the task has for a first try, where `options` names no number.

    Raises:
        UsageError, DataError, GeneratorError: as `resolve`, `evaluate` and `score_files`.
    """
    task = get_task(job.task, data_dir)
    seed = options.root_seed if job.seed is None else job.seed
    options = replace(options, label=job.label, root_seed=seed)
    if job.samples is not None:
        if job.params:
            what = "samples that are made already take no --param"
            raise UsageError(what, got=", ".join(job.params), fix="Leave it out.")
        return score_files([job.samples], task, options, progress), task
    if smoke and options.events is None:
        options = replace(options, events=task.smoke_events)
    return evaluate(resolve(job.generator, job.params), task, options, progress), task


@dataclass(frozen=True)
class Leave:
    """What all jobs leave alike: a result below `out`, and at most `samples` MB of samples beside it.

    `smoke` and `data_dir` are those of `perform`.
    """

    out: Path
    samples: int = 64
    smoke: bool = False
    data_dir: Path | None = None


@dataclass(frozen=True)
class Ended:
    """What became of a job: the file that it left, and the reason where something went wrong. Plain text, as the job.

    Both are there where the result is written, but a primary metric has no value. `exit_code` is what the command would
    have exited with for this job alone.
    """

    path: Path | None
    error: str = ""
    exit_code: int = 0

    @classmethod
    def by(cls, error: Exception, path: Path | None = None) -> Ended:
        """The end that an exception of the job makes."""
        if isinstance(error, SimbenchError):
            return cls(path, f"{type(error).__name__}: {printable(str(error), 2000)}", error.exit_code)
        print_traceback(error)
        return cls(path, f"InternalError: {type(error).__name__}: {printable(str(error), 2000)}", INTERNAL_ERROR)


def attempt(
    job: Job, options: Options, leave: Leave, progress: Progress, *, spare: Collection[str] | None = (), id: str = ""
) -> Ended:
    """Do one job and write what it leaves. Whatever goes wrong is the job's, and ends nothing else.

    Args:
        spare: see `keep_samples`.
        id: of the result, in place of one of its own: a job whose result is there is not done again.
    """
    path = None
    try:
        path = result_with(id, leave.out) if id else None
        if path is not None:
            check_complete(read_result(path), path)
            return Ended(path)
        evaluated, task = perform(job, options, progress, smoke=leave.smoke, data_dir=leave.data_dir)
        result = evaluated.result.model_copy(update={"id": id}) if id else evaluated.result
        path = _written(result, leave.out, once=bool(id))
        progress.note(f"Written to {path}")
        samples_beside(replace(evaluated, result=result), task, path, leave.samples, progress, spare)
        check_complete(result, path)
    except Exception as error:  # whatever it is, it is this job's
        return Ended.by(error, path)
    return Ended(path)


def result_with(id: str, out: Path) -> Path | None:
    """The file of the result of this id below a folder of results; None: there is none."""
    return next(out.glob(f"*/*/{id}.json"), None)


def _written(result: Result, out: Path, *, once: bool) -> Path:
    """Write a result; with `once`, another process may have done the same job meanwhile: its result stays."""
    try:
        return write_result(result, out)
    except UsageError:
        if once and result_path(result, out).is_file():
            return result_path(result, out)
        raise


def samples_beside(
    evaluated: Evaluated, task: Task, path: Path, limit: int, progress: Progress, spare: Collection[str] | None = ()
) -> None:
    """Keep the samples of a generator, up to `limit` MB, or say why not: the result is there already, and it is what
    was asked for."""
    if not limit or evaluated.session is None:  # the samples of files are at hand
        return
    try:
        written = keep_samples(evaluated.result, evaluated.pair, task, path, limit * 1e6, spare)
        progress.note(f"The samples of repetition 0 are {written}; `simbench clean` removes them.")
    except TooLargeError:
        progress.note(f"The samples are not kept: they take more than {limit} MB (--samples-limit).")
    except UsageError as error:
        progress.note(f"The samples are not kept: {error}")


def check_complete(result: Result, path: Path) -> None:
    """Raises NothingMeasuredError where a primary metric has no value; the result is at `path`."""
    if result.status != "complete":
        failed = [f"{m.key}: {m.error}" for m in result.measurements if m.value is None and m.status != "skipped"]
        raise NothingMeasuredError(
            "a primary metric of the task has no value",
            got=printable("; ".join(failed), 500),
            fix=f"The reasons are in {path}.",
        )
