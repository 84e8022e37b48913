"""Evaluation: a generator on a task -> a Result. Preflight, sample, time, score, in this order and with no way back."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING

from simbench.errors import GeneratorError, UsageError
from simbench.events import Events
from simbench.floors import Floor, equivalent_events, floor_of
from simbench.metrics.base import Comparison, Estimate, Metric
from simbench.metrics.published import PRESETS
from simbench.metrics.registry import get_metric
from simbench.names import did_you_mean
from simbench.preflight import preflight
from simbench.progress import Progress
from simbench.provenance import collect
from simbench.results import (
    Calibrated,
    GeneratorRecord,
    Measurement,
    ReplicatesRecord,
    Result,
    Spec,
    StratumValue,
    TaskRecord,
    Throughput,
)
from simbench.samples import read_samples
from simbench.sampling import sample_blocks
from simbench.tasks.base import Task
from simbench.throughput import LADDER, Clock, measure_ladder, speedup

if TYPE_CHECKING:
    from simbench.resolve import Resolved

DEFINITIONS = "simbench"
"""simbench's own definitions; the others are the presets of `simbench.metrics.published`."""


def metric_keys(task: Task, definitions: str) -> tuple[str, ...]:
    """The metrics of a task under a set of definitions. Raises UsageError where the set or the task's part of it does not exist."""
    if definitions == DEFINITIONS:
        return task.metrics
    if definitions not in PRESETS:
        known = [DEFINITIONS, *PRESETS]
        raise UsageError(
            "unknown definitions",
            got=repr(definitions),
            expected=f"one of {', '.join(known)}",
            fix=did_you_mean(definitions, known),
        )
    if task.name not in PRESETS[definitions]:
        raise UsageError(
            f"{definitions} defines no metric for {task.name}", expected=f"--task {' or '.join(PRESETS[definitions])}"
        )
    return PRESETS[definitions][task.name]


CALIBRATION = 2**30
"""The repetition whose seeds the calibration's events have: never one that is scored."""


@dataclass(frozen=True)
class Evaluated:
    """A Result with the events it was made from: generated (repetition 0) against reference."""

    result: Result
    pair: Comparison


def evaluate(
    resolved: Resolved,
    task: Task,
    *,
    root_seed: int = 0,
    events: int | None = None,
    repetitions: int = 1,
    batch_size: int | None = None,
    device: str = "cpu",
    fast: bool = False,
    definitions: str = DEFINITIONS,
    command: str = "",
    progress: Progress,
) -> Evaluated:
    """Measure a generator. See `simbench run --help` for the arguments; `events` None is the whole test split.

    Raises:
        GeneratorError: the generator cannot be used (found in seconds, by the preflight).
        DataError, UsageError: the task's data are missing, or the request makes no sense.
    """
    metric_keys(task, definitions)
    for option, value in (("--repetitions", repetitions), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"{option} must be positive", got=str(value))
    reference = task.load("test", events)
    with progress.step("preflight", 1) as advance:
        checked = preflight(resolved, task, device)
        advance(1)
    pairs = []
    with progress.step("sampling", repetitions * len(reference)) as advance:
        for repetition in range(repetitions):
            samples = sample_blocks(
                resolved.generator, reference.conditions, task, root_seed=root_seed, repetition=repetition, device=device,
                who=resolved.spec, on_block=advance,
            )  # fmt: skip
            pairs.append(Comparison(reference.with_samples(samples), reference))
    factor = None
    if task.unit == "photons":
        with progress.step("calibrating", 1) as advance:
            factor = calibration_factor(resolved, task, root_seed, device)
            advance(1)
    clock = Clock(resolved.generator, task, device, root_seed, resolved.spec)
    batches = (batch_size,) if batch_size else LADDER
    with progress.step("timing", None) as advance:
        timed, notes = measure_ladder(clock, reference.conditions, batches=batches, on_batch=advance)
    return _finish(
        task, pairs, progress,
        spec=_spec(task, resolved.spec, root_seed, repetitions, reference, definitions),
        generator=GeneratorRecord(
            name=resolved.name, version=resolved.version, parameters=dict(resolved.parameters), weights_sha256=resolved.weights_sha256(),
            source_sha256=resolved.source_sha256, deterministic=checked.deterministic, stochastic=checked.stochastic,
        ),
        fast=fast, factor=factor, throughput=timed, warnings=[*checked.warnings, *notes], command=command,
    )  # fmt: skip


def score_file(
    path: Path, task: Task, *, fast: bool = False, definitions: str = DEFINITIONS, command: str = "", progress: Progress
) -> Evaluated:
    """Score a file of samples that another program made. Nothing is timed: a file has no speed.

    Raises:
        DataError, GeneratorError: the file is damaged, or its samples are not events of the task.
    """
    metric_keys(task, definitions)
    with progress.step("reading", 1) as advance:
        samples = read_samples(path, task)
        reference = task.load("test").take(samples.index)
        advance(1)
    spec = _spec(task, f"samples:{path.name}", samples.seed or 0, 1, reference, definitions)
    generator = GeneratorRecord(
        name=samples.generator, version=None, parameters={}, weights_sha256=None, source_sha256=samples.sha256, deterministic=None,
        stochastic=None,
    )  # fmt: skip
    pair = Comparison(reference.with_samples(samples.samples), reference)
    return _finish(
        task,
        [pair],
        progress,
        spec=spec,
        generator=generator,
        fast=fast,
        factor=None,
        throughput=[],
        warnings=[],
        command=command,
    )


def calibration_factor(resolved: Resolved, task: Task, root_seed: int, device: str) -> float | None:
    """The real over the generated mean photon sum on the *validation* conditions; None for a generator that gives no photons there."""
    validation = task.load("validation")
    try:
        samples = sample_blocks(
            resolved.generator,
            validation.conditions,
            task,
            root_seed=root_seed,
            repetition=CALIBRATION,
            device=device,
            who=resolved.spec,
        )
    except GeneratorError:
        return None  # an oracle that only knows the test conditions
    generated = float(samples.sum())
    return float(validation.samples.sum()) / generated if generated > 0 else None


def _spec(task: Task, generator: str, root_seed: int, repetitions: int, reference: Events, definitions: str) -> Spec:
    return Spec(
        task=task.name, generator=generator, root_seed=root_seed, repetitions=repetitions, events=len(reference), block=task.block_size,
        dtype="float32", definitions=definitions,
    )  # fmt: skip


def _finish(
    task: Task,
    pairs: Sequence[Comparison],
    progress: Progress,
    *,
    spec: Spec,
    generator: GeneratorRecord,
    fast: bool,
    factor: float | None,
    throughput: list[Throughput],
    warnings: list[str],
    command: str,
) -> Evaluated:
    """Score the pairs, one a repetition, and put the Result together."""
    reference = pairs[0].reference
    keys = metric_keys(task, spec.definitions)
    primary = [key for key in task.primary if key in keys] or list(keys)
    scaled = None
    if factor is not None:
        scaled = Comparison(
            pairs[0].generated.with_samples(pairs[0].generated.samples * factor), reference, stratify=False
        )
    measurements = []
    with progress.step("scoring", len(keys)) as advance:
        for key in keys:
            metric = get_metric(key)
            measured = measure(metric, pairs, task, fast=fast, definitions=spec.definitions)
            if (
                scaled is not None
                and factor is not None
                and measured.status == "ok"
                and metric.ranks
                and not metric.slow
            ):
                measured = measured.model_copy(
                    update={"calibrated": Calibrated(factor=factor, value=metric(scaled).value)}
                )
            measurements.append(measured)
            advance(1)
    by_key = {measurement.key: measurement for measurement in measurements}
    equivalent = by_key[task.equivalent_metric].value if task.equivalent_metric in by_key else None
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    result = Result(
        id=f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        created=now,
        status="complete" if all(by_key[key].value is not None for key in primary) else "incomplete",
        spec=spec,
        task=TaskRecord(
            name=task.name, version=task.version, split="test", dataset_sha256=task.dataset_sha256, events=len(reference)
        ),
        generator=generator,
        measurements=measurements,
        throughput=throughput,
        throughput_error=None,
        speedup=speedup(throughput, reference, task.monte_carlo),
        equivalent_events=None if equivalent is None else equivalent_events(task, equivalent, len(reference)),
        warnings=[warning[:2000] for warning in warnings],
        provenance=collect(command),
    )  # fmt: skip
    return Evaluated(result, pairs[0])


def measure(metric: Metric, pairs: Sequence[Comparison], task: Task, *, fast: bool, definitions: str) -> Measurement:
    """One metric over all repetitions, beside its floor. A metric that fails is recorded as failed, with its reason."""
    start = time.perf_counter()
    estimates: list[Estimate] = []
    floor: Floor | None = None
    status, error = ("skipped", "left out by --fast") if fast and metric.slow else ("ok", None)
    if status == "ok":
        try:
            estimates = [metric(pair) for pair in pairs]
            floor = floor_of(task, metric.key, len(pairs[0]))
        except Exception as reason:  # a metric that fails must not take the others with it
            status, error, estimates = "failed", f"{type(reason).__name__}: {reason}"[:5000], []
    values = [estimate.value for estimate in estimates]
    value = fmean(values) if values else None
    stderr = estimates[0].stderr if estimates else None
    return Measurement(
        metric=metric.name,
        version=metric.version,
        definition=definitions,
        status=status,  # type: ignore[arg-type]
        value=value,
        per_repetition=values,
        stderr=stderr,
        sd_repetition=stdev(values) if len(values) > 1 else None,
        unit=metric.unit,
        direction=metric.direction,
        target=metric.target,
        ranks=metric.ranks,
        n=len(pairs[0]),
        floor=floor.value if floor else None,
        floor_sd=floor.sd if floor else None,
        floor_n=len(pairs[0]) if floor else None,
        memoriser=floor.memoriser if floor else None,
        ratio=_over_floor(metric, value, floor),
        p=_p_value(metric, value, stderr, floor),
        calibrated=None,
        replicates=_replicates(estimates),
        parts=_mean_of_parts(estimates),
        strata={
            name: StratumValue(value=fmean(e.strata[name].value for e in estimates), stderr=stratum.stderr, n=stratum.n)
            for name, stratum in (estimates[0].strata.items() if estimates else ())
            if all(name in e.strata for e in estimates)
        },
        seconds=time.perf_counter() - start,
        error=error,
    )


def _replicates(estimates: Sequence[Estimate]) -> ReplicatesRecord | None:
    """Those of the first repetition, to 7 digits: they only serve the spread of differences."""
    if not estimates or estimates[0].replicates is None:
        return None
    kept = estimates[0].replicates
    return ReplicatesRecord(kind=kept.kind, values=[float(f"{value:.7g}") for value in kept.values])


def _mean_of_parts(estimates: Sequence[Estimate]) -> dict[str, float]:
    if not estimates:
        return {}
    return {name: fmean(estimate.parts[name] for estimate in estimates) for name in estimates[0].parts}


def _over_floor(metric: Metric, value: float | None, floor: Floor | None) -> float | None:
    """Value over floor, where that ratio means something: not for a target, and not where the floor is 0 within its own spread."""
    if (
        value is None
        or floor is None
        or metric.direction == "target"
        or floor.value <= 3 * (floor.sd or 0.0)
        or floor.value <= 0
    ):
        return None
    return value / floor.value


def _p_value(metric: Metric, value: float | None, stderr: float | None, floor: Floor | None) -> float | None:
    """Normal p-value of the score being the floor's: one-sided towards worse, two-sided for a target."""
    if value is None or stderr is None or floor is None or floor.sd is None:
        return None
    spread = (stderr**2 + floor.sd**2) ** 0.5
    if spread == 0:
        return None
    z = (value - floor.value) / spread
    tail = NormalDist().cdf
    if metric.direction == "target":
        return 2 * tail(-abs(z))
    return tail(-z) if metric.direction == "lower" else tail(z)
