"""Evaluation: a generator on a task -> a Result. Preflight, sample, time, score, in this order and with no way back."""

from __future__ import annotations

import datetime
import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from simbench.core.errors import GeneratorError, UsageError
from simbench.core.events import Events
from simbench.core.plugins import did_you_mean
from simbench.core.progress import Progress
from simbench.evaluation.devices import Opening, time_on_devices
from simbench.evaluation.equivalent import equivalent_events
from simbench.evaluation.ladder import Ladder, ladder
from simbench.evaluation.provenance import collect
from simbench.evaluation.scoring import Scaled, measure_all
from simbench.evaluation.speedup import Cost, measured_cost, recorded_cost, speedup
from simbench.evaluation.throughput import Clock, device_name, is_compiled, precision_name
from simbench.evaluation.witness import Witness
from simbench.generators.preflight import Preflight, preflight
from simbench.generators.session import PLAIN, Mode, Session
from simbench.metrics.base import Comparison
from simbench.metrics.registry import metric_named
from simbench.results.findings import TOO_GOOD, findings
from simbench.results.schema import GeneratorRecord, Result, ScoredOn, Spec, Speedup, Timing, Training
from simbench.results.timing import timing_findings
from simbench.samples.against import FileTask, read_against
from simbench.samples.files import SampleSet
from simbench.samples.repetitions import read_repetitions
from simbench.tasks.base import Task

if TYPE_CHECKING:
    from simbench.generators.resolve import Resolved

DEFINITIONS = "simbench"
"""simbench's own definitions; the others are a task's `definitions`."""


def metric_keys(task: Task, definitions: str, chosen: str = "") -> tuple[str, ...]:
    """The metrics of a task under a set of definitions, or those that are chosen.

    `chosen` is a list with commas, names with or without version: names without a sign choose; `+name` adds to them, or
    to the task's where nothing is chosen.

    Raises:
        UsageError: the task has no such definitions, or a metric is unknown.
    """
    known = {DEFINITIONS: task.measured(), **task.definitions}
    if definitions not in known:
        expected, fix = f"for {task.name} one of {', '.join(known)}", did_you_mean(definitions, known)
        raise UsageError("unknown definitions", got=repr(definitions), expected=expected, fix=fix)
    keys = known[definitions]
    if not chosen:
        return keys
    names = [name.strip() for name in chosen.split(",")]
    if not all(name.removeprefix("+") for name in names):
        raise UsageError("--metrics lacks a name", got=repr(chosen), expected="names with commas: fpd,kpd or +mine")
    found = {name: metric_named(name.removeprefix("+"), keys).key for name in names}
    only = [key for name, key in found.items() if not name.startswith("+")]
    return tuple(dict.fromkeys([*(only or keys), *found.values()]))


CALIBRATION = 2**30
"""The repetition whose seeds the calibration's events have: never one that is scored."""


@dataclass(frozen=True)
class Options:
    """What is asked for beside generator and task: the options of `simbench run`.

    `events` None: the whole test split. `batches` empty: the whole ladder. The events that are scored are made on the
    first device in the first mode; all are timed, unless `timed` is False. `monte_carlo`: a file of `simbench
    simulate`; None: the cost that came with the task's events. `block_size`: events of a scoring block; None: the
    task's. `label`: what tables call the generator; None: its own name. `score_files` uses `fast` to `command`, and
    `label`, alone.
    """

    root_seed: int = 0
    events: int | None = None
    repetitions: int = 1
    batches: tuple[int, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    modes: tuple[Mode, ...] = (PLAIN,)
    fast: bool = False
    definitions: str = DEFINITIONS
    metrics: str = ""
    command: str = ""
    monte_carlo: Path | None = None
    block_size: int | None = None
    label: str | None = None
    timed: bool = True

    def __post_init__(self) -> None:
        blocks = [] if self.block_size is None else [self.block_size]
        for option, values in (
            ("--repetitions", [self.repetitions]),
            ("--batches", self.batches),
            ("--block-size", blocks),
        ):
            if any(value < 1 for value in values):
                raise UsageError(f"{option} must be positive", got=", ".join(map(str, values)))
        if self.label is not None and not (self.label.strip() and self.label.isprintable() and len(self.label) <= 100):
            raise UsageError("--name is no label", got=repr(self.label)[:120], expected="1 to 100 printable characters")

    def cost(self, task: Task) -> Cost | None:
        """What the Monte Carlo took. Raises UsageError or DataError where `monte_carlo` is no record of it."""
        return recorded_cost(task) if self.monte_carlo is None else measured_cost(self.monte_carlo, task)

    def ladder(self, task: Task) -> tuple[int, ...]:
        """The batch sizes to time, from the smallest up."""
        return tuple(sorted(set(self.batches))) or ladder(task)


@dataclass(frozen=True)
class Evaluated:
    """A Result with the events it was made from, generated (repetition 0) against reference, and the generator, set up;
    none where the events came from files."""

    result: Result
    pair: Comparison
    session: Session | None = None


@dataclass(frozen=True)
class Opened:
    """A generator that is set up, what a few of its events told, and the seconds that `setup` took."""

    session: Session
    preflight: Preflight
    setup_seconds: float


def open_session(resolved: Resolved, task: Task, options: Options, progress: Progress) -> Opened:
    """Set a generator up and look at a few of its events. Raises GeneratorError where it cannot be used."""
    with progress.step("preflight", 1) as advance:
        start = time.perf_counter()
        session = resolved.set_up(task, options.devices[0], options.root_seed).in_mode(options.modes[0])
        setup_seconds = time.perf_counter() - start
        opened = Opened(session, preflight(session), setup_seconds)
        advance(1)
    return opened


def evaluate(resolved: Resolved, task: Task, options: Options, progress: Progress) -> Evaluated:
    """Measure a generator.

    Raises:
        GeneratorError: the generator cannot be used (found in seconds, by the preflight).
        DataError, UsageError: the task's data are missing, or the request makes no sense.
    """
    metric_keys(task, options.definitions, options.metrics)
    task = task.in_blocks(options.block_size)
    reference, cost = task.load("test", options.events), options.cost(task)
    opened = open_session(resolved, task, options, progress)
    session, checked = opened.session, opened.preflight
    record = generator_record(resolved, checked)
    scored = ScoredCalls(Clock(session))
    pairs = sample_repetitions(session, reference, options.repetitions, progress, scored)
    factor, warnings = None, list(checked.warnings)
    if task.unit == "photons":
        with progress.step("calibrating", 1) as advance:
            try:
                factor = calibration_factor(session)
            except GeneratorError as error:
                warnings.append(f"no calibrated scores: {error}")
            advance(1)
    timed = Ladder()
    if options.timed:
        with progress.step("timing") as advance:
            timed = time_on_devices(
                [Opening(resolved, session, record)],
                reference.conditions,
                options.devices,
                options.modes,
                options.ladder(task),
                witness=lambda: Witness(pairs[0].generated.samples, reference.samples, task.unit),
                block=(task.block_size, scored.seconds / 4),
                on_batch=advance,
            )[0]
    first = pairs[0].generated.samples
    if any(not torch.equal(first, pair.generated.samples) for pair in pairs[1:]):
        record = record.model_copy(update={"stochastic": True})
    sped = speedup(timed.rows, cost, session, training_of(resolved, task))
    timing = scored.record(timed.witnesses, opened.setup_seconds) if timed.rows else None
    warnings += timed.notes
    result = _result(task, pairs, resolved.spec, record, options, progress, factor, timed, timing, sped, warnings)
    return Evaluated(result, pairs[0], session)


def training_of(resolved: Resolved, task: Task) -> Training | None:
    """What the training of a generator that is set up took, where it says so. Raises GeneratorError."""
    seconds = resolved.training_seconds()
    return None if seconds is None else Training(seconds=seconds, events=len(task.load("train")))


def generator_record(resolved: Resolved, checked: Preflight) -> GeneratorRecord:
    """What a Result says of a generator that is set up. Raises GeneratorError where it cannot be recorded."""
    return GeneratorRecord(
        name=resolved.name,
        version=resolved.version,
        parameters=resolved.effective_parameters(),
        given=dict(resolved.given),
        weights_sha256=resolved.weights_sha256(),
        training_seed=resolved.training_seed(),
        source_sha256=resolved.source_sha256,
        deterministic=checked.deterministic,
        stochastic=checked.stochastic,
    )


def sample_repetitions(
    session: Session,
    reference: Events,
    repetitions: int,
    progress: Progress,
    call: Callable[[Tensor, int], Tensor] | None = None,
) -> list[Comparison]:
    """The events of each repetition beside the real ones; `call` in the place of the session's own."""
    pairs = []
    with progress.step("sampling", repetitions * len(reference)) as advance:
        for repetition in range(repetitions):
            samples = session.sample_blocks(reference.conditions, repetition, advance, call)
            pairs.append(Comparison(reference.with_samples(samples), reference))
    return pairs


def score_files(paths: Sequence[Path], task: Task, options: Options, progress: Progress) -> Evaluated:
    """Score files of samples that another program made, each a repetition of one generator. Nothing is timed.

    The Result records the checksum of the first file as the generator's source, those of the others among its flags.

    Raises:
        DataError, GeneratorError: a file is damaged, its samples are not events of the task, or no repetitions.
        UsageError: there are no files, no such definitions or no such metric.
    """
    metric_keys(task, options.definitions, options.metrics)
    sets, pairs = read_repetitions(paths, task, progress)
    return _score_sets(paths, sets, pairs, task, options, progress)


def score_against(
    paths: Sequence[Path], other: Path, options: Options, progress: Progress
) -> tuple[Evaluated, FileTask]:
    """Score files of samples against one other, without a task; returns what stands in the place of one, too.

    Raises:
        DataError: a file is damaged, or they cannot be held against each other (see `read_against`).
        UsageError: there is no such metric.
    """
    found = read_against(paths, other, progress)
    return _score_sets(paths, found.sets, found.pairs, found.task, options, progress, found.notes), found.task


def _score_sets(
    paths: Sequence[Path],
    sets: Sequence[SampleSet],
    pairs: Sequence[Comparison],
    task: Task,
    options: Options,
    progress: Progress,
    notes: Sequence[str] = (),
) -> Evaluated:
    first = sets[0]
    record = GeneratorRecord(
        name=first.generator,
        version=None,
        parameters={},
        given={},
        weights_sha256=None,
        source_sha256=first.sha256,
        deterministic=None,
        stochastic=None,
    )
    spec = f"samples:{','.join(path.name for path in paths)}"[:500]
    result = _result(task, pairs, spec, record, replace(options, root_seed=first.seed or 0), progress, warnings=notes)
    told = [samples.seconds_per_event for samples in sets if samples.seconds_per_event is not None]
    further = {f"samples_sha256_{place}": samples.sha256 for place, samples in enumerate(sets[1:], 1)}
    origin = result.provenance
    origin = origin.model_copy(update={"flags": origin.flags | further})
    more = {"provenance": origin, "self_reported_seconds": fmean(told) if told else None}
    return Evaluated(result.model_copy(update=more), pairs[0])


def samples_sha256(samples: Tensor) -> str:
    """Checksum of generated events, as a Result records it."""
    return hashlib.sha256(samples.contiguous().numpy().tobytes()).hexdigest()


class ScoredCalls:
    """Calls a generator for the events that are scored, by the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.threads = clock, torch.get_num_threads()
        self.calls: list[tuple[int, float]] = []
        self.precision = "float32"

    def __call__(self, conditions: Tensor, seed: int) -> Tensor:
        """The events. Raises GeneratorError as `Clock.timed`."""
        samples, seconds = self.clock.timed(conditions, seed)
        self.precision = precision_name(self.clock.session, samples)
        self.calls.append((len(conditions), seconds))
        return samples

    @property
    def seconds(self) -> float:
        """Of all calls."""
        return sum(seconds for _, seconds in self.calls)

    def record(self, witnesses: Sequence[Witness], setup_seconds: float) -> Timing:
        """What a Result says of them and of the timed calls."""
        session = self.clock.session
        block = session.task.block_size
        differs = [witness.differs_by_seed for witness in witnesses if witness.differs_by_seed is not None]
        disagreements = [told for witness in witnesses for told in witness.disagreements]
        whole = [seconds for events, seconds in self.calls if events == block][1:]
        return Timing(
            setup_seconds=setup_seconds,
            scored_seconds=self.seconds,
            scored_events=sum(events for events, _ in self.calls),
            scored_threads=self.threads,
            scored_batch=block,
            scored_block_seconds=median(whole) if whole else None,
            differs_by_seed=all(differs) if differs else None,
            agrees=not disagreements,
            reason="; ".join(disagreements)[:500] or None,
            scored_on=ScoredOn(
                device=device_name(session.device), precision=self.precision, compiled=is_compiled(session)
            ),
        )


def calibration_factor(session: Session) -> float:
    """The real over the generated mean photon sum on the *validation* conditions.

    Raises GeneratorError where it gives no photons there: an oracle that only knows the test conditions, say.
    """
    validation = session.task.load("validation")
    generated = float(session.sample_blocks(validation.conditions, CALIBRATION).sum())
    if generated <= 0:
        raise GeneratorError("all events of the validation conditions are empty", expected="some photons")
    return float(validation.samples.sum()) / generated


def _result(
    task: Task,
    pairs: Sequence[Comparison],
    generator: str,
    record: GeneratorRecord,
    options: Options,
    progress: Progress,
    factor: float | None = None,
    timed: Ladder | None = None,
    timing: Timing | None = None,
    sped: Speedup | None = None,
    warnings: Sequence[str] = (),
) -> Result:
    """Score the pairs, one a repetition, and put the Result together."""
    reference = pairs[0].reference
    keys = metric_keys(task, options.definitions, options.metrics)
    own = keys == metric_keys(task, options.definitions)
    primary = [key for key in task.primary if key in keys] or list(keys)
    scaled = None
    if factor is not None:
        brighter = pairs[0].generated.with_samples(pairs[0].generated.samples * factor)
        scaled = Scaled(factor, Comparison(brighter, reference, stratify=False))
    with progress.step("scoring", len(keys)) as advance:
        measurements = measure_all(
            keys, pairs, task, scaled=scaled, fast=options.fast, definitions=options.definitions, on_metric=advance
        )
    by_key = {measurement.key: measurement for measurement in measurements}
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    result = Result(
        id=f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        created=now,
        status="complete" if all(by_key[key].value is not None for key in primary) else "incomplete",
        spec=Spec(
            task=task.name,
            generator=generator,
            root_seed=options.root_seed,
            repetitions=len(pairs),
            events=len(reference),
            block=task.block_size,
            dtype="bfloat16" if options.modes[0].precision == "bf16" else "float32",
            definitions=options.definitions,
            metrics=None if own else list(keys),
            label=options.label,
        ),
        task=task.record(reference),
        generator=record,
        samples_sha256=[samples_sha256(pair.generated.samples) for pair in pairs],
        measurements=measurements,
        throughput=timed.rows if timed else [],
        throughput_error=timed.error if timed else None,
        timing=timing,
        speedup=sped,
        equivalent_events=equivalent_events(task, measurements, len(reference), len(reference.condition_id.unique())),
        warnings=[warning[:2000] for warning in warnings],
        provenance=collect(options.command),
    )
    found = [*(f"{TOO_GOOD}: {sentence}." for sentence in findings(result)), *timing_findings(result)]
    return result.model_copy(update={"warnings": [*result.warnings, *found]})
