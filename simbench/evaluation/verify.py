"""Whether a submitted result is what its events score: they are made again, or read, scored again and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simbench.core.errors import DataError, UsageError
from simbench.core.events import Events
from simbench.core.progress import Progress
from simbench.evaluation.equivalent import equivalent_events
from simbench.evaluation.evaluate import Options, generator_record, open_session, sample_repetitions, samples_sha256
from simbench.evaluation.scoring import measure_all
from simbench.generators.resolve import resolve_again
from simbench.metrics.base import Comparison
from simbench.metrics.registry import metrics
from simbench.results.comparable import Basis, generator_changes
from simbench.results.schema import EquivalentEvents, Measurement, Result, read_result
from simbench.samples.repetitions import read_pair
from simbench.tasks.base import Task

RELATIVE, OF_ERROR = 1e-4, 0.05
"""Two values of a deterministic metric agree to this share of the value, plus this share of its standard error:
float32 on another processor moves a feature in the seventh digit, and a nearest neighbour or two."""


@dataclass(frozen=True)
class Verified:
    """A number of a result against the same number of the samples. `agrees` is None where it is not compared."""

    key: str
    submitted: float | None
    again: float | None
    agrees: bool | None


@dataclass(frozen=True)
class Verification:
    """All numbers compared.

    Attributes:
        compared: every metric of every repetition that there are samples of, and whatever else of them differs.
        samples: for each of these repetitions, whether the events have the checksum of the result.
        whole: whether these are all repetitions.
        changes: what changed in the generator since, where it was run again.
    """

    compared: list[Verified]
    samples: list[bool]
    whole: bool
    changes: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """What differs, each once."""
        other = [f"samples of repetition {place}" for place, same in enumerate(self.samples) if not same]
        return list(dict.fromkeys([*other, *(one.key for one in self.compared if one.agrees is False)]))


def verify(
    entry: Path, samples: Sequence[Path], task: Task, progress: Progress, *, device: str = "cpu"
) -> Verification:
    """Score the events of a result again and compare: those of the files, file k with repetition k. Without files the
    recorded generator is run again, which runs its code. Nothing is timed: speeds are not verified.

    Raises:
        DataError: the entry or a file cannot be read or is of another task or other data, there are more files than
            repetitions, or the generator no longer takes its parameters.
        UsageError: the result was made of files, so that there is nothing to run.
        GeneratorError: the samples are not events of the task, or the generator cannot be used.
    """
    result = read_result(entry)
    if result.task.name != task.name:
        raise DataError(f"{entry} is of another task", got=result.task.name, expected=task.name)
    changes: list[str] = []
    if samples:
        pairs = _read(entry, result, samples, task)
        _check_data(entry, result, task, pairs[0].reference)
    else:
        pairs, changes = run_again(entry, result, task, progress, device)
    recorded = [*result.samples_sha256, *[None] * len(pairs)]
    same = [samples_sha256(pair.generated.samples) == sha for pair, sha in zip(pairs, recorded, strict=False)]
    whole = len(pairs) == result.spec.repetitions
    return Verification(list(_compared(result, pairs, task, whole, progress)), same, whole, changes)


def _check_data(entry: Path, result: Result, task: Task, reference: Events) -> None:
    """Refuse a result that was scored against other data than there are here, before anything is run or scored."""
    here = Basis.of(task.record(reference), result.spec.definitions)
    for name, mine, theirs in here.unlike(Basis.of(result.task, result.spec.definitions)):
        raise DataError(
            f"{entry} was scored against another {name}",
            got=str(theirs),
            expected=str(mine),
            fix="Verify it with the version of simbench, and the samples, that it was made with.",
        )


def _read(entry: Path, result: Result, samples: Sequence[Path], task: Task) -> list[Comparison]:
    if len(samples) > result.spec.repetitions:
        raise DataError(
            f"{entry} has fewer repetitions than there are files",
            got=f"{len(samples)} files",
            expected=f"at most {result.spec.repetitions}",
        )
    pairs = [read_pair(path, task)[1] for path in samples]
    for path, pair in zip(samples, pairs, strict=True):
        if len(pair) != result.task.events:
            raise DataError(
                f"{path} holds another number of events than were scored",
                got=str(len(pair)),
                expected=str(result.task.events),
            )
    return pairs


def run_again(
    entry: Path, result: Result, task: Task, progress: Progress, device: str = "cpu"
) -> tuple[list[Comparison], list[str]]:
    """The events of the recorded generator, made again, and what changed in it. Raises as `verify`."""
    if result.spec.generator.startswith("samples:"):
        raise UsageError(
            f"{entry} was made of files of samples: there is no generator to run again",
            fix="Pass --samples FILE, once for each repetition.",
        )
    task = task.in_blocks(result.spec.block)
    reference = task.load("test", result.spec.events)
    _check_data(entry, result, task, reference)
    resolved = resolve_again(result.spec.generator, result.generator)
    options = Options(root_seed=result.spec.root_seed, devices=(device,))
    opened = open_session(resolved, task, options, progress)
    pairs = sample_repetitions(opened.session, reference, result.spec.repetitions, progress)
    return pairs, generator_changes(result.generator, generator_record(resolved, opened.preflight))


def _compared(
    result: Result, pairs: Sequence[Comparison], task: Task, whole: bool, progress: Progress
) -> Iterator[Verified]:
    known = metrics()  # what has a newer version now cannot be measured again
    keys = [m.key for m in result.measurements if m.status != "skipped" and m.key in known and not known[m.key].trains]
    with progress.step("scoring", len(keys)) as advance:
        again = measure_all(keys, pairs, task, definitions=result.spec.definitions, on_metric=advance)
    found = {measurement.key: measurement for measurement in again}
    for submitted in result.measurements:
        yield from _metric(submitted, found.get(submitted.key), len(pairs), whole)
    if whole:
        trained = [m for m in result.measurements if m.key not in found]
        reference = pairs[0].reference
        conditions = len(reference.condition_id.unique())
        counts = equivalent_events(task, [*again, *trained], len(reference), conditions)
        yield from _equivalent(result.equivalent_events, counts)


def _metric(submitted: Measurement, again: Measurement | None, repetitions: int, whole: bool) -> Iterator[Verified]:
    for place in range(repetitions):
        before, after = (_at(one, place) for one in (submitted, again))
        yield Verified(submitted.key, before, after, None if again is None else _agree(before, after, again))
    if again is None:
        return
    mine, theirs = (_numbers(one, whole) for one in (again, submitted))
    for name in dict.fromkeys([*mine, *theirs]):
        if not _agree(theirs.get(name), mine.get(name), again):
            yield Verified(f"{submitted.key} {name}", theirs.get(name), mine.get(name), False)


def _at(measurement: Measurement | None, place: int) -> float | None:
    values = measurement.per_repetition if measurement else []
    return values[place] if place < len(values) else None


def _numbers(measurement: Measurement, whole: bool) -> Mapping[str, float | None]:
    """What a board shows, or ranks by, beside the values; `whole`: with what all repetitions make together."""
    kept = measurement.replicates.values if measurement.replicates else []
    single = {
        "stderr": measurement.stderr,
        "floor": measurement.floor,
        "floor_sd": measurement.floor_sd,
        "memoriser": measurement.memoriser,
        **{f"replicate {place}": value for place, value in enumerate(kept)},
    }
    if not whole:
        return single
    parts = {f"part {name}": value for name, value in measurement.parts.items()}
    return {"value": measurement.value, "ratio": measurement.ratio} | single | parts


def _agree(before: float | None, after: float | None, again: Measurement) -> bool:
    if before is None or after is None:
        return before is after
    return abs(before - after) <= RELATIVE * abs(after) + OF_ERROR * (again.stderr or 0.0) + 1e-9


def _equivalent(submitted: EquivalentEvents | None, again: EquivalentEvents | None) -> Iterator[Verified]:
    """The equivalent events: every count of every aspect, and which of them is the headline."""
    before, after = ({c.aspect: c for c in found.counts} if found else {} for found in (submitted, again))
    for aspect in dict.fromkeys([*after, *before]):
        one, other = before.get(aspect), after.get(aspect)
        agrees = one is not None and other is not None and (one.bound, one.metric) == (other.bound, other.metric)
        ends = [(getattr(one, name, None), getattr(other, name, None)) for name in ("value", "low", "high", "scored")]
        agrees = agrees and all(a == b or (a and b and abs(a - b) <= OF_ERROR * abs(b)) for a, b in ends)
        if submitted and again:
            agrees = agrees and submitted.worst == again.worst
        yield Verified(
            f"equivalent events {aspect}", one.value if one else None, other.value if other else None, bool(agrees)
        )
