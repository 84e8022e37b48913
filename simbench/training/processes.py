"""Several processes that train one model: each has its rows of every batch, and all take the same steps.

What a batch of one process would give, they give together: events and random numbers are those of the whole batch, of
which each process takes its rows (`own`, `drawn`); what looks at several events at once is computed of all rows
(`whole`); the gradients of all processes are averaged. In a single process these functions change nothing.
`simbench.training.launch` starts the processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes that share the batches: `count` of them, `here` on this machine; this one's rank among both."""

    count: int = 1
    rank: int = 0
    here: int = 1
    local_rank: int = 0


_groups = [Group()]
"""The last is that of the present moment."""


def sharing() -> Group:
    """The processes that share the batches at this moment."""
    return _groups[-1]


@contextlib.contextmanager
def in_group(joined: Group) -> Iterator[None]:
    """Within the block this process is one of these."""
    _groups.append(joined)
    try:
        yield
    finally:
        _groups.pop()


def own(values: Tensor, times: int = 1) -> Tensor:
    """The rows of this process, of values of the whole batch: (B, ...) -> (B / count, ...).

    `times`: the batch is there so often, one after the other.
    """
    if sharing().count == 1:
        return values
    each = values.reshape(times, sharing().count, -1, *values.shape[1:])
    return each[:, sharing().rank].flatten(0, 1)


def drawn(draw: Callable[[int], Tensor], events: int, times: int = 1) -> Tensor:
    """Random numbers for `events` events of this process: its rows of `draw(N)`, N those of the whole batch.

    `times`: `events` are the batch so often, one after the other.
    """
    return own(draw(events * sharing().count), times)


def whole(values: Tensor, times: int = 1) -> Tensor:
    """The rows of all processes, in the order of the batch, with their gradients: (B / count, ...) -> (B, ...).

    `times`: as for `own`, whose inverse this is.
    """
    if sharing().count == 1:
        return values
    rows = values.reshape(times, -1, *values.shape[1:]).transpose(0, 1)
    return cast(Tensor, _Whole.apply(rows)).transpose(0, 1).flatten(0, 1)


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.contiguous()
        parts = [torch.empty_like(values) for _ in range(sharing().count)]
        dist.all_gather(parts, values)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(sharing().count)[sharing().rank]


def mean_of_all(values: Tensor) -> Tensor:
    """The mean over the processes, without gradient."""
    if sharing().count == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / sharing().count


def anywhere(told: bool, device: torch.device) -> bool:
    """Whether it is true in one of the processes."""
    return told if sharing().count == 1 else bool(mean_of_all(torch.tensor(float(told), device=device)) > 0)


def on_first(function: Callable[[], T]) -> T:
    """What a function gives that the first process alone calls, on its own, in all of them. So with its exceptions."""
    if sharing().count == 1:
        return function()
    box: list[Any] = [None, None]
    if sharing().rank == 0:
        try:
            with in_group(Group()):
                box[0] = function()
        except Exception as error:
            box[1] = error
    dist.broadcast_object_list(box, 0)
    if box[1] is not None:
        raise box[1]
    return cast(T, box[0])
