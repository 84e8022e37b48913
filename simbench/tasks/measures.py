"""Which metrics a task can be measured by: what each of them needs of its events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """What a metric needs.

    Attributes:
        of: what the events must have. `channels`, `physics`, `features`: the derived quantity; `image`: two axes or
            more; `energy`: a first condition `Energy`; `network`: features of a pinned network; `labels`: classes.
        repeats: the fewest answers to each test condition; more than one: they are compared with each other.
        conditions, events: the fewest test conditions, and test events.
    """

    of: tuple[str, ...] = ()
    repeats: int = 1
    conditions: int = 1
    events: int = 2


NEEDS = {
    "channel_wasserstein/1": Need(("channels",)),
    "conditional_energy/1": Need(("channels",), repeats=2),
    "dispersion_ratio/2": Need(("channels",), repeats=2),
    "energy_response/1": Need(("channels", "energy"), conditions=20),
    "energy_resolution/1": Need(("channels", "energy"), conditions=20),
    "empty_fraction/1": Need(("channels",)),
    "correlation_distance/1": Need(("channels",)),
    "separation/1": Need(("physics",)),
    "fpd/1": Need(("physics",), events=100),
    "kpd/1": Need(("physics",), events=100),
    "energy_distance/1": Need(("features",)),
    "diversity_ratio/1": Need(("features",), repeats=2),
    "classifier_low/2": Need(events=100),
    "classifier_high/2": Need(("features",), events=100),
    "memorisation/3": Need(("image",)),
    "channel_mae/1": Need(("channels",)),
    "conditional_wasserstein/1": Need(("channels",), repeats=8),
    "rmse/1": Need(),
}
"""Those that any detector's events may be measured by, in the order in which they are shown."""

OTHERS = {
    **{key: Need(("network",)) for key in ("lenet_fid/1", "inception_fid/1", "kid/1")},
    **{key: Need(("labels",)) for key in ("label_accuracy/1", "class_energy/1")},
}
"""Those that need what few tasks have."""

NEEDS_REPEATS = {key: need.repeats for key, need in NEEDS.items() if need.repeats > 1}
"""Metrics of the answers to one condition, and the fewest of each that they need."""

MOST_REPEATS = 1000
"""Answers to one condition that are compared with each other, at most: a bound on memory."""

WORDS = {
    "channels": "the task has no channels",
    "physics": "an event is no image",
    "image": "an event has one axis",
    "features": "the task has no features",
    "energy": "the first condition is not Energy",
    "network": "the task has no pinned network",
    "labels": "the task has no classes",
}


def allowed_by(has: Collection[str]) -> tuple[str, ...]:
    """The keys of NEEDS that events with all of `has` can be measured by, in order."""
    return tuple(key for key, need in NEEDS.items() if set(need.of) <= set(has))


def objection(key: str, has: Collection[str]) -> str:
    """Why events that have `has` cannot be measured by a metric; empty where they can, or nothing is known of it."""
    need = (NEEDS | OTHERS).get(key, Need())
    return next((WORDS[name] for name in need.of if name not in has), "")


def number_objection(key: str, repeats: Sequence[int], conditions: int, events: int) -> str:
    """Why test events of these numbers do not do for a metric; empty where they do.

    `repeats`: the fewest and the most answers to a condition.
    """
    need = NEEDS.get(key, Need())
    if min(repeats) < need.repeats:
        return f"it needs {need.repeats} answers to each test condition"
    if need.repeats > 1 and max(repeats) > MOST_REPEATS:
        return f"it compares the answers to a condition with each other, at most {MOST_REPEATS} of them"
    if conditions < need.conditions:
        return f"it needs {need.conditions} test conditions"
    return f"it needs {need.events} test events" if events < need.events else ""
