"""The clock, driven by a clock of the test's own."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
import torch
from toys import ToyTask

from simbench.core.errors import GeneratorError
from simbench.core.threads import torch_threads
from simbench.evaluation.ladder import Ladder, measure_ladders
from simbench.evaluation.throughput import Clock, is_compiled
from simbench.evaluation.witness import Witness
from simbench.generators.session import Mode, Session
from simbench.tasks import get_task


class Zeros:
    def __init__(self) -> None:
        self.seeds: list[int] = []

    def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        self.seeds.append(seed)
        return torch.zeros(len(conditions), 44, 44)


def ticking_clock(generator: object, seconds: float) -> Clock:
    ticks = itertools.count()
    task = get_task("zn-geant3")
    return Clock(Session(generator, task, "m"), wall=lambda: next(ticks) * seconds)  # type: ignore[arg-type]


def test_events_per_second_and_latency_are_those_of_the_clock() -> None:
    generator = Zeros()
    row = ticking_clock(generator, 0.5).measure(torch.zeros(100, 9), threads=1, repeats=10)
    rates = row.events_per_s
    assert 194 <= rates.p5 <= rates.p50 <= rates.p95 <= 206  # 97 to 103 events in half a second
    assert row.latency_ms.p50 == pytest.approx(1000 * 100 / rates.p50)
    assert row.latency_ms.p95 == pytest.approx(1000 * 100 / rates.p5)
    assert row.first_call_s == 0.5
    assert row.batch == 100
    assert len(set(generator.seeds)) == len(generator.seeds)


def test_rates_and_latency_at_batch_1_are_of_the_same_repeats() -> None:
    class Uneven(Zeros):
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            time.sleep(0.004 * (seed % 3 == 0))
            return super().sample(conditions, seed=seed)

    row = Clock(Session(Uneven(), get_task("zn-geant3"), "m")).measure(torch.zeros(1, 9), 1, repeats=5)
    assert row.events_per_s.p50 * row.latency_ms.p50 == pytest.approx(1000)


def test_short_calls_are_repeated_until_the_clock_can_see_them() -> None:
    generator = Zeros()
    row = ticking_clock(generator, 0.001).measure(torch.zeros(1, 9), threads=1, repeats=10)
    assert len(generator.seeds) == 2 + 10 * 20
    assert row.events_per_s.p50 == pytest.approx(1000)


def test_peak_memory_sees_what_a_call_takes() -> None:
    class Hungry(Zeros):
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            torch.ones(300 * 2**18).sum()
            return super().sample(conditions, seed=seed)

    task = get_task("zn-geant3")
    light, heavy = (
        Clock(Session(g, task, "m")).measure(torch.zeros(8, 9), 1, repeats=2).peak_mib for g in (Zeros(), Hungry())
    )
    assert light is not None
    assert heavy is not None
    assert 250 < heavy - light < 400


def test_a_wrong_event_count_is_refused_by_the_clock_too() -> None:
    class Short(Zeros):
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            return super().sample(conditions[:50], seed=seed)

    with pytest.raises(GeneratorError, match="one event per row"):
        ticking_clock(Short(), 0.1).measure(torch.zeros(100, 9), 1)


class Costs:
    """Takes `call` seconds a call and `event` an event, by its own clock; from a size in `fails` on it raises."""

    def __init__(self, call: float, event: float, fails: dict[int, BaseException] | None = None) -> None:
        self.call, self.event, self.fails, self.now = call, event, fails or {}, 0.0

    def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        for size, error in self.fails.items():
            if len(conditions) >= size:
                raise error
        self.now += self.call + self.event * len(conditions)
        return torch.zeros(len(conditions), 4, 4)


def climb(generator: Costs, **options: Any) -> Ladder:
    clock = Clock(Session(generator, ToyTask(), "m"), wall=lambda: generator.now)  # type: ignore[arg-type]
    with torch_threads(1):
        return measure_ladders([(clock, Witness())], ToyTask().load("test").conditions, **options)[0]


def test_a_fixed_cost_of_a_call_leaves_no_batch_out() -> None:
    generator = Costs(0.5, 1e-5)
    found = climb(generator, batches=(1, 100, 256, 1000, 10_000))
    assert [row.batch for row in found.rows] == [1, 100, 256, 1000, 10_000]
    assert found.notes == []
    assert found.rows[-1].events_per_s.p50 == pytest.approx(10_000 / 0.6, rel=0.01)
    assert generator.now < 45


@pytest.mark.parametrize("event", [0.01, 0.5])
def test_a_batch_that_would_take_too_long_is_left_out_and_named(event: float) -> None:
    generator = Costs(0.0, event)
    found = climb(generator)
    assert found.rows[0].batch == 1
    assert "batch 10000 on cpu with 1 thread not timed: it would take about" in found.notes[-1]
    assert generator.now < 60


def test_the_scoring_block_may_take_a_share_of_the_scored_seconds() -> None:
    assert [row.batch for row in climb(Costs(0, 0.1), batches=(1, 100, 1000)).rows] == [1]
    assert [row.batch for row in climb(Costs(0, 0.1), batches=(1, 100, 1000), block=(100, 90.0)).rows] == [1, 100]


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), GeneratorError("no more than 999")]
)
def test_a_batch_that_fails_takes_no_other_with_it(error: BaseException) -> None:
    found = climb(Costs(1e-3, 0, {900: error}))
    assert [row.batch for row in found.rows] == [1, 100]
    assert str(found.error).startswith("batch 1000 on cpu with 1 thread: ")


def test_running_out_of_memory_in_the_clock_itself_is_no_end_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Witness, "see", no_memory)
    assert climb(Costs(1e-3, 0)).error == "batch 1 on cpu with 1 thread: out of memory"


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_a_compiled_module_is_found_wherever_the_generator_holds_it() -> None:
    class Holder(Zeros):
        def __init__(self, network: object) -> None:
            super().__init__()
            self.network = network

    def compiled(generator: object) -> bool:
        return is_compiled(Session(generator, get_task("zn-geant3"), "m"))  # type: ignore[arg-type]

    network = torch.nn.Linear(2, 2)
    assert not compiled(Zeros())
    assert not compiled(Holder(network))
    assert compiled(Holder(torch.nn.Sequential(torch.compile(network))))  # type: ignore[arg-type]
    network.compile()
    assert compiled(Holder(network))


class Linear(Zeros):
    """Calls a module, and keeps the order in which generators were called."""

    def __init__(self, name: str = "a", order: list[str] | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(9, 1)
        self.name, self.order = name, [] if order is None else order
        self.seen: list[torch.dtype] = []

    def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        self.order.append(self.name)
        self.seen.append(self.layer(conditions).dtype)
        return super().sample(conditions, seed=seed)


def test_the_repeats_of_several_clocks_alternate() -> None:
    task, order = get_task("zn-geant3"), list[str]()
    clocks = [Clock(Session(Linear(name, order), task, name)) for name in "ab"]
    found = measure_ladders([(clock, Witness()) for clock in clocks], torch.zeros(50, 9), batches=(20_000,))
    assert [len(ladder.rows) for ladder in found] == [2 if torch.get_num_threads() > 1 else 1] * 2
    warm_up = len(order) - sum(row.repeats for ladder in found for row in ladder.rows)
    tail = "".join(order[-2 * found[0].rows[-1].repeats :])
    assert tail.replace("abba", "").replace("ab", "") == ""
    assert warm_up > 0


def test_the_mode_of_a_session_reaches_the_modules_and_leaves_them_as_they_were() -> None:
    generator = Linear()
    session = Session(generator, get_task("zn-geant3"), "m")
    rows = {}
    for mode in (Mode(), Mode("bf16"), Mode(compiled=True)):
        rows[mode] = Clock(session.in_mode(mode)).measure(torch.zeros(4, 9), 1, repeats=3)
        assert generator.layer._compiled_call_impl is None
    assert {(row.precision, row.compiled) for row in rows.values()} == {
        ("float32", False),
        ("bfloat16", False),
        ("float32", True),
    }
    assert set(generator.seen) == {torch.float32, torch.bfloat16}
    assert session.mode == Mode()
