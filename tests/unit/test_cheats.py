"""Generators that cheat the clock, each refused or flagged; and honest ones, which are not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from factories import make_result, make_timing
from torch import Tensor
from toys import ToyTask

from simbench.core.errors import GeneratorError
from simbench.core.events import Events
from simbench.evaluation.ladder import Ladder, measure_ladders
from simbench.evaluation.throughput import Clock
from simbench.evaluation.witness import Witness
from simbench.generators.preflight import preflight
from simbench.generators.session import Session
from simbench.results.schema import Result
from simbench.results.timing import scored_sentence, timing_findings
from simbench.tasks.base import Split

EVENTS = 2000


class Showers(ToyTask):
    """2000 showers whose brightness follows the energy; the faint ones are often empty."""

    maximum = 1e5

    def load_split(self, split: Split) -> Events:
        energy = torch.linspace(0, 1, EVENTS).reshape(-1, 4).T.reshape(-1)  # bright and dim rows in turn
        conditions = torch.stack([energy, torch.zeros(EVENTS)], 1)
        return Events(shower(conditions, 1), conditions, torch.arange(EVENTS), torch.arange(EVENTS))


def shower(conditions: Tensor, seed: int) -> Tensor:
    rate = (5 * conditions[:, :1, None] ** 2).expand(-1, 4, 4)
    return torch.poisson(rate, generator=torch.Generator().manual_seed(seed))


class Honest:
    """Works 0.2 ms an event, by a clock of its own."""

    cost = 2e-4
    tick = 0.0
    """Seconds between two looks at the clock, without any work."""

    def __init__(self) -> None:
        self.now = 0.0

    def work(self, conditions: Tensor, seed: int) -> Tensor:
        self.now += self.cost * len(conditions)
        return shower(conditions, seed)

    def sample(self, conditions: Tensor, *, seed: int) -> Any:
        return self.work(conditions, seed)


class Cheat(Honest):
    tick = 1e-3


class Mean(Honest):
    """No fluctuations: a legitimate entry. Its rounding depends on the batch size."""

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        self.work(conditions, seed)
        return (5 * conditions[:, :1, None] ** 2).expand(-1, 4, 4) * (1 + 1e-7 * len(conditions))


class BySize(Cheat):
    """Answers by the sizes that a clock is likely to ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, Tensor] = {}

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        size = round(len(conditions), -len(str(len(conditions))) + 1)
        if size not in self.kept:
            self.kept[size] = self.work(conditions.repeat(2, 1), seed)
        return self.kept[size][: len(conditions)]


class Pool(Cheat):
    """Scored events are kept by row; timed calls get them back, whatever the seed."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[float, Tensor] = {}

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        if not is_timed():
            events = self.work(conditions, seed)
            self.kept |= dict(zip(conditions[:, 0].tolist(), events, strict=True))
            return events
        return torch.stack([self.kept[energy] for energy in conditions[:, 0].tolist()])


class OtherRows(Cheat):
    """Right showers, other every time, for wrong rows."""

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        if not is_timed():
            return self.work(conditions, seed)
        rng = torch.Generator().manual_seed(seed)
        rows = torch.randint(EVENTS, (len(conditions),), generator=rng)
        return shower(Showers().load("test").conditions[rows], seed)


class Dimmer(Cheat):
    """A cheap network for the clock: 6 % fewer photons."""

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        return shower(conditions * (0.97 if is_timed() else 1), seed)


class NeverEmpty(Cheat):
    """A cheap one that is right on average, but for empty events: their photons are taken from others."""

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        events = self.work(conditions, seed)
        if is_timed():
            empty = events.flatten(1).sum(1) == 0
            events[empty, 0, 0] += 1e-3
        return events


class Lagging(Cheat):
    """Fills the events of a timed call after the clock has stopped, as a thread of its own could."""

    def __init__(self) -> None:
        super().__init__()
        self.later: list[Callable[[], object]] = []

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        while self.later:
            self.later.pop()()
        if not is_timed():
            return self.work(conditions, seed)
        events = torch.zeros(len(conditions), 4, 4)
        self.later.append(lambda: events.copy_(shower(conditions, seed)))
        return events


def is_timed() -> bool:
    """Whether a timed call is among the callers: as a cheat would find out."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name in ("timed_call", "probe"):
            return True
    return False


def timed(generator: Honest, batches: tuple[int, ...] = (1, 100)) -> tuple[Ladder, Witness]:
    """The ladder of a generator whose scored events are known."""
    task = Showers()
    test = task.load("test")
    session = Session(generator, task, "m")
    witness = Witness(session.sample(test.conditions, 7), test.samples)

    def wall() -> float:
        generator.now += generator.tick
        return generator.now

    clock = Clock(session, wall=wall)
    return measure_ladders([(clock, witness)], test.conditions, batches=batches)[0], witness


@pytest.mark.parametrize("repetition", range(3))
def test_an_honest_generator_is_believed(repetition: int) -> None:
    found, witness = timed(Honest())
    assert (found.errors, witness.disagreements, witness.differs_by_seed) == ([], [], True)
    for row in found.rows:
        assert row.events_per_s.p50 == pytest.approx(1 / Honest.cost)


def test_a_generator_without_fluctuations_is_believed() -> None:
    _, witness = timed(Mean())
    assert (witness.disagreements, witness.differs_by_seed) == ([], False)
    assert findings(stochastic=False, differs_by_seed=False) == []
    assert "same events for every seed" in findings(differs_by_seed=False)[0]


@pytest.mark.parametrize("cheat", [BySize, Pool])
def test_events_that_were_kept_are_the_same_for_every_seed(cheat: type[Honest]) -> None:
    _, witness = timed(cheat())
    assert witness.differs_by_seed is False


@pytest.mark.parametrize(
    ("cheat", "words"),
    [
        (BySize, "photon sum"),
        (OtherRows, "bright rows: photon sum"),
        (OtherRows, "dim rows: photon sum"),
        (Dimmer, "bright rows: photon sum"),
        (NeverEmpty, "dim rows: share of empty events"),
        (Lagging, "photon sum"),
    ],
)
def test_timed_events_that_are_not_the_scored_ones_are_seen(cheat: type[Honest], words: str) -> None:
    _, witness = timed(cheat(), (500,))
    assert any(words in told and "batch 500" in told for told in witness.disagreements), witness.disagreements


def test_a_batch_of_one_is_watched_as_well() -> None:
    class Cached(Cheat):
        def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
            events = self.work(conditions, seed)
            return torch.full((1, 4, 4), 1.5) if len(conditions) == 1 else events

    _, witness = timed(Cached(), (1,))
    assert witness.differs_by_seed is False


def test_events_that_turn_bad_once_they_are_timed_are_an_error() -> None:
    class Garbage(Honest):
        def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
            return self.work(conditions, seed) - is_timed() * (self.now > 0.5)

    found, _ = timed(Garbage())
    assert "not of the task" in str(found.error)


class OnFirstRead(Tensor):
    """Computes itself when it is first read."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = [arg.as_subclass(Tensor) + 1 if isinstance(arg, cls) else arg for arg in args]
        return func(*plain, **(kwargs or {}))


class OnFirstReadArray(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("special", "name"),
    [
        (lambda events: torch.Tensor._make_subclass(OnFirstRead, events), "OnFirstRead"),
        (lambda events: torch.nn.Parameter(events), "Parameter"),
        (lambda events: events.numpy().view(OnFirstReadArray), "OnFirstReadArray"),
        (lambda events: events.numpy().astype(object), "ndarray"),
        (lambda events: events.to_sparse(), "sparse"),
    ],
)
def test_only_plain_tensors_are_taken(special: Callable[[Tensor], Any], name: str) -> None:
    class Special(Honest):
        def sample(self, conditions: Tensor, *, seed: int) -> Any:
            return special(self.work(conditions, seed))

    session = Session(Special(), Showers(), "mypkg:Model")
    conditions = Showers().load("test").conditions
    for use in (
        lambda: preflight(session),
        lambda: session.sample_blocks(conditions[:8], 0),
        lambda: Clock(session).measure(conditions, 1),
    ):
        with pytest.raises(GeneratorError, match=name) as caught:
            use()
        assert caught.value.got
        assert caught.value.expected
        assert caught.value.fix


def test_a_value_of_every_event_is_read_before_the_clock_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []
    generator = Honest()
    session = Session(generator, Showers(), "m")
    real = Tensor.to

    def to(self: Tensor, *args: Any, **options: Any) -> Tensor:
        if options.get("copy"):
            read.append(tuple(self.shape))
            generator.now += 1.0  # a read that computes something takes time
        return real(self, *args, **options)

    monkeypatch.setattr(Tensor, "to", to)
    _, seconds = Clock(session, wall=lambda: generator.now).timed(Showers().load("test").conditions[:50], 1)
    assert read == [(50,)]
    assert seconds == pytest.approx(1.01)


def test_sizes_rows_and_seeds_cannot_be_foreseen() -> None:
    class Spy(Honest):
        sizes: ClassVar[list[int]] = []
        starts: ClassVar[list[float]] = []
        seeds: ClassVar[list[int]] = []

        def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
            self.sizes.append(len(conditions))
            self.starts.append(float(conditions[0, 0]))
            self.seeds.append(seed)
            return self.work(conditions, seed)

    generator = Spy()
    clock = Clock(Session(generator, Showers(), "m"), wall=lambda: generator.now)
    for _ in range(4):
        clock.measure(Showers().load("test").conditions, 1, batch=100)
    assert {97, 98, 99, 100, 101, 102, 103} >= set(Spy.sizes)
    assert len(set(Spy.sizes)) >= 3
    assert len(set(Spy.starts)) > len(Spy.starts) / 4
    assert len(set(Spy.seeds)) == len(Spy.seeds)
    made = len(Spy.sizes)
    clock.measure(Showers().load("test").conditions, 1, batch=1)
    assert set(Spy.sizes[made:]) == {1}


def result(stochastic: bool = True, **changes: Any) -> Result:
    made = make_result(timing=make_timing(**changes))
    return made.model_copy(update={"generator": made.generator.model_copy(update={"stochastic": stochastic})})


def findings(stochastic: bool = True, **changes: Any) -> list[str]:
    return timing_findings(result(stochastic, **changes))


def test_a_speed_that_the_scored_events_do_not_have_is_found() -> None:
    assert findings() == []
    assert findings(scored_block_seconds=2.9 * 1000 / 4600) == []
    for factor in (3.2, 1e4, 1 / 3.2):
        assert "more than 3x apart" in findings(scored_block_seconds=factor * 1000 / 4600)[0]
    assert findings(scored_block_seconds=None) == []  # fewer than two whole blocks
    assert "was not timed" in findings(scored_batch=256)[0]
    assert "bright rows" in findings(agrees=False, reason="bright rows")[0]
    assert timing_findings(result().model_copy(update={"timing": None})) == []


def test_trifles_of_a_fast_generator_are_no_finding() -> None:
    fast = result(scored_block_seconds=0.0015)
    rows = [
        row.model_copy(update={"events_per_s": row.events_per_s.model_copy(update={"p50": 1e7}), "batch": row.batch})
        for row in fast.throughput
    ]
    assert timing_findings(fast.model_copy(update={"throughput": rows})) == []


def test_the_seconds_of_scored_events_are_told() -> None:
    assert "took 12 s" in scored_sentence(result())
    assert "setup took 100 ms" in scored_sentence(result())
    assert scored_sentence(make_result()) == ""
