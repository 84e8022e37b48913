"""Metrics of more events than memory holds: summaries of some of the events, which add up to that of all of them.

N generated events answer the M rows of a reference, each row equally often. A stream makes a summary of any part of
them; summaries are added in any order, and the estimate is made from their sum: it does not depend on how the events
were cut. Memory goes with M, not with N. What has no stream takes a fixed subsample of the events instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from simbench.core.cache import Once
from simbench.core.errors import SimbenchError, UsageError
from simbench.core.events import Events
from simbench.metrics.base import Comparison, Estimate

T = TypeVar("T")


class Summary(Protocol):
    """What is kept of some events; that of two parts together is their sum, in either order."""

    def __add__(self, other: Any, /) -> Any: ...


@dataclass(frozen=True)
class Whole:
    """The reference of M real events that all generated events answer, with what metrics keep of it."""

    events: Events
    _memo: Once = field(default_factory=Once, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.events)

    def memo(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` gave when it was first asked for under this key."""
        return self._memo.get(key, compute)

    @property
    def strata(self) -> dict[str, Stratum]:
        """The strata of the rows by name (`species=neutron`)."""
        return self.memo("strata", self._strata)

    def _strata(self) -> dict[str, Stratum]:
        found = {}
        for stratification, names in self.events.strata.items():
            for name in sorted(set(names.tolist())):
                inside = torch.from_numpy(names == name)
                found[f"{stratification}={name}"] = Stratum(
                    inside, inside.cumsum(0) - 1, Whole(self.events.take(inside))
                )
        return found


@dataclass(frozen=True)
class Stratum:
    """Rows of a reference: whether each is in, (M,) bool; the number of each among those, (M,); and those, `whole`."""

    inside: Tensor
    number: Tensor
    whole: Whole


class Stream(Protocol):
    """How a metric is made from summaries.

    Attributes:
        stratified: whether the metric is given in each stratum, too.
        below: with as many events as this on both sides the metric takes the subsample after all.
    """

    @property
    def stratified(self) -> bool:
        """See above."""
        ...

    @property
    def below(self) -> int:
        """See above."""
        ...

    def summary(self, chunk: Comparison, row: Tensor, whole: Whole) -> Summary:
        """Of the generated events of a chunk, each beside its real partner, the row `row` (n,) of the reference."""
        ...

    def estimate(self, total: Any, whole: Whole) -> Estimate:
        """The metric of all events. Without an error where sums do not give one. Raises UsageError."""
        ...


def of_pair(stream: Stream, pair: Comparison) -> Estimate:
    """The metric of events in memory: one part, which is all of them."""
    whole = Whole(pair.reference)
    return stream.estimate(stream.summary(pair, torch.arange(len(pair)), whole), whole)


@dataclass(frozen=True)
class Failure:
    """In the place of a summary that could not be made: why not."""

    reason: str


def _summary(stream: Stream, chunk: Comparison, row: Tensor, whole: Whole) -> Any:
    """The summary, or why there is none: a metric that fails must not take the others with it."""
    try:
        return stream.summary(chunk, row, whole)
    except Exception as reason:
        return Failure(str(reason) if isinstance(reason, SimbenchError) else f"{type(reason).__name__}: {reason}")


def summarise(
    streams: Mapping[str, Stream], chunk: Comparison, row: Tensor, whole: Whole
) -> dict[tuple[str, str], Any]:
    """The summary of a chunk by name of the stream and by stratum (of all events: the empty name).

    What is gathered by row has none of its strata: their rows are among all.
    """
    found = {(key, ""): _summary(stream, chunk, row, whole) for key, stream in streams.items()}
    stratified = {k: stream for k, stream in streams.items() if stream.stratified and not isinstance(stream, RowStream)}
    for name, stratum in whole.strata.items() if stratified else ():
        inside = stratum.inside[row]
        if bool(inside.any()):
            part, number = chunk.take(inside), stratum.number[row[inside]]
            found |= {(key, name): _summary(stream, part, number, stratum.whole) for key, stream in stratified.items()}
    return found


def add_up(one: dict[tuple[str, str], Any], other: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """The summaries of two parts together; `one` is changed."""
    for key, summary in other.items():
        failed = next((part for part in (one.get(key), summary) if isinstance(part, Failure)), None)
        one[key] = failed or (one[key] + summary if key in one else summary)
    return one


def estimated(key: str, stream: Stream, totals: Mapping[tuple[str, str], Any], whole: Whole) -> Estimate:
    """The metric of all events, with its strata. Raises UsageError, where a summary failed, too."""
    failed = next((part for (of, _), part in totals.items() if of == key and isinstance(part, Failure)), None)
    if failed:
        raise UsageError(failed.reason)
    total, strata = totals[key, ""], {}
    for name, stratum in whole.strata.items() if stream.stratified else ():
        part = total.take(stratum.inside) if isinstance(stream, RowStream) else totals.get((key, name))
        if part is None:
            continue
        try:
            strata[name] = replace(stream.estimate(part, stratum.whole), replicates=None)
        except UsageError:  # too few events
            continue
    return replace(stream.estimate(total, whole), strata=strata)


@dataclass(frozen=True)
class Sums:
    """Tensors that are added one by one."""

    tensors: tuple[Tensor, ...]

    def __add__(self, other: Sums) -> Sums:
        return Sums(tuple(a + b for a, b in zip(self.tensors, other.tensors, strict=True)))


@dataclass(frozen=True)
class Rows:
    """Numbers of generated events, gathered by the row that each answers.

    Attributes:
        count: (M,) float64 events of each row.
        mean: (M, K) float64 means of the K numbers; 0 where there are no events.
        scatter: (M, K) float64 sums of squares about the mean.

    Reference of the sum: Chan, Golub and LeVeque 1983, eq. (1.5): nothing is lost to cancellation.
    """

    count: Tensor
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, values: Tensor, row: Tensor, rows: int) -> Self:
        """Of values (n, K) that answer the rows (n,)."""
        values = values.to(torch.float64)
        count = torch.bincount(row, minlength=rows).to(torch.float64)
        zeros = values.new_zeros(rows, values.shape[1])
        mean = zeros.index_add(0, row, values) / count.clamp(min=1)[:, None]
        return cls(count, mean, zeros.index_add(0, row, (values - mean[row]).square()))

    def __add__(self, other: Rows) -> Rows:
        count = self.count + other.count
        share = (other.count / count.clamp(min=1))[:, None]
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter + shift.square() * self.count[:, None] * share
        return Rows(count, self.mean + shift * share, scatter)

    def take(self, index: Tensor) -> Rows:
        """Of some of the rows."""
        return Rows(self.count[index], self.mean[index], self.scatter[index])

    @property
    def events(self) -> int:
        """Of all rows."""
        return int(self.count.sum())

    def sd(self, column: int) -> float:
        """Standard deviation of a column over all events."""
        mean = self.mean[:, column]
        grand = (self.count * mean).sum() / self.events
        total = self.scatter[:, column].sum() + (self.count * (mean - grand).square()).sum()
        return float((total / (self.events - 1)).sqrt()) if self.events > 1 else float("nan")


@dataclass(frozen=True)
class RowStream:
    """A metric made from numbers of each event, gathered by row.

    Attributes:
        each: (n, K) numbers of the events of a chunk, each beside its real partner.
        of: the metric from the rows and the reference.
    """

    each: Callable[[Comparison], Tensor]
    of: Callable[[Rows, Events], Estimate]
    stratified: bool = True
    below: int = sys.maxsize

    def summary(self, chunk: Comparison, row: Tensor, whole: Whole) -> Rows:
        """See Stream."""
        return Rows.of(self.each(chunk), row, len(whole))

    def estimate(self, total: Rows, whole: Whole) -> Estimate:
        """See Stream."""
        return replace(self.of(total, whole.events), n=total.events)


DISTINCT = 2**20
"""Distinct values of a column that are kept exactly."""


@dataclass(frozen=True)
class Run:
    """Distinct values >= 0 in ascending order, float64, and how often there was each: a sample, sorted.

    Beyond DISTINCT values the last `level` bits of the 52 of the mantissa are cut off, as few as will do: the same
    ones in whatever order parts are added.
    """

    values: Tensor
    counts: Tensor
    level: int = 0

    @classmethod
    def of(cls, values: Tensor) -> Self:
        """Of values (n,), each once."""
        return cls(*_distinct(values.to(torch.float64), torch.ones(len(values), dtype=torch.int64)))._fitted(0)

    def __add__(self, other: Run) -> Run:
        return self.merged([other])

    def merged(self, others: list[Run]) -> Self:
        """This run and others."""
        runs: list[Run] = [self, *others]
        level = max(run.level for run in runs)
        values = _cut(torch.cat([run.values for run in runs]), level)
        return type(self)(*_distinct(values, torch.cat([run.counts for run in runs])))._fitted(level)

    def _fitted(self, level: int) -> Self:
        values, counts = self.values, self.counts
        while len(values) > DISTINCT:
            level += 1
            values, counts = _distinct(_cut(values, level), counts)
        return type(self)(values, counts, level)

    def sample(self) -> Tensor:
        """The values; of those whose last bits are lost the middle of where they were."""
        if not self.level:
            return self.values
        return (self.values.view(torch.int64) + (1 << (self.level - 1))).view(torch.float64)


def _cut(values: Tensor, level: int) -> Tensor:
    return values if not level else (values.view(torch.int64) >> level << level).view(torch.float64)


def _distinct(values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    found, place = torch.unique(values, return_inverse=True)
    return found, torch.zeros(len(found), dtype=torch.int64).index_add_(0, place, counts)


@dataclass(frozen=True)
class Sorted:
    """The columns of a table (n, C) of values >= 0, each sorted by itself.

    `pending` parts are merged once they hold as many values as the run: each value is sorted a few times only.
    """

    runs: tuple[Run, ...]
    pending: tuple[tuple[Run, ...], ...] = ()

    @classmethod
    def of(cls, table: Tensor) -> Self:
        """Of a table (n, C)."""
        return cls(tuple(Run.of(column) for column in table.T.contiguous()))

    def __add__(self, other: Sorted) -> Sorted:
        both = Sorted(self.runs, (*self.pending, other.runs, *other.pending))
        waiting = sum(len(run.values) for runs in both.pending for run in runs)
        return both if waiting < sum(len(run.values) for run in both.runs) else Sorted(both.columns())

    def columns(self) -> tuple[Run, ...]:
        """The run of each column, complete."""
        if not self.pending:
            return self.runs
        return tuple(run.merged(list(parts)) for run, *parts in zip(self.runs, *self.pending, strict=True))


def spread_like(whole: Estimate, drawn: Estimate, factor: float) -> Estimate:
    """`whole`, an estimate without an error, with that of a subsample, `drawn`, times `factor`; its strata too."""

    def scaled(error: float | None) -> float | None:
        return None if error is None else error * factor

    replicates = drawn.replicates and replace(
        drawn.replicates, values=tuple(whole.value + factor * (v - drawn.value) for v in drawn.replicates.values)
    )
    strata = {
        name: replace(one, stderr=scaled(drawn.strata[name].stderr)) if name in drawn.strata else one
        for name, one in whole.strata.items()
    }
    return replace(whole, stderr=scaled(drawn.stderr), strata=strata, replicates=replicates)


SUBSAMPLE, SUBSAMPLE_BYTES = 30_000, 2**30
"""Events that a metric without a stream takes, and what they may take of memory."""


def subsample(events: Events, repeats: int, answers: int, seed: int) -> tuple[Tensor, Tensor]:
    """The fixed subsample of generated events that answer each row of a reference `answers` times.

    Of each row that is taken one answer: a subsample is as good as a smaller set of events, row by row beside as many
    real ones. All rows, or, where they are more than SUBSAMPLE, whole conditions drawn at random.

    Args:
        events: the reference; `repeats` of its rows side by side share a condition.

    Returns:
        which rows are taken, (M,) bool, and which of its answers each row gives, (M,) int64 from 0. Both depend on the
        seed and the arguments alone.
    """
    rng = np.random.default_rng(seed)
    answer = torch.from_numpy(rng.integers(answers, size=len(events)))
    most = min(SUBSAMPLE, SUBSAMPLE_BYTES // (4 * max(events.samples[0].numel(), 1)))
    taken = torch.ones(len(events), dtype=torch.bool)
    if len(events) > most:
        conditions = rng.permutation(len(events) // repeats)[: max(most // repeats, 1)]
        taken = torch.zeros(len(events) // repeats, repeats, dtype=torch.bool)
        taken[torch.from_numpy(conditions)] = True
        taken = taken.flatten()
    return taken, answer
