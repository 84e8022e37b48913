"""The contract of a generator, tested on a user's own model: `simbench check`."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import psutil
import torch
from torch import Tensor

from simbench.core.errors import GeneratorError, SimbenchError
from simbench.core.text import duration
from simbench.generators.preflight import EVENTS, holds_fractions, spread_rows
from simbench.generators.resolve import find, resolve
from simbench.generators.session import Session
from simbench.tasks.base import Task

Status = Literal["ok", "warn", "fail"]
Finding = str | tuple[str, str]

ODD_EVENTS = 13
COPIES = 64
SPEED_EVENTS, CALLS = 64, 3
PATIENCE = 3600.0
"""Seconds that the whole test split may take before `check` warns."""
SIGNIFICANT = 5.0
MEMORY_CALLS, MEMORY_BYTES = 6, 2**16
"""Each of so many calls must leave so much behind before `check` warns: what an allocator keeps comes in steps."""
IGNORED = 0.5
"""Of the difference that another seed makes: where the same seed makes more, it is ignored. A GPU may round anew."""
DRAW = "Draw all random numbers from the seed, e.g. torch.Generator(device).manual_seed(seed)."
MODAL = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.dropout._DropoutNd)
"""Layers that compute something else in training mode."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, in a sentence, and how to mend it; the error behind it, if one."""

    name: str
    status: Status
    reason: str
    fix: str = ""
    error: SimbenchError | None = None

    @classmethod
    def of(cls, name: str, error: SimbenchError, status: Status = "fail") -> Check:
        """What an error says."""
        return cls(name, status, str(error).removesuffix(error.fix).strip(), error.fix, error)

    def as_dict(self) -> dict[str, str]:
        """The check as JSON shows it: without the error."""
        return {"name": self.name, "status": self.status, "reason": self.reason, "fix": self.fix}


def check_generator(spec: str, params: Mapping[str, str], task: Task, device: str = "cpu") -> Iterator[Check]:
    """Test a generator, one clause after the other; what rests on a failed clause is left out.

    Raises:
        UsageError: `spec` names nothing, or `params` are wrong: there is nothing to test.
        DataError: the task's data are missing.
    """
    clause = "imports"
    try:
        target = find(spec)
        yield Check(clause, "ok", f"{target.name} was found.")
        clause = "constructs"
        resolved = resolve(spec, params, target)
        given = ", ".join(f"{name}={value}" for name, value in resolved.parameters.items())
        yield Check(clause, "ok", f"It takes {given}." if given else "It takes no parameters.")
        clause = "setup"
        session = resolved.set_up(task, device)
        resolved.weights_sha256()
        resolved.training_seed()
        resolved.effective_parameters()
    except GeneratorError as error:
        yield Check.of(clause, error)
        return
    has_setup = callable(getattr(resolved.generator, "setup", None))
    yield Check(clause, "ok", "It was called once." if has_setup else "There is none, and none is needed.")
    yield from _Contract(session, lambda: resolve(spec, params, target).set_up(task, device)).checks()


class _Contract:
    """The clauses about `sample`. Each returns what it found: a sentence, or a warning and how to mend it."""

    def __init__(self, session: Session, construct: Callable[[], Session]) -> None:
        self.session, self.construct = session, construct
        self.task, self.test = session.task, session.task.load("test")

    def checks(self) -> Iterator[Check]:
        for count in (EVENTS, 1, ODD_EVENTS):
            check = _check("1 event" if count == 1 else f"{count} events", partial(self.events, count))
            yield check
            if check.status == "fail":
                return
        clauses: tuple[Callable[[], Finding], ...] = (
            *([self.whole_photons] if self.task.unit == "photons" else []),
            self.deterministic,
            self.constructed_again,
            self.stochastic,
            self.global_state,
            self.conditions_kept,
            self.gradients,
            self.inference_mode,
            self.evaluation_mode,
            self.own_conditions,
            self.speed,
            self.memory,
        )
        for clause in clauses:
            yield _check(clause.__name__.replace("_", " "), clause)

    def conditions(self, count: int = EVENTS) -> Tensor:
        return self.test.conditions[spread_rows(len(self.test), count)].to(self.session.device)

    def sample(self, conditions: Tensor, name: str) -> Tensor:
        """Checked events for the seed of that name."""
        return self.session.sample(conditions, self.session.seed("check", name)).clone()

    def events(self, count: int) -> Finding:
        samples = self.sample(self.conditions(count), "events")
        found = f"{tuple(samples.shape)}, {float(samples.min()):.4g} to {float(samples.max()):.4g} {self.task.unit}."
        return found if bool(samples.any()) else (f"{found} All are empty.", "Look whether that is meant.")

    def whole_photons(self) -> Finding:
        if not holds_fractions(self.task, self.sample(self.conditions(), "events")):
            return "It gives whole photons, if real events do."
        found = "Its events hold fractions of photons, real events whole photons: a network tells them apart at once."
        return found, "Draw counts, e.g. torch.poisson(mean, generator=rng), or round() them."

    def deterministic(self) -> Finding:
        """The same seed, in another state of the global random numbers. Raises GeneratorError where it is ignored."""
        conditions = self.conditions()
        torch.manual_seed(1)
        first, other = self.sample(conditions, "first"), self.sample(conditions, "other")
        torch.manual_seed(2)
        apart = float((self.sample(conditions, "first") - first).abs().sum())
        if apart == 0:
            return "The same seed gives the same events."
        by_seed = float((other - first).abs().sum())
        if apart > IGNORED * by_seed:
            what = "The same seed gives other events, as different as those of another seed"
            raise GeneratorError(what, fix=DRAW)
        return f"The same seed gives events that differ by {apart / by_seed:.1%} of what another seed changes.", DRAW

    def constructed_again(self) -> Finding:
        """Weights that were drawn and never loaded differ from one run to the next."""
        conditions = self.conditions()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            fresh = self.construct()
        first, seed = self.sample(conditions, "first"), self.session.seed("check", "first")
        if not torch.equal(first, self.sample(conditions, "first")):
            return "Not to be told, as the same seed gives other events."
        if torch.equal(first, fresh.sample(conditions, seed)):
            return "Constructed anew, it gives the same events."
        found = "Constructed anew, it gives other events for the same seed: no run can be repeated."
        return found, "Load its weights, and draw nothing at random in the constructor, in `setup` or at import."

    def stochastic(self) -> Finding:
        conditions = self.conditions()
        if torch.equal(self.sample(conditions, "first"), self.sample(conditions, "other")):
            return "Every seed gives the same events: no fluctuations.", "Use the seed, unless a mean is meant."
        return "Another seed gives other events."

    def global_state(self) -> Finding:
        before = _global_states()
        self.sample(self.conditions(), "first")
        after = _global_states()
        touched = [name for name in before if before[name] != after[name]]
        if not touched:
            return "It leaves everybody else's random numbers alone."
        found = f"It draws from, or seeds, the global random state of {' and '.join(touched)}."
        return found, "Use a random generator of its own, so that nobody else's numbers change."

    def conditions_kept(self) -> Finding:
        given = self.conditions().clone()
        before = given.clone()
        with torch.no_grad():
            self.session.call_bare(given, 1)
        if torch.equal(given, before):
            return "It does not write into the conditions."
        return "It writes into the conditions that it is given.", "Work on a copy: conditions.clone()."

    def gradients(self) -> Finding:
        with torch.enable_grad():
            raw = self.session.call_bare(self.conditions().clone(), 1)
        if isinstance(raw, Tensor) and raw.requires_grad:
            return "Its events carry gradients, which costs memory.", "Decorate `sample` with @torch.no_grad()."
        return "Its events carry no gradients."

    def inference_mode(self) -> Finding:
        with torch.inference_mode():
            try:
                self.session.checked(self.session.call_bare(self.conditions().clone(), 1), EVENTS)
            except GeneratorError as error:
                return f"It fails under torch.inference_mode(): {error.got}.", "simbench does not use that mode."
        return "It works under torch.inference_mode()."

    def evaluation_mode(self) -> Finding:
        if any(layer.training and isinstance(layer, MODAL) for layer in self.session.modules()):
            return "A layer of it (dropout, batch norm) is in training mode.", "Call .eval() in `setup`."
        return "No dropout or batch norm is in training mode."

    def own_conditions(self) -> Finding:
        """The same condition, alone and between others, gives the same events: each answers its own row."""
        totals = self.test.samples.flatten(1).sum(1)
        bright, dark = self.test.conditions[totals.argmax()], self.test.conditions[totals.argmin()]
        if torch.equal(bright, dark):
            return "There are no conditions to confuse."
        alone = self.sample(bright.expand(COPIES, -1), "alone")
        mixed = self.sample(torch.stack([bright, dark]).repeat(COPIES, 1), "mixed")[::2]
        first, second = (events.flatten(1).sum(1, dtype=torch.float64) for events in (alone, mixed))
        spread = math.sqrt(float(first.var() + second.var()) / COPIES)
        one, other = float(first.mean()), float(second.mean())
        if abs(one - other) <= SIGNIFICANT * spread + 1e-4 * abs(one):
            return "An event depends on its own conditions only, as far as can be seen."
        return (
            f"The same condition gives {one:.4g} {self.task.unit} alone and {other:.4g} between others.",
            "Return events in the order of the conditions; normalise with fixed numbers, not with those of the batch.",
        )

    def speed(self) -> Finding:
        """Two sizes tell what a call costs and what an event costs."""
        few, many = (min(self._seconds(count) for _ in range(CALLS)) for count in (EVENTS, SPEED_EVENTS))
        slope = max(many - few, 0.0) / (SPEED_EVENTS - EVENTS)
        block = max(many + slope * (self.task.block_size - SPEED_EVENTS), min(few, many))
        seconds = block * math.ceil(self.task.test_events / self.task.block_size)
        found = f"All {self.task.test_events} test events take about {duration(seconds)}."
        return found if seconds <= PATIENCE else (found, "Start with --smoke, or --events.")

    def memory(self) -> Finding:
        """What each of some calls leaves behind, when all are done that warm up."""
        self.sample(self.conditions(SPEED_EVENTS), "memory")
        used = [self._used_bytes()]
        for _ in range(MEMORY_CALLS):
            self.sample(self.conditions(SPEED_EVENTS), "memory")
            used.append(self._used_bytes())
        left = min(after - before for before, after in pairwise(used))
        if left < MEMORY_BYTES:
            return "Its calls leave nothing behind in memory."
        found = f"Each call for {SPEED_EVENTS} events leaves {left / 2**20:.2g} MiB more in memory."
        return found, "Keep no events from call to call, and no gradients: a list that grows, a cache, a history."

    def _used_bytes(self) -> int:
        """Of the GPU that the generator is on, or of this process."""
        gc.collect()
        if self.session.device.startswith("cuda"):
            return torch.cuda.memory_allocated(self.session.device)
        return int(psutil.Process().memory_info().rss)

    def _seconds(self, count: int) -> float:
        start = time.perf_counter()
        self.sample(self.conditions(count), "speed")
        return time.perf_counter() - start


def _check(name: str, clause: Callable[[], Finding]) -> Check:
    try:
        found = clause()
    except GeneratorError as error:
        return Check.of(name, error)
    return Check(name, "ok", found) if isinstance(found, str) else Check(name, "warn", *found)


def _global_states() -> dict[str, Any]:
    """The states of the random generators that everybody shares, comparable."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    states: dict[str, Any] = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (name, np.asarray(keys).tobytes(), *rest),
        "random": random.getstate(),
    }
    if torch.cuda.is_available():
        states["torch.cuda"] = tuple(state.numpy().tobytes() for state in torch.cuda.get_rng_state_all())
    return states
