"""The Result: one JSON file per run, with its provenance; written whole or not at all, and never overwritten."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from simbench.core.errors import DataError
from simbench.core.files import read_bytes, safe_name, write_new
from simbench.metrics.direction import Way

SCHEMA: Literal["simbench.run/1"] = "simbench.run/1"
NO_TASK = "no-task"
"""The name in the place of a task's, where one file of samples was held against another."""

Count = Annotated[int, Field(ge=0)]
Short = Annotated[str, Field(max_length=500)]
Plain = bool | int | FiniteFloat | Short | None
Parameters = dict[str, Plain]


class StrictRecord(BaseModel):
    """A record of a file format: unknown fields and converted types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def first_error(error: ValidationError) -> tuple[str, dict[str, str]]:
    """The first wrong field of a file (empty: the whole), and what a SimbenchError says of it: got, expected."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return "", {"got": str(first["ctx"]["error"]), "expected": "JSON"}
    return ".".join(map(str, first["loc"])), {"got": repr(first["input"])[:80], "expected": first["msg"]}


class Spec(StrictRecord):
    """What was asked for. `metrics` are the keys that were chosen; None: those of the task. `label` is what tables call
    the generator; None: its own name.

    `block` is the number of events of a scoring block, the task's own unless `--block-size` took another.
    """

    task: Short
    generator: Short
    root_seed: int
    repetitions: Count
    events: Count
    block: Annotated[int, Field(ge=1)]
    dtype: Short
    definitions: Short
    metrics: list[Short] | None = None
    label: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class TaskRecord(StrictRecord):
    """The data: `scored_sha256` is of what was scored against (test and floor), `train_sha256` of the training split.

    `features_sha256` is of the network that features were read with. Scores compare where the first and the last are
    equal; what reads the
    training split (memorisation) where all three are.

    `events` are the generated events that were scored: one for each real one, or several (`simbench score --chunk`).

    `source` is what the user typed for a task that no package offers by name (`file.py:Task`), `source_sha256` the
    checksum of its file: scores of two versions of the file do not compare.
    """

    name: Short
    version: Short
    split: Short
    scored_sha256: Short
    train_sha256: Short
    features_sha256: Short | None
    events: Count
    source: Short | None = None
    source_sha256: Short | None = None

    @property
    def absent(self) -> bool:
        """Whether there was no task: a file of samples was held against another, `source`."""
        return self.name == NO_TASK


class GeneratorRecord(StrictRecord):
    """The generator: `deterministic` = the same seed gives the same events; `stochastic` = another seed gives others.
    None: not known.

    `parameters` is what it ran with, defaults included; `given` the arguments that the user gave, to run it again.
    `training_seed` is the seed that its weights were trained with, in the generator's own words; None: it does not say.
    """

    name: Short
    version: Short | None
    parameters: Parameters
    given: Parameters
    weights_sha256: Short | None
    training_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    source_sha256: Short | None
    deterministic: bool | None
    stochastic: bool | None

    @property
    def trained_parameters(self) -> Parameters:
        """The parameters; without the file of weights where `training_seed` says which weights they are."""
        known = self.training_seed is not None
        return {name: value for name, value in self.parameters.items() if not (known and name == "weights")}

    @property
    def configuration(self) -> tuple[Hashable, ...]:
        """What the trainings of one model have in common, and another model has not."""
        return self.name, self.version, *sorted(f"{name}={value!r}" for name, value in self.trained_parameters.items())


class StratumValue(StrictRecord):
    """A metric within one stratum of events."""

    value: FiniteFloat
    stderr: FiniteFloat | None
    n: Count


class Calibrated(StrictRecord):
    """The metric after the generator's photons are multiplied by one factor, measured on validation events."""

    factor: FiniteFloat
    value: FiniteFloat


class ReplicatesRecord(StrictRecord):
    """The metric on resampled events, in a fixed order: what paired differences are made from."""

    kind: Literal["bootstrap", "jackknife"]
    values: Annotated[list[FiniteFloat], Field(max_length=1000)]


class Measurement(StrictRecord):
    """One metric. `value` is the mean over repetitions; `stderr` is from sampling, `sd_repetition` from the generator's
    seed.

    `n` generated events entered it; `subsample_of`: they are a fixed subsample of so many, of which the metric cannot
    take all (`simbench score --chunk`); None: all of them.

    `floor` is the score of independent real events at the same N, `ratio` is value over floor, `memoriser` the score of
    replayed training events, `p` the one-sided normal p-value of being worse than the floor.
    """

    metric: Short
    version: Short
    definition: Short
    status: Literal["ok", "failed", "skipped"]
    value: FiniteFloat | None
    per_repetition: list[FiniteFloat]
    stderr: FiniteFloat | None
    sd_repetition: FiniteFloat | None
    unit: Short
    direction: Way
    target: FiniteFloat | None
    ranks: bool
    n: Count
    subsample_of: Count | None = None
    floor: FiniteFloat | None
    floor_sd: FiniteFloat | None
    floor_n: Count | None
    memoriser: FiniteFloat | None
    ratio: FiniteFloat | None
    p: FiniteFloat | None
    calibrated: Calibrated | None
    replicates: ReplicatesRecord | None = None
    parts: dict[str, FiniteFloat]
    strata: dict[str, StratumValue]
    seconds: FiniteFloat
    error: Annotated[str, Field(max_length=5000)] | None

    @property
    def key(self) -> str:
        """`name/version`."""
        return f"{self.metric}/{self.version}"


class Percentiles(StrictRecord):
    """5th, 50th and 95th percentile over the clock's repeats: each is a call, or several where a call is short."""

    p5: FiniteFloat
    p50: FiniteFloat
    p95: FiniteFloat


class Latency(StrictRecord):
    """Milliseconds of a call for one batch, the mean within a repeat: `batch` over the rates of the same repeats."""

    p50: FiniteFloat
    p95: FiniteFloat


class Throughput(StrictRecord):
    """The speed at one batch size on one device. `host_copy_ms` is not in the calls; `peak_mib`: process or device.

    The calls were for `batch` events, a few more or less; the rates count those really made.
    """

    device: Short
    threads: Count
    batch: Count
    precision: Short
    compiled: bool
    repeats: Count
    events_per_s: Percentiles
    latency_ms: Latency
    first_call_s: FiniteFloat
    host_copy_ms: FiniteFloat
    peak_mib: FiniteFloat | None
    joules_per_event: FiniteFloat | None
    synchronised: bool


class ScoredOn(StrictRecord):
    """Where and how the scored events were made: as the rows of `Throughput` say it."""

    device: Short
    precision: Short
    compiled: bool


class Timing(StrictRecord):
    """What tells whether the timed calls did the work of the scored ones; `simbench.results.timing` judges it.

    Attributes:
        setup_seconds: of the generator's `setup`, which no speed contains.
        scored_seconds, scored_events, scored_threads: of the scored events of all repetitions, by the same clock.
        scored_batch: events of a scoring block.
        scored_block_seconds: median of the whole blocks, without the first, which may compile; None: fewer than two.
        differs_by_seed: timed calls of the same rows gave other events for another seed; None: too few to tell.
        agrees: the timed events are as bright, and as often empty, as the scored ones of the same rows.
        reason: where they are not.
        scored_on: of which rows of the throughput the scored events are; None: of an older version, which knew one way.
    """

    setup_seconds: FiniteFloat
    scored_seconds: FiniteFloat
    scored_events: Count
    scored_threads: Count
    scored_batch: Count
    scored_block_seconds: FiniteFloat | None
    differs_by_seed: bool | None
    agrees: bool
    reason: Short | None
    scored_on: ScoredOn | None = None


class MonteCarloRecord(StrictRecord):
    """What the Monte Carlo cost, and how that was measured."""

    engine: Short
    physics: Short
    cuts: Short
    seconds_per_event: FiniteFloat
    cpu: Short
    threads: Count
    measured: Short


class StratumSpeedup(StrictRecord):
    """Seconds per event within a stratum; `events` of the Monte Carlo. The generator's on one CPU thread, or on the GPU
    that it was scored on."""

    monte_carlo_s: FiniteFloat
    generator_s: FiniteFloat
    events: Count


class Training(StrictRecord):
    """What the training took, in the generator's own words, and how many events it could learn from."""

    seconds: FiniteFloat
    events: Count


class Speedup(StrictRecord):
    """Mean Monte Carlo seconds of the test split over the generator's: at its fastest, and one CPU core against one.

    `strata`: the same by species and energy (`species=neutron`); `training`: None where the generator does not say.
    """

    value: FiniteFloat
    per_core: FiniteFloat | None
    batch: Count
    device: Short
    monte_carlo: MonteCarloRecord
    strata: dict[Short, StratumSpeedup] = Field(default_factory=dict)
    training: Training | None = None


Bound = Literal["exact", "at least", "below"]


class EquivalentCount(StrictRecord):
    """How many real events are as far from the truth as the generator, in one aspect (`channels`, `images`, `per
    particle`).

    `low` and `high` are the 95 % interval; `high` None: no upper end is known. `bound` "at least": nothing but `low` is
    known, or the curve
    ends there. `scored` is the number of real events that were scored against, in the same unit.
    """

    aspect: Short
    metric: Short
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat | None
    bound: Bound
    scored: FiniteFloat


class EquivalentEvents(StrictRecord):
    """The equivalent Monte Carlo events in every aspect; `worst` names the aspect that is furthest below the events
    scored against.

    `engine`: the Monte Carlo that the real events are of; None: they are of none, or the result is older than the word.
    """

    counts: Annotated[list[EquivalentCount], Field(min_length=1)]
    worst: Short
    engine: Short | None = None

    @property
    def headline(self) -> EquivalentCount:
        """The count of the worst aspect."""
        return next(count for count in self.counts if count.aspect == self.worst)


class Provenance(StrictRecord):
    """Where the numbers come from."""

    simbench: Short
    git_sha: Short | None
    git_dirty: bool | None
    python: Short
    packages: dict[str, Short]
    hardware: dict[str, Short]
    host_sha256: Short
    flags: dict[str, Short]
    command: Annotated[str, Field(max_length=10_000)]


class Result(StrictRecord):
    """One run: a generator on a task. This is the file format `simbench.run/1`.

    `samples_sha256` are checksums of the generated events, float32 in the order of the conditions, one a repetition; of
    more events than there are real ones that of their files' checksums.
    """

    schema_: Literal["simbench.run/1"] = Field(SCHEMA, alias="schema")
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,120}$")]
    created: AwareDatetime
    status: Literal["complete", "incomplete"]
    spec: Spec
    task: TaskRecord
    generator: GeneratorRecord
    samples_sha256: list[Short]
    measurements: list[Measurement]
    throughput: list[Throughput]
    # the batch sizes that failed, each with its reason: timing never takes the scores with it
    throughput_error: Annotated[str, Field(max_length=5000)] | None
    timing: Timing | None = None
    speedup: Speedup | None
    # what a file of samples says of its generator's speed, its mean over repetitions: shown, never ranked
    self_reported_seconds: FiniteFloat | None = None
    equivalent_events: EquivalentEvents | None
    warnings: list[Annotated[str, Field(max_length=2000)]]
    provenance: Provenance

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    @property
    def label(self) -> str:
        """What tables, reports and paths call the generator: the label that the user gave it, else its own name."""
        return self.spec.label or self.generator.name

    def measurement(self, key: str) -> Measurement | None:
        """The measurement of `name/version`, or None."""
        return next((m for m in self.measurements if m.key == key), None)

    def to_json(self) -> str:
        """The file's text: numbers are numbers, times are ISO 8601 UTC."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a Result file."""
    return Result.model_json_schema(by_alias=True)


def result_path(result: Result, out: Path) -> Path:
    """Where a result belongs: `<out>/<task>/<label>/<id>.json`."""
    return out / safe_name(result.task.name) / safe_name(result.label) / f"{result.id}.json"


def write_result(result: Result, out: Path) -> Path:
    """Write a result below `out`; returns its path. A result that cannot be written is an error, never a warning."""
    path = result_path(result, out)
    write_new(path, result.to_json())
    return path


PASS_RESULT = "Pass the JSON file that `simbench run` wrote."
RUN_AGAIN = "Results are not edited by hand: run again."


def read_result(path: Path, *, of_many: bool = False) -> Result:
    """Read a result file, trusting nothing in it. `of_many`: see `parse_result`.

    Raises:
        DataError: missing, too large, not JSON, or not of the schema; the message names the first field that is wrong.
    """
    return parse_result(read_bytes(path, fix=PASS_RESULT), path, of_many=of_many)


@contextlib.contextmanager
def many_results() -> Iterator[None]:
    """Pause the garbage collector while results, which hold no cycles, are read by the thousand: half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class GeneratorSpeeds(StrictRecord):
    """The speeds of one generator."""

    generator: GeneratorRecord
    throughput: list[Throughput]


class Speeds(StrictRecord):
    """The file that `simbench bench --out` leaves: speeds of generators on one machine, without scores."""

    schema_: Literal["simbench.speeds/1"] = Field("simbench.speeds/1", alias="schema")
    task: Short
    task_version: Short
    speeds: list[GeneratorSpeeds]
    provenance: Provenance


def parse_result(data: bytes, path: Path, *, of_many: bool = False) -> Result:
    """The Result in the bytes of a file; `path` is for messages. JSON is parsed and validated in one pass.

    A name that an object gives twice is refused, for readers of JSON differ in which they take; `of_many` leaves that
    out, which takes longer than all else together: no entry comes onto a board without it.

    Raises:
        DataError: not JSON, or not of the schema.
    """
    try:
        result = Result.model_validate_json(data)
        if not of_many:
            json.loads(data, object_pairs_hook=lambda pairs: _no_name_twice(pairs, path))
        return result
    except ValidationError as error:
        _explain(data, path)
        where, found = first_error(error)
        raise DataError(f"{path}: the field {where!r} is wrong", **found, fix=RUN_AGAIN) from error


def _no_name_twice(pairs: list[tuple[str, Any]], path: Path) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: the field {twice[:80]!r} is there twice", fix=RUN_AGAIN)


def _explain(data: bytes, path: Path) -> None:
    """Say what bytes that are no Result are, where that can be said of the whole. Raises DataError."""
    try:
        schema = json.loads(data.decode("utf-8")).get("schema")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read", got=str(error), fix=PASS_RESULT) from error
    except (ValueError, RecursionError, AttributeError) as error:
        got = str(error)[:200] or "deep nesting" if data.strip() else "an empty file"
        raise DataError(f"{path} is not a result", got=got, expected="a JSON object", fix=PASS_RESULT) from error
    if schema != SCHEMA:
        raise DataError(
            f"{path} is not a result of this version",
            expected=f"schema {SCHEMA!r}",
            fix=PASS_RESULT,
            got="no schema" if schema is None else f"schema {str(schema)[:80]!r}",
        )
