"""Scores of more events than memory holds: shards are read in pieces, each becomes a summary, and summaries add up.

What a metric makes of sums (`simbench.metrics.streams`) counts every event; all others take one and the same fixed
subsample, one answer to each test row. Neither depends on the size of the chunks, nor on who read which piece.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simbench.core.errors import DataError, UsageError
from simbench.core.progress import Progress
from simbench.core.seeds import derive_seed
from simbench.core.spread import spread
from simbench.core.text import count
from simbench.core.threads import check_processes
from simbench.metrics.base import Comparison, Estimate, Metric
from simbench.metrics.registry import get_metric
from simbench.metrics.streams import Stream, Whole, add_up, estimated, spread_like, subsample, summarise
from simbench.samples.shards import Answered, Piece, Shard, check_shards, chunks_of, pieces, survey
from simbench.tasks import get_task
from simbench.tasks.base import Task


@dataclass(frozen=True)
class Reading:
    """How shards are read.

    Attributes:
        chunk: events in memory at a time, for each worker.
        workers: processes on this machine.
        scheduler: the address of a Dask scheduler, in their place.
    """

    chunk: int
    workers: int = 1
    scheduler: str | None = None

    def __post_init__(self) -> None:
        for option, value in (("--chunk", self.chunk), ("--workers", self.workers)):
            if value < 1:
                raise UsageError(f"{option} must be positive", got=str(value))
        check_processes("--workers", self.workers)
        if self.scheduler is not None and self.workers > 1:
            raise UsageError("--workers and --scheduler exclude each other", fix="Start the workers of the scheduler.")


@dataclass(frozen=True)
class TaskSource:
    """Where another process finds the task."""

    spec: str
    data_dir: Path | None

    def task(self) -> Task:
        """The task. Raises as `get_task`."""
        return _loaded(self)


@functools.lru_cache(maxsize=2)
def _loaded(source: TaskSource) -> Task:
    return get_task(source.spec, source.data_dir)


@dataclass(frozen=True)
class Here:
    """A task that is loaded already, for this process."""

    loaded: Task

    def task(self) -> Task:
        """The task."""
        return self.loaded


@dataclass(frozen=True)
class Job:
    """What is to be made of each piece.

    Attributes:
        source: where the task is.
        keys: the metrics that have a stream.
        answered: what all shards answer.
        chunk: events in memory at a time.
    """

    source: TaskSource | Here
    keys: tuple[str, ...]
    answered: Answered
    chunk: int


@dataclass(frozen=True)
class Kept:
    """What is kept of some events: how many, their summaries, and those of them that are of the subsample."""

    events: int
    totals: dict[tuple[str, str], Any]
    row: Tensor
    samples: Tensor

    def __add__(self, other: Kept) -> Kept:
        """Of both; the totals of this one are changed."""
        return Kept(
            self.events + other.events,
            add_up(self.totals, other.totals),
            torch.cat([self.row, other.row]),
            torch.cat([self.samples, other.samples]),
        )


@dataclass(frozen=True)
class Streamed:
    """N events that were read in chunks, beside the M rows that they answer.

    Attributes:
        events: N.
        whole: the reference, M real events.
        streams: of the metrics that have one.
        totals: their summaries of all events.
        pair: the subsample, row-paired.
    """

    events: int
    whole: Whole
    streams: Mapping[str, Stream]
    totals: Mapping[tuple[str, str], Any]
    pair: Comparison

    def estimate(self, metric: Metric) -> Estimate:
        """The metric of all events, or of the subsample where it has no stream.

        An error that sums do not give is that of the subsample, taken down to as many real events as there are.
        """
        stream = self.streams.get(metric.key)
        if stream is None:
            return metric(self.pair)
        found = estimated(metric.key, stream, self.totals, self.whole)
        factor = (len(self.pair) / len(self.whole)) ** 0.5
        return found if found.stderr is not None else spread_like(found, metric(self.pair), factor)

    def entered(self, metric: Metric) -> int:
        """How many generated events the metric takes."""
        return self.events if metric.key in self.streams else len(self.pair)

    def notes(self, keys: Sequence[str]) -> list[str]:
        """What is to be said of the metrics `keys`, in sentences."""
        few, many, real = (count(number) for number in (len(self.pair), self.events, len(self.whole)))
        drawn = [key for key in keys if key not in self.streams]
        notes = []
        if drawn and len(self.pair) < self.events:
            notes.append(
                f"a fixed subsample, {few} of {many} events, one answer to each test row, entered {', '.join(drawn)}"
            )
        if self.streams and len(self.whole) < self.events:
            notes.append(f"no floor for what all {many} events entered: there are {real} real ones to score against")
        return notes


def read_shards(
    paths: Sequence[Path], task: Task, keys: Sequence[str], reading: Reading, progress: Progress, data_dir: Path | None
) -> tuple[list[Shard], Streamed]:
    """Read shards, each once for what it answers and once for its samples.

    Raises:
        DataError, GeneratorError: a shard is damaged, its events are none of the task's, or the shards do not belong
            together (see `check_shards`).
    """
    elsewhere = reading.workers > 1 or reading.scheduler is not None
    source = TaskSource(task.spec, data_dir) if elsewhere else Here(task)
    with spread(reading.workers, reading.scheduler) as run:
        with progress.step("looking", len(paths)) as advance:
            shards: list[Shard] = []
            for shard in run(partial(_survey, source), [path.absolute() for path in paths]):
                shards.append(shard)
                advance(1)
        answered = check_shards(shards, task)
        streams = _streams(keys, answered)
        job = Job(source, tuple(streams), answered, reading.chunk)
        merged: Kept | None = None
        with progress.step("streaming", answered.events) as advance:
            for part in run(partial(reduce_piece, job), pieces(shards, task)):
                merged = part if merged is None else merged + part
                advance(part.events)
    assert merged is not None
    whole, taken, _ = _prepared(Here(task), answered)
    rows = torch.nonzero(taken).squeeze(1)
    if merged.events != answered.events or not torch.equal(merged.row.sort().values, rows):
        got = f"{merged.events} of {answered.events} events"
        raise DataError(
            "not all events of the shards were read", got=got, fix="Score again; leave the files as they are."
        )
    reference = whole.events if len(rows) == len(whole) else whole.events.take(rows)
    drawn = reference.with_samples(merged.samples[merged.row.argsort()])
    return shards, Streamed(merged.events, whole, streams, merged.totals, Comparison(drawn, reference))


def _survey(source: TaskSource | Here, path: Path) -> Shard:
    return survey(path, source.task())


def _streams(keys: Sequence[str], answered: Answered) -> dict[str, Stream]:
    """The streams of the metrics that have one for so many events."""
    found = {key: get_metric(key).stream for key in keys}
    return {key: stream for key, stream in found.items() if stream and len(answered.rows) < stream.below}


def reduce_piece(job: Job, piece: Piece) -> Kept:
    """What is kept of the events of a piece. Raises as `chunks_of`."""
    whole, taken, answer = _prepared(job.source, job.answered)
    streams = _streams(job.keys, job.answered)
    number = torch.zeros(job.source.task().test_events, dtype=torch.int64)
    number[job.answered.rows] = torch.arange(len(whole))
    totals: dict[tuple[str, str], Any] = {}
    rows, samples, events = [], [], 0
    for chunk in chunks_of(piece, job.source.task(), job.chunk):
        row = number[chunk.row]
        real = whole.events.take(row)
        add_up(totals, summarise(streams, Comparison(real.with_samples(chunk.samples), real), row, whole))
        drawn = taken[row] & (answer[row] == chunk.answer)
        rows.append(row[drawn])
        samples.append(chunk.samples[drawn])
        events += len(row)
    return Kept(events, totals, torch.cat(rows), torch.cat(samples))


def _prepared(source: TaskSource | Here, answered: Answered) -> tuple[Whole, Tensor, Tensor]:
    """The reference, and its subsample (see `subsample`); kept for the next piece."""
    return _prepare(source, answered.rows.numpy().tobytes(), answered.answers, answered.repeats)


@functools.lru_cache(maxsize=1)
def _prepare(source: TaskSource | Here, rows: bytes, answers: int, repeats: int) -> tuple[Whole, Tensor, Tensor]:
    task = source.task()
    test, at = task.load("test"), torch.frombuffer(bytearray(rows), dtype=torch.int64)
    reference = test if len(at) == len(test) else test.take(at)
    drawn = subsample(reference, repeats, answers, derive_seed(0, task.name, "subsample"))
    return Whole(reference), *drawn
