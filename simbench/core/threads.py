"""How many threads torch computes with, and jobs side by side on one thread each."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

from simbench.core.errors import UsageError

T = TypeVar("T")
MOST_WORKERS = 4
"""Jobs at a time, at most: each holds its own arrays."""


def check_processes(option: str, count: int) -> None:
    """Raises UsageError for more processes than this machine has cores: they bring no speed, and fill its memory."""
    cores = os.cpu_count() or 1
    if count > cores:
        raise UsageError(
            f"{option} is more than this machine has cores",
            got=str(count),
            expected=f"at most {cores}",
            fix=f"Lower {option}.",
        )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch on `count` threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_parallel(jobs: Sequence[Callable[[], T]], on_job: Callable[[int], None] = lambda done: None) -> list[T]:
    """What the jobs return, in their order: as many at a time as torch has threads, each on one thread of its own.

    Threads that share a small operation wait for one another at its end; jobs side by side do not. An exception of a
    job, or Ctrl-C, leaves the others undone.
    """
    workers = min(torch.get_num_threads(), os.cpu_count() or 1, MOST_WORKERS, max(len(jobs), 1))
    pool = ThreadPoolExecutor(workers)
    with torch_threads(1), threadpool_limits(1, user_api="blas"):
        try:
            futures = [pool.submit(contextvars.copy_context().run, job) for job in jobs]
            for future in as_completed(futures):
                future.result()
                on_job(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
    return [future.result() for future in futures]
