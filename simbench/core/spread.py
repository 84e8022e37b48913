"""One function of many things: in this process, in several of this machine, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol, TypeVar

from simbench.core.errors import DataError, UsageError

A = TypeVar("A")
B = TypeVar("B")


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


@contextmanager
def _cluster(address: str) -> Iterator[Spread]:
    """Of pieces of one job; whole jobs, which time and are tried again: `sweep/cluster.py`."""
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        what, fix = "--scheduler needs Dask", "pip install distributed"
        raise UsageError(what, got="no package `distributed`", fix=fix) from error
    try:
        client = distributed.Client(address, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        what, got = f"there is no Dask scheduler at {address}", " ".join(str(error).split())[:200]
        fix = "Start one by `dask scheduler`, and pass the address that it prints."
        raise UsageError(what, got=got, expected="an address like tcp://HOST:8786", fix=fix) from error
    with client:
        try:
            yield lambda function, things: (f.result() for f in client.map(function, things, pure=False))
        except (distributed.KilledWorker, distributed.comm.core.CommClosedError, CancelledError) as error:
            got, fix = " ".join(str(error).split())[:300], "Read the workers' logs; take a smaller --chunk."
            raise DataError("the Dask cluster lost its work", got=got, fix=fix) from error


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
