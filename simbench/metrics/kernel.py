"""Kernel distance: the unbiased squared maximum mean discrepancy with a polynomial kernel (KID on any features)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.metrics.arrays import Array, as_features
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.pairs import BlockSums, block_sums
from simbench.metrics.resampling import PAIR_GROUPS, SEED, jackknife_groups, jackknifed, stratified

SUBSET_SIZE = 1000


def kid(
    generated: Array,
    reference: Array,
    subset_size: int = SUBSET_SIZE,
    subsets: int | None = None,
    *,
    paired: bool = False,
) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3, averaged over disjoint subsets.

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j)

    Args:
        generated, reference: (N, d), (M, d) features, N and M >= 2.
        subset_size: events of each side in a subset; all of them, in one subset, where there are fewer.
        subsets: how many disjoint subsets to take; as many as fit if None.
        paired: row i of both answers the same condition (N = M): both sides take the same rows and the pairs (x_i, y_i)
            are left out, so that the expectation is 0 at the truth for given conditions too.

    Returns:
        the squared MMD, no unit, lower is better; expectation 0 at the truth: single values can be negative.

    Estimator: unbiased at any N. Subsets are disjoint, in a fixed random order, so every event counts once and the same
    input always gives the same number; torch-fidelity draws 100 overlapping ones at random. On one subset of everything
    both agree to rounding.

    Reference: Binkowski et al. 2018 (arXiv:1801.01401), section 4; Gretton et al. 2012, eq. (3).
    """
    x, y = as_features(generated, reference, minimum=2)
    values = [
        block_sums(_polynomial, x[rows_x].double(), y[rows_y].double(), paired=paired).discrepancy()
        for rows_x, rows_y in _subsets(len(x), len(y), subset_size, subsets, paired)
    ]
    return float(torch.stack(values).mean())


def _polynomial(x: Tensor, y: Tensor, degree: int = 3) -> Tensor:
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(degree)


def _subsets(n: int, m: int, size: int, subsets: int | None, paired: bool) -> Iterator[tuple[Tensor, Tensor]]:
    if size < 2 or (subsets is not None and subsets < 1):
        raise UsageError("KID needs subsets of two events or more", got=f"subset_size={size}, subsets={subsets}")
    if paired and n != m:
        raise UsageError("paired events must be equally many", got=f"{n} generated, {m} reference")
    rng = torch.Generator().manual_seed(SEED)
    order_x = torch.randperm(n, generator=rng)
    order_y = order_x if paired else torch.randperm(m, generator=rng)
    size_x, size_y = min(size, n), min(size, m)
    fit = min(n // size_x, m // size_y)
    for index in range(min(fit, subsets or fit)):
        yield order_x[index * size_x : (index + 1) * size_x], order_y[index * size_y : (index + 1) * size_y]


@metric(
    "kid/1",
    label="KID",
    meaning="How far the generated features are from the real ones by a polynomial kernel; "
    "0 for a perfect model at any number of events.",
    of=kid,
)
@stratified
def kid_metric(pair: Comparison) -> Estimate:
    """Unbiased squared MMD of the features with the kernel (x.y/d + 1)^3, mean over disjoint subsets of 1000."""
    return kernel_distance(pair, *pair.derived("features"), degree=3)


def kernel_distance(pair: Comparison, generated: Tensor, reference: Tensor, *, degree: int) -> Estimate:
    """The distance of row-paired features (N, d), mean over disjoint subsets of 1000, with its jackknife error."""
    x, y = as_features(generated, reference, minimum=2)
    groups = jackknife_groups(pair.generated.unit_id, PAIR_GROUPS)
    parts: list[BlockSums] = [
        block_sums(
            partial(_polynomial, degree=degree),
            x[rows].double(),
            y[rows].double(),
            groups[rows],
            groups[rows],
            paired=True,
        )
        for rows, _ in _subsets(len(x), len(y), SUBSET_SIZE, None, True)
    ]
    values = torch.stack([part.discrepancy() for part in parts])
    spread = {"sd": float(values.std())} if len(values) > 1 else {}
    return jackknifed(values.mean(), torch.stack([part.left_out() for part in parts]).mean(0), len(x), spread)
