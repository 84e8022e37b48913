"""Tasks that simbench did not write: made from what a user named, and held to what a task promises."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simbench.core.errors import DataError, UsageError
from simbench.core.events import Events
from simbench.core.parameters import arguments_of
from simbench.core.plugins import did_you_mean
from simbench.core.specs import described, importable, source_sha256
from simbench.core.user_code import user_code
from simbench.tasks.base import Split, Task

BASE = "a subclass of simbench.tasks.base.Task"
GUIDE = "docs/own-package.md shows one."


def constructed(spec: str, value: Any, data_dir: Path | None, options: Mapping[str, str]) -> Task:
    """The task that `value`, a class or an instance, is. A constructor that takes `data_dir` is given it.

    Raises:
        DataError: it is none, or its constructor raises.
        UsageError: the constructor takes no such option, or one of another type.
    """
    if isinstance(value, Task):
        if options:
            got, fix = ", ".join(options), "Name its class instead."
            raise UsageError(f"the task {spec} is an instance and takes no options", got=got, fix=fix)
        return value
    if not (isinstance(value, type) and issubclass(value, Task)):
        raise DataError(f"{spec} is no task", got=described(value), expected=BASE, fix=GUIDE)
    with importable(), user_code(f"the task {spec} cannot be constructed", DataError):
        folder = {"data_dir": data_dir} if "data_dir" in inspect.signature(value).parameters else {}
        given = arguments_of(f"the task {spec}", value, options, ("data_dir",), "option ")[0] if options else {}
        return value(**folder, **given)


def checked(task: Task, spec: str, value: Any, *, named: bool) -> Task:
    """A task that simbench did not write, its attributes checked. Its splits are loaded once each, and checked then.

    One that is not `named`, by what an installed package offers, but by module or file knows its `source`.

    Raises:
        DataError: an attribute is missing or of the wrong type.
    """
    with user_code(f"the task {spec} cannot be read", DataError):
        wrong = next(_defects(task), None)
    if wrong is not None:
        what, got, expected = wrong
        raise DataError(f"the task {spec}: {what}", got=got, expected=expected, fix=GUIDE)
    load = task.load_split

    @functools.cache
    def load_split(split: Split) -> Events:
        with importable(), user_code(f"the task {spec} cannot load its split {split!r}", DataError):
            events = load(split)
        check_events(events, task, split)
        return events

    vars(task)["load_split"] = load_split
    if not named:
        vars(task).update(source=spec[:500], source_sha256=source_sha256(value))
    return task


TEXTS = ("name", "version", "summary", "unit")
COUNTS = ("repeats", "block_size", "test_events", "smoke_events")
LISTS = ("condition_names", "condition_units", "metrics", "primary")


def _defects(task: Task) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the attributes of a task: what, got, expected."""
    missing = [name for name in Task.__annotations__ if not hasattr(task, name)]
    if missing:
        yield "a required attribute is missing", f"no {', no '.join(missing)}", f"{missing[0]} = ... in its class"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*(:\w+=\w+(,\w+=\w+)*)?", str(task.name)):
        expected = "letters, digits, - and _; options, as in name:key=value"
        yield "`name` cannot name a folder", repr(task.name)[:80], expected
    for name in TEXTS:
        if not isinstance(value := getattr(task, name), str) or (name in ("name", "version") and not value):
            yield f"`{name}` is no text", repr(value)[:80], "a string"
    for name in COUNTS:
        if type(value := getattr(task, name)) is not int or value < 1:
            yield f"`{name}` is no number of events", repr(value)[:80], "an int, 1 or more"
    for name in LISTS:
        value = getattr(task, name)
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            yield f"`{name}` is no tuple of strings", repr(value)[:80], f'{name} = ("...",), with the comma'
    shape = task.shape
    if not isinstance(shape, tuple) or not shape or not all(type(size) is int and size > 0 for size in shape):
        yield "`shape` is no shape of an event", repr(shape)[:80], "a tuple of sizes, such as (44, 44) or (24,)"
    if not isinstance(task.maximum, int | float) or not task.maximum > 0:
        yield "`maximum` is no largest value", repr(task.maximum)[:80], "a positive number"
    names, units = task.condition_names, task.condition_units
    if len(names) != len(units):
        yield "each condition has a unit", f"{len(names)} names and {len(units)} units", "as many of each"
    if task.test_events % task.repeats:
        got = f"{task.test_events} test events, {task.repeats} of each condition"
        yield "`test_events` is no multiple of `repeats`", got, "equally many of each condition"
    if task.smoke_events > task.test_events or not task.metrics or not task.primary:
        got = f"smoke_events {task.smoke_events} of {task.test_events}, metrics {task.metrics}, primary {task.primary}"
        yield "there is too little to measure", got, "at least one metric and one primary one; no more smoke events"
    from simbench.metrics.registry import metrics

    known = metrics()
    for key in task.metrics:
        if key not in known:
            near = did_you_mean(key, known)
            yield "`metrics` holds an unknown metric", f"{key!r}{f'. {near}' if near else ''}", "name/version"
    for key in task.primary:
        if key not in task.metrics:
            yield "`primary` holds what is not in `metrics`", repr(key), f"one of {', '.join(task.metrics)}"


def check_events(events: object, task: Task, split: Split) -> None:
    """Refuse what is no split of the task. Raises DataError.

    Checked are types, shapes, finite values within the task's range, and, of `test` and `floor`, the number and order.
    """

    def refuse(what: str, got: object, expected: object) -> DataError:
        text = f"the split {split!r} of the task {task.name}: {what}"
        return DataError(text, got=str(got)[:200], expected=str(expected), fix=GUIDE)

    if not isinstance(events, Events):
        raise refuse("`load_split` returned no events", type(events).__name__, "simbench.core.events.Events")
    count = len(events.samples) if isinstance(events.samples, Tensor) and events.samples.dim() else 0
    wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "samples": ((count, *task.shape), torch.float32),
        "conditions": ((count, len(task.condition_names)), torch.float32),
        "condition_id": ((count,), torch.int64),
        "unit_id": ((count,), torch.int64),
    }
    for name, (shape, dtype) in wanted.items():
        value = getattr(events, name)
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        if not count or got != f"{dtype} {shape}":
            raise refuse(f"`{name}` is wrong", got, f"a tensor {dtype} {(count or 'N', *shape[1:])}")
        if not bool(torch.isfinite(value).all()):
            raise refuse(f"`{name}` holds NaN or infinite values", "some", "finite numbers")
    low, high = float(events.samples.min()), float(events.samples.max())
    if low < 0 or high > task.maximum:
        raise refuse("`samples` are out of the range of the task", f"{low:.4g} to {high:.4g}", f"0 to {task.maximum:g}")
    if split not in ("test", "floor"):
        return
    if count != task.test_events:
        raise refuse("there are not `test_events` of them", count, task.test_events)
    if not bool((events.condition_id.view(-1, task.repeats) == events.condition_id[:: task.repeats, None]).all()):
        raise refuse("the repeats of a condition are not side by side", "others between", f"{task.repeats} in a row")
    if split == "floor":
        test = task.load_split("test")
        for name in ("conditions", "condition_id"):
            if not torch.equal(getattr(events, name), getattr(test, name)):
                raise refuse(f"`{name}` are not those of the split 'test'", "others", "the same, in the same order")
        if torch.equal(events.samples, test.samples):
            raise refuse("its events are those of the split 'test'", "the same events", "independent ones")
