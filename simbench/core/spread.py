"""One function of many things: in this process, in several of this machine, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from simbench.core.errors import DataError, UsageError

A = TypeVar("A")
B = TypeVar("B")

RECONNECTING = 30
"""Seconds in which a Dask scheduler has to answer, at first and after it was lost."""


class Spread(Protocol):
    """`function` of each of the things, in their order; wherever it runs, it must be found by its name there.

    Raises what the function raises, of the first thing in their order, and leaves the others undone.
    """

    def __call__(self, function: Callable[[A], B], things: Sequence[A], /) -> Iterator[B]:
        """The answers, as they come."""
        ...


@contextmanager
def spread(workers: int = 1, scheduler: str | None = None) -> Iterator[Spread]:
    """What spreads work, within the block.

    Raises:
        UsageError: there is no such scheduler, or Dask is not installed.
        DataError: a worker died.
    """
    if scheduler is not None:
        with _cluster(scheduler) as run:
            yield run
    elif workers > 1:
        # spawned, for a fork of a process with threads can hang
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
        try:
            yield pool.map
        except BrokenProcessPool as error:
            got, fix = "out of memory, perhaps", "Take a smaller --chunk, or fewer --workers."
            raise DataError("a worker died", got=got, fix=fix) from error
        finally:
            pool.shutdown(cancel_futures=True)
    else:
        yield map


def connect(cluster: Any) -> Any:
    """A client of a Dask scheduler: of one at an address, or of a cluster that this process started.

    Raises UsageError where none answers within `RECONNECTING` seconds, or Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("this needs Dask", got=str(error), fix="pip install 'simbench[dask]'") from error
    try:
        return Client(cluster, timeout=RECONNECTING)
    except (OSError, ValueError, TimeoutError) as error:
        what, got = f"there is no Dask scheduler at {cluster}", " ".join(str(error).split())[:200]
        fix = "Start one by `dask scheduler`, and pass the address that it prints."
        raise UsageError(what, got=got, expected="an address like tcp://HOST:8786", fix=fix) from error


@contextmanager
def _cluster(address: str) -> Iterator[Spread]:
    """Of pieces of one job; whole jobs, which time and are tried again: `sweep/cluster.py`."""
    with connect(address) as client:
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            yield lambda function, things: (f.result() for f in client.map(function, things, pure=False))
        except (KilledWorker, CommClosedError, CancelledError) as error:
            got, fix = " ".join(str(error).split())[:300], "Read the workers' logs; take a smaller --chunk."
            raise DataError("the Dask cluster lost its work", got=got, fix=fix) from error


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
