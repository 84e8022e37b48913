"""Ranks that need evidence: two entries share a rank where their difference was measured and found to be none.

Entries are taken from the best value to the worst. An entry shares the rank of the best entry of the group before it
where both hold:

- the 95 % interval of their difference (± 1.96 standard errors) holds zero. The error is that of
  `simbench.results.compare`: of paired
  replicates where both have as many of one kind, for they were scored against the same real events; else of two
  independent errors;
- its error is at most `WIDEST` times that of the best: a score that nobody knows is no evidence of being as good.

Any other entry opens the next group; the rank of a group is the place of its first entry. So a worse value never ranks
above a better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simbench.metrics.direction import Direction
from simbench.results.schema import Measurement

Z = 1.96
WIDEST = 3.0


@dataclass(frozen=True)
class Score:
    """An entry's score: `badness` is larger the worse it is; `replicates` are of badness, up to a constant."""

    badness: float
    stderr: float
    kind: str
    replicates: tuple[float, ...]

    @classmethod
    def of(cls, measurement: Measurement) -> Score:
        """The score of a measurement that has a value; one without an error counts as exact."""
        assert measurement.value is not None
        way, kept = Direction.of(measurement), measurement.replicates
        below = way.target is not None and measurement.value < way.target
        values = tuple(kept.values) if kept else ()
        turned = tuple(-value for value in values) if below or way.way == "higher" else values
        return cls(way.badness(measurement.value), measurement.stderr or 0.0, kept.kind if kept else "", turned)


def ranks(scores: Sequence[Score]) -> list[int]:
    """The rank of each score, from 1."""
    found = [0] * len(scores)
    best: Score | None = None
    rank = 0
    for place, index in enumerate(np.argsort([score.badness for score in scores], kind="stable"), 1):
        score = scores[index]
        if best is None or not as_good(score, best):
            best, rank = score, place
        found[index] = rank
    return found


def as_good(score: Score, best: Score) -> bool:
    """Whether a score that is no better than `best` is as good for all that is known."""
    known = score.stderr <= WIDEST * best.stderr or score.badness == best.badness
    return known and not surely_worse(score, best)


def surely_worse(score: Score, than: Score) -> bool:
    """Whether the 95 % interval of the difference leaves out zero, on the side of being worse."""
    worse = score.badness - than.badness
    return worse > 0 and worse > Z * _error_of_difference(score, than)


def _error_of_difference(one: Score, other: Score) -> float:
    if (one.kind, len(one.replicates)) != (other.kind, len(other.replicates)) or len(one.replicates) < 2:
        return float(np.hypot(one.stderr, other.stderr))
    difference: NDArray[np.float64] = np.subtract(one.replicates, other.replicates)
    factor = len(difference) - 1 if one.kind == "jackknife" else len(difference) / (len(difference) - 1)
    return float(np.sqrt(difference.var() * factor))
