"""Evaluation: a generator on a task -> a Result. Preflight, sample, time, score, in this order and with no way back."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from simbench.core.errors import GeneratorError, UsageError
from simbench.core.events import Events
from simbench.core.plugins import did_you_mean
from simbench.core.progress import Progress
from simbench.evaluation.floors import equivalent_events
from simbench.evaluation.provenance import collect
from simbench.evaluation.sampling import sample_blocks
from simbench.evaluation.scoring import Scaled, measure_all
from simbench.evaluation.throughput import LADDER, Clock, measure_ladder, speedup
from simbench.generators.preflight import preflight
from simbench.metrics.base import Comparison
from simbench.metrics.published import PRESETS
from simbench.results.schema import GeneratorRecord, Result, Spec, TaskRecord, Throughput
from simbench.samples.repetitions import read_repetitions
from simbench.tasks.base import Task

if TYPE_CHECKING:
    from simbench.generators.resolve import Resolved

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
    given, parameters = dict(resolved.parameters), resolved.effective_parameters()
    pairs = []
    with progress.step("sampling", repetitions * len(reference)) as advance:
        for repetition in range(repetitions):
            samples = sample_blocks(
                resolved.generator,
                reference.conditions,
                task,
                root_seed=root_seed,
                repetition=repetition,
                device=device,
                who=resolved.spec,
                on_block=advance,
            )
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
        task,
        pairs,
        progress,
        spec=_spec(task, resolved.spec, root_seed, repetitions, reference, definitions),
        generator=GeneratorRecord(
            name=resolved.name,
            version=resolved.version,
            parameters=parameters,
            given=None if given == parameters else given,
            weights_sha256=resolved.weights_sha256(),
            source_sha256=resolved.source_sha256,
            deterministic=checked.deterministic,
            stochastic=checked.stochastic,
        ),
        fast=fast,
        factor=factor,
        throughput=timed,
        warnings=[*checked.warnings, *notes],
        command=command,
    )


def score_files(
    paths: Sequence[Path],
    task: Task,
    *,
    fast: bool = False,
    definitions: str = DEFINITIONS,
    command: str = "",
    progress: Progress,
) -> Evaluated:
    """Score files of samples that another program made, each a repetition of one generator. Nothing is timed: a file has no speed.

    The Result records the checksum of the first file as the generator's source, and those of the others among its flags.

    Raises:
        DataError, GeneratorError: a file is damaged, its samples are not events of the task, or the files are no repetitions.
        UsageError: there are no files, or no such definitions.
    """
    metric_keys(task, definitions)
    sets, pairs = read_repetitions(paths, task, progress)
    first = sets[0]
    spec = _spec(
        task,
        f"samples:{','.join(path.name for path in paths)}"[:500],
        first.seed or 0,
        len(pairs),
        pairs[0].reference,
        definitions,
    )
    generator = GeneratorRecord(
        name=first.generator,
        version=None,
        parameters={},
        weights_sha256=None,
        source_sha256=first.sha256,
        deterministic=None,
        stochastic=None,
    )
    evaluated = _finish(
        task,
        pairs,
        progress,
        spec=spec,
        generator=generator,
        fast=fast,
        factor=None,
        throughput=[],
        warnings=[],
        command=command,
    )
    further = {f"samples_sha256_{place}": samples.sha256 for place, samples in enumerate(sets[1:], 1)}
    origin = evaluated.result.provenance
    origin = origin.model_copy(update={"flags": origin.flags | further})
    return replace(evaluated, result=evaluated.result.model_copy(update={"provenance": origin}))


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
        task=task.name,
        generator=generator,
        root_seed=root_seed,
        repetitions=repetitions,
        events=len(reference),
        block=task.block_size,
        dtype="float32",
        definitions=definitions,
    )


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
        generated = pairs[0].generated
        scaled = Scaled(
            factor, Comparison(generated.with_samples(generated.samples * factor), reference, stratify=False)
        )
    with progress.step("scoring", len(keys)) as advance:
        measurements = measure_all(
            keys, pairs, task, scaled=scaled, fast=fast, definitions=spec.definitions, on_metric=advance
        )
    by_key = {measurement.key: measurement for measurement in measurements}
    equivalent = by_key[task.equivalent_metric].value if task.equivalent_metric in by_key else None
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    result = Result(
        id=f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        created=now,
        status="complete" if all(by_key[key].value is not None for key in primary) else "incomplete",
        spec=spec,
        task=TaskRecord(
            name=task.name,
            version=task.version,
            split="test",
            dataset_sha256=task.dataset_sha256,
            events=len(reference),
        ),
        generator=generator,
        measurements=measurements,
        throughput=throughput,
        throughput_error=None,
        speedup=speedup(throughput, reference, task.monte_carlo),
        equivalent_events=None if equivalent is None else equivalent_events(task, equivalent, len(reference)),
        warnings=[warning[:2000] for warning in warnings],
        provenance=collect(command),
    )
    return Evaluated(result, pairs[0])
