"""Samples of one file against those of another, without a task: what they are is known from the files alone.

Rows are paired by their conditions: by `conditions` (N, C), else by `condition_index`, else any with any. Where the
other file holds two events or more of each condition that both have, one half of it is what is scored against and the
other half gives the floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.containers import opened
from simbench.core.errors import DataError
from simbench.core.events import Events, checksum
from simbench.core.files import file_sha256
from simbench.core.progress import Progress
from simbench.core.text import count
from simbench.metrics.base import Comparison
from simbench.results.schema import NO_TASK
from simbench.samples.files import SampleSet, as_float32, integer_of, seconds_of, text_of
from simbench.samples.repetitions import check_repetition
from simbench.tasks.base import Split, Task

MAX_FILE = 4 * 2**30
"""Bytes of a file, and of what is in it."""
MOST = 10_000
"""Events that are scored: as many as tasks have. Of more, each condition gives its share."""
METRICS = (
    *("energy_distance/1", "class_energy/1", "diversity_ratio/1", "classifier_low/2"),
    *("precision/1", "recall/1", "density/1", "coverage/1", "sinkhorn/1", "exact_ot/1"),
)
"""What knows nothing of physics: distances and neighbours in the values themselves."""
FIX = "Write both files alike, or score each against a task."

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class BareSamples:
    """A file of samples, as far as it can be read without a task.

    Attributes:
        samples: (N, *shape) float32.
        conditions: (N, C) float64 under the name `kind`; C is 0 and `kind` empty where the file has none.
        unit, task: as the file says, if it does.
        others: what else the file says, for a SampleSet.
    """

    path: Path
    samples: Tensor
    kind: str
    conditions: NDArray[np.float64]
    unit: str | None
    task: str | None
    sha256: str
    generator: str | None
    seed: int | None
    seconds_per_event: float | None

    def answering(self, rows: Rows, index: Tensor) -> SampleSet:
        """The samples at `rows`, which answer the rows `index` of another file."""
        return SampleSet(
            index=index,
            samples=self.samples[torch.from_numpy(rows)],
            generator=self.generator or self.path.stem,
            seed=self.seed,
            sha256=self.sha256,
            named=self.generator is not None,
            seconds_per_event=self.seconds_per_event,
        )


def read_bare(path: Path) -> BareSamples:
    """Read a file of samples without a task, trusting nothing in it. Raises DataError."""
    with opened(path, MAX_FILE) as source:
        shape = source.shape("samples")
        if shape is None or len(shape) < 2 or 0 in shape:
            got = "no `samples`" if shape is None else f"`samples` of shape {shape}"
            raise DataError(f"{path} holds no samples", got=got, expected="an array (N, ...) of events")
        if 8 * int(np.prod([float(size) for size in shape])) > MAX_FILE:
            raise DataError(f"{path} holds too many samples", got=str(shape), expected=f"at most {MAX_FILE} bytes")
        samples = as_float32(source.read("samples"))
        kind = next((key for key in ("conditions", "condition_index") if source.shape(key) is not None), "")
        found = source.shape(kind) if kind else (shape[0], 0)
        if found is None or len(found) > 2 or found[0] != shape[0] or found[1:] > (1000,):
            expected = f"({shape[0]}, C)" if kind == "conditions" else f"({shape[0]},)"
            raise DataError(f"{path}: `{kind}` has the wrong shape", got=str(found), expected=expected)
        conditions = np.float64(source.read(kind)).reshape(shape[0], -1) if kind else np.zeros(found)
        scalars = {key: source.scalar(key) for key in ("unit", "task", "generator", "seed")}
        seconds = seconds_of(path, source)
    for name, values in (("samples", samples), (kind, conditions)):
        if not np.isfinite(values).all():
            raise DataError(f"{path}: `{name}` holds NaN or infinite values", expected="finite numbers")
    return BareSamples(
        path,
        torch.from_numpy(np.ascontiguousarray(samples)),
        kind,
        conditions + 0.0,  # no -0, which has other bytes
        text_of(scalars["unit"]),
        text_of(scalars["task"]),
        file_sha256(path),
        text_of(scalars["generator"]),
        integer_of(scalars["seed"]),
        seconds,
    )


class FileTask(Task):
    """What stands in the place of a task: the samples of a file, `test`, and, where it has two halves, `floor`."""

    name = NO_TASK
    version = ""
    repeats = 1
    block_size = 1000
    train_sha256 = ""
    primary: ClassVar[tuple[str, ...]] = ("energy_distance/1",)

    def __init__(self, samples: BareSamples, test: Events, floor: Events | None) -> None:
        self.test, self.floor, width = test, floor, test.conditions.shape[1]
        source = f"samples:{samples.path}"[:500]
        vars(self).update(
            summary=f"the samples of {samples.path.name}",
            source=source,
            source_sha256=samples.sha256,
            shape=tuple(samples.samples.shape[1:]),
            unit=samples.unit or "",
            maximum=float(samples.samples.max()),
            condition_names=tuple(f"condition {place}" for place in range(1, width + 1)),
            condition_units=("",) * width,
            test_events=len(test),
            smoke_events=len(test),
            metrics=tuple(_metrics(test)),
            has_floor=floor is not None,
        )

    @property
    def scored_sha256(self) -> str:
        """See Task."""
        return checksum(*([self.test] if self.floor is None else [self.test, self.floor]))

    def load_split(self, split: Split) -> Events:
        """See Task. Raises DataError for a split that the file does not have."""
        if split == "test":
            return self.test
        if split == "floor" and self.floor is not None:
            return self.floor
        raise DataError(f"a file of samples has no split {split!r}")


def _metrics(test: Events) -> list[str]:
    """Those of METRICS that the events allow."""
    _, sizes = np.unique(test.condition_id.numpy(), return_counts=True)
    left_out = set()
    if len(sizes) < 2 or sizes.min() < 2:
        left_out.add("class_energy/1")
    if sizes.max() < 2:
        left_out.add("diversity_ratio/1")
    if float(test.samples.min()) < 0:
        left_out.add("classifier_low/2")  # it reads logarithms
    return [key for key in METRICS if key not in left_out]


@dataclass(frozen=True)
class Against:
    """Files of samples (repetitions of one generator) against one other: the stand-in of a task, sets, pairs, notes."""

    task: FileTask
    sets: list[SampleSet]
    pairs: list[Comparison]
    notes: list[str]


def read_against(paths: Sequence[Path], other: Path, progress: Progress) -> Against:
    """Read files of samples, and the one that they are held against.

    Raises:
        DataError: a file is damaged; two differ in shape, unit, task or kind of conditions; they have no condition in
            common; or the files are no repetitions.
    """
    sets: list[SampleSet] = []
    pairs: list[Comparison] = []
    notes: list[str] = []
    task: FileTask | None = None
    with progress.step("reading", len(paths) + 1) as advance:
        reference = read_bare(other)
        advance(1)
        for path in paths:
            samples = read_bare(path)
            _check_alike(samples, reference)
            matched = _matched(samples, reference)
            if task is None:
                task, notes = _task(reference, matched), _notes(samples, reference, matched)
            found = samples.answering(matched.rows, torch.from_numpy(matched.reference))
            for earlier, first in zip(paths, sets, strict=False):
                check_repetition(earlier, first, path, found)
            sets.append(found)
            pairs.append(Comparison(task.test.with_samples(found.samples), task.test))
            advance(1)
    assert task is not None
    return Against(task, sets, pairs, notes)


def _check_alike(one: BareSamples, other: BareSamples) -> None:
    """Raises DataError where two files cannot be held against each other."""
    both = f"{one.path} and {other.path}"
    if one.sha256 == other.sha256:
        raise DataError(f"{both} are the same file", fix="Name two files that were made apart.")
    kinds = [f"`{of.kind}`, {of.conditions.shape[1]} numbers" if of.kind else "no conditions" for of in (one, other)]
    facts = {
        "shape": [str(tuple(of.samples.shape[1:])) for of in (one, other)],
        "unit": [of.unit or "" for of in (one, other)] if one.unit and other.unit else [],
        "task": [of.task or "" for of in (one, other)] if one.task and other.task else [],
        "conditions": kinds,
    }
    for name, values in facts.items():
        if len(set(values)) > 1:
            raise DataError(f"{both} differ in {name}", got=" and ".join(values), expected="the same", fix=FIX)


@dataclass(frozen=True)
class _Matched:
    """Rows that answer the same conditions: of the samples, of the reference, of its other half (None: it has none),
    with the condition of each, (n,)."""

    rows: Rows
    reference: Rows
    floor: Rows | None
    condition: Rows


def _matched(samples: BareSamples, reference: BareSamples) -> _Matched:
    """Pair the rows of each condition in the order of the files. Raises DataError where there is none in common."""
    every = np.concatenate([samples.conditions, reference.conditions])
    ids = np.unique(every, axis=0, return_inverse=True)[1].reshape(-1) if every.shape[1] else np.zeros(len(every), int)
    mine, theirs = (_by_condition(part) for part in np.split(ids, [len(samples.conditions)]))
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        what = f"{samples.path} and {reference.path} have no condition in common"
        fix = "Answer the conditions of the other file; or leave them out of both files, to compare these as a whole."
        raise DataError(what, fix=fix)
    halves = all(len(theirs[c]) >= 2 for c in common)
    sizes = _shares(np.array([min(len(mine[c]), len(theirs[c]) // (1 + halves)) for c in common]))
    step = 1 + halves
    kept = [(c, int(size)) for c, size in zip(common, sizes, strict=True) if size]
    return _Matched(
        np.concatenate([mine[c][:size] for c, size in kept]),
        np.concatenate([theirs[c][::step][:size] for c, size in kept]),
        np.concatenate([theirs[c][1::2][:size] for c, size in kept]) if halves else None,
        np.concatenate([np.full(size, c) for c, size in kept]),
    )


def _by_condition(ids: Rows) -> dict[int, Rows]:
    """The rows of each condition, in their order."""
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def _shares(sizes: Rows) -> Rows:
    """Events of each condition, `MOST` in all at most: of each its share, or of conditions drawn at random one each."""
    if sizes.sum() <= MOST:
        return sizes
    if len(sizes) <= MOST:
        shares: Rows = np.maximum(1, sizes * MOST // sizes.sum())
        return shares
    chosen = np.random.default_rng(0).permutation(len(sizes))[:MOST]
    return np.bincount(chosen, minlength=len(sizes)).astype(np.int64)


def _task(reference: BareSamples, matched: _Matched) -> FileTask:
    condition = torch.from_numpy(matched.condition)
    number = len(np.unique(matched.condition))
    # what was drawn together: a condition with its few repeats, or, of a few labels, the single event
    unit = condition if number**2 >= len(condition) else torch.arange(len(condition))

    def events(rows: Rows) -> Events:
        at = torch.from_numpy(rows)
        conditions = torch.from_numpy(as_float32(reference.conditions[rows]))
        values = {"features": lambda samples: samples.flatten(1)}
        return Events(reference.samples[at], conditions, condition, unit, derivations=values)

    return FileTask(reference, events(matched.reference), None if matched.floor is None else events(matched.floor))


def _notes(samples: BareSamples, reference: BareSamples, matched: _Matched) -> list[str]:
    """What is to be said of the comparison, in sentences."""
    one, other, n = samples.path.name, reference.path.name, count(len(matched.rows))
    notes = [f"this result has no task and cannot go to a leaderboard: {one} was held against {other}, value by value"]
    if matched.floor is None:
        notes.append(f"no floor: {other} has a single event of some condition, so that it has no two halves")
    else:
        notes.append(f"the floor is one half of {other} against the other, {n} events each")
    used = len(matched.rows) * (1 if matched.floor is None else 2)
    if len(matched.rows) < len(samples.samples) or used < len(reference.samples):
        of = f"{count(len(samples.samples))} events of {one} and {count(used)} of {count(len(reference.samples))}"
        notes.append(f"{n} of {of} of {other} were used: pairs of one condition, {count(MOST)} at most")
    return notes
