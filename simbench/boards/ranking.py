"""Ranks: 1 + the number of entries that are significantly better.

Entry j is significantly better than entry i where its value of the primary metric is better and the 95 % interval of
the difference of the two (difference ± 1.96 standard errors) leaves out zero. The standard error is that of
`simbench.results.compare`: of paired replicates where both entries have as many of one kind, for they were scored
against the same real events; else of two independent errors. No allowance is made for the number of entries. So entries
that cannot be told from the best share rank 1, and within a rank the better value comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.96
BLOCK = 128
"""Rows of pairs at once: few enough to stay in the processor's cache."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """An entry's primary metric. `badness` is larger the worse the value is; `replicates` may be of either sign."""

    badness: float
    stderr: float
    kind: str
    replicates: tuple[float, ...]


def ranks(scores: Sequence[Score]) -> list[int]:
    """The rank of each score, from 1. Memory and time: BLOCK x n at once, n^2 in all (10 000 entries take seconds)."""
    order = np.argsort([score.badness for score in scores], kind="stable")
    ordered = [scores[index] for index in order]
    badness = np.array([score.badness for score in ordered])
    square = np.array([score.stderr for score in ordered]) ** 2
    cohorts = _cohorts(ordered)
    found = np.ones(len(scores), np.int64)
    for start in range(0, len(ordered), BLOCK):
        stop = min(start + BLOCK, len(ordered))
        variance = square[start:stop, None] + square[None, :stop]
        for cohort in cohorts:
            _pair(variance, start, stop, cohort)
        difference = badness[start:stop, None] - badness[None, :stop]
        better = (difference > 0) & (difference**2 > Z**2 * variance)
        found[order[start:stop]] += better.sum(1)
    return found.tolist()


@dataclass(frozen=True)
class _Cohort:
    """The scores with one kind and number of replicates: their places, ascending; their deviations, scaled so that a
    row's squares sum to its variance; and those variances."""

    members: NDArray[np.int64]
    deviations: Array
    variances: Array


def _cohorts(ordered: Sequence[Score]) -> list[_Cohort]:
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, score in enumerate(ordered):
        if len(score.replicates) > 1:
            members[score.kind, len(score.replicates)].append(index)
    cohorts = []
    for (kind, size), found in members.items():
        values = np.array([ordered[index].replicates for index in found])
        scale = (size - 1) / size if kind == "jackknife" else 1 / (size - 1)
        deviations = (values - values.mean(1, keepdims=True)) * scale**0.5
        cohorts.append(_Cohort(np.array(found), deviations, (deviations**2).sum(1)))
    return cohorts


def _pair(variance: Array, start: int, stop: int, cohort: _Cohort) -> None:
    """Replace, in rows `start` to `stop`, the variance of the difference of two members by that of their pairs."""
    first, last = (int(place) for place in np.searchsorted(cohort.members, (start, stop)))
    paired = cohort.deviations[first:last] @ cohort.deviations[:last].T
    paired *= -2
    paired += cohort.variances[first:last, None]
    paired += cohort.variances[None, :last]
    np.maximum(paired, 0, out=paired)
    if last == stop and first == start:  # all are members
        variance[:] = paired
    else:
        variance[np.ix_(cohort.members[first:last] - start, cohort.members[:last])] = paired
