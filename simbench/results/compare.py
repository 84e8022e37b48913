"""Is B better than A? Paired differences of two Results, with confidence intervals and one family error.

Both were scored against the same real events of the same conditions, so their errors are correlated: the difference is resampled, not the two values.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch

from simbench.core.errors import DataError
from simbench.core.statistics import holm
from simbench.metrics.direction import Direction
from simbench.metrics.resampling import jackknife_sd
from simbench.results.schema import Measurement, Result

ALPHA = 0.05


@dataclass(frozen=True)
class Difference:
    """B minus A for one metric.

    Attributes:
        key: `name/version`.
        a, b: the two values.
        value: b - a; `low` and `high` are its 95 % interval.
        p: two-sided normal p-value of no difference, Holm-adjusted over all metrics compared.
        better: which is nearer to what the metric wants, where the adjusted p is below 5 %; "tie" otherwise.
        paired: whether the interval is that of resampled differences, or (for results of other sizes of resampling) of independent errors.
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


def compare(a: Result, b: Result) -> list[Difference]:
    """The differences of all metrics that both results have a value and an error for.

    Raises:
        DataError: the results are of other tasks, data, definitions, metric versions or numbers of events: their values are never compared.
    """
    _check_comparable(a, b)
    raw: dict[str, tuple[Measurement, Measurement, float, bool]] = {}
    for first in a.measurements:
        second = b.measurement(first.key)
        if second is None or first.value is None or second.value is None:
            continue
        error, paired = difference_error(first, second)
        if error is not None:
            raw[first.key] = (first, second, error, paired)
    if not raw:
        raise DataError("the two results have no metric with a value and an error in common")
    p_values = {}
    for key, (first, second, error, _) in raw.items():
        assert first.value is not None
        assert second.value is not None
        difference = second.value - first.value
        p_values[key] = 2 * NormalDist().cdf(-abs(difference) / error) if error > 0 else float(difference == 0)
    adjusted = holm(p_values)
    found = []
    for key, (first, second, error, paired) in raw.items():
        assert first.value is not None
        assert second.value is not None
        value = second.value - first.value
        better: Literal["A", "B", "tie"] = "tie"
        if adjusted[key] < ALPHA:
            better = (
                "A" if Direction.of(first).badness(first.value) < Direction.of(second).badness(second.value) else "B"
            )
        found.append(
            Difference(
                key=key,
                a=first.value,
                b=second.value,
                value=value,
                low=value - 1.96 * error,
                high=value + 1.96 * error,
                p=adjusted[key],
                better=better,
                ranks=first.ranks,
                paired=paired,
            )
        )
    return found


def difference_error(first: Measurement, second: Measurement) -> tuple[float | None, bool]:
    """Standard error of the difference: of paired replicates where both have them, else from independent errors."""
    r, s = first.replicates, second.replicates
    if r is not None and s is not None and r.kind == s.kind and len(r.values) == len(s.values) > 1:
        difference = torch.tensor(s.values, dtype=torch.float64) - torch.tensor(r.values, dtype=torch.float64)
        return float(jackknife_sd(difference) if r.kind == "jackknife" else difference.std()), True
    if first.stderr is None or second.stderr is None:
        return None, False
    return (first.stderr**2 + second.stderr**2) ** 0.5, False


def _check_comparable(a: Result, b: Result) -> None:
    fields = {
        "task": (a.task.name, b.task.name),
        "task version": (a.task.version, b.task.version),
        "data set": (a.task.dataset_sha256[:12], b.task.dataset_sha256[:12]),
        "number of events": (a.task.events, b.task.events),
        "definitions": (a.spec.definitions, b.spec.definitions),
    }
    for name, (first, second) in fields.items():
        if first != second:
            raise DataError(
                f"the results differ in {name} and cannot be compared",
                got=f"A: {first}, B: {second}",
                fix="Run both again on the same task with the same options.",
            )
    names_a, names_b = ({m.metric: m.version for m in result.measurements} for result in (a, b))
    for name in names_a.keys() & names_b.keys():
        if names_a[name] != names_b[name]:
            raise DataError(
                f"the results differ in the version of {name} and cannot be compared",
                got=f"A: {name}/{names_a[name]}, B: {name}/{names_b[name]}",
                fix="Run the older one again.",
            )
