"""The gate: is a Result worse than its golden values by more than chance?

For each metric the golden repetitions x_1 .. x_n give the mean and the standard deviation s of one run of the unchanged
generator. The mean of the m repetitions under test is worse by d, and d / (s sqrt(1/m + 1/n)) follows Student's t with
n - 1 degrees of freedom where nothing has changed: a one-sided prediction interval. Holm over all metrics keeps the
chance of any false alarm at `FAMILY_ERROR`.

Which way is worse: up for "lower", down for "higher". For a "target" T it is farther away on either side, d = |x - T| -
|golden mean - T|. As d <= |x - golden mean|, whatever side the golden mean is on, doubling the p-value keeps the error:
exact where the golden mean is at T, cautious by at most a factor of two elsewhere.

An improvement as unlikely as a regression is an alert: either the golden values are out of date, or the test data have
leaked into the model.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from scipy.special import nctdtrinc, stdtr, stdtrit

from simbench.core.errors import DataError, NothingMeasuredError
from simbench.core.statistics import holm
from simbench.core.text import listed, number, percent, printable
from simbench.gates.ci import Case, Outcome, Report
from simbench.gates.golden import GoldenEntry, GoldenValue
from simbench.metrics.direction import Direction
from simbench.results.comparable import Basis, generator_changes
from simbench.results.schema import Measurement, Result, TaskRecord

FAMILY_ERROR = 0.01
"""Chance that the gate of an unchanged generator fails, over all its metrics together."""

POWER = 0.9
"""The smallest defect that is printed is the one found with this probability."""

REGRESSION = 1
"""The exit code of a gate that fails."""

Status = Literal["pass", "regression", "improved", "missing", "skipped"]
TOLD: dict[Status, str] = {
    "regression": "worse:",
    "missing": "no longer measured:",
    "improved": "better than golden by more than chance, is that meant?",
    "skipped": "skipped:",
}
"""What is said before the names of the checks of each status."""


@dataclass(frozen=True)
class Check:
    """One golden value against the result.

    Attributes:
        golden: its value, with what it was measured from.
        measured: the mean over the result's repetitions; None where the metric has no value.
        worse: by how much it is worse than golden (negative: better), in the metric's unit.
        tolerance: the `worse` at which this metric alone fails the gate.
        smallest: the `worse` of the generator itself that the gate finds with probability `POWER`.
        p: chance of being worse by so much if nothing has changed, Holm-adjusted; `p_better` the same for better.
        reason: why there is no value, where there is none.
    """

    golden: GoldenValue
    status: Status
    measured: float | None = None
    worse: float | None = None
    tolerance: float | None = None
    smallest: float | None = None
    p: float | None = None
    p_better: float | None = None
    reason: str = ""

    @property
    def allowed(self) -> str:
        """The values that pass: `≤ 9.71`, `≥ 0.75`, `1 ± 0.21`."""
        if self.tolerance is None:
            return ""
        if self.golden.target is not None:
            return f"{self.golden.target:g} ± {number(abs(self.golden.mean - self.golden.target) + self.tolerance)}"
        if self.golden.direction == "lower":
            return f"≤ {number(self.golden.mean + self.tolerance)}"
        return f"≥ {number(self.golden.mean - self.tolerance)}"

    def as_dict(self) -> dict[str, Any]:
        """The check as plain values, for `--json`."""
        golden = self.golden
        about = {"metric": golden.key, "status": self.status, "golden": golden.mean, "spread": golden.spread}
        found = {"measured": self.measured, "worse": self.worse, "tolerance": self.tolerance}
        chance = {"smallest_defect": self.smallest, "p": self.p, "p_better": self.p_better}
        return about | found | chance | {"unit": golden.unit, "reason": self.reason}

    def sentence(self) -> str:
        """What happened, in one line."""
        golden = f"{self.golden.key}: golden {number(self.golden.mean, 4)}"
        if self.measured is None:
            return f"{golden}, no value now: {printable(self.reason, 300) or 'the metric was not measured'}"
        found = f"{golden}, measured {number(self.measured, 4)}, allowed {self.allowed}"
        if self.status == "regression":
            return f"{found}; worse by {number(self.worse or 0)} (p = {number(self.p or 0, 2)})"
        if self.status == "improved":
            return (
                f"{found}; better by {number(-(self.worse or 0))} (p = {number(self.p_better or 0, 2)}). "
                "If that is meant, make it golden with "
                "`simbench gate --update --reason`; if not, look for test events in the training data"
            )
        return found


@dataclass(frozen=True)
class Gate:
    """The outcome for all golden values of an entry; `notes` are what a reader should know beside the numbers."""

    result: Result
    entry: GoldenEntry
    checks: list[Check]
    notes: list[str]

    def having(self, *status: Status) -> list[Check]:
        """The checks of these outcomes."""
        return [check for check in self.checks if check.status in status]

    def failed(self, strict: bool = False) -> bool:
        """Whether anything is worse, or no longer measured; `strict`: or better, or skipped."""
        return bool(self.having("regression", "missing") or (strict and self.having("improved", "skipped")))

    def exit_code(self, strict: bool = False) -> int:
        """0 pass, 1 regression."""
        return REGRESSION if self.failed(strict) else 0


def gate(result: Result, entry: GoldenEntry) -> Gate:
    """Compare a result with golden values.

    Raises:
        DataError: they are of other tasks, data, definitions, numbers of events or metric versions.
        NothingMeasuredError: not one golden metric has a value in the result.
    """
    check_same(entry, result.task, result.spec.definitions)
    found = {value.key: _measurement(result, value) for value in entry.values}
    measured = {key: m.per_repetition for key, m in found.items() if m is not None and m.value is not None}
    if not measured:
        raise NothingMeasuredError(
            "the gate compared nothing: no golden metric has a value in the result",
            got=_reasons(found),
            fix="Look at the run's own errors.",
        )
    judged = judge({value.key: value for value in entry.values if value.key in measured}, measured)
    checks = [judged.get(value.key) or _without_value(value, found[value.key]) for value in entry.values]
    return Gate(result, entry, checks, _notes(result, entry))


def judge(golden: Mapping[str, GoldenValue], measured: Mapping[str, Sequence[float]]) -> dict[str, Check]:
    """The checks of measured repetitions, by key; `measured` has the keys of `golden`."""
    worse, p_worse, p_better = {}, {}, {}
    for key, value in golden.items():
        badness = Direction.of(value).badness
        worse[key] = badness(fmean(measured[key])) - badness(value.mean)
        scale = value.spread * _repeats_factor(value, len(measured[key]))
        p_worse[key] = _tail(worse[key], scale, value)
        p_better[key] = _tail(-worse[key], scale, value)
    p_worse, p_better = holm(p_worse), holm(p_better)
    checks = {}
    for key, value in golden.items():
        tolerance, smallest = limits(value, len(measured[key]), len(golden))
        status: Status = "improved" if p_better[key] < FAMILY_ERROR else "pass"
        if p_worse[key] < FAMILY_ERROR:
            status = "regression"
        numbers = (fmean(measured[key]), worse[key], tolerance, smallest, p_worse[key], p_better[key])
        checks[key] = Check(value, status, *numbers)
    return checks


def limits(value: GoldenValue, repetitions: int, family: int) -> tuple[float, float]:
    """What is tolerated, and the smallest defect that is found with probability `POWER`, of a metric among `family` in
    a result of `repetitions`.

    Both at the first step of Holm, which is Bonferroni's: where other metrics fail, the later steps find a little more.
    The defect takes the golden spread for the true one: t of a generator that is worse by a defect follows the
    noncentral t distribution. (For a generator that is exactly on target the probability is 0.87: its golden mean is
    off by chance to one side or the other, and either counts as distance.)
    """
    critical, noncentrality = _quantiles(
        len(value.per_repetition) - 1, FAMILY_ERROR / (family * Direction.of(value).sides)
    )
    scale = value.spread * _repeats_factor(value, repetitions)
    return critical * scale, noncentrality * scale


@functools.cache
def _quantiles(freedom: int, error: float) -> tuple[float, float]:
    """The t exceeded with probability `error`, and the noncentrality at which it is exceeded with `POWER`."""
    critical = float(stdtrit(freedom, 1 - error))
    return critical, float(nctdtrinc(freedom, 1 - POWER, critical))


def check_same(entry: GoldenEntry, task: TaskRecord, definitions: str) -> None:
    """Refuse golden values of something else. Raises DataError."""
    for name, golden, now in Basis.of(entry.task, entry.spec.definitions).unlike(Basis.of(task, definitions)):
        raise DataError(
            f"the golden values are of another {name}",
            got=str(now),
            expected=str(golden),
            fix="Run with the golden file's own options, or make new golden values with --update.",
        )


def check_version(value: GoldenValue, versions: Sequence[str]) -> None:
    """Refuse a golden value of another version of its metric than those at hand, if there are any. Raises DataError."""
    if versions and value.version not in versions:
        raise DataError(
            f"the golden value of {value.metric} is of another version",
            got=", ".join(versions),
            expected=value.version,
            fix="Make new golden values with --update.",
        )


def report(outcome: Gate, strict: bool = False) -> Report:
    """The gate's outcome as people and CI systems read it. "finds": the smallest worsening found with 90 % power."""
    result = outcome.result
    who = f"{printable(result.generator.name, 60)} on {printable(result.task.name, 60)}"
    outcomes: dict[Status, Outcome] = {"pass": "pass", "regression": "fail", "missing": "fail"}
    outcomes |= {"improved": "fail", "skipped": "fail"} if strict else {"improved": "warn", "skipped": "skip"}
    repetitions = f"{result.spec.repetitions} repetition{'s' * (result.spec.repetitions != 1)}"
    return Report(
        suite="simbench gate",
        title=f"{who}: {result.task.events} events, {repetitions}, against golden values of "
        f"{outcome.entry.written:%Y-%m-%d}",
        columns=("metric", "golden", "allowed", "measured", f"finds ({POWER:.0%})", ""),
        rows=[_row(check) for check in outcome.checks],
        cases=[
            Case(f"{who}: {check.golden.key}", outcomes[check.status], check.sentence()) for check in outcome.checks
        ],
        notes=outcome.notes,
        verdict=_verdict(outcome, strict),
    )


def as_dict(outcome: Gate, strict: bool = False) -> dict[str, Any]:
    """The outcome as plain values, for `--json`."""
    return {
        "passed": not outcome.failed(strict),
        "exit_code": outcome.exit_code(strict),
        "task": outcome.result.task.name,
        "generator": outcome.result.generator.name,
        "result": outcome.result.id,
        "golden": {
            "result": outcome.entry.result,
            "written": outcome.entry.written.isoformat(),
            "reason": outcome.entry.reason,
        },
        "family_error": FAMILY_ERROR,
        "power": POWER,
        "checks": [check.as_dict() for check in outcome.checks],
        "notes": outcome.notes,
    }


def _repeats_factor(value: GoldenValue, repetitions: int) -> float:
    return math.sqrt(1 / repetitions + 1 / len(value.per_repetition))


def _tail(worse: float, scale: float, value: GoldenValue) -> float:
    """Chance of being worse by so much where nothing has changed."""
    if scale == 0:
        return 0.0 if worse > 0 else 1.0
    return min(1.0, Direction.of(value).sides * float(stdtr(len(value.per_repetition) - 1, -worse / scale)))


def _measurement(result: Result, value: GoldenValue) -> Measurement | None:
    """The measurement of a golden metric, if there is one. Raises DataError where its definition is another."""
    found = result.measurement(value.key)
    if found is None:
        check_version(value, [m.version for m in result.measurements if m.metric == value.metric])
        return None
    golden, now = ((v.direction, v.target, v.unit) for v in (value, found))
    if golden != now or not found.ranks:
        raise DataError(
            f"{value.key} has another definition than its golden value",
            got=f"{now}{'' if found.ranks else ', reported only'}",
            expected=str(golden),
            fix="A changed definition needs a new version of the metric.",
        )
    if found.value is not None and not found.per_repetition:
        raise DataError(
            f"{value.key} has a value and no repetitions in the result",
            fix="Results are not edited by hand: run again.",
        )
    return found


def _without_value(value: GoldenValue, found: Measurement | None) -> Check:
    skipped = found is not None and found.status == "skipped"
    return Check(value, status="skipped" if skipped else "missing", reason=(found.error or "") if found else "")


def _reasons(found: Mapping[str, Measurement | None]) -> str:
    return listed(
        [f"{key}: {printable(m.error or 'no value', 100) if m else 'not measured'}" for key, m in found.items()]
    )


def _notes(result: Result, entry: GoldenEntry) -> list[str]:
    notes = []
    if result.generator.name != entry.generator.name:
        notes.append(f"The golden values are those of {printable(entry.generator.name, 60)}, another generator.")
    elif changes := generator_changes(entry.generator, result.generator):
        notes.append(f"Since the golden values were made, {listed(changes)}.")
    golden = {value.key for value in entry.values}
    new = [m.key for m in result.measurements if m.ranks and m.value is not None and m.key not in golden]
    if new:
        notes.append(f"Not gated, as they have no golden value: {', '.join(printable(key, 60) for key in new)}.")
    return notes


def _row(check: Check) -> tuple[str, ...]:
    value = check.golden
    if check.measured is None:
        return (printable(value.key, 60), number(value.mean), "", "none", "", check.status)
    found = number(check.smallest or 0.0, 2)
    if check.smallest and value.mean and value.target is None:
        found += f" ({percent(check.smallest / abs(value.mean))})"
    return (printable(value.key, 60), number(value.mean), check.allowed, number(check.measured), found, check.status)


def _verdict(outcome: Gate, strict: bool) -> str:
    def named(status: Status) -> str:
        return ", ".join(printable(check.golden.key, 60) for check in outcome.having(status))

    told = "; ".join(f"{words} {named(status)}" for status, words in TOLD.items() if outcome.having(status))
    if outcome.failed(strict):
        return f"FAILED: {told}"
    compared = sum(check.measured is not None for check in outcome.checks)
    return f"Passed: {compared} of {len(outcome.checks)} golden values compared" + (f"; {told}" if told else "")
