"""`simbench selftest`: does every metric notice what it is there to notice, and nothing where nothing is wrong?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.core.seeds import derive_seed
from simbench.core.statistics import holm
from simbench.evaluation.floors import Floors, swaps
from simbench.evaluation.scoring import measure_all
from simbench.metrics.base import Comparison
from simbench.metrics.registry import get_metric
from simbench.results.schema import Measurement
from simbench.tasks.base import Task
from simbench.tasks.controls import Control, emptied, scaled, shrunk

FLOOR = Control("floor (must be flagged by none)", (), lambda events, rng: events.samples)
ALPHA = 0.01
"""Family error of the flags of one control, over all metrics."""

CURVES: dict[str, tuple[Callable[[float], Control], tuple[float, ...]]] = {
    "scale": (
        lambda x: Control(f"photons x {x:g}", (), scaled(x)),
        (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5),
    ),
    "emptied": (lambda x: Control(f"{x:.0%} emptied", (), emptied(x)), (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)),
    "shrunk": (lambda x: Control(f"shrunk by {x:g}", (), shrunk(x)), (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)),
}
"""Defects of adjustable strength: 1.0 (scale) and 0.0 (the others) change nothing."""


@dataclass(frozen=True)
class ControlResult:
    """What the metrics said of one control: measurements, and in `flags` the adjusted p-values below ALPHA, by key.

    `whole`: all test events were looked at.
    """

    control: Control
    measurements: dict[str, Measurement]
    flags: dict[str, float]
    whole: bool = True

    @property
    def missed(self) -> list[str]:
        """Metrics that had to flag the control and did not."""
        return [key for key in self.control.must_flag if key not in self.flags]

    @property
    def status(self) -> Literal["ok", "failed", "cannot tell"]:
        """ok: all that had to flag it did; the floor is flagged by none.

        A miss tells nothing where the defect is weak and the events are few, or where the metric was left out.
        """
        if not self.control.must_flag:
            return "failed" if self.flags else "ok"
        if not self.missed:
            return "ok"
        looked = [key for key in self.missed if key in self.measurements]
        return "failed" if looked and (self.whole or not self.control.weak) else "cannot tell"

    @property
    def passed(self) -> bool:
        """Not failed."""
        return self.status != "failed"


def controls(task: Task) -> tuple[Control, ...]:
    """The floor and the task's negative controls. Raises UsageError where it has none."""
    if not task.controls:
        raise UsageError(f"{task.name} has no negative controls", fix="Name some in the `controls` of the Task class.")
    return (FLOOR, *task.controls)


def real_pair(task: Task, events: int | None) -> Comparison:
    """Real events against real events, dealt from `floor` and `test` in another way than for the shipped floors."""
    floor, test = task.load("floor", events), task.load("test", events)
    return next(swaps(floor, test, derive_seed(0, task.name, "selftest"), count=1))


def judge(control: Control, pair: Comparison, floors: Floors, keys: Sequence[str]) -> ControlResult:
    """Spoil the generated side of a real pair and measure it."""
    task = floors.task
    rng = torch.Generator().manual_seed(derive_seed(0, task.name, "control", control.name))
    spoilt: Events = pair.generated.with_samples(control.spoil(pair.generated, rng))
    comparison = Comparison(spoilt, pair.reference, stratify=False)
    measured = measure_all(keys, [comparison], task, definitions="simbench", floors=floors)
    measurements = {measurement.key: measurement for measurement in measured}
    adjusted = holm({key: m.p for key, m in measurements.items() if m.p is not None})
    flags = {key: p for key, p in adjusted.items() if p < ALPHA}
    return ControlResult(control, measurements, flags, whole=len(pair) >= task.test_events)


def selftest(
    task: Task, *, events: int | None = None, fast: bool = False, advance: Callable[[int], None] = lambda done: None
) -> list[ControlResult]:
    """Every control of the task at N = `events` (None: all) by the metrics that rank; `fast` leaves slow ones out."""
    keys = [key for key in task.metrics if get_metric(key).ranks and not (fast and get_metric(key).slow)]
    pair, floors = real_pair(task, events), Floors(task, task.load("test", events), measure_sd=True)
    results = []
    for control in controls(task):
        results.append(judge(control, pair, floors, keys))
        advance(1)
    return results


@dataclass(frozen=True)
class Response:
    """The metrics' answers to one kind of defect at every strength."""

    defect: str
    strengths: tuple[float, ...]
    results: tuple[ControlResult, ...]

    def smallest_detected(self, key: str, harmless: float) -> float | None:
        """The strength nearest to `harmless` from which on the metric flags every strength; None if it never does.

        On a two-sided defect (scale) the worse side counts.
        """
        sides = []
        for side in (1, -1):
            pairs = zip(self.strengths, self.results, strict=True)
            found_at = [(abs(s - harmless), s, key in r.flags) for s, r in pairs if (s - harmless) * side > 0]
            there = sorted(found_at, reverse=True)
            found = None
            for _, strength, flagged in there:
                if not flagged:
                    break
                found = strength
            if there:
                sides.append(found)
        if not sides or any(found is None for found in sides):
            return None
        return max((found for found in sides if found is not None), key=lambda s: abs(s - harmless))


def curves(
    task: Task, *, events: int | None = None, fast: bool = False, advance: Callable[[int], None] = lambda done: None
) -> list[Response]:
    """Every metric against the strength of every adjustable defect."""
    keys = [key for key in task.metrics if not (fast and get_metric(key).slow)]
    pair, floors = real_pair(task, events), Floors(task, task.load("test", events), measure_sd=True)
    responses = []
    for defect, (make, strengths) in CURVES.items():
        results = []
        for strength in strengths:
            results.append(judge(make(strength), pair, floors, keys))
            advance(1)
        responses.append(Response(defect, strengths, tuple(results)))
    return responses
