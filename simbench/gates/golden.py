"""The golden file: what a generator scored when somebody last looked, with the spread that decides what counts as a
change.

`simbench gate --update --reason "..."` is its only writer: a checksum refuses edits by hand, and what was golden once
stays in the history.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from simbench.core.errors import DataError, NothingMeasuredError, UsageError
from simbench.core.files import read_bytes, replace_text
from simbench.metrics.direction import Direction, Way
from simbench.results.schema import GeneratorRecord, Result, Short, Spec, StrictRecord, TaskRecord, first_error
from simbench.results.words import ask_repetitions

SCHEMA: Literal["simbench.golden/1"] = "simbench.golden/1"
MEND = "Golden files are not edited by hand: restore it from git, then use `simbench gate --update --reason`."
MIN_REPETITIONS = 10
"""Fewer repetitions say too little of the spread: the interval of 5 is 1.7 times as wide."""

ROUNDING = 1e-5
"""Relative spread of arithmetic in float32. It stands in for the measured spread where that is smaller: a generator
that ignores its seed repeats its score to the last digit, yet another machine does not."""


class GoldenValue(StrictRecord):
    """One metric of a golden entry. Mean and spread follow from the repetitions; nobody types a tolerance.

    `stderr` is the sampling error of one run, for a score that is the same in all repetitions by chance alone: a share
    of rare events. A generator that ignores its seed has none.
    """

    metric: Short
    version: Short
    unit: Short
    direction: Way
    target: FiniteFloat | None
    stderr: FiniteFloat | None
    per_repetition: Annotated[list[FiniteFloat], Field(min_length=MIN_REPETITIONS, max_length=10_000)]

    @model_validator(mode="after")
    def _target_belongs_to_its_direction(self) -> Self:
        Direction.of(self).check(self.key)
        return self

    @property
    def key(self) -> str:
        """`name/version`."""
        return f"{self.metric}/{self.version}"

    @property
    def mean(self) -> float:
        """The golden value."""
        return fmean(self.per_repetition)

    @property
    def spread(self) -> float:
        """Standard deviation of one repetition."""
        mean = self.mean
        rounding = ROUNDING * abs(mean)
        measured = math.sqrt(math.fsum((x - mean) ** 2 for x in self.per_repetition) / (len(self.per_repetition) - 1))
        if measured <= rounding and self.stderr is not None:
            return max(self.stderr, rounding)
        return max(measured, rounding)


class GoldenEntry(StrictRecord):
    """The scores of one run, with who made them, when, and why they became golden."""

    written: AwareDatetime
    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    result: Short
    simbench: Short
    spec: Spec
    task: TaskRecord
    generator: GeneratorRecord
    values: Annotated[list[GoldenValue], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _no_value_twice(self) -> Self:
        if len({value.key for value in self.values}) != len(self.values):
            raise ValueError("a metric is there twice")
        return self


class Golden(StrictRecord):
    """A golden file, format `simbench.golden/1`. `history` holds the entries that were current before, oldest first."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal["simbench.golden/1"] = Field(SCHEMA, alias="schema")
    current: GoldenEntry
    history: list[GoldenEntry]
    sha256: Short

    def to_json(self) -> str:
        """The file's text."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def checksum(text: str | bytes) -> str:
    """The checksum of a golden file's text but itself: a field that is younger than the file changes nothing."""
    content = json.loads(text)
    content.pop("sha256", None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_golden(path: Path) -> Golden:
    """Read a golden file, trusting nothing in it. Raises DataError where it is missing, damaged or edited by hand."""
    make = '`simbench gate --generator SPEC --golden FILE --update --reason "..."` makes one.'
    fix = f"Pass the file of golden values; {make}"
    data = read_bytes(path, fix=fix)
    if not data.strip():
        raise DataError(f"{path} is no golden file", got="an empty file", fix=fix)
    try:
        golden = Golden.model_validate_json(data)
    except ValidationError as error:
        where, found = first_error(error)
        wrong = f": the field {where!r} is wrong" if where else ""
        was_one = SCHEMA.encode() in data and where != "schema"
        raise DataError(f"{path} is no golden file{wrong}", **found, fix=MEND if was_one else fix) from error
    if golden.sha256 != checksum(data):
        raise DataError(f"{path} was edited by hand: its checksum does not fit", fix=MEND)
    return golden


def check_reason(reason: str) -> None:
    """Refuse an update without a reason. Raises UsageError."""
    if not reason.strip():
        raise UsageError("golden values change for a reason", fix='Say it: --reason "retrained with twice the steps".')


def update_golden(path: Path, result: Result, reason: str) -> Golden:
    """Make the ranking scores of `result` golden, keeping what was golden before; the one writer of golden files.

    Raises:
        UsageError: no reason, too few repetitions, a ranking metric that failed, or a file that cannot be written.
        DataError: the file is damaged, or of another task or generator.
        NothingMeasuredError: the result has no ranking score.
    """
    check_reason(reason)
    old = read_golden(path) if path.exists() else None
    entry = GoldenEntry(
        written=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
        reason=reason.strip()[:2000],
        result=result.id,
        simbench=result.provenance.simbench,
        spec=result.spec,
        task=result.task,
        generator=result.generator,
        values=_values(result),
    )
    if old is not None:
        kept, found = (f"{e.generator.name} on {e.task.name}" for e in (old.current, entry))
        if kept != found:
            raise DataError(
                f"{path} belongs to another generator or task", got=found, expected=kept, fix="Choose another file."
            )
    golden = Golden(current=entry, history=[*old.history, old.current] if old else [], sha256="")
    golden = golden.model_copy(update={"sha256": checksum(golden.to_json())})
    replace_text(path, golden.to_json())
    return golden


def _values(result: Result) -> list[GoldenValue]:
    """The scores that are gated: those that rank."""
    ranking = [m for m in result.measurements if m.ranks and m.status != "skipped"]
    failed = [m.key for m in ranking if m.value is None]
    if len(failed) == len(ranking):
        raise NothingMeasuredError("the result has no ranking score to make golden")
    if failed:
        raise UsageError(
            "a ranking metric failed and would never be gated", got=", ".join(failed), fix="Mend it first."
        )
    repetitions = min(len(m.per_repetition) for m in ranking)
    if repetitions < MIN_REPETITIONS:
        raise UsageError(
            "the spread of a golden value is measured, not guessed",
            got=f"{repetitions} repetitions",
            expected=f"at least {MIN_REPETITIONS}",
            fix=f"For that, {ask_repetitions(result, MIN_REPETITIONS)}.",
        )
    names = ("metric", "version", "unit", "direction", "target", "per_repetition")
    return [
        GoldenValue(
            **{name: getattr(m, name) for name in names},
            stderr=None if result.generator.stochastic is False else m.stderr,
        )
        for m in ranking
    ]
