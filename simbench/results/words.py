"""Results in words: what each metric means, where a score stands, and the one line a human would say of a run."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from simbench.core.errors import SimbenchError
from simbench.core.text import count, engine_name, number, printable, sigmas, thread_count, times, with_error
from simbench.metrics.direction import Direction
from simbench.results.cost import self_reported
from simbench.results.findings import copying
from simbench.results.schema import EquivalentCount, Measurement, Result, StratumValue, Throughput

if TYPE_CHECKING:
    from simbench.metrics.base import Metric

SIGNIFICANT = 3.0
"""Standard errors from the floor or the target below which nothing is called weak."""


def entry_labels(results: Sequence[Result]) -> list[str]:
    """What each of several results is called: its label; with the parameters that differ where labels are equal, and
    the number of events where parameters are, too. Results that are alike in all of them are numbered."""
    names = [printable(result.label, 60) or "unnamed" for result in results]
    labels = []
    for result, name in zip(results, names, strict=True):
        namesakes = [other for other, theirs in zip(results, names, strict=True) if theirs == name]
        mine = result.generator.parameters
        differing = [k for k in mine if any(other.generator.parameters.get(k) != mine[k] for other in namesakes)]
        detail = [f"{printable(key, 20)}={printable(str(mine[key]), 20)}" for key in differing]
        if any(r.generator.parameters == mine and r.task.events != result.task.events for r in namesakes):
            detail.append(f"{count(result.task.events)} events")
        labels.append(f"{name} ({', '.join(detail)})" if detail else name)
    return [
        label if labels.count(label) == 1 else f"{label} #{labels[: i + 1].count(label)}"
        for i, label in enumerate(labels)
    ]


def metric_label(measurement: Measurement) -> str:
    """The name people use: `channel Wasserstein`; the version where it is not the present one."""
    known = _metric(measurement.metric, measurement.version)
    name = printable(known.label if known else measurement.metric.replace("_", " "), 40)
    usual = known.version if known else "1"
    return name if measurement.version == usual else f"{name} {printable(measurement.version, 20)}"


CONFIDENCE = 0.95


def score_text(measurement: Measurement, stratum: StratumValue | None = None, *, repeats: int = 1) -> str:
    """`9.13 ± 0.42`, of a measurement or of a stratum of it.

    A share of events of which none or all count has no spread to take an error from: it has a limit at 95 % confidence
    instead, `< 0.069` or `> 0.93`, and the difference of two such shares `within ±0.069`. The limit is that of as many
    independent draws as there are conditions, with `repeats` events each.
    """
    score = measurement if stratum is None else stratum
    value = score.value or 0.0
    if score.stderr != 0:
        return with_error(value, score.stderr)
    known = _metric(measurement.metric, measurement.version)
    if known is None or not known.share or value not in (0, 1):
        return number(value, 4)
    limit = 1 - (1 - CONFIDENCE) ** (1 / max(score.n // repeats, 1))
    if measurement.target == value:
        return f"within ±{number(limit, 2)}"
    return f">\u00a0{number(1 - limit, 3)}" if value else f"<\u00a0{number(limit, 2)}"


def meaning(measurement: Measurement) -> str:
    """What the number means, in one plain sentence; empty for a metric that nobody here knows."""
    known = _metric(measurement.metric, measurement.version)
    return printable(known.meaning, 300) if known else ""


@functools.cache
def _metric(name: str, version: str) -> Metric | None:
    """A shipped metric of that name in any version, version 1 first, or a stranger's of that name and version."""
    from simbench.metrics.registry import SHIPPED, metrics  # they bring torch along

    shipped = next((metric for metric in SHIPPED if metric.name == name), None)
    try:
        return shipped or metrics().get(f"{name}/{version}")
    except SimbenchError:  # a registered package that cannot be imported
        return None


def stratum_label(key: str) -> str:
    """`species=neutron` is neutron; `energy=q1` is energy q1."""
    name, _, value = key.partition("=")
    return printable(value if name == "species" else f"{name} {value}".strip(), 40)


@dataclass(frozen=True)
class Standing:
    """Where a score stands.

    Attributes:
        text: `2.1x` the floor, or the distance in standard errors (`+14σ`) from the target or from a floor of about 0;
            empty if unknown.
        factor: by what factor the score is worse than the floor or the target (1 is as good; below 1 better), where a
            factor makes sense.
        sigma: standard errors by which it is worse than the floor, or away from the target; None without an error.
    """

    text: str
    factor: float | None
    sigma: float | None

    @property
    def in_errors(self) -> bool:
        """Whether `text` tells it in standard errors."""
        return self.text.endswith("σ")


def standing(measurement: Measurement) -> Standing:
    """Where a measurement stands against its floor, or against its target."""
    value, target, floor, ratio = measurement.value, measurement.target, measurement.floor, measurement.ratio
    if value is None:
        return Standing("", None, None)
    if target is not None:
        sigma = _in_errors(value - target, measurement.stderr)
        factor = max(value / target, target / value) if value > 0 and target > 0 else None
        return Standing("" if sigma is None else sigmas(sigma), factor, None if sigma is None else abs(sigma))
    if floor is None:
        return Standing("", None, None)
    sigma = _in_errors(value - floor, math.hypot(measurement.stderr or 0.0, measurement.floor_sd or 0.0))
    worse = None if sigma is None else Direction.of(measurement).sign * sigma
    if ratio is None:
        return Standing("" if sigma is None else sigmas(sigma), None, worse)
    factor = ratio if measurement.direction == "lower" else 1 / ratio if ratio > 0 else math.inf
    return Standing(times(ratio), factor, worse)


MARGIN, MARGIN_SD = 1.5, 5.0
"""A score is at the floor where the far end of its 95 % interval is within `MARGIN` times the floor, or, where the
floor is about 0 or more is
better, within `MARGIN_SD` of the floor's standard deviations of it."""

FloorTest = Literal["at the floor", "worse than the floor", "too uncertain to say"]


def floor_test(measurement: Measurement) -> FloorTest:
    """Whether a score is as good as the floor, which takes evidence, as being worse does."""
    value, floor, sd, error = measurement.value, measurement.floor, measurement.floor_sd, measurement.stderr
    if value is None or floor is None or sd is None or error is None:
        return "too uncertain to say"
    way = Direction.of(measurement)
    worse, wide = way.badness(value) - way.badness(floor), 1.96 * math.hypot(error, sd)
    margin = (
        (MARGIN - 1) * floor if measurement.ratio is not None and measurement.direction == "lower" else MARGIN_SD * sd
    )
    if worse + wide <= margin:
        return "at the floor"
    return "worse than the floor" if worse > wide else "too uncertain to say"


def _in_errors(difference: float, error: float | None) -> float | None:
    return difference / error if error else None


def headline(result: Result) -> Measurement | None:
    """The measurement that stands for the run: that of the worst equivalent count, else the first that ranks and has a
    value."""
    if result.equivalent_events is not None:
        found = result.measurement(result.equivalent_events.headline.metric)
        if found is not None and found.value is not None:
            return found
    return next((m for m in result.measurements if m.ranks and m.value is not None), None)


def equivalent_number(result: Result) -> str:
    """The worst count alone: `1.9`, `at least 4 000`, `copies`; an empty string where it is not known."""
    found = result.equivalent_events
    return "" if found is None else "copies" if copying(result) else _bounded(found.headline)


def _bounded(found: EquivalentCount) -> str:
    return {"exact": "", "at least": "at least ", "below": "fewer than "}[found.bound] + _two_digits(found.value)


def _two_digits(value: float) -> str:
    return number(value, 2) if value < 1000 else count(float(f"{value:.1e}"))


def equivalent_text(found: EquivalentCount, events: str = "") -> str:
    """`1.9 GEANT3 events per particle (1.7 to 2.2)`: two digits at most, and always the interval or the bound."""
    text = " ".join(part for part in (_bounded(found), events, found.aspect) if part)
    if found.bound != "exact":
        return text
    end = "or more" if found.high is None else f"to {_two_digits(found.high)}"
    return f"{text} ({_two_digits(found.low)} {end})"


def equivalent_sentence(result: Result) -> str:
    """`as close to the truth as 1.9 GEANT3 events per particle (1.7 to 2.2); 1 100 in its channels (950 to 1 300)`, or
    why that is not known."""
    found = result.equivalent_events
    if found is None:
        known = "without a task" if result.task.absent else "for this number of events"
        return f"equivalent events not known {known}"
    copies = copying(result)
    if copies:
        return f"no equivalent events: {copies}"
    made_by = found.engine or (result.speedup.monte_carlo.engine if result.speedup else None)
    events = f"{engine_name(made_by)} events" if made_by else "real events"
    others = ", ".join(equivalent_text(other) for other in found.counts if other.aspect != found.worst)
    first = f"as close to the truth as {equivalent_text(found.headline, events)}"
    return f"{first}; {others}" if others else first


def speed_sentence(result: Result) -> str:
    """The speed-up with both machines, as it may be quoted; why there is none, else."""
    found = result.speedup
    if found is None and not result.throughput:
        return "No speed-up: the generator was not timed."
    if found is None:
        return "No speed-up: what the Monte Carlo takes for these events is not recorded."
    record, engine = found.monte_carlo, engine_name(found.monte_carlo.engine)
    text = (
        f"{times(found.value)} {engine}: {machine(result, found.device)} (batch {count(found.batch)}) "
        f"against {printable(record.engine)} on {printable(record.cpu)}, {thread_count(record.threads)}, "
        f"{number(record.seconds_per_event, 2)} s per event."
    )
    if found.per_core is not None:
        text += f" One CPU core against one: {times(found.per_core)}, on {machine(result, 'cpu')}."
    return text


def ask_repetitions(result: Result, count: int) -> str:
    """How to get so many repetitions of what the result is of: of a generator, or of files of samples."""
    if result.spec.generator.startswith("samples:"):
        return f"pass `simbench score` {count} files, one a repetition"
    return f"run it with --repetitions {count}"


def way_of(row: Throughput) -> str:
    """`bfloat16, compiled`: how the generator was called, where that is not as usual."""
    told = [printable(row.precision, 20)] if row.precision != "float32" else []
    return ", ".join([*told, "compiled"] if row.compiled else told)


def machine(result: Result, device: str) -> str:
    """The device with the name of its processor: `cpu, 2 threads (Intel Xeon)`."""
    name = result.provenance.hardware.get("cpu") if device.startswith("cpu") else None
    return f"{printable(device)} ({printable(name)})" if name else printable(device)


def weakest(result: Result) -> tuple[str, float, float, float] | None:
    """The ranking score, or stratum of one that has a target, that is most standard errors worse than it should be.

    Returns its name, value, standard error and that distance; None where nothing is off by `SIGNIFICANT` errors. The
    headline is left out.
    """
    first = headline(result)
    found: list[tuple[str, float, float, float]] = []
    for measurement in result.measurements:
        if not measurement.ranks or measurement is first or measurement.value is None or not measurement.stderr:
            continue
        name, sigma = metric_label(measurement), standing(measurement).sigma
        if sigma is not None:
            found.append((name, measurement.value, measurement.stderr, sigma))
        for key, stratum in measurement.strata.items() if measurement.target is not None else ():
            if stratum.stderr:
                sigma = Direction.of(measurement).badness(stratum.value) / stratum.stderr
                found.append((f"{name} ({printable(key.replace('=', ' '), 40)})", stratum.value, stratum.stderr, sigma))
    worst = max(found, key=lambda item: item[3], default=None)
    return worst if worst is not None and worst[3] >= SIGNIFICANT else None


def verdict(result: Result) -> str:
    """One line: `2.1x the floor; 1 900x GEANT3 per core; weakest: dispersion (species neutron) 0.81 ± 0.03`."""
    return "; ".join(part for part in (_quality(result), _speed(result), _weakness(result)) if part)


def _quality(result: Result) -> str:
    first = headline(result)
    if first is None:
        failed = next((m for m in result.measurements if m.status == "failed"), None)
        return f"no score: {metric_label(failed)} failed" if failed else "no score"
    counted = {count.metric for count in result.equivalent_events.counts} if result.equivalent_events else set()
    judged = [floor_test(m) for m in result.measurements if m is first or m.key in counted]
    if all(answer == "at the floor" for answer in judged):
        return "at the floor"
    place, name = standing(first), metric_label(first)
    if first.floor is None and first.target is None:
        return f"{name} {with_error(first.value or 0.0, first.stderr)}, no floor"
    if first.floor_sd is not None and floor_test(first) == "too uncertain to say":
        return f"{name} too uncertain to say"
    if first.ratio is not None:
        return f"{name} {place.text} the floor"
    against = "target" if first.target is not None else "floor"
    return f"{name} {place.text} from the {against}" if place.text else f"{name} {number(first.value or 0.0)}"


def _speed(result: Result) -> str:
    if result.speedup is None:
        fastest = max((row.events_per_s.p50 for row in result.throughput), default=None)
        told = self_reported(result.self_reported_seconds)
        untimed = f"not timed (self-reported: {told})" if told else "not timed"
        return untimed if fastest is None else f"{number(fastest, 2)} events/s"
    engine = engine_name(result.speedup.monte_carlo.engine)
    if result.speedup.per_core is not None:
        return f"{times(result.speedup.per_core)} {engine} per core"
    return f"{times(result.speedup.value)} {engine} on {printable(result.speedup.device, 40)}"


def _weakness(result: Result) -> str:
    if all(m.value is None for m in result.measurements):
        return ""
    worst = weakest(result)
    if worst is None:
        return f"no other score off by more than {SIGNIFICANT:.0f} errors"
    name, value, error, _ = worst
    return f"weakest: {name} {with_error(value, error, 1)}"
