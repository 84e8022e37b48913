"""The largest batch that a generator makes in the memory that is there: found by trying, without a crash.

On a GPU a call that finds no memory fails, and the next one is tried. A host that runs out of memory kills processes
instead: there the search runs in a process of its own, whose address space is limited to what is free.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil
import torch

from simbench.core.errors import SimbenchError
from simbench.core.text import count
from simbench.core.user_code import is_out_of_memory
from simbench.evaluation.throughput import synchronise, tile
from simbench.generators.resolve import resolve_again
from simbench.generators.session import Session
from simbench.results.schema import GeneratorRecord
from simbench.tasks import get_task

START = 1000
MOST = 2**24
NEAR = 1.05
"""Ratio of the smallest batch that failed and the largest that did not, at which the search ends."""
SECONDS = 20.0
SHARE = 0.8
"""Of the free memory of a host, what a batch may take."""


@dataclass(frozen=True)
class MemoryLimit:
    """The largest batch that was made; `failed` is the smallest one for which there was no memory, None: none was."""

    batch: int
    failed: int | None

    def __str__(self) -> str:
        if not self.batch:
            return f"no memory for a batch of {count(self.failed or 0)}"
        if self.failed is None:
            return f"at least {count(self.batch)} events at once (time ended the search)"
        return f"{count(self.batch)} events at once, not {count(self.failed)}"


def search(fits: Callable[[int], bool], on_found: Callable[[MemoryLimit], None], seconds: float = SECONDS) -> None:
    """Double the batch until it does not fit, then halve the interval; `on_found` hears of each step.

    A call is not begun where, at a cost proportional to its size, it would take more than what is left of `seconds`.
    """
    low, high, size, each = 0, None, START, 0.0
    end = time.monotonic() + seconds
    while size <= MOST and time.monotonic() + each * size <= end:
        began = time.monotonic()
        if fits(size):
            low, each = size, (time.monotonic() - began) / size
        else:
            high = size
        on_found(MemoryLimit(low, high))
        if high is not None and (high <= max(low, 1) * NEAR or high <= 1):
            return
        size = 2 * low if high is None else math.ceil(math.sqrt(max(low, 1) * high))


def memory_limit(session: Session, record: GeneratorRecord) -> MemoryLimit:
    """The limit of a generator on the device of its session; `record` tells a process of its own how to construct it.

    Raises:
        GeneratorError: the generator fails for another reason than memory.
    """
    found = [MemoryLimit(0, None)]
    if session.device != "cpu":
        search(lambda size: _fits(session, size), found.append)
        torch.cuda.empty_cache()
        return found[-1]
    ours, theirs = multiprocessing.Pipe(duplex=False)
    free = int(SHARE * psutil.virtual_memory().available)
    arguments = (theirs, session.who, record, session.task.spec, session.root_seed, free)
    child = multiprocessing.get_context("spawn").Process(target=_search_apart, args=arguments, daemon=True)
    child.start()
    theirs.close()
    try:
        while True:
            told = ours.recv()
            if isinstance(told, SimbenchError):
                raise told
            found.append(told)
    except EOFError:  # the child is done, or was killed: what it found before holds
        return found[-1]
    finally:
        child.kill()
        child.join()


def _search_apart(
    answer: Connection, spec: str, record: GeneratorRecord, task_spec: str, root_seed: int, free: int
) -> None:
    """The search, in a process of its own that may take `free` bytes more."""
    import resource  # Unix has it

    try:
        session = resolve_again(spec, record).set_up(get_task(task_spec), "cpu", root_seed)
        _fits(session, 1)
        limit = psutil.Process().memory_info().vms + free
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        search(lambda size: _fits(session, size), answer.send)
    except SimbenchError as error:
        answer.send(error)


def _fits(session: Session, size: int) -> bool:
    """Whether a batch is made. Raises GeneratorError where it fails for another reason than memory."""
    try:
        conditions = tile(session.task.load("test").conditions, size).to(session.device)
        session.task.plain_events(session.call(conditions, session.seed("memory")), size, session.who)
        synchronise(session.device)
    except (SimbenchError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) and not is_out_of_memory(error.__cause__ or error):
            raise
        if session.device != "cpu":
            torch.cuda.empty_cache()
        return False
    return True
