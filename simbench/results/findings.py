"""What is too good to be true: scores below what real events reach, and copies. Each finding is a sentence; a board
refuses for each."""

from __future__ import annotations

import math

from simbench.core.text import number, printable
from simbench.results.schema import Measurement, Result

TOO_GOOD = "Too good to be true"
"""What a Result's warning of a finding begins with."""

BETTER = 5.0
"""Standard errors below its floor beyond which a distance is better than independent real events can be."""

COPYING = 4.0
"""Standard errors of `memorisation` beyond which a generator is called a copier."""

COPIES = {"copies": "training", "test copies": "test"}
"""Parts of `memorisation`: the share of generated events that are copies of those of a split; `... real` is that among
real events."""

MANY_COPIES = 0.01
"""A share of copies beyond that of real events that is worth a word, if it is beyond chance too."""


def findings(result: Result) -> list[str]:
    """All of them."""
    copies = copying(result)
    better = [text for m in result.measurements if (text := _better_than_the_truth(m))]
    return [*([copies] if copies else []), *better]


def copying(result: Result) -> str:
    """In what way the generator copies events, or an empty string."""
    measurement = next((m for m in result.measurements if m.metric == "memorisation" and m.value is not None), None)
    if measurement is None or measurement.value is None:
        return ""
    for part, split in COPIES.items():
        share, real = measurement.parts.get(part, 0.0), measurement.parts.get(f"{part} real", 0.0)
        chance = math.sqrt((share * (1 - share) + real * (1 - real)) / max(measurement.n, 1))
        if share - real > max(MANY_COPIES, COPYING * chance):
            return f"{share:.0%} of its events are exact or near copies of {split} events, of real events {real:.1%}"
    excess = measurement.value - (measurement.target or 0.0)
    if measurement.stderr and excess > COPYING * measurement.stderr:
        sigma = number(excess / measurement.stderr, 2)
        return f"its events are too near to the training events (memorisation +{sigma}σ)"
    return ""


def _better_than_the_truth(measurement: Measurement) -> str:
    """A distance far below that of independent real events: what was scored knows the very events it is scored
    against."""
    value, floor, sd = measurement.value, measurement.floor, measurement.floor_sd
    if measurement.direction != "lower" or not measurement.ranks or value is None or floor is None or sd is None:
        return ""
    spread = math.hypot(measurement.stderr or 0.0, sd)
    if spread == 0 or (value - floor) / spread > -BETTER:
        return ""
    sigma = number((floor - value) / spread, 2)
    name = printable(measurement.key, 60)
    against = f"{number(floor)} of independent real events ({sigma}σ)"
    return f"{name} is better than the truth: {number(value)} against {against}"
