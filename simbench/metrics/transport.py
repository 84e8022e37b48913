"""Transport cost of features: the founding paper's Sinkhorn divergence, also as a training loss; the exact cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from simbench.metrics.arrays import Array, as_features, squared_distances
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.entropic import BLUR, MAX_ITERATIONS, EntropicPlan, prepared, solve, solve_with_itself
from simbench.metrics.resampling import SEED, dense, finite_or_none, jackknife_groups, jackknife_sd, resampling

SUBSET_SIZE = 2000
JACKKNIFE_EVENTS = 500
"""Up to this many events a single subset's error comes from 20 more solutions with a group left out."""


def sinkhorn(generated: Array, reference: Array, blur: float = BLUR) -> float:
    """Debiased Sinkhorn divergence between two samples.

    S(x, y) = OT(x, y) - 1/2 OT(x, x) - 1/2 OT(y, y)
    OT(x, y) = min_P <P, 1/2|x_i - y_j|^2> + eps KL(P | a b),   eps = blur^2

    (N, d), (M, d) features -> squared feature units, >= 0, lower is better; 0 for a set against itself. `blur` is the
    length scale, in feature units, below which the plan is blurred: to 0 it gives the exact transport cost, when large
    half the squared distance of the means.

    Estimator: converged (see `entropic_ot`), unlike an annealed loop that stops on a schedule. At finite N a perfect
    model is far from 0 in high dimension, and samples shrunk towards their mean score better than true ones: report it,
    do not rank by it. O(N M) memory above blur 0.

    Reference: Deja et al. 2020 (arXiv:2006.06704), eq. (4); Feydy et al. 2019 (arXiv:1810.08278), eq. (3).
    """
    x, y = prepared(generated, reference, blur)
    if torch.equal(x, y):
        return 0.0
    eps = blur**2
    return solve(x, y, eps).value - (solve_with_itself(x, eps).value + solve_with_itself(y, eps).value) / 2


def sinkhorn_loss(x: Tensor, y: Tensor, blur: float = BLUR) -> Tensor:
    """The debiased Sinkhorn divergence of two batches as a training loss: `sinkhorn`, differentiable in both.

    dS/dx_i = 1/N (T_xx(x_i) - T_xy(x_i)),   T_xy(x_i) = sum_j P_ij y_j / sum_j P_ij      (where x_i is sent to)

    (N, d), (M, d) batches of up to a few thousand events on one device -> a scalar of the dtype of x, in squared units
    of x. By the envelope theorem the optimal potentials are constants to the gradient: they are found without a graph,
    in float64, and only the two gradients are kept.

    Reference: Deja et al. 2020 (arXiv:2006.06704), eqs. (4) and (7); Feydy et al. 2019 (arXiv:1810.08278), section 3.2.
    """
    return cast(Tensor, _Divergence.apply(x, y, blur))


class _Divergence(torch.autograd.Function):
    """The value with its gradient; see `sinkhorn_loss`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, blur: float) -> Tensor:
        a, b = prepared(x, y, blur)
        eps = blur**2
        cross, self_a, self_b = solve(a, b, eps), solve_with_itself(a, eps), solve_with_itself(b, eps)
        plan = _plan(a, b, cross, eps)
        grad_x = (_plan(a, a, self_a, eps) @ a) - plan @ b
        grad_y = (_plan(b, b, self_b, eps) @ b) - plan.T @ a
        ctx.save_for_backward(grad_x.to(x.dtype), grad_y.to(y.dtype))
        return torch.as_tensor(cross.value - (self_a.value + self_b.value) / 2, dtype=x.dtype, device=x.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_x, grad_y = ctx.saved_tensors
        return gradients[0] * grad_x, gradients[0] * grad_y, None


def _plan(x: Tensor, y: Tensor, solution: EntropicPlan, eps: float) -> Tensor:
    """The plan as a matrix, (N, M), float64."""
    f, g = (torch.as_tensor(potential, device=x.device) for potential in (solution.f, solution.g))
    exponent = (f.unsqueeze(1) + g - squared_distances(x, y) / 2) / eps
    return exponent.exp_() / (len(x) * len(y))


def subset_rows(unit_id: Tensor, size: int = SUBSET_SIZE) -> list[Tensor]:
    """Rows of disjoint subsets of `size` events (all, where there are fewer): whole units, in a fixed random order."""
    inverse, units = dense(unit_id)
    rank = torch.randperm(units, generator=torch.Generator().manual_seed(SEED))
    order = torch.argsort(rank[inverse], stable=True)
    size = min(size, len(order))
    return [order[at : at + size] for at in range(0, len(order) - size + 1, size)]


def estimate_over_subsets(pair: Comparison, divergence: Callable[[Tensor, Tensor], float]) -> Estimate:
    """Mean and spread of a divergence of the features over the subsets of `subset_rows`."""
    x, y = as_features(*pair.derived("features"))
    unit_id = pair.generated.unit_id
    subsets = subset_rows(unit_id)
    values = torch.tensor([divergence(x[rows], y[rows]) for rows in subsets], dtype=torch.float64)
    if len(values) > 1:
        sd = float(values.std())
        return Estimate(float(values.mean()), sd / len(values) ** 0.5, len(x), parts={"sd": sd})
    stderr = None
    if resampling() and len(x) <= JACKKNIFE_EVENTS:
        groups = jackknife_groups(unit_id)
        left_out = [divergence(x[groups != group], y[groups != group]) for group in range(int(groups.max()) + 1)]
        stderr = finite_or_none(jackknife_sd(torch.tensor(left_out, dtype=torch.float64)))
    return Estimate(float(values[0]), stderr, len(x))


def shrinkage_curve() -> str:
    """A table: the divergence of Gaussian samples shrunk towards their mean from as many of the same Gaussian."""
    rng = torch.Generator().manual_seed(SEED)
    x, y = (torch.randn(400, 84, generator=rng, dtype=torch.float64) for _ in range(2))
    lines = ["At finite N it prefers samples shrunk towards their mean. Gaussian, N = 400, d = 84, 0 is the truth:", ""]
    lines += [
        f"  shrunk by {shrunk:.2f}: {sinkhorn(x * (1 - shrunk), y):6.1f}"
        for shrunk in (0.0, 0.1, 0.2, 0.36, 0.5, 0.7, 1.0)
    ]
    return "\n".join(lines)


@metric(
    "sinkhorn/1",
    ranks=False,
    meaning="Transport distance between generated and real features, as in the founding paper; "
    "it flatters samples that are too alike, so it ranks nothing.",
    of=sinkhorn,
    example=shrinkage_curve,
)
def sinkhorn_metric(pair: Comparison) -> Estimate:
    """Debiased Sinkhorn divergence with cost 1/2|x-y|^2 and blur 0.05 on subsets of 2000: reported, never ranked."""
    return estimate_over_subsets(pair, sinkhorn)


def exact_ot(generated: Array, reference: Array) -> float:
    """Optimal transport cost between two samples with equal weights.

    min_P sum_ij P_ij 1/2 |x_i - y_j|^2,   P >= 0, rows of P sum to 1/N, columns to 1/M

    (N, d), (M, d) features -> squared feature units, >= 0, lower is better: half the squared 2-Wasserstein distance.

    Estimator: biased upwards, in high dimension strongly (O(N^(-2/d))): compare only at equal N. Float64; time grows as
    about N^2.5, memory as N^2.

    Reference: POT's network simplex (`ot.emd2`), Bonneel et al. 2011; Flamary et al. 2021.
    """
    import ot

    x, y = as_features(generated, reference)
    x, y = x.double().cpu(), y.double().cpu()
    centre = torch.cat([x, y]).mean(0)
    cost = squared_distances(x - centre, y - centre).div_(2).numpy()
    return float(ot.emd2([], [], cost, numItermax=MAX_ITERATIONS))


@metric(
    "exact_ot/1",
    ranks=False,
    label="exact OT",
    meaning="Transport distance between generated and real features, solved exactly: "
    "the check on the Sinkhorn divergence.",
    of=exact_ot,
)
def exact_ot_metric(pair: Comparison) -> Estimate:
    """Exact optimal transport with cost 1/2|x-y|^2 on the subsets of sinkhorn/1: reported, never ranked."""
    return estimate_over_subsets(pair, exact_ot)
