"""Is B better than A? Paired differences of two Results, with confidence intervals and one family error.

Both were scored against the same real events, so their errors are correlated: the difference is resampled, not the
values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch

from simbench.core.errors import DataError
from simbench.core.statistics import holm
from simbench.metrics.direction import Direction
from simbench.metrics.resampling import jackknife_sd
from simbench.results.comparable import Basis
from simbench.results.schema import Measurement, Result

ALPHA = 0.05
LEAST_P = 1e-9
"""Stands for every smaller p-value: so far out nobody knows whether an error is normal."""


@dataclass(frozen=True)
class Difference:
    """B minus A for one metric.

    Attributes:
        key: `name/version`.
        a, b: the two values.
        value: b - a; `low` and `high` are its 95 % interval.
        p: two-sided normal p-value of both being as good, Holm-adjusted over all metrics compared; `LEAST_P` at least.
        better: which is nearer to what the metric wants, where the adjusted p is below 5 %; "tie" otherwise.
        paired: whether the interval is that of resampled differences, or none as both are scores of the same events;
            else of two independent errors.
    """

    key: str
    a: float
    b: float
    value: float
    low: float
    high: float
    p: float
    better: Literal["A", "B", "tie"]
    ranks: bool
    paired: bool


def same_events(a: Result, b: Result) -> bool:
    """Whether both are scores of the very same generated events."""
    return bool(a.samples_sha256) and a.samples_sha256 == b.samples_sha256


def compare(a: Result, b: Result) -> list[Difference]:
    """The differences of all metrics that both results have a value and an error for.

    Scores of the same events differ by rounding at most: they are tied, without an error.

    Raises:
        DataError: they are of other tasks, data, definitions, metric versions or numbers of events, or share no metric.
    """
    check_basis(a, b)
    _check_versions(a, b)
    found = _differences(a, b)
    if not found:
        raise DataError("the two results have no metric with a value and an error in common")
    return found


def winners(results: Sequence[Result]) -> dict[str, int]:
    """The metrics in which one result is better than each of the others that has a value, as `compare` says it of two:
    its place. Their scores must compare (`simbench.results.comparable.comparable_groups`).
    """
    better: dict[str, set[tuple[int, int]]] = {}
    for one, first in enumerate(results):
        for other, second in enumerate(results[:one]):
            for found in _differences(first, second):
                if found.better != "tie":
                    better.setdefault(found.key, set()).add((one, other) if found.better == "A" else (other, one))
    won = {}
    for key, pairs in better.items():
        rivals = [place for place, r in enumerate(results) if (m := r.measurement(key)) and m.value is not None]
        for place in rivals:
            if all((place, other) in pairs for other in rivals if other != place):
                won[key] = place
    return won


def _differences(a: Result, b: Result) -> list[Difference]:
    same = same_events(a, b)
    shared: dict[str, tuple[Measurement, float, float, float, bool]] = {}
    p_values = {}
    for first in a.measurements:
        second = b.measurement(first.key)
        if second is None or first.value is None or second.value is None:
            continue
        error, paired = (0.0, True) if same else difference_error(first, second)
        if error is not None:
            shared[first.key] = (first, first.value, second.value, error, paired)
            p_values[first.key] = 1.0 if same else _p_value(*_worse(first, second, first.value, second.value, error))
    adjusted = holm(p_values)
    found = []
    for key, (measurement, x, y, error, paired) in shared.items():
        badness = Direction.of(measurement).badness
        better: Literal["A", "B", "tie"] = "tie"
        if adjusted[key] < ALPHA:
            better = "A" if badness(x) < badness(y) else "B"
        low, high = y - x - 1.96 * error, y - x + 1.96 * error
        p = max(adjusted[key], LEAST_P)
        found.append(Difference(key, x, y, y - x, low, high, p, better, measurement.ranks, paired))
    return found


def _worse(first: Measurement, second: Measurement, x: float, y: float, error: float) -> tuple[float, float]:
    """By how much B is worse than A, with the standard error: on either side of a target that is no difference of
    values."""
    way = Direction.of(first)
    if way.target is not None and (x < way.target) != (y < way.target):
        error = difference_error(first, second, opposite=True)[0] or error
    return way.badness(y) - way.badness(x), error


def _p_value(difference: float, error: float) -> float:
    return 2 * NormalDist().cdf(-abs(difference) / error) if error > 0 else float(difference == 0)


def difference_error(first: Measurement, second: Measurement, *, opposite: bool = False) -> tuple[float | None, bool]:
    """Standard error of the difference, and whether it is that of paired replicates (else of independent errors).

    `opposite`: of the difference of their distances from a target that lies between them, which is that of their sum.
    """
    r, s = first.replicates, second.replicates
    if r is not None and s is not None and r.kind == s.kind and len(r.values) == len(s.values) > 1:
        sign = -1.0 if opposite else 1.0
        difference = torch.tensor(s.values, dtype=torch.float64) - sign * torch.tensor(r.values, dtype=torch.float64)
        return float(jackknife_sd(difference) if r.kind == "jackknife" else difference.std()), True
    if first.stderr is None or second.stderr is None:
        return None, False
    return (first.stderr**2 + second.stderr**2) ** 0.5, False


def check_basis(a: Result, b: Result) -> None:
    """Refuse two results whose scores do not compare. Raises DataError, which says in what they differ."""
    for name, first, second in Basis.of(a.task, a.spec.definitions).unlike(Basis.of(b.task, b.spec.definitions)):
        raise DataError(
            f"the results differ in {name} and cannot be compared",
            got=f"A: {first}, B: {second}",
            fix="Run both again on the same task with the same options.",
        )


def _check_versions(a: Result, b: Result) -> None:
    of_a, of_b = ({m.metric: m.version for m in result.measurements} for result in (a, b))
    for name in of_a.keys() & of_b.keys():
        if of_a[name] != of_b[name]:
            raise DataError(
                f"the results differ in the version of {name} and cannot be compared",
                got=f"A: {name}/{of_a[name]}, B: {name}/{of_b[name]}",
                fix="Run the older one again.",
            )
