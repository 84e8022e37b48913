"""Cost against N: seconds and memory of every metric, its standard error included.

Run with `python -m pytest -m slow tests/perf/test_cost.py -s`, which prints the table of docs/metrics.md.
COST_EVENTS=1000,3000 makes it shorter.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from simbench.core.events import Events
from simbench.metrics.base import Comparison
from simbench.metrics.registry import get_metric
from simbench.tasks import get_task

SIZES = [int(size) for size in os.environ.get("COST_EVENTS", "1000,3000,10000,30000,100000").split(",")]
REPEATS = 8


def showers(events: int, seed: int) -> Events:
    """Real showers, their photons drawn anew: as many as wanted, as sparse as real ones, 8 of a condition."""
    train = get_task("zn-geant3").load("train")
    rng = np.random.default_rng(seed)
    chosen = np.random.default_rng(0).integers(len(train), size=-(-events // REPEATS)).repeat(REPEATS)[:events]
    drawn = train.take(torch.from_numpy(chosen))
    samples = torch.from_numpy(rng.poisson(drawn.samples.numpy()).astype(np.float32))
    unit = torch.arange(events) // REPEATS
    return replace(drawn.with_samples(samples), condition_id=unit, unit_id=unit)


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """MiB that the block needs on top of what is there already, looked up every 5 ms."""
    process, stop = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    peak = [0.0]

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], (process.memory_info().rss - before) / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_metric_costs_more_than_the_square_of_n_or_memory_beyond_n() -> None:
    keys = get_task("zn-geant3").metrics
    seconds: dict[str, list[float]] = {key: [] for key in keys}
    memory: dict[str, list[float]] = {key: [] for key in keys}
    for events in SIZES:
        generated, real = showers(events, 1), showers(events, 2)
        for name in real.derivations:
            generated.derived(name), real.derived(name)
        for key in keys:
            pair = Comparison(generated, real, stratify=False)  # nothing shared between metrics
            with peak_memory() as peak:
                start = time.perf_counter()
                get_metric(key)(pair)
                seconds[key].append(time.perf_counter() - start)
            memory[key].append(peak[0])
            print(f"{key} {events}: {seconds[key][-1]:.2f} s, {peak[0]:.0f} MiB", flush=True)
    sizes = [f"{events:,}".replace(",", " ") for events in SIZES]
    print(f"\n| metric | {' | '.join(f's at {size}' for size in sizes)} | MiB at {sizes[-1]} | power of N |")
    print("|---|" + "---:|" * (len(sizes) + 2))
    for key in keys:
        power = np.log(seconds[key][-1] / seconds[key][-2]) / np.log(SIZES[-1] / SIZES[-2])
        cells = [f"{s:.2g}" if s < 10 else f"{s:.0f}" for s in seconds[key]]
        print(f"| {key} | {' | '.join(cells)} | {memory[key][-1]:.0f} | {power:.1f} |")
        assert power < 2.3, key
        events_bytes = SIZES[-1] * real.samples[0].numel() * 4 / 2**20
        assert memory[key][-1] < 500 + 8 * events_bytes, key
