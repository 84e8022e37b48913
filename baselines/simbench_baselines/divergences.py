"""Distances between two batches of codes that the autoencoders minimise."""

from __future__ import annotations

import torch
from torch import Tensor

from simbench.metrics.transport import sinkhorn_loss

KERNEL_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Multiples of the kernel's base scale that are summed, as in the authors' code of arXiv:1711.01558."""


def mmd(x: Tensor, y: Tensor, base: float) -> Tensor:
    """Squared maximum mean discrepancy, unbiased, with a sum of inverse multiquadratic kernels: (N, d), (M, d) -> ().

    k(x, y) = sum_s C_s / (C_s + |x - y|^2),   C_s = s base,   s in KERNEL_SCALES
    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)

    Reference: Tolstikhin et al., arXiv:1711.01558, section 4 and algorithm 2.
    """
    return _off_diagonal(kernel(x, x, base)) + _off_diagonal(kernel(y, y, base)) - 2 * kernel(x, y, base).mean()


def kernel(x: Tensor, y: Tensor, base: float) -> Tensor:
    """The kernel of `mmd`: (N, d), (M, d) -> (N, M)."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return sum((s * base / (s * base + squares.clamp(min=0)) for s in KERNEL_SCALES), torch.zeros_like(squares))


def _off_diagonal(matrix: Tensor) -> Tensor:
    n = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / max(n * (n - 1), 1)


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int) -> Tensor:
    """Squared sliced 2-Wasserstein distance of equally many points, over random directions: (N, d), (N, d) -> ().

    mean_l mean_i (sort(<w_l, x>)_i - sort(<w_l, y>)_i)^2,   w_l uniform on the sphere

    Reference: Kolouri et al., arXiv:1804.01947, eq. (13).
    """
    directions = torch.randn(x.shape[1], projections, device=x.device, dtype=x.dtype)
    directions = directions / directions.norm(dim=0).clamp(min=1e-12)
    ordered_x: Tensor = (x @ directions).sort(0).values
    ordered_y: Tensor = (y @ directions).sort(0).values
    return (ordered_x - ordered_y).square().mean()


def sinkhorn_divergence(x: Tensor, y: Tensor, blur: float, solver: str) -> Tensor:
    """Debiased Sinkhorn divergence with cost 1/2 |x - y|^2: (N, d), (M, d) -> (). Eqs. (3) and (4) of
    papers/e2e-sae.txt.

    `simbench` is this project's solver, converged, with the envelope theorem's gradient; `geomloss` the papers' (a loop
    that stops on a schedule, ten times slower on a CPU).
    """
    if solver == "geomloss":
        from geomloss import SamplesLoss

        loss = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.95, debias=True, backend="tensorized")
        value: Tensor = loss(x, y)
        return value
    return sinkhorn_loss(x, y, blur)
