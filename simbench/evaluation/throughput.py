"""The clock: events per second over a ladder of batch sizes, and the speed-up over the Monte Carlo.

Every call is timed from conditions on the device to events on the device, after synchronisation; the copy to the host
is apart. Definition: METRICS `throughput/1`, `speedup/1`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simbench.core.events import Events
from simbench.core.text import thread_count
from simbench.core.threads import torch_threads
from simbench.generators.session import Session
from simbench.results.schema import Latency, MonteCarloRecord, Percentiles, Speedup, Throughput
from simbench.tasks.base import MonteCarlo

LADDER = (1, 100, 1000, 10_000)
REPEATS = 10
MIN_REPEAT_SECONDS = 0.02
"""A repeat is as many calls as fit in this time, at least one: a call at batch 1 is too short for the clock."""


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
class Clock:
    """Times a generator on the device of its session; `wall` is what reads the time."""

    session: Session
    wall: Callable[[], float] = time.perf_counter

    def timed(self, conditions: Tensor, call_index: int) -> tuple[Any, float]:
        """One call: what it returned, and its seconds."""
        seed = self.session.seed("throughput", len(conditions), call_index)
        synchronise(self.session.device)
        start = self.wall()
        samples = self.session.call(conditions, seed)
        synchronise(self.session.device)
        return samples, self.wall() - start

    def measure(self, conditions: Tensor, threads: int, repeats: int = REPEATS) -> Throughput:
        """The speed for this batch of conditions, which are on the device already.

        Raises:
            GeneratorError: the generator raised, or returned something else than one event per condition.
        """
        batch, device = len(conditions), self.session.device
        samples, first = self.timed(conditions, 0)
        self.session.checked(samples, batch)
        _, warm = self.timed(conditions, 1)
        calls = max(1, int(np.ceil(MIN_REPEAT_SECONDS / max(warm, 1e-9))))
        memory, joules = _PeakMemory(device), _energy_meter(device)
        before = joules() if joules else 0.0
        seconds = np.array(
            [[self.timed(conditions, 2 + r * calls + c)[1] for c in range(calls)] for r in range(repeats)]
        )
        used = (joules() - before) / (seconds.size * batch) if joules else None
        peak = memory.mib()
        start = self.wall()
        torch.as_tensor(samples).to("cpu")
        copy = self.wall() - start
        rates = batch * calls / seconds.sum(1)
        p5, p50, p95 = (float(x) for x in np.percentile(rates, [5, 50, 95]))
        low, high = (float(x) for x in np.percentile(seconds * 1000, [50, 95]))
        return Throughput(
            device=device_name(device),
            threads=threads,
            batch=batch,
            precision=str(torch.as_tensor(samples).dtype).removeprefix("torch."),
            compiled=is_compiled(self.session),
            repeats=repeats,
            events_per_s=Percentiles(p5=p5, p50=p50, p95=p95),
            latency_ms=Latency(p50=low, p95=high),
            first_call_s=first,
            host_copy_ms=copy * 1000,
            peak_mib=peak,
            joules_per_event=used,
            synchronised=synchronise(device),
        )


def device_name(device: str) -> str:
    """`cpu`, or the device with the model of the GPU: `cuda:0 NVIDIA H100`."""
    if device.startswith("cuda"):
        return f"{device} {torch.cuda.get_device_name(device)}"
    return device


def measure_ladder(
    clock: Clock,
    conditions: Tensor,
    *,
    batches: Sequence[int] = LADDER,
    budget_s: float = 40.0,
    on_batch: Callable[[int], None] = lambda batch: None,
) -> tuple[list[Throughput], list[str]]:
    """The ladder of batch sizes on the clock's device: with one thread and with all of them on a CPU.

    A batch that would use more than is left of `budget_s` seconds is left out; the second return value says so.
    """
    device = clock.session.device
    cpu = device == "cpu"
    thread_counts = sorted({1, torch.get_num_threads()}) if cpu else [torch.get_num_threads()]
    measured: list[Throughput] = []
    notes: list[str] = []
    for threads in thread_counts:
        left = budget_s / len(thread_counts)
        per_event = 0.0
        with torch_threads(threads):
            for batch in batches:
                start = time.perf_counter()
                tiled = tile(conditions, batch).to(device)
                single = per_event * batch
                if left >= single > left / (REPEATS + 2):
                    # `single` is an upper bound: a large batch may take less for each event, so time one call
                    single = clock.timed(tiled, 0)[1]
                if single * (REPEATS + 2) > left:
                    what = f"batch {batch} on {device} with {thread_count(threads)} not timed"
                    notes.append(f"{what}: it would take about {single * (REPEATS + 2):.0f} s")
                    continue
                measured.append(clock.measure(tiled, threads))
                left -= time.perf_counter() - start
                per_event = measured[-1].latency_ms.p50 / 1000 / batch
                on_batch(batch)
    return measured, notes


def speedup(measured: Sequence[Throughput], events: Events, monte_carlo: MonteCarlo | None) -> Speedup | None:
    """Monte Carlo seconds over the generator's, for the same tiled conditions, at its fastest batch size.

    `value` is the best of all rows, `per_core` the best of those on one CPU thread (the Monte Carlo ran on one core).
    None where the task recorded no Monte Carlo cost or nothing was timed.
    """
    if monte_carlo is None or events.mc_seconds is None or not measured:
        return None

    def factor(row: Throughput) -> float:
        assert events.mc_seconds is not None
        return float(tile(events.mc_seconds, row.batch).sum()) / (row.batch / row.events_per_s.p50)

    best = max(measured, key=factor)
    core = [factor(row) for row in measured if row.device == "cpu" and row.threads == 1]
    return Speedup(
        value=factor(best),
        per_core=max(core) if core else None,
        batch=best.batch,
        device=f"{best.device}, {thread_count(best.threads)}" if best.device == "cpu" else best.device,
        monte_carlo=MonteCarloRecord(**vars(monte_carlo)),
    )
