"""The clock, driven by a clock of the test's own."""

from __future__ import annotations

import itertools

import pytest
import torch

from simbench.core.errors import GeneratorError
from simbench.core.threads import torch_threads
from simbench.evaluation.throughput import Clock, is_compiled, measure_ladder, speedup, tile
from simbench.generators.session import Session
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
    assert (row.events_per_s.p5, row.events_per_s.p50, row.events_per_s.p95) == (200, 200, 200)
    assert (row.latency_ms.p50, row.latency_ms.p95, row.first_call_s) == (500, 500, 0.5)
    assert row.batch == 100
    assert len(set(generator.seeds)) == 12


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


def test_a_batch_that_would_take_too_long_is_left_out_and_named() -> None:
    clock = ticking_clock(Zeros(), 0.3)
    with torch_threads(1):
        rows, notes = measure_ladder(clock, torch.zeros(8, 9), batches=(1, 100), budget_s=5)
    assert [row.batch for row in rows] == [1]
    assert "batch 100 on cpu with 1 thread not timed" in notes[0]


def test_the_speedup_is_monte_carlo_seconds_over_the_generators_for_the_same_conditions() -> None:
    task = get_task("zn-geant3")
    events = task.load("test", 80)
    assert events.mc_seconds is not None
    row = ticking_clock(Zeros(), 0.25).measure(tile(events.conditions, 200), threads=1)
    result = speedup([row], events, task.monte_carlo)
    assert result is not None
    seconds = 2 * float(events.mc_seconds.sum()) + float(events.mc_seconds[:40].sum())
    assert result.value == result.per_core == pytest.approx(seconds / 0.25)
    assert result.monte_carlo.engine.startswith("GEANT")


def test_no_monte_carlo_record_no_speedup() -> None:
    task = get_task("zn-geant3")
    row = ticking_clock(Zeros(), 0.25).measure(torch.zeros(8, 9), threads=1)
    assert speedup([row], task.load("test", 8), None) is None
    assert speedup([], task.load("test", 8), task.monte_carlo) is None


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
