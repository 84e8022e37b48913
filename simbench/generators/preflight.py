"""Eight events before the run: what is wrong with a generator shows in seconds, not after an hour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from simbench.core.errors import SimbenchError
from simbench.core.seeds import derive_seed
from simbench.generators.protocol import Generator
from simbench.generators.resolve import Resolved
from simbench.generators.user_code import user_error
from simbench.tasks.base import Task

EVENTS = 8


@dataclass(frozen=True)
class Preflight:
    """What eight events told: same seed, same events (`deterministic`); another seed, others (`stochastic`); and what to warn of."""

    deterministic: bool
    stochastic: bool
    warnings: list[str] = field(default_factory=list)


def call(generator: Generator, conditions: Tensor, seed: int, who: str) -> Any:
    """What `generator.sample` returns, unchecked, without gradients. Every call of a user's `sample` goes through here.

    The generator gets a copy of the conditions: one that works in place spoils nobody's data. KeyboardInterrupt passes.

    Raises:
        GeneratorError: it raised; the message names the exception and the user's line.
    """
    with torch.no_grad():
        return call_bare(generator, conditions.clone(), seed, who)


def call_bare(generator: Generator, conditions: Tensor, seed: int, who: str) -> Any:
    """`call` with the conditions themselves, and with gradients if they are on: for those who test just that."""
    try:
        return generator.sample(conditions, seed=seed)
    except SimbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise user_error(
            error, f"{who} failed in `sample` for {len(conditions)} events", fix=f"Try `simbench check {who}`."
        ) from error


def set_up(generator: Generator, task: Task, device: torch.device, who: str) -> None:
    """Call the optional `setup(task, device)`. Raises GeneratorError where it raises."""
    setup = getattr(generator, "setup", None)
    if not callable(setup):
        return
    try:
        setup(task, device)
    except SimbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise user_error(error, f"{who} failed in `setup`") from error


def spread_rows(events: int, count: int = EVENTS) -> Tensor:
    """`count` rows spread evenly over `events`, so that they answer different conditions."""
    return torch.arange(count) * max(events // count, 1) % max(events, 1)


def preflight(resolved: Resolved, task: Task, device: torch.device | str = "cpu") -> Preflight:
    """Set the generator up and look at eight of its events, spread over the test conditions.

    Raises:
        GeneratorError: `setup` or `sample` raised, or the events are not of the task.
    """
    device, who, generator = torch.device(device), resolved.spec, resolved.generator
    set_up(generator, task, device, who)
    test = task.load("test")
    conditions = test.conditions[spread_rows(len(test))].to(device)

    def events(name: str) -> Tensor:
        seed = derive_seed(0, task.name, "preflight", name)
        return task.check_samples(call(generator, conditions, seed, who), len(conditions), who).clone()

    first, again, other = events("first"), events("first"), events("other")
    deterministic, stochastic = torch.equal(first, again), not torch.equal(first, other)
    warnings = []
    if not deterministic:
        warnings.append(
            f"{who} ignores the seed: the same seed gave other events. Draw all random numbers from it to be reproducible."
        )
    if deterministic and not stochastic:
        warnings.append(f"{who} gives the same events for every seed: it knows no fluctuations, or ignores the seed.")
    if not bool(first.any()):
        warnings.append(f"all {len(first)} preflight events of {who} are empty.")
    return Preflight(deterministic, stochastic, warnings)
