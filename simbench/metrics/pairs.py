"""Two-sample U-statistics: means of a kernel over pairs of events, and without each group, from one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simbench.metrics.arrays import chunks

Kernel = Callable[[Tensor, Tensor], Tensor]
"""(B, d), (M, d) -> (B, M)."""


@dataclass(frozen=True)
class BlockSums:
    """Sums of a kernel over pairs of events, by the groups of the two events; additive over disjoint sets of pairs.

    Attributes:
        xx, yy, xy: (G, G) float64 sums over ordered pairs, without the pairs of an event with itself (xx, yy) and,
            where rows are paired, without the pairs of two events in the same row (xy).
        pairs_xx, pairs_yy, pairs_xy: (G, G) how many pairs each sum holds.
    """

    xx: Tensor
    yy: Tensor
    xy: Tensor
    pairs_xx: Tensor
    pairs_yy: Tensor
    pairs_xy: Tensor

    def discrepancy(self) -> Tensor:
        """mean k(x, x') + mean k(y, y') - 2 mean k(x, y): the unbiased squared MMD of kernel k."""
        return (
            self.xx.sum() / self.pairs_xx.sum()
            + self.yy.sum() / self.pairs_yy.sum()
            - 2 * self.xy.sum() / self.pairs_xy.sum()
        )

    def left_out(self) -> Tensor:
        """The same with each group's events left out, (G,)."""

        def without(table: Tensor) -> Tensor:
            return table.sum() - table.sum(0) - table.sum(1) + table.diagonal()

        return (
            without(self.xx) / without(self.pairs_xx)
            + without(self.yy) / without(self.pairs_yy)
            - 2 * without(self.xy) / without(self.pairs_xy)
        )


def block_sums(
    kernel: Kernel,
    x: Tensor,
    y: Tensor,
    groups_x: Tensor | None = None,
    groups_y: Tensor | None = None,
    *,
    paired: bool = False,
) -> BlockSums:
    """Sum `kernel` over all pairs, chunk by chunk: O(N) memory, one evaluation a pair.

    Args:
        kernel: symmetric, positive or negative definite alike.
        x: (N, d).
        y: (M, d).
        groups_x, groups_y: (N,), (M,) the group 0..G-1 of each event; one group if None.
        paired: rows i of x and y answer the same condition (N = M): leave the N pairs (x_i, y_i) out of xy.
    """
    groups_x = torch.zeros(len(x), dtype=torch.int64, device=x.device) if groups_x is None else groups_x.to(x.device)
    groups_y = torch.zeros(len(y), dtype=torch.int64, device=y.device) if groups_y is None else groups_y.to(y.device)
    size = int(max(groups_x.max(), groups_y.max())) + 1
    x, groups_x, order_x = _by_group(x, groups_x)
    y, groups_y, order_y = _by_group(y, groups_y)
    count_x, count_y = (torch.bincount(groups, minlength=size).to(torch.float64) for groups in (groups_x, groups_y))
    xy, pairs_xy = _cross_sums(kernel, x, y, groups_x, count_y), torch.outer(count_x, count_y)
    if paired:
        same = _rowwise(kernel, x, y[torch.argsort(order_y)[order_x]])
        xy.diagonal().index_add_(0, groups_x, -same)
        pairs_xy = pairs_xy - torch.diag(count_x)
    return BlockSums(
        xx=_self_sums(kernel, x, groups_x, count_x),
        yy=_self_sums(kernel, y, groups_y, count_y),
        xy=xy,
        pairs_xx=torch.outer(count_x, count_x) - torch.diag(count_x),
        pairs_yy=torch.outer(count_y, count_y) - torch.diag(count_y),
        pairs_xy=pairs_xy,
    )


def _by_group(values: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    order = torch.argsort(groups, stable=True)
    return values[order], groups[order], order


def _cross_sums(kernel: Kernel, x: Tensor, y: Tensor, groups_x: Tensor, count_y: Tensor) -> Tensor:
    """Group-block sums of kernel(x, y) for rows sorted by group."""
    sums = torch.zeros(len(count_y), len(count_y), dtype=torch.float64, device=x.device)
    sizes = count_y.long().tolist()
    for rows in chunks(len(x), len(y)):
        values = kernel(x[rows], y)
        by_column = torch.stack([part.sum(1, dtype=torch.float64) for part in values.split(sizes, dim=1)], dim=1)
        sums.index_add_(0, groups_x[rows], by_column)
    return sums


def _self_sums(kernel: Kernel, x: Tensor, groups: Tensor, count: Tensor) -> Tensor:
    """Group-block sums of kernel(x, x) without the diagonal; of pairs in two chunks only those i < j are evaluated."""
    sums = torch.zeros(len(count), len(count), dtype=torch.float64, device=x.device)
    for rows in chunks(len(x), len(x)):
        here, later = x[rows], x[rows.stop :]
        values = kernel(here, here)
        values.fill_diagonal_(0)
        sums += _accumulate(values, groups[rows], groups[rows], len(count))
        if len(later):
            across = _accumulate(kernel(here, later), groups[rows], groups[rows.stop :], len(count))
            sums += across + across.T
    return sums


def _accumulate(values: Tensor, groups_rows: Tensor, groups_columns: Tensor, size: int) -> Tensor:
    sizes = torch.bincount(groups_columns, minlength=size).tolist()
    by_column = torch.stack([part.sum(1, dtype=torch.float64) for part in values.split(sizes, dim=1)], dim=1)
    return by_column.new_zeros(size, size).index_add_(0, groups_rows, by_column)


def _rowwise(kernel: Kernel, x: Tensor, y: Tensor) -> Tensor:
    """kernel(x_i, y_i) for each i, (N,) float64, in float64 with the same function of pairs."""
    parts = [
        kernel(x[start : start + 256].double(), y[start : start + 256].double()).diagonal()
        for start in range(0, len(x), 256)
    ]
    return torch.cat(parts)
