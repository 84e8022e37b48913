"""Equivalent Monte Carlo events: how many real events are as far from the truth as the generator is. METRICS,
"Equivalent Monte Carlo events".

Two ways, each with a 95 % interval from the score's own error:

- on a curve: the N at which N real events have the generator's score against the whole reference (channel_wasserstein,
  lenet_fid);
- of an energy distance D, whose estimate is unbiased: Delta / D, with Delta = E|Y - Y'| of real events, because the
  empirical measure of N
  real events has the expected energy distance Delta / N from the truth. Where D is below its own error, a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from simbench.evaluation.floors import Curve, shipped_floors
from simbench.results.schema import Bound, EquivalentCount, EquivalentEvents, Measurement
from simbench.tasks.base import Equivalent, Task

Z = 1.96
REAL_SPREAD = "real_spread"
"""The part of an energy distance that holds Delta."""


def equivalent_events(
    task: Task, measurements: Sequence[Measurement], events: int, conditions: int | None = None
) -> EquivalentEvents | None:
    """All counts that the task asks for and the measurements allow; None where there are none.

    `conditions`: how many the events answer, where that is not as many as the whole test split does.
    """
    by_key = {measurement.key: measurement for measurement in measurements}
    found = [
        _count(task, replace(asked, conditions=asked.conditions and (conditions or asked.conditions)), by_key, events)
        for asked in task.equivalents
    ]
    counts = [count for count in found if count is not None]
    if not counts:
        return None
    worst = min(counts, key=lambda count: count.value / count.scored)
    record = task.monte_carlo
    return EquivalentEvents(counts=counts, worst=worst.aspect, engine=record.engine if record else None)


def _count(task: Task, asked: Equivalent, by_key: Mapping[str, Measurement], events: int) -> EquivalentCount | None:
    measurement = by_key.get(asked.metric)
    if measurement is None or measurement.value is None:
        return None
    value, error = measurement.value, Z * (measurement.stderr or 0.0)
    table = shipped_floors(task)
    if table is not None and table.curve is not None and table.curve.metric == asked.metric:
        if events != task.test_events or measurement.n != events:
            return None
        curve, scored = table.curve, float(events)
        middle, low, high = (curve_events(curve, score) for score in (value, value + error, value - error))
        best, worst = min(curve.value), max(curve.value)
        bound: Bound = "at least" if value <= best else "below" if value >= worst else "exact"
        upper = None if value - error <= best else high
    elif REAL_SPREAD in measurement.parts:
        delta, scored = measurement.parts[REAL_SPREAD], events / (asked.conditions or 1)
        value -= _shift(measurement)
        low = delta / (max(value, 0.0) + error) if max(value, 0.0) + error > 0 else float(events)
        upper = delta / (value - error) if value > error else None
        bound, middle = ("exact", delta / value) if value > error / Z and value > 0 else ("at least", low)
    else:
        return None
    return EquivalentCount(
        aspect=asked.aspect, metric=asked.metric, value=middle, low=low, high=upper, bound=bound, scored=scored
    )


def _shift(measurement: Measurement) -> float:
    """The distance of the population that the real events of the floor come from, where it is significant (mnist:
    training digits)."""
    floor, sd = measurement.floor or 0.0, measurement.floor_sd or 0.0
    return floor if floor > 3 * sd > 0 else 0.0


def curve_events(curve: Curve, score: float) -> float:
    """The N of the curve at which real events have this score: log-log interpolation on the curve made monotone, within
    its ends."""
    floor = np.minimum.accumulate(np.array(curve.value))
    clipped = float(np.clip(score, floor[-1], floor[0]))
    return float(np.exp(np.interp(-np.log(clipped), -np.log(floor), np.log(np.array(curve.events)))))
