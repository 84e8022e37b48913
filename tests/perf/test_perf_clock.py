"""The clock beside a bare, hand-written, synchronised loop, and against itself."""

from __future__ import annotations

import time
from statistics import median

import pytest
import torch

from simbench.core.threads import torch_threads
from simbench.evaluation.ladder import measure_ladders
from simbench.evaluation.throughput import Clock, Measurement
from simbench.evaluation.witness import Witness
from simbench.generators.resolve import resolve
from simbench.generators.session import Session
from simbench.tasks import get_task

pytestmark = pytest.mark.slow

TASK = get_task("zn-geant3")
CONDITIONS = TASK.load("test").conditions


class Nothing:
    """Gives the same empty event again and again, at no cost."""

    def __init__(self) -> None:
        self.events = torch.zeros(1, 44, 44)

    def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        return self.events


def vae() -> Session:
    return resolve("vae", {"head": "counts"}).set_up(TASK)


def test_an_empty_generator_costs_less_than_50_microseconds_a_call() -> None:
    with torch_threads(1):
        row = Clock(Session(Nothing(), TASK, "nothing")).measure(CONDITIONS, 1, batch=1)
    print(f"{1000 * row.latency_ms.p50:.1f} us a call")
    assert row.latency_ms.p50 < 0.050


def test_the_clock_agrees_with_a_bare_loop() -> None:
    """Seconds of 1000 events, in turn by the clock and by a loop around `sample`: within 3 %."""
    session = vae()
    with torch_threads(1):
        measurement = Measurement(Clock(session), CONDITIONS, 1000, Witness(), 15, float("inf"))
        bare = []
        while measurement.repeats_left:
            measurement.repeat()
            rows = CONDITIONS[torch.arange(1000)]
            start = time.perf_counter()
            session.generator.sample(rows, seed=len(bare))
            bare.append(time.perf_counter() - start)
        row = measurement.row(1)
    ratio = row.latency_ms.p50 / 1000 / median(bare)
    print(f"the clock over a bare loop: {ratio:.3f}")
    assert abs(ratio - 1) < 0.03


def test_two_copies_of_a_generator_agree() -> None:
    """Medians of two interleaved copies: within 2 % at batch 256 and 1000."""
    lanes = [(Clock(vae()), Witness()) for _ in range(2)]
    with torch_threads(1):
        one, other = measure_ladders(lanes, CONDITIONS, batches=(256, 1000))
    ratios = [a.events_per_s.p50 / b.events_per_s.p50 for a, b in zip(one.rows, other.rows, strict=True)]
    print("one copy over the other:", ", ".join(f"{ratio:.3f}" for ratio in ratios))
    assert all(abs(ratio - 1) < 0.02 for ratio in ratios)
