"""What a speed-up is worth, in sentences: on which conditions it depends, when it pays, what its quality costs.

And what files of samples say of their own speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from simbench.core.text import count, duration, engine_name, number, printable, times
from simbench.results.findings import copying
from simbench.results.schema import Result, Speedup


def cost_sentences(result: Result) -> list[str]:
    """Those that can be said of a Result."""
    found, told = result.speedup, self_reported(result.self_reported_seconds)
    words = [f"Self-reported by its files: {told}; not measured here, and never ranked."] if told else []
    return words if found is None else [*words, *_by_stratum(found), *_training(found), *_quality(result, found)]


def self_reported(seconds: float | None) -> str:
    """`1.2 ms per event`; empty where nothing is said."""
    return "" if seconds is None else f"{duration(seconds)} per event"


def _by_stratum(found: Speedup) -> Iterator[str]:
    """How far it depends on the conditions: the Monte Carlo's cost grows with the energy, a network's does not."""
    kinds: dict[str, list[tuple[float, str]]] = {}
    for key, cost in found.strata.items():
        kind, _, name = key.partition("=")
        kinds.setdefault(kind, []).append((cost.monte_carlo_s / cost.generator_s, printable(name, 40)))
    parts = [
        f"by {printable(kind, 40)} from {times(min(factors)[0])} ({min(factors)[1]}) to {times(max(factors)[0])} "
        f"({max(factors)[1]})"
        for kind, factors in kinds.items()
    ]
    if parts:
        yield f"The speed-up {', '.join(parts)}."


def _training(found: Speedup) -> Iterator[str]:
    """After how many events the training is paid back, without and with the Monte Carlo that it learned from."""
    made, core = found.training, found.per_core
    if made is None or core is None or core <= 1:
        return
    gained = found.monte_carlo.seconds_per_event * (1 - 1 / core)
    simulated = made.events * found.monte_carlo.seconds_per_event
    yield (
        f"The training, {duration(made.seconds)} in the generator's own words, is paid back after "
        f"{count(ceil(made.seconds / gained))} events on one core; with the {count(made.events)} Monte Carlo events "
        f"that it learned from ({duration(simulated)}) after {count(ceil((made.seconds + simulated) / gained))}."
    )


def _quality(result: Result, found: Speedup) -> Iterator[str]:
    """What the Monte Carlo takes for as many events as the generator's are worth, against the generator's own time."""
    if result.equivalent_events is None or not found.per_core or copying(result):
        return
    worth, engine = result.equivalent_events.headline, engine_name(found.monte_carlo.engine)
    seconds = found.monte_carlo.seconds_per_event
    truth, own = worth.value * seconds, worth.scored * seconds / found.per_core
    least = "at least " if worth.bound == "at least" else ""
    yield (
        f"Time for quality: {number(worth.scored, 2)} scored events ({worth.aspect}) are worth {least}"
        f"{number(worth.value, 2)} of {engine}, which takes {duration(truth)} for those, the generator "
        f"{duration(own)} for its own: {times(truth / own)}, on one core."
    )
