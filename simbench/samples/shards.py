"""Shards: HDF5 files that together hold many events of one generator, read a few rows at a time.

A shard is a file as `simbench.samples.files` has it, with any number of rows: `condition_index` names the test row that
each event answers, or `conditions` its condition, whose answers go to its test rows in turn. Over all shards every row
that is answered is answered equally often.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.containers import DAMAGED, Hdf5Source, opened
from simbench.core.errors import DataError, GeneratorError, UsageError
from simbench.core.files import file_sha256
from simbench.core.text import count as in_words
from simbench.samples.files import (
    answers_key,
    as_float32,
    check_made_for,
    check_shape,
    found_as,
    integer_of,
    seconds_of,
    shape_of,
    text_of,
)
from simbench.tasks.base import Task

RANGE = 25_000
"""Rows of a shard that one worker reads; as many as there are test rows, where those are more."""
MOST_EVENTS, MAX_FILE, MAX_SLAB = 10**9, 2**43, 2**30
"""Events of a shard, bytes of its file, and bytes of the rows that are stored together in it."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """What a first look at a shard tells.

    Attributes:
        events: how many it holds.
        key: under which name it says what it answers (see `answers_key`).
        answered: (ranges, A) int32 how often each address is answered in each range of RANGE rows or more; see
            `Addresses`.
        generator, named, seed, seconds_per_event, sha256: as in a SampleSet.
    """

    path: Path
    events: int
    key: str
    answered: NDArray[np.int32]
    generator: str
    named: bool
    seed: int | None
    seconds_per_event: float | None
    sha256: str


@dataclass(frozen=True)
class Addresses:
    """What an event can say that it answers: a test row, or a condition, whose rows its answers go to in turn.

    Attributes:
        first, size: (A,) where the rows of an address begin in `rows`, and how many they are.
        rows: (M,) the test rows, by address.
        of_condition: the address of each condition's bytes.
    """

    first: Rows
    size: Rows
    rows: Rows
    of_condition: dict[bytes, int]

    def row_of(self, address: Rows, place: Rows) -> Rows:
        """The row that the answer number `place` (from 0) to an address goes to."""
        found: Rows = self.rows[self.first[address] + place % self.size[address]]
        return found

    def answers(self, answered: Rows) -> Rows:
        """How many answers each test row has got where each address (A,) has got so many: (M,)."""
        place = np.arange(len(self.rows)) - np.repeat(self.first, self.size)
        size, total = np.repeat(self.size, self.size), np.repeat(answered, self.size)
        found = np.empty(len(self.rows), np.int64)
        found[self.rows] = total // size + (place < total % size)
        return found


@functools.lru_cache(maxsize=2)
def addresses(task: Task, key: str, flat: bool) -> Addresses:
    """What events of a shard that says so under `key` can answer; `flat`: labels as numbers and not one-hot."""
    events = task.test_events
    if key != "conditions":
        size = np.ones(events, np.int64) if key else np.array([events])
        return Addresses(size.cumsum() - size, size, np.arange(events), {})
    wanted = task.load("test").conditions.numpy()
    of_condition: dict[bytes, int] = {}
    at = np.array([of_condition.setdefault(k, len(of_condition)) for k in _keys(wanted.argmax(1) if flat else wanted)])
    size = np.bincount(at).astype(np.int64)
    return Addresses(size.cumsum() - size, size, np.argsort(at, kind="stable"), of_condition)


def _keys(conditions: NDArray[Any]) -> list[bytes]:
    return [row.tobytes() for row in as_float32(conditions) + np.float32(0)]


@contextlib.contextmanager
def _open(path: Path, task: Task, *, survived: bool) -> Iterator[tuple[Hdf5Source, int, str]]:
    """A shard, how many events it holds, and under which name it says what they answer. Raises as `survey`."""
    with opened(path, MAX_FILE, survived=survived) as source:
        if not isinstance(source, Hdf5Source):
            fix = "Write it as HDF5, or score it without --chunk."
            raise DataError(f"{path} cannot be read in chunks", got="npz or npy", expected="HDF5", fix=fix)
        check_made_for(path, task, source)
        shape = shape_of(path, task, source)
        if shape[0] > MOST_EVENTS:
            fix = "Write several files."
            raise DataError(
                f"{path} holds too many events", got=str(shape[0]), expected=f"at most {MOST_EVENTS}", fix=fix
            )
        check_shape(path, task, shape)
        name = found_as(source, "samples")[0]
        together = source.slab(name) * source.file[name].dtype.itemsize * int(np.prod(task.shape))
        if together > MAX_SLAB:
            what, got = (f"{path}: reading one event unpacks too many others", f"{source.slab(name)} stored together")
            fix = f"Write `{name}` with chunks=(250, {', '.join(map(str, task.shape))})."
            raise DataError(what, got=got, expected=f"at most {MAX_SLAB} bytes of them", fix=fix)
        yield source, shape[0], answers_key(path, task, source, shape[0])


def range_rows(task: Task) -> int:
    """Rows of a range."""
    return max(RANGE, task.test_events)


def survey(path: Path, task: Task) -> Shard:
    """A first look at a shard, trusting nothing in it: all but the samples are read.

    Raises:
        DataError: it is missing, damaged, no HDF5, made for another task, or does not say what it answers.
        GeneratorError: its samples have another shape than the task's events.
    """
    with _open(path, task, survived=False) as (source, events, key):
        step, found = range_rows(task), []
        for start in range(0, events, step):
            at, known = _addresses(path, task, source, key, start, min(start + step, events))
            found.append(np.bincount(at, minlength=len(known.size)).astype(np.int32))
        generator = text_of(source.scalar("generator"))
        return Shard(
            path,
            events,
            key,
            np.stack(found),
            generator or path.stem,
            generator is not None,
            integer_of(source.scalar("seed")),
            seconds_of(path, source),
            file_sha256(path),
        )


def _addresses(path: Path, task: Task, source: Hdf5Source, key: str, start: int, stop: int) -> tuple[Rows, Addresses]:
    """The address that each of some rows of a shard answers, (n,). Raises DataError."""
    if not key:
        return np.zeros(stop - start, np.int64), addresses(task, key, False)
    given = _read(path, source, key, start, stop)
    known = addresses(task, key, given.ndim == 1)
    if key == "conditions":
        at = np.array([known.of_condition.get(value, -1) for value in _keys(given)])
        expected, fix = "a test condition", "Use the values of `simbench conditions export` unchanged (float32)."
    else:
        if given.dtype.kind not in "iu":
            raise DataError(f"{path}: `{key}` holds {given.dtype}", expected="integers")
        inside = (given >= 0) & (given < task.test_events)
        at = np.where(inside, given, -1).astype(np.int64)
        expected, fix = f"0 to {task.test_events - 1}", "Copy it from the file of `simbench conditions export`."
    if (at < 0).any():
        wrong = int(np.flatnonzero(at < 0)[0])
        got = np.array2string(given[wrong], threshold=10)[:120]
        raise DataError(
            f"{path}: row {start + wrong} of `{key}` is none of the test split", got=got, expected=expected, fix=fix
        )
    return at, known


def _read(path: Path, source: Hdf5Source, key: str, start: int, stop: int) -> NDArray[Any]:
    try:
        return source.rows(found_as(source, key)[0], start, stop)
    except DAMAGED as error:
        got, fix = f"{type(error).__name__}: {error}"[:200], "It may be truncated: write it again."
        raise DataError(f"{path}: rows {start} to {stop - 1} of `{key}` cannot be read", got=got, fix=fix) from error


@dataclass(frozen=True)
class Answered:
    """What shards answer together.

    Attributes:
        events: of all shards.
        rows: (M,) the test rows that are answered, ascending.
        answers: how often each is.
        repeats: how many rows of each condition there are among them.
    """

    events: int
    rows: Tensor
    answers: int
    repeats: int


def check_shards(shards: Sequence[Shard], task: Task) -> Answered:
    """What shards answer, if they are of one generator and answer each row equally often. Raises DataError."""
    if not shards:
        raise UsageError("no file of samples is named")
    first, by_sum = shards[0], {first.sha256: first for first in shards[:1]}
    for shard in shards[1:]:
        both = f"{first.path} and {shard.path}"
        if shard.sha256 in by_sum:
            what = f"{by_sum[shard.sha256].path} and {shard.path} are the same file"
            raise DataError(what, fix="Name each shard once: its events would count twice.")
        by_sum[shard.sha256] = shard
        if (first.named or shard.named) and first.generator != shard.generator:
            got = " and ".join(repr(one.generator) if one.named else "no name" for one in (first, shard))
            fix = "Score them apart, or write one name into the attribute `generator` of each."
            raise DataError(f"{both} are of different generators", got=got, expected="the shards of one", fix=fix)
        if (first.key, first.answered.shape[1]) != (shard.key, shard.answered.shape[1]):
            got = f"{first.key!r} and {shard.key!r}"
            raise DataError(f"{both} say in different ways what they answer", got=got, fix="Write all shards alike.")
    known = addresses(task, first.key, first.key == "conditions" and set(task.condition_units) == {"one-hot"})
    answered = np.sum([shard.answered.sum(0, dtype=np.int64) for shard in shards], axis=0)
    answers = known.answers(answered)
    rows = np.flatnonzero(answers)
    few, many = int(rows[answers[rows].argmin()]), int(answers.argmax())
    if answers[few] < answers[many]:
        raise DataError(
            "the shards answer test rows unequally",
            got=f"{in_words(int(answers[few]))} answers to row {few}, {in_words(int(answers[many]))} to row {many}",
            expected="equally many to each row that is answered",
            fix="Leave the surplus out, or generate what is missing; a shard may be missing.",
        )
    conditions, counts = np.unique(rows // task.repeats, return_counts=True)
    if counts.min() < counts.max():
        few, many = (int(conditions[at]) for at in (counts.argmin(), counts.argmax()))
        got = f"{counts.min()} rows of condition {few}, {counts.max()} of condition {many}"
        expected, fix = "equally many repeats of each condition", "Leave conditions out, or generate what is missing."
        raise DataError("the shards answer conditions unequally", got=got, expected=expected, fix=fix)
    return Answered(int(answered.sum()), torch.from_numpy(rows), int(answers[few]), int(counts[0]))


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop` - 1 of a shard of `events`; `before` (A,): how often addresses were answered before."""

    path: Path
    events: int
    start: int
    stop: int
    before: Rows


def pieces(shards: Sequence[Shard], task: Task) -> list[Piece]:
    """All rows of all shards, a range a piece."""
    step, found = range_rows(task), []
    before = np.zeros(shards[0].answered.shape[1], np.int64)
    for shard in shards:
        for place, answered in enumerate(shard.answered):
            stop = min((place + 1) * step, shard.events)
            found.append(Piece(shard.path, shard.events, place * step, stop, before))
            before = before + answered
    return found


class Chunk(NamedTuple):
    """Samples (n, *task.shape) float32, the test row that each answers, (n,), and its number among that row's answers,
    (n,) from 0."""

    samples: Tensor
    row: Tensor
    answer: Tensor


def chunks_of(piece: Piece, task: Task, size: int) -> Iterator[Chunk]:
    """The events of a piece, `size` at a time.

    Raises:
        DataError: rows cannot be read, or the file has changed.
        GeneratorError: an event is none of the task's; names its row.
    """
    before = piece.before.copy()
    with _open(piece.path, task, survived=True) as (source, events, key):
        if events != piece.events:
            got, expected = f"{events} events", f"{piece.events} as before"
            raise DataError(
                f"{piece.path} has changed while it was read", got=got, expected=expected, fix="Score again."
            )
        for start, samples in _samples(piece, source, size):
            at, known = _addresses(piece.path, task, source, key, start, start + len(samples))
            order = np.argsort(at, kind="stable")
            count = np.bincount(at, minlength=len(known.size))
            place = np.empty(len(at), np.int64)
            place[order] = np.arange(len(at)) - np.repeat(count.cumsum() - count, count)
            place += before[at]
            before += count
            row, answer = known.row_of(at, place), place // known.size[at]
            events_read = _checked(as_float32(samples), task, piece.path, start)
            yield Chunk(events_read, torch.from_numpy(row), torch.from_numpy(answer))


def _samples(piece: Piece, source: Hdf5Source, size: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """The first row and the values of chunks of a piece. What is stored together is unpacked once."""
    slab = source.slab(found_as(source, "samples")[0])
    step = -(-size // slab) * slab
    start = piece.start
    while start < piece.stop:
        stop = min((start // slab) * slab + step, piece.stop)
        values = _read(piece.path, source, "samples", start, stop)
        for at in range(0, len(values), size):
            yield start + at, values[at : at + size]
        start = stop


def _checked(samples: NDArray[np.float32], task: Task, path: Path, start: int) -> Tensor:
    """Events of the task; the error names the first row that is none."""
    try:
        return task.check_samples(samples, len(samples), path.name)
    except GeneratorError:
        for row, event in enumerate(samples, start):
            task.check_samples(event[None], 1, f"row {row} of {path}")
        raise
