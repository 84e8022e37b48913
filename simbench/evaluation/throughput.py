"""The clock: events per second over a ladder of batch sizes, and the speed-up over the Monte Carlo.

Every call is timed from conditions on the device to events on the device, after synchronisation and after a value of
every event has been read; the copy to the host is apart. A generator cannot tell a timed call from a scored one: rows,
seed and (by a few events) size are drawn from the system's random numbers. Definition: METRICS `throughput/1`,
`speedup/1`; what can still be cheated: docs/speed.md.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simbench.core.errors import SimbenchError
from simbench.core.text import duration, thread_count
from simbench.core.threads import torch_threads
from simbench.evaluation.witness import Witness
from simbench.generators.session import Session
from simbench.generators.user_code import is_out_of_memory
from simbench.results.schema import Latency, MonteCarloRecord, Percentiles, Speedup, Throughput
from simbench.tasks.base import MonteCarlo, Task

LADDER = (1, 100, 1000, 10_000)
REPEATS = 10
FEWEST_REPEATS = 3
"""Where calls are so slow that more would not fit in the time."""
MIN_REPEAT_SECONDS = 0.02
"""A repeat is as many calls as fit in this time, at least one: a call at batch 1 is too short for the clock."""
MOST_CALLS = 1000
"""Calls in a repeat, at most."""
JITTER = 3
"""Events that a call has more or less than its batch size, at most; smaller for batches below 12."""
SIZES = 3
"""Sizes that the calls of a batch have, drawn anew each time: few, for a model may compile itself for each."""


def ladder(task: Task) -> tuple[int, ...]:
    """The batch sizes to time: the scoring block is one of them."""
    return tuple(sorted({*LADDER, task.block_size}))


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
        batch, device, witness = batch or len(conditions), self.session.device, witness or Witness()
        draws = Draws(batch, len(conditions), self.rng)
        witness.begin()

        def call(rows: Tensor) -> tuple[Tensor, float]:
            samples, seconds = self.timed(conditions[rows.to(conditions.device)], self.seed())
            witness.see(samples, rows)
            return samples, seconds

        samples, first = call(draws.new(draws.warm_up[0]))
        self.session.checked(samples, len(samples))
        spent = first
        for size in draws.warm_up[1:]:
            warm = call(draws.new(size))[1]
            spent += warm
        calls = min(max(1, ceil(MIN_REPEAT_SECONDS / max(warm, 1e-9))), MOST_CALLS)
        if within_s < inf:
            repeats = min(repeats, max(FEWEST_REPEATS, int((within_s - spent) / (calls * max(warm, 1e-9)))))
        memory, joules = _PeakMemory(device), _energy_meter(device)
        before = joules() if joules else 0.0
        made, seconds = np.zeros(repeats), np.zeros(repeats)
        for repeat in range(repeats):
            for _ in range(calls):
                samples, took = call(draws.next())
                made[repeat] += len(samples)
                seconds[repeat] += took
        used = (joules() - before) / made.sum() if joules else None
        peak = memory.mib()
        start = self.wall()
        samples.to("cpu", copy=True)
        copy = self.wall() - start
        p5, p50, p95 = (float(x) for x in np.percentile(made / seconds, [5, 50, 95]))
        row = Throughput(
            device=device_name(device),
            threads=threads,
            batch=batch,
            precision=str(samples.dtype).removeprefix("torch."),
            compiled=is_compiled(self.session),
            repeats=repeats,
            events_per_s=Percentiles(p5=p5, p50=p50, p95=p95),
            latency_ms=Latency(p50=1000 * batch / p50, p95=1000 * batch / p5),
            first_call_s=first,
            host_copy_ms=copy * 1000,
            peak_mib=peak,
            joules_per_event=used,
            synchronised=synchronise(device),
        )
        self.rounds.append(Rounds(row, tuple((batch * seconds / made).tolist()), calls))
        return row


def device_name(device: str) -> str:
    """`cpu`, or the device with the model of the GPU: `cuda:0 NVIDIA H100`."""
    if device.startswith("cuda"):
        return f"{device} {torch.cuda.get_device_name(device)}"
    return device


@dataclass
class Ladder:
    """The speeds that were measured, why others were not (`notes`: no time for them; `errors`: they failed)."""

    rows: list[Throughput] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def error(self) -> str | None:
        """All errors, as a Result records them."""
        return "; ".join(self.errors)[:5000] or None


@dataclass
class Pace:
    """The time that one number of threads has left for its ladder, and what calls took, by size."""

    clock: Clock
    deadline: float
    known: list[tuple[int, float]] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - self.clock.wall()

    def bound(self, batch: int) -> float:
        """Seconds of a call if its cost is proportional to its size: at least what a larger batch than known takes."""
        return self.known[-1][1] * batch / self.known[-1][0] if self.known else 0.0

    def expected(self, batch: int) -> float:
        """The same on the line through the last two sizes known."""
        if len(self.known) < 2:
            return self.bound(batch)
        (size, seconds), (larger, more) = self.known[-2:]
        line = more + max(more - seconds, 0.0) / (larger - size) * (batch - larger)
        return min(line, self.bound(batch))

    def judge(self, conditions: Tensor, batch: int, allowed: float) -> float:
        """Seconds of a call; where its bound does not fit into the time allowed, a smaller call tells its slope."""
        if self.bound(batch) * _FEWEST_CALLS > allowed and self.known:
            size, seconds = self.known[-1]
            probe = min(batch, max(size + 1, int(size * self.left / 8 / seconds)))
            if size < probe and self.bound(probe) <= self.left / 2:
                self.known.append((probe, self.clock.probe(conditions, probe)))
            return self.expected(batch)
        return self.bound(batch)


_FEWEST_CALLS = FEWEST_REPEATS + SIZES


def measure_ladder(
    clock: Clock,
    conditions: Tensor,
    *,
    batches: Sequence[int] = LADDER,
    budget_s: float = 40.0,
    block: tuple[int, float] | None = None,
    witness: Witness | None = None,
    on_batch: Callable[[int], None] = lambda batch: None,
) -> Ladder:
    """The ladder of batch sizes on the clock's device: with one thread and with all of them on a CPU.

    The first batch is timed in any case; one that does not fit into what is left of `budget_s` is left out, and `notes`
    say so. One that fails ends the ladder of its number of threads, and `errors` say so: timing raises nothing.

    Args:
        block: a batch size, with the seconds that it may take beyond the budget with all threads: the scoring block's.
        witness: sees all events.
    """
    device = clock.session.device
    everything = torch.get_num_threads()
    found = Ladder()
    witness = witness or Witness()
    thread_counts = sorted({1, everything}) if device == "cpu" else [everything]
    for threads in thread_counts:
        pace = Pace(clock, clock.wall() + budget_s / len(thread_counts))
        with torch_threads(threads):
            for place, batch in enumerate(batches):
                where = f"batch {batch} on {device} with {thread_count(threads)}"
                extra = block[1] if block is not None and threads == everything and batch == block[0] else 0.0
                try:
                    on_device = conditions.to(device)
                    allowed = max(pace.left, extra)
                    single = pace.judge(on_device, batch, allowed)
                    if place and single * _FEWEST_CALLS > allowed:
                        told = duration(single * _FEWEST_CALLS)
                        found.notes.append(f"{where} not timed: it would take about {told}, and there is no time left")
                        continue
                    within = max(pace.left / (len(batches) - place), extra)
                    row = clock.measure(on_device, threads, batch=batch, within_s=within, witness=witness)
                except (SimbenchError, MemoryError, RuntimeError) as error:
                    if not isinstance(error, SimbenchError) and not is_out_of_memory(error):
                        raise
                    found.errors.append(f"{where}: {str(error) or 'out of memory'}")
                    break
                witness.end(where)
                found.rows.append(row)
                pace.known = [known for known in pace.known if known[0] < batch]
                pace.known.append((batch, row.latency_ms.p50 / 1000))
                on_batch(batch)
    return found


def speedup(measured: Sequence[Throughput], monte_carlo: MonteCarlo | None) -> Speedup | None:
    """Mean Monte Carlo seconds an event of the whole test split over the generator's, at its fastest batch size.

    `value` is the best of all rows, `per_core` the best of those on one CPU thread (the Monte Carlo ran on one core).
    None where the task recorded no Monte Carlo cost or nothing was timed.
    """
    if monte_carlo is None or not measured:
        return None

    def rate(row: Throughput) -> float:
        return row.events_per_s.p50

    best = max(measured, key=rate)
    core = max((rate(row) for row in measured if row.device == "cpu" and row.threads == 1), default=None)
    return Speedup(
        value=rate(best) * monte_carlo.seconds_per_event,
        per_core=None if core is None else core * monte_carlo.seconds_per_event,
        batch=best.batch,
        device=f"{best.device}, {thread_count(best.threads)}" if best.device == "cpu" else best.device,
        monte_carlo=MonteCarloRecord(**vars(monte_carlo)),
    )
