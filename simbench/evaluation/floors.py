"""Floors: what real events, independent of the reference, score against it.

Floors depend on the task, the metric's version and N alone; those of the usual sizes ship as JSON, with the memoriser's
scores and the floor-against-N curve that gives the equivalent Monte Carlo events: `simbench floor --rebuild`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from simbench.core.cache import Once
from simbench.core.events import Events, concatenate
from simbench.core.seeds import derive_seed
from simbench.core.threads import in_parallel
from simbench.generators.resolve import resolve
from simbench.metrics.base import Comparison, Metric
from simbench.metrics.channels import channel_wasserstein
from simbench.metrics.frechet import frechet_distance
from simbench.metrics.registry import get_metric
from simbench.metrics.resampling import values_only
from simbench.tasks.base import Split, Task

SWAPS = 20
CURVE_EVENTS = (10, 20, 50, 100, 200, 300, 500, 700, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 5000, 7000, 10_000)
CURVE_DRAWS = 100
CURVE_METRICS: dict[str, tuple[str, Callable[[Tensor, Tensor], float]]] = {
    "channel_wasserstein/1": ("channels", channel_wasserstein),
    "lenet_fid/1": ("features", frechet_distance),
}
"""For a metric that can give equivalent events: the quantity that it reads, and its function of two sets."""


class Floor(BaseModel):
    """A metric's score of real events (`value`), its sd over other deals of them, and the memoriser's score."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: float
    sd: float | None
    memoriser: float | None


class Curve(BaseModel):
    """The mean score of N events of the split `floor`, drawn at random, against the whole split `test`, for each N."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric: str
    events: list[int]
    value: list[float]
    sd: list[float]


class FloorTable(BaseModel):
    """The shipped file of one task: floors by metric key and by N."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    task: str
    version: str
    scored_sha256: str
    train_sha256: str
    features_sha256: str | None
    swaps: int
    floors: dict[str, dict[int, Floor]]
    curve: Curve | None = Field(default=None)


def table_path(task_name: str) -> Path:
    """Where the floors of a task are shipped."""
    return Path(str(resources.files("simbench") / "data" / "floors" / f"{task_name}.json"))


@functools.cache
def shipped_floors(task: Task) -> FloorTable | None:
    """The shipped floors of a task, if they are of these data."""
    path = table_path(task.name)
    if not path.is_file():
        return None
    table = FloorTable.model_validate_json(path.read_text())
    of_these = (table.scored_sha256, table.features_sha256) == (task.scored_sha256, task.features_sha256)
    return table if of_these else None


class Floors:
    """The floors of a task for the rows of a reference: shipped, or else measured when asked for.

    A measured floor has no memoriser, and an sd only where `measure_sd` asks for the swaps that it takes.
    """

    def __init__(self, task: Task, reference: Events, *, measure_sd: bool = False) -> None:
        self.task, self._rows, self._measure_sd = task, reference.split_rows, measure_sd
        self._once = Once()
        table, events = shipped_floors(task), len(reference)
        usual = table is not None and torch.equal(self._rows, task.load("test", events).split_rows)
        self._shipped = {key: sizes.get(events) for key, sizes in table.floors.items()} if table and usual else {}
        self._same_train = table is not None and table.train_sha256 == task.train_sha256

    def __len__(self) -> int:
        """Events of the reference."""
        return len(self._rows)

    def of(self, metric: Metric) -> Floor:
        """The floor of a metric. What came from another training split than the task's is left out, or measured now."""
        found = self._shipped.get(metric.key)
        if found is None or (metric.reads_train and not self._same_train):
            return self._once.get(metric.key, lambda: self._measured(metric))
        return found if self._same_train else found.model_copy(update={"memoriser": None})

    def _measured(self, metric: Metric) -> Floor:
        pair = self._once.get("pair", self._pair)
        with values_only():
            sd = stdev(metric(dealt).value for dealt in self._swaps(pair)) if self._measure_sd else None
            return Floor(value=metric(pair).value, sd=sd, memoriser=None)

    def _pair(self) -> Comparison:
        floor, test = (self.task.load_split(split).take(self._rows) for split in SCORED)
        return Comparison(floor, test, stratify=False)

    def _swaps(self, pair: Comparison) -> Iterator[Comparison]:
        return swaps(pair.generated, pair.reference, derive_seed(0, self.task.name, "floor", len(pair)))


SCORED: tuple[Split, Split] = ("floor", "test")


def swaps(first: Events, second: Events, seed: int, count: int = SWAPS) -> Iterator[Comparison]:
    """Pairs of real sets: the events of both, dealt anew within each condition, `count` times, ordered by condition."""
    pool = concatenate(first, second)
    condition = pool.condition_id.numpy()
    sizes = np.unique(condition, return_counts=True)[1]
    rank = np.concatenate([np.arange(size) for size in sizes])
    single = len(first.unit_id.unique()) == len(first)
    in_first = rank < np.repeat(sizes // 2, sizes)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        order = np.lexsort((rng.random(len(condition)), condition))
        a, b = (pool.take(torch.from_numpy(order[rows])) for rows in (in_first, ~in_first))
        if single:  # the two events of a new row were not one unit before they were dealt
            a, b = (replace(events, unit_id=torch.arange(len(events))) for events in (a, b))
        yield Comparison(a, b, stratify=False)


def _curve(task: Task, floor: Events, test: Events, advance: Callable[[str], None]) -> Curve | None:
    """The floor against N of the task's equivalent metric."""
    if task.curve_metric not in CURVE_METRICS:
        return None
    name, distance = CURVE_METRICS[task.curve_metric]
    dimension = test.derived(name).shape[1]
    wanted = sorted({*CURVE_EVENTS, len(test)})
    sizes = [n for n in wanted if n <= len(test) and (dimension < n or name == "channels")]
    real, reference = floor.derived(name), test.derived(name)
    rng = torch.Generator().manual_seed(derive_seed(0, task.name, "floor-curve"))
    values = []
    for n in sizes:
        draws = 1 if n == len(real) else CURVE_DRAWS
        values.append([distance(real[torch.randperm(len(real), generator=rng)[:n]], reference) for _ in range(draws)])
        advance(f"curve at N = {n}")
    return Curve(
        metric=task.curve_metric,
        events=sizes,
        value=[float(np.mean(drawn)) for drawn in values],
        sd=[float(np.std(drawn, ddof=1)) if len(drawn) > 1 else 0.0 for drawn in values],
    )


def build(
    task: Task, memoriser: Callable[[Events], Events], sizes: list[int], advance: Callable[[str], None]
) -> FloorTable:
    """Measure the floors of every metric of the task at each N, and the curve.

    `memoriser` answers the conditions of events with the memoriser's samples. `advance` gets a line for each step done.
    """
    with values_only():
        floors = {events: _floors(task, memoriser, events, advance) for events in sizes}
    by_key = {key: {events: floors[events][key] for events in sizes} for key in task.metrics}
    curve = _curve(task, task.load("floor"), task.load("test"), advance)
    return FloorTable(
        task=task.name,
        version=task.version,
        scored_sha256=task.scored_sha256,
        train_sha256=task.train_sha256,
        features_sha256=task.features_sha256,
        swaps=SWAPS,
        floors=by_key,
        curve=curve,
    )


def _floors(
    task: Task, memoriser: Callable[[Events], Events], events: int, advance: Callable[[str], None]
) -> dict[str, Floor]:
    """The floor of every metric at one N."""
    floor, test = task.load("floor", events), task.load("test", events)
    for name in test.derivations:
        floor.derived(name), test.derived(name)
    replayed = Comparison(memoriser(test), test, stratify=False)
    straight = Comparison(floor, test, stratify=False)
    dealt = list(swaps(floor, test, derive_seed(0, task.name, "floor", events)))

    def measured(metric: Metric) -> Floor:
        sd = float(np.std([metric(pair).value for pair in dealt], ddof=1))
        found = Floor(value=metric(straight).value, sd=sd, memoriser=metric(replayed).value)
        advance(f"{metric.key} at N = {events}")
        return found

    floors = in_parallel([partial(measured, get_metric(key)) for key in task.metrics])
    return dict(zip(task.metrics, floors, strict=True))


def table_json(table: FloorTable) -> str:
    """The shipped file's text, numbers to 8 significant digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.8g}")
        if isinstance(value, dict):
            return {key: rounded(item) for key, item in value.items()}
        return [rounded(item) for item in value] if isinstance(value, list) else value

    return json.dumps(rounded(table.model_dump(mode="json")), indent=1) + "\n"


def rebuild(task: Task, note: Callable[[str], None]) -> Path:
    """Measure the floors of a task, for a smoke run's events and for all, and replace the shipped file."""
    memoriser = resolve("memoriser").set_up(task)

    def replayed(events: Events) -> Events:
        return events.with_samples(memoriser.sample(events.conditions, memoriser.seed("floor", "memoriser")))

    table = build(task, replayed, [task.smoke_events, task.test_events], note)
    path = table_path(task.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table_json(table), encoding="utf-8")
    return path
