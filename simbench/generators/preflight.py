"""Eight events before the run: what is wrong with a generator shows in seconds, not after an hour."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from simbench.core.seeds import derive_seed
from simbench.generators.session import Session
from simbench.tasks.base import Task

EVENTS = 8


@dataclass(frozen=True)
class Preflight:
    """What eight events told. Same seed, same events: `deterministic`; another seed, other events: `stochastic`."""

    deterministic: bool
    stochastic: bool
    warnings: list[str] = field(default_factory=list)


def spread_rows(events: int, count: int = EVENTS) -> Tensor:
    """`count` rows spread evenly over `events`, so that they answer different conditions."""
    return torch.arange(count) * max(events // count, 1) % max(events, 1)


def holds_fractions(task: Task, samples: Tensor) -> bool:
    """Whether events hold fractions of photons where real ones hold whole photons."""
    if task.unit != "photons":
        return False
    real = task.load("test").samples[: len(samples)]
    return torch.equal(real, real.round()) and not torch.equal(samples, samples.round())


def preflight(session: Session) -> Preflight:
    """Look at eight events of a generator, spread over the test conditions; their seeds are the same in every run.

    Raises:
        GeneratorError: `sample` raised, or the events are not of the task.
    """
    test, who = session.task.load("test"), session.who
    conditions = test.conditions[spread_rows(len(test))]

    def events(name: str) -> Tensor:
        return session.sample(conditions, derive_seed(0, session.task.name, "preflight", name)).clone()

    first, again, other = events("first"), events("first"), events("other")
    deterministic, stochastic = torch.equal(first, again), not torch.equal(first, other)
    warnings = []
    if not deterministic:
        warnings.append(
            f"{who} ignores the seed: the same seed gave other events. "
            "Draw all random numbers from it to be reproducible."
        )
    if deterministic and not stochastic:
        warnings.append(f"{who} gives the same events for every seed: it knows no fluctuations, or ignores the seed.")
    if holds_fractions(session.task, first):
        warnings.append(
            f"the events of {who} hold fractions of photons, real events whole photons: "
            "draw counts (torch.poisson), or round() them."
        )
    if not bool(first.any()):
        warnings.append(f"all {len(first)} preflight events of {who} are empty.")
    return Preflight(deterministic, stochastic, warnings)
