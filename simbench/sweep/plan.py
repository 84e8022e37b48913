"""The plan of a sweep: a TOML file becomes steps, each with an identity by which its result is found again."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from simbench.core.errors import UsageError
from simbench.core.files import file_sha256, read_bytes, safe_name
from simbench.core.parameters import signature_of
from simbench.core.plugins import did_you_mean
from simbench.core.specs import source_sha256
from simbench.core.text import printable
from simbench.core.version import __version__
from simbench.evaluation.devices import read_timing
from simbench.evaluation.evaluate import Options
from simbench.evaluation.jobs import SAMPLES, Job, Leave
from simbench.generators.resolve import PREFIXES, find
from simbench.results.schema import StrictRecord, first_error
from simbench.tasks import DEFAULT, get_task
from simbench.training.command import PLAN_FIELDS
from simbench.training.loop import WEIGHTS

MAX_TOML = 2**20
MOST_STEPS = 100_000

Text = Annotated[str, Field(min_length=1, max_length=500)]
Count = Annotated[int, Field(ge=1, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Value = bool | int | FiniteFloat | str


class JobsTable(StrictRecord):
    """`[[jobs]]`: every generator on every task with every seed, preset and combination of parameters.

    Attributes:
        generators, tasks: as `--generator` and `--task` of `simbench run`.
        names: what tables call the generators; none, or one for each.
        seeds: root seeds of the runs; with `train`, of the trainings.
        presets: sizes of the models, and of their trainings; empty: the generator's own.
        params: constructor arguments; a list is as many values.
        train: train each first, and measure it with the weights that come out.
        steps: of the training, in place of the preset's.
    """

    generators: list[Text] = Field(min_length=1)
    tasks: list[Text] = Field([DEFAULT], min_length=1)
    names: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field([])
    seeds: list[Seed] = Field([0], min_length=1)
    presets: list[Text] = Field([])
    params: dict[str, Value | Annotated[list[Value], Field(min_length=1)]] = Field({})
    train: bool = False
    steps: Count | None = None

    @property
    def values(self) -> dict[str, list[str]]:
        """The values of each parameter, as they are typed after `--param`."""
        listed = {key: value if isinstance(value, list) else [value] for key, value in self.params.items()}
        return {key: [_typed(value) for value in values] for key, values in listed.items()}

    @property
    def size(self) -> int:
        """How many runs these are."""
        counts = [len(self.generators), len(self.tasks), len(self.seeds), len(self.presets) or 1]
        return math.prod([*counts, *(len(values) for values in self.values.values())])


class RunTable(StrictRecord):
    """`[run]`: the options of `simbench run` that all runs have in common, by the same names."""

    events: Count | None = None
    repetitions: Count = 1
    devices: str = "auto"
    batches: list[Count] = Field([])
    precision: str = "fp32"
    compile: bool = False
    block_size: Count | None = None
    monte_carlo: str | None = None
    timing: bool = True
    smoke: bool = False
    fast: bool = False
    definitions: str = "simbench"
    metrics: str = ""

    def options(self, command: str = "") -> Options:
        """As `evaluate` takes them, on the machine that will do the work.

        Raises:
            UsageError: a device or precision that is not there, or what makes no sense.
        """
        batches = ",".join(map(str, self.batches)) or None
        return Options(
            events=self.events,
            repetitions=self.repetitions,
            **read_timing(self.devices, batches, self.precision, self.compile),
            fast=self.fast,
            definitions=self.definitions,
            metrics=self.metrics,
            command=command,
            monte_carlo=None if self.monte_carlo is None else Path(self.monte_carlo),
            block_size=self.block_size,
            timed=self.timing,
        )

    def words(self) -> list[str]:
        """As they are typed after `simbench run`."""
        words = []
        for name, value in self.model_dump(exclude_defaults=True).items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            else:
                words += [f"--{option}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
        return words


class ClusterTable(StrictRecord):
    """`[cluster]`: where the work is done. One worker does one job at a time, on cores of its own.

    Attributes:
        kind: `local`, this machine; `slurm`, `htcondor` or `pbs`: through dask-jobqueue.
        scheduler: the address of a Dask scheduler that runs already; nothing is started then.
        workers: how many; of a batch system, as many of its jobs.
        cores: of each worker; None: all cores of this machine, shared out; of a batch system 1.
        memory: of each worker (`8GB`): one that takes more is stopped. A batch system must be told.
        options: of the class of dask-jobqueue, as they are (`queue`, `account`, `walltime`, `job_extra_directives`).
    """

    kind: Literal["local", "slurm", "htcondor", "pbs"] = "local"
    scheduler: Text | None = None
    workers: Annotated[int, Field(ge=1, le=10_000)] = 1
    cores: Annotated[int, Field(ge=1, le=1024)] | None = None
    memory: Text | None = None
    options: dict[str, Any] = Field({})


class Plan(StrictRecord):
    """A whole plan."""

    jobs: list[JobsTable] = Field(min_length=1)
    run: RunTable = RunTable()
    cluster: ClusterTable = ClusterTable()


@dataclass(frozen=True)
class Training:
    """One training: what `simbench train` takes. Plain text, as `Job` is."""

    generator: str
    task: str
    params: Mapping[str, str]
    preset: str
    seed: int
    steps: int | None
    folder: str

    def __str__(self) -> str:
        params = ", ".join(f"{key}={value}" for key, value in {**self.params, "seed": self.seed}.items())
        return printable(f"training of {self.generator} ({params}, {self.preset}) on {self.task}", 300)


@dataclass(frozen=True)
class Step:
    """A job with its identity, and that of the training that it has to wait for."""

    key: str
    job: Job | Training
    after: str = ""

    def __str__(self) -> str:
        return str(self.job)


@dataclass(frozen=True)
class Asked:
    """What all steps have in common. `folder` is where they work: relative paths begin there."""

    run: RunTable
    leave: Leave
    folder: str

    def command(self, job: Job | Training) -> str:
        """The one command that does a job alone."""
        verb = ["run", "--generator"] if isinstance(job, Job) else ["train"]
        words = ["simbench", *verb, job.generator, "--task", job.task]
        for key, value in job.params.items():
            text = f'"{value}"' if "," in value else value
            words += ["--param", f"{key}={text}"]
        words += [] if job.seed is None else ["--seed", str(job.seed)]
        if isinstance(job, Training):
            words += ["--preset", job.preset, *([] if job.steps is None else ["--steps", str(job.steps)])]
            return shlex.join([*words, "--out", job.folder])
        words += [] if job.label is None else ["--name", job.label]
        return shlex.join([*words, *self.run.words()])

    def options(self, job: Job) -> Options:
        """The options of a run, whose record holds its command. Raises UsageError."""
        return self.run.options(self.command(job))


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        DataError: the file is missing or too large.
        UsageError: it is not TOML, or asks for what does not exist.
    """
    data = read_bytes(path, MAX_TOML, "docs/sweep.md shows a plan.")
    try:
        found = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML", got=printable(str(error), 200)) from error
    try:
        return Plan.model_validate(found)
    except ValidationError as error:
        strangers = [each["loc"] for each in error.errors(include_url=False) if each["type"] == "extra_forbidden"]
        if strangers:
            raise _unknown_key(path, *strangers[0]) from error
        place, said = first_error(error)
        raise UsageError(f"{path}: {place} is wrong", **said, fix="docs/sweep.md lists the keys.") from error


def _unknown_key(path: Path, *place: int | str) -> UsageError:
    tables: dict[str, type[BaseModel]] = {"jobs": JobsTable, "run": RunTable, "cluster": ClusterTable}
    known = list((tables[str(place[0])] if len(place) > 1 else Plan).model_fields)
    table, name = ".".join(map(str, place[:-1])) or "the plan", str(place[-1])[:80]
    what, expected = f"{path}: {table} has no key {name!r}", f"one of {', '.join(known)}"
    return UsageError(what, expected=expected, fix=did_you_mean(name, known))


def steps_of(plan: Plan, trainings: Path, data_dir: Path | None = None) -> list[Step]:
    """The steps that a plan asks for: runs, and before each of them its training, if it has one.

    Args:
        trainings: the folder of folders in which models are trained.

    Raises:
        UsageError: a generator, task, preset or parameter that is not there; too many steps, or one twice.
        GeneratorError, DataError: a generator or a task cannot be imported.
    """
    size = sum(table.size for table in plan.jobs)
    if size > MOST_STEPS:
        what, fix = "the plan asks for too many runs", "Make several plans of it."
        raise UsageError(what, got=str(size), expected=f"at most {MOST_STEPS}", fix=fix)
    sources = _Sources(data_dir)
    steps: dict[str, Step] = {}
    for table in plan.jobs:
        for step in _steps_of_table(table, plan.run, trainings, sources):
            if step.key in steps and isinstance(step.job, Job):
                raise UsageError("a run is asked for twice", got=str(step), fix="Give each value once.")
            steps[step.key] = step
    return list(steps.values())


def _steps_of_table(table: JobsTable, run: RunTable, trainings: Path, sources: _Sources) -> Iterator[Step]:
    if table.names and len(table.names) != len(table.generators):
        got = f"{len(table.names)} for {len(table.generators)}"
        raise UsageError("names go with generators", got=got, fix="Give one for each, in the same order.")
    if not table.train and table.steps is not None:
        raise UsageError("`steps` are those of a training", got=f"steps = {table.steps}", fix="Set train = true.")
    presets: list[str | None] = [*table.presets] or [None]
    for generator in table.generators:
        _check_parameters(generator, table, sources)
    for (place, generator), task, preset, seed in itertools.product(
        enumerate(table.generators), table.tasks, presets, table.seeds
    ):
        accepted = sources.parameters(generator)
        label = table.names[place] if table.names else None
        for values in itertools.product(*table.values.values()):
            params = dict(zip(table.values, values, strict=True))
            of_model = params | ({} if preset is None else {"preset": preset})
            if not table.train:
                job = Job(generator, task, of_model, label, seed)
                yield Step(f"sweep-{_identity(job, run, sources.of(generator, task, params.get('weights')))}", job)
                continue
            training = _training(Training(generator, task, params, preset or "cpu", seed, table.steps, ""), sources)
            folder = trainings / training.folder
            given = {key: value for key, value in of_model.items() if key in accepted or key not in PLAN_FIELDS}
            bare = Job(generator, task, given | {"weights": training.folder}, label, 0)
            key = f"sweep-{_identity(bare, run, sources.of(generator, task))}"
            yield Step(training.folder, replace(training, folder=str(folder)))
            yield Step(key, replace(bare, params=given | {"weights": str(folder / WEIGHTS)}), training.folder)


def _check_parameters(generator: str, table: JobsTable, sources: _Sources) -> None:
    """Refuse parameters that a generator does not take, as long as nothing has been done. Raises UsageError."""
    accepted = sources.parameters(generator)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        return
    for name in [*table.params, *(["preset"] if table.presets else [])]:
        if name not in accepted and not (table.train and name in PLAN_FIELDS):
            known = f"one of {', '.join(accepted)}" if accepted else "none"
            fix = did_you_mean(name, accepted) or ("Leave out `presets`." if name == "preset" else "")
            raise UsageError(f"{generator} has no parameter {name!r}", expected=known, fix=fix)


def _training(training: Training, sources: _Sources) -> Training:
    """A training with the name of its folder, which is its identity."""
    if "weights" in training.params or "weights" not in sources.parameters(training.generator):
        what, expected = f"{training.generator} cannot be trained and measured", "a generator that takes `weights`"
        got = "a given file of weights" if "weights" in training.params else "no parameter `weights`"
        raise UsageError(what, got=got, expected=expected, fix="Leave out `train`, or see docs/sweep.md.")
    identity = _identity(training, None, sources.of(training.generator, training.task))
    name = training.generator.rpartition(":")[2]
    return replace(training, folder=safe_name(f"{name}-{training.task}-{training.seed}-{identity}"))


def _identity(job: Job | Training, run: RunTable | None, source: Mapping[str, Any]) -> str:
    """16 hexadecimal digits: the same for the same job of the same sources with the same options."""
    asked = {} if run is None else run.model_dump()
    text = json.dumps({"job": asdict(job), "run": asked, "source": source}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Sources:
    """What jobs are made from: each generator and task of a plan is imported once."""

    def __init__(self, data_dir: Path | None) -> None:
        self.target = functools.cache(find)
        self.task = functools.cache(lambda spec: get_task(spec, data_dir))

    def parameters(self, generator: str) -> Mapping[str, Parameter]:
        """A generator's constructor arguments by name. Raises UsageError, GeneratorError as `find`."""
        return {} if generator.startswith(SAMPLES) else signature_of(self.target(generator).value)

    def of(self, generator: str, task: str, weights: str | None = None) -> dict[str, str | None]:
        """Versions and checksums of all that a job is made from. Raises as `find` and `get_task`."""
        found = self.task(task)
        sources = {"simbench": __version__, "task": f"{found.name} {found.version}", "task file": source_sha256(found)}
        prefix, _, rest = generator.partition(":")
        if prefix in PREFIXES:
            sources |= {"generator file": _checksum(rest)}
        else:
            target = self.target(generator)
            sources |= {"generator": target.version, "generator file": source_sha256(target.value)}
        return sources | ({} if weights is None else {"weights": _checksum(weights)})


def _checksum(path: str) -> str | None:
    try:
        return file_sha256(Path(path))
    except OSError:  # the job will say what is wrong with it
        return None


def _typed(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
