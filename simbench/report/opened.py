"""Opening the generators of results, so that figures may ask them; events are drawn anew where none were saved."""

from __future__ import annotations

from typing import Literal, cast, get_args

from simbench.core.errors import DataError, SimbenchError, UsageError
from simbench.core.plugins import entry_points
from simbench.core.text import count, duration
from simbench.generators.resolve import GROUP, resolve_again
from simbench.generators.session import Session
from simbench.metrics.base import Comparison
from simbench.report.page import ReportEntry
from simbench.results.comparable import generator_changes
from simbench.results.schema import Result
from simbench.tasks.base import Task

Models = Literal["installed", "all", "none"]
"""Which generators are opened: a result may name any code, and its parameters; only what is installed as a generator
is run unasked."""

EVENTS = 1000
"""Events that are drawn at least, in whole blocks: they are then those that were scored."""

PATIENCE = 60.0
"""Seconds that drawing may take, by the speed that the result records."""


def chosen_models(name: str) -> Models:
    """The value of `--models`. Raises UsageError."""
    if name not in get_args(Models):
        raise UsageError("unknown --models", got=repr(name), expected=f"one of {', '.join(get_args(Models))}")
    return cast("Models", name)


def open_entry(result: Result, pair: Comparison | None, task: Task, models: Models = "installed") -> ReportEntry:
    """A result with its generator, set up, and with events: `pair`, or else drawn anew. What could not be had is said
    in the entry's note."""
    if models == "none":
        return ReportEntry(result, pair)
    task = task.in_blocks(result.spec.block)
    try:
        session, changes = _reopened(result, task, models)
        if pair is not None:
            return ReportEntry(result, pair, session, changes)
        pair = _drawn(session, result, task)
    except SimbenchError as error:
        return ReportEntry(result, pair, None, f"not opened: {error}")
    return ReportEntry(result, pair, session, f"{count(len(pair))} events were drawn anew for the figures. {changes}")


def _reopened(result: Result, task: Task, models: Models) -> tuple[Session, str]:
    """The generator, and what changed in it, in a sentence. Raises SimbenchError where it is not to be had."""
    spec, record = result.spec.generator, result.generator
    if models != "all" and spec not in entry_points(GROUP) and not spec.startswith("samples:"):
        fix = "--models all runs whatever code a result names."
        raise DataError("its code is not installed as a generator", got=spec, expected="an entry point", fix=fix)
    resolved = resolve_again(spec, record)
    session = resolved.set_up(task, "cpu", result.spec.root_seed)
    found = {"parameters": resolved.effective_parameters(), "weights_sha256": resolved.weights_sha256()}
    now = record.model_copy(update={**found, "source_sha256": resolved.source_sha256})
    if now.weights_sha256 != record.weights_sha256:
        raise DataError("its weights are no longer those of the result", fix="Run it anew.")
    changes = generator_changes(record, now)
    return session, f"Since the result was made, {'; '.join(changes)}." if changes else ""


def _drawn(session: Session, result: Result, task: Task) -> Comparison:
    events = min(result.task.events, -(-EVENTS // task.block_size) * task.block_size)
    if result.timing is not None and result.timing.scored_seconds > 0:
        each = result.timing.scored_seconds / result.timing.scored_events
        events = min(events, int(PATIENCE / each))
        if events < task.smoke_events:
            what = f"drawing {task.smoke_events} events would take {duration(task.smoke_events * each)}"
            raise DataError(what, fix="Pass them with --samples.")
    reference = task.load("test", events - events % task.repeats)
    return Comparison(reference.with_samples(session.sample_blocks(reference.conditions, 0)), reference)
