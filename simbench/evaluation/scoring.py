"""Scoring: metrics on comparisons -> Measurements, each beside its floor, several metrics at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist, fmean, stdev

from simbench.core.errors import SimbenchError
from simbench.core.threads import in_parallel
from simbench.evaluation.floors import Floor, Floors
from simbench.evaluation.shards import Streamed
from simbench.metrics.base import Comparison, Estimate, Metric
from simbench.metrics.direction import Direction
from simbench.metrics.registry import SHIPPED, get_metric
from simbench.results.schema import Calibrated, Measurement, ReplicatesRecord, StratumValue
from simbench.tasks.base import Task


@dataclass(frozen=True)
class Scaled:
    """The generated events times one factor, against the reference: what calibrated scores are made from."""

    factor: float
    pair: Comparison


def measure_all(
    keys: Sequence[str],
    pairs: Sequence[Comparison],
    task: Task,
    *,
    scaled: Scaled | None = None,
    fast: bool = False,
    definitions: str,
    floors: Floors | None = None,
    streamed: Streamed | None = None,
    on_metric: Callable[[int], None] = lambda done: None,
) -> list[Measurement]:
    """Every metric over all repetitions (`pairs`), in the order of `keys`.

    simbench's own metrics share the cores, each on one thread, slow ones first; no value depends on how many there are.
    Others come after them, one at a time: they may draw from global random numbers.

    `streamed`: the events that `pairs`, one, is a subsample of.
    """

    known = floors or Floors(task, pairs[0].reference)
    of_all = Floors(task, streamed.whole.events) if streamed and len(streamed.whole) != len(pairs[0]) else known

    def job(key: str) -> Measurement:
        metric = get_metric(key)
        if streamed is None:
            return _calibrated(measure(metric, pairs, known, fast=fast, definitions=definitions), scaled)
        of = of_all if metric.key in streamed.streams else known
        return measure(metric, pairs, of, fast=fast, definitions=definitions, streamed=streamed)

    own = {metric.key for metric in SHIPPED}
    first = sorted((key for key in keys if key in own), key=lambda key: not get_metric(key).slow)
    done = dict(zip(first, in_parallel([partial(job, key) for key in first], on_metric), strict=True))
    for key in keys:
        if key not in done:
            done[key] = job(key)
            on_metric(1)
    return [done[key] for key in keys]


def _calibrated(measured: Measurement, scaled: Scaled | None) -> Measurement:
    metric = get_metric(measured.key)
    if scaled is None or measured.status != "ok" or not metric.ranks or metric.slow:
        return measured
    try:
        value = _checked(metric(scaled.pair)).value
    except Exception:  # a stranger's metric may refuse counts that are no whole numbers: its score stays
        return measured
    return measured.model_copy(update={"calibrated": Calibrated(factor=scaled.factor, value=value)})


def _checked(estimate: Estimate) -> Estimate:
    """What a metric returned, if a Result can hold it."""
    if not isinstance(estimate, Estimate):
        raise TypeError(f"it returned a {type(estimate).__name__} and no Estimate")
    if not math.isfinite(estimate.value):
        raise ValueError(f"its value is {estimate.value}")
    return estimate


def measure(
    metric: Metric,
    pairs: Sequence[Comparison],
    floors: Floors,
    *,
    fast: bool,
    definitions: str,
    streamed: Streamed | None = None,
) -> Measurement:
    """One metric over all repetitions, beside its floor. A metric that fails is recorded as failed, with its reason.

    Of `streamed` events there is a floor where as many real ones can be had.
    """
    start = time.perf_counter()
    entered = streamed.entered(metric) if streamed else len(pairs[0])
    has_floor = floors.task.has_floor and entered == len(floors)
    estimates: list[Estimate] = []
    floor: Floor | None = None
    status, error = ("skipped", "left out by --fast") if fast and metric.slow else ("ok", None)
    if status == "ok":
        try:
            found = [streamed.estimate(metric)] if streamed else [metric(pair) for pair in pairs]
            estimates = [_checked(estimate) for estimate in found]
            floor = floors.of(metric) if has_floor else None
        except Exception as reason:  # a metric that fails must not take the others with it
            kind = "" if isinstance(reason, SimbenchError) else f"{type(reason).__name__}: "
            status, error, estimates = "failed", f"{kind}{reason}"[:5000], []
    values = [estimate.value for estimate in estimates]
    value = fmean(values) if values else None
    stderr = estimates[0].stderr if estimates else None
    return Measurement(
        metric=metric.name,
        version=metric.version,
        definition=definitions,
        status=status,  # type: ignore[arg-type]
        value=value,
        per_repetition=values,
        stderr=stderr,
        sd_repetition=stdev(values) if len(values) > 1 else None,
        unit=floors.task.unit_of(metric),
        direction=metric.direction,
        target=metric.target,
        ranks=metric.ranks,
        n=entered,
        subsample_of=streamed.events if streamed and entered < streamed.events else None,
        floor=floor.value if floor else None,
        floor_sd=floor.sd if floor else None,
        floor_n=entered if floor else None,
        memoriser=floor.memoriser if floor else None,
        ratio=_over_floor(metric, value, floor),
        p=_p_value(metric, value, stderr, floor),
        calibrated=None,
        replicates=_replicates(estimates),
        parts=_mean_of_parts(estimates),
        strata={
            name: StratumValue(value=fmean(e.strata[name].value for e in estimates), stderr=stratum.stderr, n=stratum.n)
            for name, stratum in (estimates[0].strata.items() if estimates else ())
            if all(name in e.strata for e in estimates)
        },
        seconds=time.perf_counter() - start,
        error=error,
    )


def _replicates(estimates: Sequence[Estimate]) -> ReplicatesRecord | None:
    """Those of the first repetition, to 7 digits: they only serve the spread of differences."""
    if not estimates or estimates[0].replicates is None:
        return None
    kept = estimates[0].replicates
    return ReplicatesRecord(kind=kept.kind, values=[float(f"{value:.7g}") for value in kept.values])


def _mean_of_parts(estimates: Sequence[Estimate]) -> dict[str, float]:
    if not estimates:
        return {}
    return {name: fmean(estimate.parts[name] for estimate in estimates) for name in estimates[0].parts}


def _over_floor(metric: Metric, value: float | None, floor: Floor | None) -> float | None:
    """Value over floor; None for a target, and where the floor is 0 within its own spread."""
    if (
        value is None
        or floor is None
        or metric.direction == "target"
        or floor.value <= 3 * (floor.sd or 0.0)
        or floor.value <= 0
    ):
        return None
    return value / floor.value


def _p_value(metric: Metric, value: float | None, stderr: float | None, floor: Floor | None) -> float | None:
    """Normal p-value of the score being the floor's: one-sided towards worse, two-sided for a target."""
    if value is None or stderr is None or floor is None or floor.sd is None:
        return None
    spread = (stderr**2 + floor.sd**2) ** 0.5
    if spread == 0:
        return None
    z = (value - floor.value) / spread
    better = Direction.of(metric)
    return better.sides * NormalDist().cdf(-abs(z) if better.sides == 2 else -better.sign * z)
