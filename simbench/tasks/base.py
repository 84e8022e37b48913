"""A task: a data set with a shape, units, named conditions, splits, its metrics and its Monte Carlo cost."""

from __future__ import annotations

import contextlib
import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.errors import GeneratorError, UsageError
from simbench.core.events import Events, checksum
from simbench.features.lenet import Variant
from simbench.metrics.base import Metric
from simbench.results.schema import TaskRecord
from simbench.tasks.controls import Control

Split = Literal["train", "validation", "test", "floor"]

NOISE = '''\
"""Nothing but noise yet. Measure it: simbench run --task {task} --generator {file}:{name}"""
import torch


class {name}:
    def setup(self, task, device):  # optional; called once and not timed: load weights here
        self.shape, self.device = task.shape, device

    def sample(self, conditions, *, seed):  # (event, conditions) -> (event, *task.shape) in task.unit
        rng = torch.Generator(self.device).manual_seed(seed)  # draw everything from it: same seed, same events
        return torch.rand((len(conditions), *self.shape), generator=rng, device=self.device)
'''
"""A generator for any task, for `simbench init`."""


@dataclass(frozen=True)
class Equivalent:
    """An aspect in which real events are counted that are as far from the truth as a generator.

    `metric` has a shipped floor-against-N curve, or a part `real_spread`. `conditions`: how many conditions share the
    events, where the
    count is of events per condition.
    """

    aspect: str
    metric: str
    conditions: int | None = None


@dataclass(frozen=True)
class MonteCarlo:
    """What the simulation costs that a generator replaces, and how that was measured."""

    engine: str
    physics: str
    cuts: str
    seconds_per_event: float
    cpu: str
    threads: int
    measured: str


@dataclass(frozen=True)
class Fibres:
    """Where a calorimeter's fibres are: `number` along each axis, centred on the beam, behind `face`. Lengths in m.

    Each fibre is a quartz core of radius `core` on the axis of a square air groove of half side `groove`.
    """

    face: float
    depth: float
    number: int
    pitch: float
    core: float
    groove: float


class Task(ABC):
    """One task. Subclasses say what it is in class attributes and load its splits.

    Generators are scored against `load("test")`. `load("floor")` are independent real events for the same conditions in
    the same order: what a perfect model would return. Nobody trains or tunes on either.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    shape: ClassVar[tuple[int, ...]]
    unit: ClassVar[str]
    maximum: ClassVar[float]
    """No event of the task can hold a value above this; preflight refuses it. The minimum is 0."""
    condition_names: ClassVar[tuple[str, ...]]
    condition_units: ClassVar[tuple[str, ...]]
    fibres: ClassVar[Fibres | None] = None
    """The geometry of a fibre calorimeter, where it is known. Its block is square: see `simbench.training.augment`."""
    repeats: ClassVar[int]
    """Test events per condition, stored side by side."""
    block_size: ClassVar[int]
    """Events that a generator is asked for in one call, each block with a seed of its own; `--block-size` takes
    another."""
    metrics: ClassVar[tuple[str, ...]]
    """Keys `name/version` of the metrics of the task, in the order in which they are shown."""
    primary: ClassVar[tuple[str, ...]]
    """Keys of the metrics without which a run has measured nothing (exit code 5)."""
    equivalents: ClassVar[tuple[Equivalent, ...]] = ()
    """The aspects of the equivalent Monte Carlo events."""
    curve_metric: ClassVar[str] = ""
    """Key of the metric with a floor-against-N curve."""
    definitions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Keys of the metrics that published numbers are, by the name for `--definitions`."""
    controls: ClassVar[tuple[Control, ...]] = ()
    """The negative controls of `simbench selftest`."""
    lenet: ClassVar[Variant | None] = None
    """The pinned LeNet-5 of the task, where `features` come from one."""
    options: ClassVar[Mapping[str, str]] = {}
    """What may follow the name of the task, as in `zn-alice:split=wojnar`, and what it means: arguments of the
    constructor. Those that are not left at their default stand in `name`, too: other options are other events."""
    template: ClassVar[str] = NOISE
    """The generator that `simbench init` writes; {task}, {file} and {name}, that of its class, are filled in."""
    source: str | None = None
    """What the user typed for a task that no package offers by name: `file.py:Task`."""
    source_sha256: str | None = None
    """Checksum of the file behind `source`."""

    @functools.cached_property
    def test_events(self) -> int:
        """Events of the split `test`. A task whose data are known writes the number down."""
        return len(self.load_split("test"))

    @functools.cached_property
    def smoke_events(self) -> int:
        """Test events of a first try."""
        return min(400, self.test_events)

    @functools.cached_property
    def has_floor(self) -> bool:
        """Whether there are independent real events, `load("floor")`."""
        return True

    @property
    def spec(self) -> str:
        """What names the task on the command line."""
        return self.source or self.name

    @property
    def scored_splits(self) -> tuple[Split, ...]:
        """What generators are scored against: `test`, and `floor` where there is one."""
        return ("test", "floor") if self.has_floor else ("test",)

    @functools.cached_property
    def scored_sha256(self) -> str:
        """Checksum of the events of `scored_splits`. A task whose files are pinned writes it down."""
        return checksum(*map(self.load_split, self.scored_splits))

    @property
    def features_sha256(self) -> str | None:
        """Checksum of the weights of the pinned network behind the derived quantity `features`; None where there is
        none."""
        return self.lenet.sha256 if self.lenet else None

    @functools.cached_property
    def train_sha256(self) -> str:
        """Checksum of the events of `train`."""
        return checksum(self.load_split("train"))

    @abstractmethod
    def load_split(self, split: Split) -> Events:
        """All events of a split. Raises DataError where the files are missing or damaged."""

    @functools.cached_property
    def channel_masks(self) -> Tensor:
        """Which values each of the derived `channels` sums, (values, channels): of an image those of zn_2x2."""
        from simbench.metrics.channels import channel_masks

        return channel_masks(*self.shape)

    def unit_of(self, metric: Metric) -> str:
        """The unit of a metric's value on this task."""
        return metric.unit

    def measured(self) -> tuple[str, ...]:
        """Those of `metrics` that the events of the task allow. Raises DataError where the files are missing."""
        return self.metrics

    def find_data(self) -> str:
        """Where the data are, in a sentence; nothing is downloaded. Raises DataError where they are missing."""
        return f"{len(self.load('test'))} test events are there, checksums verified."

    @property
    def monte_carlo(self) -> MonteCarlo | None:
        """The recorded cost of the Monte Carlo that made the data, if it was recorded."""
        return None

    def load(self, split: Split, events: int | None = None) -> Events:
        """`events` events of a split (all, if None).

        On `test` and `floor` they are of as few conditions as can be, each with equally many repeats, from the first
        on.

        Raises:
            UsageError: there are not so many events, or they cannot be shared out equally.
            DataError: the files are missing or damaged.
        """
        loaded = self.load_split(split)
        if events is None or events == len(loaded):
            return loaded
        if not 0 < events <= len(loaded):
            raise UsageError(
                f"{self.name} has {len(loaded)} {split} events", got=f"--events {events}", fix="Ask for fewer."
            )
        if split not in ("test", "floor"):
            return loaded.take(torch.arange(events))
        conditions = len(loaded) // self.repeats
        for repeats in range(self.repeats, 0, -1):
            if events % repeats == 0 and events // repeats <= conditions:
                rows = torch.arange(events // repeats)[:, None] * self.repeats + torch.arange(repeats)
                return loaded.take(rows.flatten())
        near = max(events // self.repeats, 1) * self.repeats
        raise UsageError(
            f"{self.name} takes equally many repeats of each condition",
            got=f"--events {events}",
            expected=f"up to {self.repeats} repeats of up to {conditions} conditions",
            fix=f"Try --events {near}.",
        )

    def in_blocks(self, size: int | None) -> Self:
        """This task, scored in blocks of `size` events; the task itself where that is None or its own size."""
        if size is None or size == self.block_size:
            return self
        other = copy.copy(self)
        vars(other)["block_size"] = size
        return other

    def record(self, reference: Events) -> TaskRecord:
        """What a Result says of the data when these test events were scored against."""
        whole = reference.rows is None and len(reference) == self.test_events
        rows = reference.split_rows
        scored = self.scored_sha256 if whole else checksum(*(self.load_split(s).take(rows) for s in self.scored_splits))
        return TaskRecord(
            name=self.name,
            version=self.version,
            split="test",
            scored_sha256=scored,
            train_sha256=self.train_sha256,
            features_sha256=self.features_sha256,
            events=len(reference),
            source=self.source,
            source_sha256=self.source_sha256,
        )

    def plain_events(self, samples: object, count: int, who: str) -> Tensor:
        """`samples`, a tensor without gradients, if they are `count` events by type and shape; else GeneratorError.

        A subclass of Tensor or ndarray is refused: it may compute itself when it is read, once the clock has stopped.
        """
        expected = (count, *self.shape)
        kind = type(samples)
        if kind is np.ndarray:
            with contextlib.suppress(TypeError, ValueError):  # an array of objects, which is refused below
                samples = torch.as_tensor(samples)
        if not isinstance(samples, Tensor):
            what, fix = f"{who} returned no tensor", "Return a torch.Tensor (or a numpy array) of numbers."
            raise GeneratorError(what, got=kind.__name__, expected=f"a tensor of shape {expected}", fix=fix)
        if type(samples) is not Tensor or samples.layout is not torch.strided or samples.is_quantized:
            raise GeneratorError(
                f"{who} returned a special kind of tensor",
                got=f"{kind.__name__}, {samples.layout}, {samples.dtype}",
                expected="a plain, dense torch.Tensor or numpy array",
                fix="Return a plain one, e.g. parameter.detach(), out.to_dense(), out.as_subclass(torch.Tensor).",
            )
        if tuple(samples.shape) != expected:
            what = f"{self.name} expects {expected}, {who} returned {tuple(samples.shape)}"
            raise GeneratorError(what, fix=_shape_hint(tuple(samples.shape), expected))
        if samples.is_meta:
            what, fix = f"{who} returned a tensor without values", "Put the model on the device that `setup` is given."
            raise GeneratorError(what, got="one on the device 'meta'", expected="events on a CPU or GPU", fix=fix)
        if samples.is_complex() or samples.dtype == torch.bool:
            what = f"{who} returned values of type {samples.dtype}"
            raise GeneratorError(what, expected="real numbers", fix="Return floats or integers in task units.")
        return samples.detach()

    def check_samples(self, samples: object, count: int, who: str) -> Tensor:
        """`samples` as a float32 CPU tensor if they are `count` events of this task; GeneratorError otherwise."""
        samples = self.plain_events(samples, count, who).to("cpu", torch.float32)
        if not bool(torch.isfinite(samples).all()):
            bad = int((~torch.isfinite(samples)).flatten(1).any(1).sum()) if samples.dim() > 1 else 1
            what = f"{who} returned NaN or infinite values"
            fix = "Look for an overflow, e.g. exp of a large output: clamp it."
            raise GeneratorError(what, got=f"{bad} of {count} events with one", expected="finite numbers", fix=fix)
        low, high = float(samples.min()), float(samples.max())
        if low < 0:
            what, fix = f"{who} returned negative {self.unit}", "Clamp at zero, e.g. out.clamp(min=0)."
            raise GeneratorError(what, got=f"a minimum of {low:.4g}", expected=f"[0, {self.maximum:g}]", fix=fix)
        if high > self.maximum:
            what = f"{who} returned too large {self.unit}"
            fix = "Return task units: undo the normalisation or the logarithm of your training."
            raise GeneratorError(what, got=f"a maximum of {high:.4g}", expected=f"[0, {self.maximum:g}]", fix=fix)
        return samples


def _shape_hint(got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if got[:1] != expected[:1]:
        return "Return one event per row of conditions: len(conditions) of them."
    if tuple(size for size in got if size != 1) == tuple(size for size in expected if size != 1):
        if len(got) == len(expected) + 1:
            axis = next(axis for axis in range(1, len(got)) if got[:axis] + got[axis + 1 :] == expected)
            return f"Drop the channel axis, e.g. out.squeeze({axis})."
        if len(got) == len(expected) - 1:
            return "Add the channel axis, e.g. out.unsqueeze(1)."
    if int(np.prod(got)) == int(np.prod(expected)):
        return f"The number of values is right: out.reshape{expected} may be what you want."
    return f"An event of this task has shape {expected[1:]}."


def energy_quintiles(energy: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.str_]:
    """The name `q1`..`q5` of the energy bin of each event, for the 4 inner edges given."""
    return np.array([f"q{index + 1}" for index in range(5)])[np.searchsorted(edges, energy, side="right")]
