"""The clock: events per second at a batch size.

Every call is timed from conditions on the device to events on the device, after synchronisation and after a value of
every event has been read; the copy to the host is apart. A generator cannot tell a timed call from a scored one: rows,
seed and (by a few events) size are drawn from the system's random numbers. Definition: METRICS `throughput/1`;
what can still be cheated: docs/speed.md.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simbench.evaluation.witness import Witness
from simbench.generators.session import Session
from simbench.results.schema import Latency, Percentiles, Throughput

REPEATS = 10
FEWEST_REPEATS = 3
"""Where calls are so slow that more would not fit in the time."""
MIN_REPEAT_SECONDS = 0.02
"""A repeat is as many calls as fit in this time, at least one: a call at batch 1 is too short for the clock."""
MOST_CALLS = 1000
"""Calls in a repeat, at most."""
ENERGY_SECONDS = 1.0
"""NVML brings its count of joules up to date a few times a second: shorter repeats would see none, or too many."""
JITTER = 3
"""Events that a call has more or less than its batch size, at most; smaller for batches below 12."""
SIZES = 3
"""Sizes that the calls of a batch have, drawn anew each time: few, for a model may compile itself for each."""


def synchronise(device: str) -> bool:
    """Wait until the device has done all it was asked to do. False for a kind of device that cannot be waited for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()
    else:
        return device.startswith("cpu")
    return True


def is_compiled(session: Session) -> bool:
    """Whether the generator, or a module that it holds, is compiled by torch."""
    if session.mode.compiled:
        return True
    dynamo = sys.modules.get("torch._dynamo")  # importing it takes seconds; without it nothing is compiled
    return dynamo is not None and any(
        isinstance(part, dynamo.OptimizedModule) or part._compiled_call_impl for part in session.modules()
    )


def tile(values: Tensor, count: int) -> Tensor:
    """The first `count` rows of `values` repeated as often as needed."""
    return values.repeat(-(-count // len(values)), *[1] * (values.dim() - 1))[:count]


class _PeakMemory:
    """Peak memory in MiB: the allocations on a GPU, else the resident set of the process (Linux; None elsewhere)."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                self.device = "unknown"

    def mib(self) -> float | None:
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        if self.device == "cpu":
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        return None


def _energy_meter(device: str) -> Callable[[], float] | None:
    """Joules that a GPU has used so far, where NVML is there to ask."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(torch.device(device).index or 0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # any failure of a vendor library means one thing: there is no meter
        return None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


@dataclass(frozen=True)
class Rounds:
    """The repeats behind a row: seconds per call of `row.batch` events in each, and how many calls a repeat was."""

    row: Throughput
    seconds: tuple[float, ...]
    calls: int


class Draws:
    """The rows of one call after the other: about as many as the batch size, from a random one on; half come twice."""

    def __init__(self, batch: int, available: int, rng: random.Random) -> None:
        jitter = min(JITTER, batch // 4)
        self.sizes = [batch + rng.randint(-jitter, jitter) for _ in range(SIZES)]
        self.warm_up = list(dict.fromkeys(self.sizes))
        self.warm_up += self.warm_up if len(self.warm_up) == 1 else []
        self.available, self.rng = available, rng
        self.rows = torch.empty(0, dtype=torch.int64)

    def new(self, size: int) -> Tensor:
        """`size` consecutive rows; the first follows the last."""
        self.rows = (torch.arange(size) + self.rng.randrange(self.available)) % self.available
        return self.rows

    def next(self) -> Tensor:
        """The rows of the next call; the same object where they are those of the call before."""
        return self.rows if self.rng.random() < 0.5 else self.new(self.rng.choice(self.sizes))


@dataclass(frozen=True)
class Clock:
    """Times a generator on the device of its session.

    Attributes:
        wall: what reads the time.
        rng: draws rows, sizes and seeds; a generator cannot foresee it.
        rounds: the repeats of all that was measured.
    """

    session: Session
    wall: Callable[[], float] = time.perf_counter
    rng: random.Random = field(default_factory=random.SystemRandom)
    rounds: list[Rounds] = field(default_factory=list)

    def timed(self, conditions: Tensor, seed: int) -> tuple[Tensor, float]:
        """One call: its events, and its seconds. Raises GeneratorError where it failed, or gave no plain tensor."""
        session, device = self.session, self.session.device
        value: tuple[slice | int, ...] = (slice(None), *(self.rng.randrange(size) for size in session.task.shape))
        synchronise(device)
        start = self.wall()
        samples = session.task.plain_events(session.call(conditions, seed), len(conditions), session.who)
        synchronise(device)
        samples[value].to("cpu", copy=True)
        return samples, self.wall() - start

    def seed(self) -> int:
        """A seed that nobody knows beforehand."""
        return self.rng.randrange(2**31)

    def probe(self, conditions: Tensor, size: int) -> float:
        """Seconds of one call for `size` of the conditions."""
        rows = Draws(size, len(conditions), self.rng).new(size)
        return self.timed(conditions[rows], self.seed())[1]

    def measure(
        self,
        conditions: Tensor,
        threads: int,
        repeats: int = REPEATS,
        *,
        batch: int | None = None,
        within_s: float = inf,
        witness: Witness | None = None,
    ) -> Throughput:
        """The speed at a batch size (if None, the number of conditions), for rows of these conditions, on the device.

        Fewer repeats are made where they would take longer than `within_s`, but at least three.

        Raises:
            GeneratorError: the generator raised, or returned something else than one event per condition.
        """
        measurement = Measurement(self, conditions, batch or len(conditions), witness or Witness(), repeats, within_s)
        while measurement.repeats_left:
            measurement.repeat()
        return measurement.row(threads)


class Measurement:
    """The speed of a generator at one batch size, in the making: warmed up when it is made, then repeat by repeat.

    So the repeats of several generators can alternate. The arguments are those of `Clock.measure`.

    Raises:
        GeneratorError: the generator raised, or returned something else than one event per condition.
    """

    def __init__(
        self, clock: Clock, conditions: Tensor, batch: int, witness: Witness, repeats: int, within_s: float
    ) -> None:
        self.clock, self.conditions, self.batch, self.witness = clock, conditions, batch, witness
        device = clock.session.device
        self.draws = Draws(batch, len(conditions), clock.rng)
        witness.begin()
        self.samples, self.first = self.timed_call(self.draws.new(self.draws.warm_up[0]))
        clock.session.checked(self.samples, len(self.samples))
        spent, memory = self.first, _PeakMemory(device)
        for size in self.draws.warm_up[1:]:
            warm = self.timed_call(self.draws.new(size))[1]
            spent += warm
        self.peak = memory.mib()
        self.calls = min(max(1, ceil(MIN_REPEAT_SECONDS / max(warm, 1e-9))), MOST_CALLS)
        if within_s < inf:
            repeats = min(repeats, max(FEWEST_REPEATS, int((within_s - spent) / (self.calls * max(warm, 1e-9)))))
        self.repeats_left = repeats
        self.made: list[int] = []
        self.seconds: list[float] = []

    def timed_call(self, rows: Tensor) -> tuple[Tensor, float]:
        """The events of one call for these rows, and its seconds."""
        clock = self.clock
        samples, seconds = clock.timed(self.conditions[rows.to(self.conditions.device)], clock.seed())
        self.witness.see(samples, rows)
        return samples, seconds

    def repeat(self) -> None:
        """One repeat: as many calls as fit in `MIN_REPEAT_SECONDS`."""
        made, seconds = 0, 0.0
        for _ in range(self.calls):
            self.samples, took = self.timed_call(self.draws.next())
            made += len(self.samples)
            seconds += took
        self.made.append(made)
        self.seconds.append(seconds)
        self.repeats_left -= 1

    def _joules_per_event(self) -> float | None:
        """Of calls without pause for `ENERGY_SECONDS`; None where no meter is there to ask."""
        meter, wall, made = _energy_meter(self.clock.session.device), self.clock.wall, 0
        if meter is None:
            return None
        before, end = meter(), wall() + ENERGY_SECONDS
        while wall() < end:
            made += len(self.timed_call(self.draws.next())[0])
        return (meter() - before) / made

    def row(self, threads: int) -> Throughput:
        """What the repeats say; they are kept in the clock's `rounds`."""
        session, wall = self.clock.session, self.clock.wall
        start = wall()
        self.samples.to("cpu", copy=True)
        copy = wall() - start
        made, seconds = np.array(self.made), np.array(self.seconds)
        p5, p50, p95 = (float(x) for x in np.percentile(made / seconds, [5, 50, 95]))
        row = Throughput(
            device=device_name(session.device),
            threads=threads,
            batch=self.batch,
            precision=precision_name(session, self.samples),
            compiled=is_compiled(session),
            repeats=len(made),
            events_per_s=Percentiles(p5=p5, p50=p50, p95=p95),
            latency_ms=Latency(p50=1000 * self.batch / p50, p95=1000 * self.batch / p5),
            first_call_s=self.first,
            host_copy_ms=copy * 1000,
            peak_mib=self.peak,
            joules_per_event=self._joules_per_event(),
            synchronised=synchronise(session.device),
        )
        self.clock.rounds.append(Rounds(row, tuple((self.batch * seconds / made).tolist()), self.calls))
        return row


def precision_name(session: Session, samples: Tensor) -> str:
    """`float32`: the type of the events; under autocast that of the products, `bfloat16`."""
    return "bfloat16" if session.mode.precision == "bf16" else str(samples.dtype).removeprefix("torch.")


def device_name(device: str) -> str:
    """`cpu`, or the device with the model of the GPU: `cuda:0 NVIDIA H100`."""
    if device.startswith("cuda"):
        return f"{device} {torch.cuda.get_device_name(device)}"
    return device
