"""The contract of a generator, tested on a user's own model: `simbench check`."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from simbench.core.errors import GeneratorError
from simbench.core.text import duration
from simbench.generators.preflight import EVENTS, spread_rows
from simbench.generators.resolve import find, resolve
from simbench.generators.session import Session
from simbench.tasks.base import Task

Status = Literal["ok", "warn", "fail"]

ODD_EVENTS = 13
COPIES = 64
SPEED_EVENTS = 64
PATIENCE = 3600.0
"""Seconds that the whole test split may take before `check` warns."""
SIGNIFICANT = 5.0
MODAL = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.dropout._DropoutNd)
"""Layers that compute something else in training mode."""


@dataclass(frozen=True)
class Check:
    """One clause of the contract: what was found, in a sentence, and how to mend it."""

    name: str
    status: Status
    reason: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """The check as JSON shows it."""
        return asdict(self)


def check_generator(spec: str, params: Mapping[str, str], task: Task, device: str = "cpu") -> Iterator[Check]:
    """Test a generator, one clause after the other; what rests on a failed clause is left out.

    Raises:
        UsageError: `spec` names nothing, or `params` are wrong: there is nothing to test.
        DataError: the task's data are missing.
    """
    try:
        target = find(spec)
    except GeneratorError as error:
        yield _failed("imports", error)
        return
    yield Check("imports", "ok", f"{target.name} was found.")
    try:
        resolved = resolve(spec, params, target)
    except GeneratorError as error:
        yield _failed("constructs", error)
        return
    given = ", ".join(f"{name}={value}" for name, value in resolved.parameters.items())
    yield Check("constructs", "ok", f"It takes {given}." if given else "It takes no parameters.")
    try:
        session = resolved.set_up(task, device)
        resolved.weights_sha256()
        resolved.effective_parameters()
    except GeneratorError as error:
        yield _failed("setup", error)
        return
    has_setup = callable(getattr(resolved.generator, "setup", None))
    yield Check("setup", "ok", "It was called once." if has_setup else "There is none, and none is needed.")
    yield from _Contract(session).checks()


def _failed(name: str, error: GeneratorError) -> Check:
    sentence = str(error).removesuffix(error.fix).strip()
    return Check(name, "fail", sentence, error.fix)


class _Contract:
    """The clauses about `sample`."""

    def __init__(self, session: Session) -> None:
        self.session, self.task, self.test = session, session.task, session.task.load("test")

    def checks(self) -> Iterator[Check]:
        for count in (EVENTS, 1, ODD_EVENTS):
            check = self.events(count)
            yield check
            if check.status == "fail":
                return
        clauses: tuple[Callable[[], Check], ...] = (
            self.deterministic,
            self.stochastic,
            self.global_state,
            self.conditions_kept,
            self.gradients,
            self.inference_mode,
            self.evaluation_mode,
            self.own_conditions,
            self.speed,
        )
        for clause in clauses:
            try:
                yield clause()
            except GeneratorError as error:
                yield _failed(clause.__name__.replace("_", " "), error)

    def conditions(self, count: int) -> Tensor:
        return self.test.conditions[spread_rows(len(self.test), count)].to(self.session.device)

    def sample(self, conditions: Tensor, name: str) -> Tensor:
        """Checked events for the seed of that name."""
        return self.session.sample(conditions, self.session.seed("check", name)).clone()

    def events(self, count: int) -> Check:
        name = "1 event" if count == 1 else f"{count} events"
        try:
            samples = self.sample(self.conditions(count), "events")
        except GeneratorError as error:
            return _failed(name, error)
        found = f"{tuple(samples.shape)}, {float(samples.min()):.4g} to {float(samples.max()):.4g} {self.task.unit}."
        if not bool(samples.any()):
            return Check(name, "warn", f"{found} All are empty.", "Look whether that is meant.")
        return Check(name, "ok", found)

    def deterministic(self) -> Check:
        conditions = self.conditions(EVENTS)
        torch.manual_seed(1)
        first = self.sample(conditions, "first")
        torch.manual_seed(2)
        if torch.equal(first, self.sample(conditions, "first")):
            return Check("deterministic", "ok", "The same seed gives the same events.")
        return Check(
            "deterministic",
            "warn",
            "The same seed gives other events.",
            "Draw all random numbers from the seed, e.g. torch.Generator(device).manual_seed(seed).",
        )

    def stochastic(self) -> Check:
        conditions = self.conditions(EVENTS)
        if torch.equal(self.sample(conditions, "first"), self.sample(conditions, "other")):
            return Check(
                "stochastic",
                "warn",
                "Every seed gives the same events: no fluctuations.",
                "Use the seed, unless a mean is meant.",
            )
        return Check("stochastic", "ok", "Another seed gives other events.")

    def global_state(self) -> Check:
        before = _global_states()
        self.sample(self.conditions(EVENTS), "first")
        after = _global_states()
        touched = [name for name in before if before[name] != after[name]]
        if touched:
            return Check(
                "global state",
                "warn",
                f"It draws from, or seeds, the global random state of {' and '.join(touched)}.",
                "Use a random generator of its own, so that nobody else's numbers change.",
            )
        return Check("global state", "ok", "It leaves everybody else's random numbers alone.")

    def conditions_kept(self) -> Check:
        given = self.conditions(EVENTS).clone()
        before = given.clone()
        with torch.no_grad():
            self.session.call_bare(given, 1)
        if torch.equal(given, before):
            return Check("conditions kept", "ok", "It does not write into the conditions.")
        return Check(
            "conditions kept",
            "warn",
            "It writes into the conditions that it is given.",
            "Work on a copy: conditions.clone().",
        )

    def gradients(self) -> Check:
        with torch.enable_grad():
            raw = self.session.call_bare(self.conditions(EVENTS).clone(), 1)
        if isinstance(raw, Tensor) and raw.requires_grad:
            return Check(
                "gradients",
                "warn",
                "Its events carry gradients, which costs memory.",
                "Decorate `sample` with @torch.no_grad().",
            )
        return Check("gradients", "ok", "Its events carry no gradients.")

    def inference_mode(self) -> Check:
        with torch.inference_mode():
            try:
                self.session.checked(self.session.call_bare(self.conditions(EVENTS).clone(), 1), EVENTS)
            except GeneratorError as error:
                return Check(
                    "inference mode",
                    "warn",
                    f"It fails under torch.inference_mode(): {error.got}.",
                    "simbench does not use that mode.",
                )
        return Check("inference mode", "ok", "It works under torch.inference_mode().")

    def evaluation_mode(self) -> Check:
        generator = self.session.generator
        held = (generator, *getattr(generator, "__dict__", {}).values())
        layers = (layer for value in held if isinstance(value, torch.nn.Module) for layer in value.modules())
        if any(layer.training and isinstance(layer, MODAL) for layer in layers):
            return Check(
                "evaluation mode",
                "warn",
                "A layer of it (dropout, batch norm) is in training mode.",
                "Call .eval() in `setup`.",
            )
        return Check("evaluation mode", "ok", "No dropout or batch norm is in training mode.")

    def own_conditions(self) -> Check:
        """An event answers its own row, whatever the other rows ask: the same condition alone, and between others, looks the same."""
        name = "own conditions"
        totals = self.test.samples.flatten(1).sum(1)
        bright, dark = self.test.conditions[totals.argmax()], self.test.conditions[totals.argmin()]
        if torch.equal(bright, dark):
            return Check(name, "ok", "There are no conditions to confuse.")
        alone = self.sample(bright.expand(COPIES, -1), "alone")
        pairs = torch.stack([bright, dark]).repeat(COPIES, 1)
        mixed = self.sample(pairs, "mixed")[::2]
        first, second = (events.flatten(1).sum(1, dtype=torch.float64) for events in (alone, mixed))
        spread = math.sqrt(float(first.var() + second.var()) / COPIES)
        shift = abs(float(first.mean() - second.mean()))
        if shift > SIGNIFICANT * spread + 1e-4 * float(first.mean().abs()):
            return Check(
                name,
                "warn",
                f"The same condition gives {float(first.mean()):.4g} {self.task.unit} alone and {float(second.mean()):.4g} between "
                "others.",
                "Return events in the order of the conditions; normalise with fixed numbers, not with those of the batch.",
            )
        return Check(name, "ok", "An event depends on its own conditions only, as far as can be seen.")

    def speed(self) -> Check:
        conditions, calls = self.conditions(SPEED_EVENTS), []
        for _ in range(3):
            start = time.perf_counter()
            self.sample(conditions, "speed")
            calls.append(time.perf_counter() - start)
        seconds = min(calls) / SPEED_EVENTS * self.task.test_events
        sentence = f"All {self.task.test_events} test events take about {duration(seconds)}."
        if seconds > PATIENCE:
            return Check("speed", "warn", sentence, "Start with --smoke, or --events.")
        return Check("speed", "ok", sentence)


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
