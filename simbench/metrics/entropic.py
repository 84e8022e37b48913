"""Debiased Sinkhorn divergence: the founding paper's measure, and the training loss of its autoencoder.

Entropic optimal transport is solved in its dual, a smooth concave maximum over two potentials, to a proven gap. The temperature is lowered
in few large steps; at each, Sinkhorn and Newton steps (conjugate gradients on the Hessian, whose products are products with the plan)
alternate until the marginals are met. At high temperature the plan is a dense float32 matrix. Once few entries of it count, only those are
kept, with float64 costs; a last pass over all pairs looks for an entry that was wrongly left out. Newton steps on a sparsified plan follow Tang
et al. 2024 (arXiv:2401.12253), the cooling Schmitzer 2019 (arXiv:1610.06519).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log
from typing import Any, Protocol, cast

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.metrics.arrays import Array, as_features, chunks, squared_distances
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import SEED, dense, finite_or_none, jackknife_groups, jackknife_sd, resampling

BLUR = 0.05
SUBSET_SIZE = 2000
JACKKNIFE_EVENTS = 500
"""Up to this many events a single subset's error comes from 20 more solutions with a group left out."""

COOLING = 4.0
"""Ratio of successive temperatures."""
LOOSE, TIGHT = 0.001, 1e-6
"""Mean relative error of the column marginals at which a passing temperature, and the last one, is left."""
WINDOW = 5.0
"""Becoming sparse, the plan keeps the entries above exp(-WINDOW) of the largest of their row or column; the next temperature is lower ..."""
LAST_WINDOW = 32.0
"""... and at the last, every entry above exp(-LAST_WINDOW) of the independent plan's is found and kept."""
SPARSE = 0.05
"""The plan is made sparse once no larger share of its entries counts."""
MAX_NEWTON, MAX_CG = 60, 300
DAMPING = 0.1
"""Newton's Hessian is raised by this times the error, which bounds the step where the plan falls into pieces."""
MAX_STEP = 30.0
"""No Newton step changes a column's scaling by more than exp(MAX_STEP) ..."""
ABSORB = 40.0
"""... and the kernel is computed anew once one has changed by more than exp(ABSORB)."""
GATHER = 300
"""A matrix product makes about this many squared distances in the time that one takes from two gathered rows."""
MAX_ROUNDS = 20
UNSOLVED, EXACT_PAIRS, MAX_EXACT_ITERATIONS = 1e-4, 10_000_000, 100_000_000
"""A solution left with a larger error starts again from the exact one, up to this many pairs of events."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class EntropicPlan:
    """A solution of entropic optimal transport between two samples with equal weights.

    Attributes:
        value: min_P <P, 1/2|x-y|^2> + eps KL(P | a b), from below: the dual at the potentials.
        f, g: (N,), (M,) float64 dual potentials; the rows of the plan a_i b_j exp((f_i + g_j - c_ij) / eps) sum to 1/N exactly.
        marginal_error: mean over columns of |M * column sum - 1|.
        gap: how much larger the true value can be at most.
    """

    value: float
    f: Vector
    g: Vector
    marginal_error: float
    gap: float


def entropic_ot(generated: Array, reference: Array, blur: float = BLUR) -> EntropicPlan:
    """Entropic optimal transport between two samples, with its proof of convergence.

    max_{f,g} mean f + mean g      with f_i = -eps log mean_j exp((g_j - 1/2|x_i - y_j|^2) / eps),   eps = blur^2

    Args:
        generated: (N, d) features.
        reference: (M, d) features.
        blur: the length scale, in feature units, below which the plan is blurred.

    Returns:
        the value in squared feature units, potentials, marginal error and duality gap. The gap bound is that of a concave maximum:
        <gradient, g* - g>, at most half the marginal error times the oscillation of g* - g.

    Reference: Deja et al., "End-to-end Sinkhorn Autoencoder" (arXiv:2006.06704), eq. (3); Feydy et al. 2019 (arXiv:1810.08278), eq. (1).
    """
    x, y = _prepare(generated, reference, blur)
    return _symmetric(x, blur**2) if x is y or torch.equal(x, y) else _solve(x, y, blur**2)


def sinkhorn(generated: Array, reference: Array, blur: float = BLUR) -> float:
    """Debiased Sinkhorn divergence between two samples.

    S(x, y) = OT(x, y) - 1/2 OT(x, x) - 1/2 OT(y, y),   OT(x, y) = min_P <P, 1/2|x_i - y_j|^2> + eps KL(P | a b),   eps = blur^2

    Args:
        generated: (N, d) features.
        reference: (M, d) features.
        blur: the length scale, in feature units, below which the plan is blurred.

    Returns:
        the divergence in squared feature units, >= 0, lower is better; 0 for a set against itself. Blur to 0 gives the exact transport
        cost, a large blur half the squared distance of the means.

    Estimator: converged (see `entropic_ot`), unlike an annealed loop that stops on a schedule. At finite N a perfect model is far from 0 in
    high dimension, and samples shrunk towards their mean score better than true ones: report it, do not rank by it. O(N M) memory above blur 0.

    Reference: Deja et al., "End-to-end Sinkhorn Autoencoder" (arXiv:2006.06704), eq. (4); Feydy et al. 2019 (arXiv:1810.08278), eq. (3).
    """
    x, y = _prepare(generated, reference, blur)
    if x is y or torch.equal(x, y):
        return 0.0
    eps = blur**2
    return _solve(x, y, eps).value - (_symmetric(x, eps).value + _symmetric(y, eps).value) / 2


def _prepare(generated: Array, reference: Array, blur: float) -> tuple[Tensor, Tensor]:
    """Centred float64 features: the divergence is blind to common translations, the rounding is not."""
    if not 0 < blur < float("inf"):
        raise UsageError(
            "blur is not a length", got=repr(blur), expected="a positive number", fix=f"The benchmark uses {BLUR}."
        )
    x, y = as_features(generated, reference)
    centre = torch.cat([x, y]).double().mean(0)
    return x.double() - centre, y.double() - centre


class _Kernel(Protocol):
    """K_ij = exp((f_i + g_j - c_ij) / eps), scaled so that rows have mean 1: the plan over a b. Only products with it are needed."""

    f: Vector

    def rows(self, v: Vector) -> Vector:
        """mean_j K_ij v_j."""

    def columns(self, u: Vector) -> Vector:
        """mean_i K_ij u_i."""

    def squares(self, w: Vector) -> Vector:
        """mean_i K_ij^2 w_i / M."""


class _Dense:
    """The kernel as a matrix on the device of the features."""

    def __init__(self, x: Tensor, y: Tensor, g: Vector, eps: float, dtype: torch.dtype) -> None:
        n, m = len(x), len(y)
        self.matrix = torch.empty(n, m, dtype=dtype, device=x.device)
        self.f = np.empty(n)
        left, right = (x / eps).to(dtype), y.to(dtype).T
        shift = ((torch.as_tensor(g, device=x.device) - y.square().sum(1) / 2) / eps).to(dtype)
        half = (x.square().sum(1) / 2).cpu().numpy()
        for rows in chunks(n, m):
            block = torch.addmm(shift, left[rows], right, out=self.matrix[rows])
            top = block.amax(1, keepdim=True)
            block.sub_(top).exp_()
            mean = block.mean(1, keepdim=True)
            block.div_(mean)
            self.f[rows] = half[rows] - eps * (top + mean.log()).flatten().double().cpu().numpy()

    def _product(self, matrix: Tensor, vector: Vector) -> Vector:
        product = matrix @ torch.as_tensor(vector, dtype=matrix.dtype, device=matrix.device)
        return cast(Vector, product.double().cpu().numpy())

    def rows(self, v: Vector) -> Vector:
        return self._product(self.matrix, v) / len(v)

    def columns(self, u: Vector) -> Vector:
        return self._product(self.matrix.T, u) / len(u)

    def squares(self, w: Vector) -> Vector:
        total = np.zeros(self.matrix.shape[1])
        for rows in chunks(*self.matrix.shape):
            total += self._product(self.matrix[rows].square().T, w[rows])
        return total / self.matrix.numel()

    def pairs(self, u: Vector, v: Vector) -> Tensor:
        """Rows and columns, (P, 2), of the entries of u K v above exp(-WINDOW) of the largest of their row or of their column."""
        v_ = torch.as_tensor(v, dtype=self.matrix.dtype, device=self.matrix.device)
        u_ = torch.as_tensor(u, dtype=self.matrix.dtype, device=self.matrix.device).unsqueeze(1)
        highest = torch.zeros_like(v_)
        for rows in chunks(*self.matrix.shape):
            highest = torch.maximum(highest, (self.matrix[rows] * u_[rows]).amax(0))
        found = []
        for rows in chunks(*self.matrix.shape):
            block = self.matrix[rows] * v_
            by_row = block.amax(1, keepdim=True)
            near = (block >= torch.minimum(by_row, highest * v_ / u_[rows]).mul_(np.exp(-WINDOW))).nonzero()
            near[:, 0] += rows.start
            found.append(near)
        return torch.cat(found)

    def density(self, v: Vector) -> float:
        """Share of the entries of K v above exp(-WINDOW) of the largest of their row, from at most 256 rows."""
        rows = torch.linspace(0, len(self.matrix) - 1, min(len(self.matrix), 256), device=self.matrix.device).long()
        block = self.matrix[rows] * torch.as_tensor(v, dtype=self.matrix.dtype, device=self.matrix.device)
        return float((block > block.amax(1, keepdim=True) * np.exp(-WINDOW)).double().mean())


def _pair_costs(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """1/2 |x_i - y_j|^2 of pairs sorted by i, (P,): from differences, or, of many pairs, from whole blocks of a matrix product."""
    if len(i) * GATHER < len(x) * len(y):
        return (
            torch.cat([(x[a] - y[b]).square_().sum(1) for a, b in zip(i.split(50_000), j.split(50_000), strict=True)])
            / 2
        )
    costs = []
    for rows in chunks(len(x), len(y), 1_000_000):
        start, stop = torch.searchsorted(i, torch.tensor([rows.start, rows.stop], device=i.device)).tolist()
        costs.append(squared_distances(x[rows], y)[i[start:stop] - rows.start, j[start:stop]])
    return torch.cat(costs) / 2


class _Pairs:
    """The pairs that count, sorted by row, with float64 costs."""

    def __init__(self, x: Tensor, y: Tensor, pairs: Tensor) -> None:
        self.shape = (len(x), len(y))
        self.codes = torch.unique(pairs[:, 0] * len(y) + pairs[:, 1])
        i, j = self.codes // len(y), self.codes % len(y)
        self.cost = cast(Vector, _pair_costs(x, y, i, j).cpu().numpy())
        self.i, self.j = i.cpu().numpy(), j.cpu().numpy()
        self.starts = np.searchsorted(self.i, np.arange(len(x) + 1))


class _Sparse:
    """The kernel on the pairs that count."""

    def __init__(self, pairs: _Pairs, g: Vector, eps: float) -> None:
        n, m = pairs.shape
        exponent = (g[pairs.j] - pairs.cost) / eps
        top = np.maximum.reduceat(exponent, pairs.starts[:-1])
        values = np.exp(exponent - top[pairs.i])
        mean = np.add.reduceat(values, pairs.starts[:-1]) / m
        self.f = -eps * (top + np.log(mean))
        kept = values > np.exp(-2 * LAST_WINDOW)
        starts = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, pairs.starts[:-1]))])
        self.matrix = scipy.sparse.csr_array(((values / mean[pairs.i])[kept], pairs.j[kept], starts), shape=(n, m))
        self.transposed = self.matrix.T.tocsr()

    def rows(self, v: Vector) -> Vector:
        return cast(Vector, self.matrix @ v) / len(v)

    def columns(self, u: Vector) -> Vector:
        return cast(Vector, self.transposed @ u) / len(u)

    def squares(self, w: Vector) -> Vector:
        squared = self.transposed.copy()
        squared.data **= 2
        return cast(Vector, squared @ w) / (squared.shape[0] * squared.shape[1])


@dataclass(frozen=True)
class _Match:
    """A kernel whose scaling u K v has exact rows, and columns to within `error`."""

    kernel: _Kernel
    u: Vector
    v: Vector
    f: Vector
    g: Vector
    error: float


def _match(build: Callable[[Vector], _Kernel], g: Vector, eps: float, tolerance: float) -> _Match:
    """Sinkhorn and Newton steps at one temperature, until the columns are met (or Newton's steps are used up).

    Unknown is the logarithm s of the column scaling; rows follow exactly. The dual is mean log u + mean s, its gradient (1 - c) / M with c the
    column sums, its Hessian -(diag c - K' diag(u)^2 K) / M: concave, singular only along constants.
    """
    kernel, s = build(g), np.zeros(len(g))
    v = np.ones_like(s)
    u = 1 / kernel.rows(v)
    for step in range(2 * MAX_NEWTON):
        c = v * kernel.columns(u)
        error = float(np.abs(c - 1).mean())
        if error <= tolerance:
            break
        if step % 2 == 0:
            s = s - np.log(np.maximum(c, 1e-30))
        else:
            s = s + _newton_step(kernel, u, v, s, c, error)
        if np.abs(s).max() > ABSORB:
            g, s = g + eps * s, np.zeros_like(s)
            kernel = build(g)
        v = np.exp(s)
        u = 1 / kernel.rows(v)
    return _Match(kernel, u, v, kernel.f + eps * np.log(u), g + eps * s, error)


def _newton_step(kernel: _Kernel, u: Vector, v: Vector, s: Vector, c: Vector, error: float) -> Vector:
    """The change of s by one damped Newton step."""
    damping = DAMPING * error

    def hessian(p: Vector) -> Vector:
        return (1 + damping) * c * p - v * kernel.columns(u * u * kernel.rows(v * p))

    diagonal = np.maximum((1 + damping) * c - v * v * kernel.squares(u * u), damping * c + 1e-12)
    step = _conjugate_gradients(hessian, 1 - c, diagonal, min(0.1, error**0.5))
    dual, slope = float(np.log(u).mean()), float((1 - c) @ step / len(v))
    length = MAX_STEP / max(MAX_STEP, float(np.abs(step).max()))
    while length > 1e-4:
        rows = kernel.rows(np.exp(s + length * step))
        if (rows > 0).all() and -float(np.log(rows).mean()) + length * float(
            step.mean()
        ) >= dual + 1e-4 * length * slope:
            return length * step
        length /= 2
    return np.zeros_like(step)


def _conjugate_gradients(product: Callable[[Vector], Vector], b: Vector, diagonal: Vector, tolerance: float) -> Vector:
    """Solve a positive semi-definite system, preconditioned by its diagonal, to a relative residual."""
    x, residual = np.zeros_like(b), b
    z = residual / diagonal
    direction, energy = z, float(residual @ z)
    enough = tolerance**2 * energy
    for _ in range(MAX_CG):
        if energy <= enough:
            break
        image = product(direction)
        curvature = float(direction @ image)
        if curvature <= 1e-12 * energy:
            break
        x = x + energy / curvature * direction
        residual = residual - energy / curvature * image
        z = residual / diagonal
        energy, before = float(residual @ z), energy
        direction = z + energy / before * direction
    return x


def _solve(x: Tensor, y: Tensor, eps: float) -> EntropicPlan:
    """Cool from the mean cost down to eps, as the module's docstring tells."""
    n, m = len(x), len(y)
    start = float(x.square().sum(1).mean() + y.square().sum(1).mean()) / 8
    steps = int(np.ceil(log(max(start / eps, 1)) / log(COOLING)))
    g = np.zeros(m)
    pairs: _Pairs | None = None
    for step in range(steps, -1, -1):
        level = eps * (start / eps) ** (step / max(steps, 1)) if step else eps
        last = step == 0
        if pairs is not None:
            match = _match(partial(_Sparse, pairs, eps=level), g, level, TIGHT if last else LOOSE)
        else:
            dtype = torch.float64 if last and n * m <= SUBSET_SIZE**2 else torch.float32
            match = _match(partial(_Dense, x, y, eps=level, dtype=dtype), g, level, TIGHT if last else LOOSE)
            if not last and cast(_Dense, match.kernel).density(match.v) <= SPARSE:
                pairs = _Pairs(x, y, cast(_Dense, match.kernel).pairs(match.u, match.v))
        g = match.g
    if pairs is not None:
        match = _finish(x, y, match, pairs, eps)
        if match.error > UNSOLVED and n * m <= EXACT_PAIRS:
            again = _finish(x, y, _exact_potentials(x, y), None, eps)
            match = min(match, again, key=lambda candidate: candidate.error)
    reach = float(x.square().sum(1).max().sqrt() + y.square().sum(1).max().sqrt()) ** 2 / 2
    gap = match.error / 2 * (reach + float(np.ptp(match.g)))
    return EntropicPlan(float(match.f.mean() + match.g.mean()), match.f, match.g, match.error, gap)


def _finish(x: Tensor, y: Tensor, match: _Match, pairs: _Pairs | None, eps: float) -> _Match:
    """The match at eps on all pairs that count under its own potentials, found in as many rounds as it takes."""
    for _ in range(MAX_ROUNDS):
        found = _overlooked(x, y, match, eps)
        if pairs is not None:
            new = ~torch.isin(found[:, 0] * len(y) + found[:, 1], pairs.codes)
            if not bool(new.any()):
                break
            found = torch.cat([torch.stack([pairs.codes // len(y), pairs.codes % len(y)], 1), found[new]])
        pairs = _Pairs(x, y, found)
        match = _match(partial(_Sparse, pairs, eps=eps), match.g, eps, TIGHT)
    return match


def _exact_potentials(x: Tensor, y: Tensor) -> _Match:
    """The dual of exact transport: within eps log N of the entropic one's, where cooling went astray (heavy tails, very small eps)."""
    import ot

    cost = squared_distances(x, y).div_(2).cpu().numpy()
    log_ = ot.emd([], [], cost, numItermax=MAX_EXACT_ITERATIONS, log=True)[1]
    f, g = np.asarray(log_["u"], np.float64), np.asarray(log_["v"], np.float64)
    return _Match(cast(_Kernel, None), np.ones_like(f), np.ones_like(g), f, g, 1.0)


def _overlooked(x: Tensor, y: Tensor, match: _Match, eps: float) -> Tensor:
    """All pairs whose entry of the plan exceeds exp(-LAST_WINDOW) of the independent plan's: rows and columns, (P, 2)."""
    f, g = (torch.as_tensor(potential, device=x.device) for potential in (match.f, match.g))
    row, column = (f - x.square().sum(1) / 2).unsqueeze(1), g - y.square().sum(1) / 2
    size = float(max(x.square().sum(1).max(), y.square().sum(1).max(), row.abs().max(), column.abs().max()))
    dtype = torch.float32 if eps * LAST_WINDOW > 1e-3 * size else torch.float64
    lowest = -eps * LAST_WINDOW - (x.shape[1] + 8) * torch.finfo(dtype).eps * size
    left, right, row, column = (part.to(dtype) for part in (x, y.T, row, column))
    found = []
    for rows in chunks(len(x), len(y)):
        near = (torch.addmm(column, left[rows], right).add_(row[rows]) > lowest).nonzero()
        near[:, 0] += rows.start
        found.append(near)
    return torch.cat(found)


def _symmetric(x: Tensor, eps: float) -> EntropicPlan:
    """Transport of a sample to itself: averaged updates, whose error at least halves at each since the plan is positive definite."""
    n = len(x)
    g = np.zeros(n)
    none = _Match(cast(_Kernel, None), g, g, g, g, 0.0)
    kernel: _Kernel
    close = _overlooked(x, x, none, eps) if _self_density(x, eps) <= SPARSE else None
    if close is not None:
        kernel = _Sparse(_Pairs(x, x, close), g, eps)
    else:
        kernel = _Dense(x, x, g, eps, torch.float64 if n <= SUBSET_SIZE else torch.float32)
    s = np.zeros(n)
    for _ in range(60):
        f = kernel.f / eps - np.log(kernel.rows(np.exp(s)))
        error = float(np.abs(np.exp(s - f) - 1).mean())
        if error <= TIGHT:
            break
        s = (s + f) / 2
    reach = float(x.square().sum(1).max()) * 2
    return EntropicPlan(
        float(eps * (f.mean() + s.mean())), eps * f, eps * s, error, error / 2 * (reach + eps * float(np.ptp(s)))
    )


def _self_density(x: Tensor, eps: float) -> float:
    rows = torch.linspace(0, len(x) - 1, min(len(x), 256), device=x.device).long()
    return float((squared_distances(x[rows], x) / 2 < eps * LAST_WINDOW).double().mean())


def sinkhorn_loss(x: Tensor, y: Tensor, blur: float = BLUR) -> Tensor:
    """The debiased Sinkhorn divergence of two batches as a training loss: `sinkhorn`, differentiable in both.

    dS/dx_i = 1/N (T_xx(x_i) - T_xy(x_i)),   T_xy(x_i) = sum_j P_ij y_j / sum_j P_ij      (the barycentre of what x_i is sent to)

    Args:
        x: (N, d) batch, made for N up to a few thousand.
        y: (M, d) batch on the same device.
        blur: the length scale, in the units of x, below which the plan is blurred.

    Returns:
        a scalar of the dtype of x, in squared units of x. By the envelope theorem the potentials, being optimal, are constants to the
        gradient: they are found without a graph, in float64, and nothing of the solution is kept but one gradient a batch.

    Reference: Deja et al., "End-to-end Sinkhorn Autoencoder" (arXiv:2006.06704), eqs. (4) and (7); Feydy et al. 2019 (arXiv:1810.08278), section 3.2.
    """
    return cast(Tensor, _Divergence.apply(x, y, blur))


class _Divergence(torch.autograd.Function):
    """The value with its gradient; see `sinkhorn_loss`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, blur: float) -> Tensor:
        a, b = _prepare(x, y, blur)
        eps = blur**2
        cross, self_a, self_b = _solve(a, b, eps), _symmetric(a, eps), _symmetric(b, eps)
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
    """Rows of disjoint subsets of `size` events (of all events, where there are fewer): whole units, in a fixed random order."""
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
        stderr = (
            finite_or_none(jackknife_sd(torch.tensor(left_out, dtype=torch.float64))) if len(left_out) > 1 else None
        )
    return Estimate(float(values[0]), stderr, len(x))


def shrinkage_curve() -> str:
    """The divergence of Gaussian samples shrunk towards their mean, against as many of the same Gaussian (N = 400, d = 84): a table, computed."""
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
    meaning="Transport distance between generated and real features, as in the founding paper; it flatters samples that are too alike, so it ranks nothing.",
    of=sinkhorn,
    example=shrinkage_curve,
)
def sinkhorn_metric(pair: Comparison) -> Estimate:
    """Debiased Sinkhorn divergence with cost 1/2|x-y|^2 and blur 0.05 on subsets of 2000: reported, never ranked."""
    return estimate_over_subsets(pair, sinkhorn)
