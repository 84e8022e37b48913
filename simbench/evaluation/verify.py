"""Whether a submitted result is what its samples score: they are scored again and the metrics compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simbench.core.errors import DataError
from simbench.core.progress import Progress
from simbench.evaluation.evaluate import Options, score_files
from simbench.results.schema import Measurement, Result, read_result
from simbench.tasks.base import Task

TRAINED = frozenset({"classifier_auc"})
"""Metrics that train a network, whose last digits depend on the machine: shown, not compared."""

RELATIVE, OF_ERROR = 1e-4, 0.05
"""Two values of a deterministic metric agree to this share of the value, plus this share of its standard error:
float32 on another processor moves a feature in the seventh digit, and a nearest neighbour or two."""


@dataclass(frozen=True)
class Verified:
    """A metric of a result against the same metric of the samples. `agrees` is None where it is not compared."""

    key: str
    submitted: float | None
    again: float | None
    agrees: bool | None


def verify(entry: Path, samples: Sequence[Path], task: Task, progress: Progress) -> list[Verified]:
    """Score the samples of an entry again and compare every metric of the entry: file k with its repetition k.

    Raises:
        DataError: the entry or a file cannot be read or is of another task, or there are more files than repetitions.
        GeneratorError: the samples are not events of the task.
    """
    result = read_result(entry)
    if result.task.name != task.name:
        raise DataError(f"{entry} is of another task", got=result.task.name, expected=task.name)
    if len(samples) > result.spec.repetitions:
        what = f"{entry} has fewer repetitions than there are files"
        raise DataError(what, got=f"{len(samples)} files", expected=f"at most {result.spec.repetitions}")
    compared = []
    for repetition, path in enumerate(samples):
        again = score_files([path], task, Options(definitions=result.spec.definitions), progress).result
        if again.task.events != result.task.events:
            what = f"{path} holds another number of events than were scored"
            raise DataError(what, got=str(again.task.events), expected=str(result.task.events))
        compared += [_compare(measurement, again, repetition) for measurement in result.measurements]
    return compared


def _compare(submitted: Measurement, again: Result, repetition: int) -> Verified:
    found = again.measurement(submitted.key)
    before = submitted.per_repetition[repetition] if repetition < len(submitted.per_repetition) else None
    after = found.value if found is not None else None
    if submitted.metric in TRAINED or submitted.status == "skipped":
        return Verified(submitted.key, before, after, None)
    if before is None or after is None:
        return Verified(submitted.key, before, after, before is after)
    room = RELATIVE * abs(after) + OF_ERROR * ((found.stderr if found else None) or 0.0) + 1e-9
    return Verified(submitted.key, before, after, abs(before - after) <= room)
