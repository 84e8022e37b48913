"""Entropic optimal transport between two samples, solved to a proven gap.

The dual is a smooth concave maximum over two potentials. The temperature is lowered in few large steps; at each,
Sinkhorn and Newton steps (conjugate gradients on the Hessian, whose products are products with the plan) alternate
until the marginals are met. At high temperature the plan is a dense float32 matrix. Once few of its entries count, only
those are kept, with float64 costs; a last pass over all pairs looks for an entry that was wrongly left out. References:
Tang et al. 2024 (arXiv:2401.12253) for Newton steps on a sparse plan, Schmitzer 2019 (arXiv:1610.06519) for the
cooling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log
from typing import cast

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.metrics.arrays import Array, as_features, chunks, squared_distances

BLUR = 0.05
FLOAT64_SIZE = 2000
"""Up to this many events a side, a dense plan at the last temperature is float64."""
COOLING = 4.0
"""Ratio of successive temperatures."""
LOOSE, TIGHT = 0.001, 1e-6
"""Mean relative error of the column marginals at which a passing temperature, and the last one, is left."""
WINDOW, LAST_WINDOW = 5.0, 32.0
"""Becoming sparse, the plan keeps the entries above exp(-WINDOW) of the largest of their row or column. At the last
temperature every entry above exp(-LAST_WINDOW) of the independent plan's is found and kept."""
SPARSE = 0.05
"""The plan is made sparse once no larger share of its entries counts."""
MAX_NEWTON, MAX_CG = 60, 300
DAMPING = 0.1
"""Newton's Hessian is raised by this times the error, which bounds the step where the plan falls into pieces."""
MAX_STEP, ABSORB = 30.0, 40.0
"""No Newton step changes a column's scaling by more than exp(MAX_STEP); the kernel is computed anew once one has
changed by more than exp(ABSORB)."""
GATHER = 300
"""A matrix product makes about this many squared distances in the time that one takes from two gathered rows."""
MAX_ROUNDS = 20
UNSOLVED, EXACT_PAIRS, MAX_ITERATIONS = 1e-4, 10_000_000, 100_000_000
"""A solution left with a larger error starts again from the exact one, up to this many pairs of events."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class EntropicPlan:
    """A solution of entropic optimal transport between two samples with equal weights.

    Attributes:
        value: min_P <P, 1/2|x-y|^2> + eps KL(P | a b), from below: the dual at the potentials.
        f, g: (N,), (M,) float64 dual potentials; rows of the plan a_i b_j exp((f_i + g_j - c_ij) / eps) sum to 1/N.
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

    (N, d), (M, d) features -> the value in squared feature units, potentials, marginal error and duality gap. The bound
    on the gap is that of a concave maximum: <gradient, g* - g>, at most half the marginal error times the oscillation
    of g* - g.

    Reference: Deja et al. 2020 (arXiv:2006.06704), eq. (3); Feydy et al. 2019 (arXiv:1810.08278), eq. (1).
    """
    x, y = prepared(generated, reference, blur)
    return solve_with_itself(x, blur**2) if torch.equal(x, y) else solve(x, y, blur**2)


def prepared(generated: Array, reference: Array, blur: float) -> tuple[Tensor, Tensor]:
    """Centred float64 features: the cost does not change with a common translation, its rounding error does."""
    if not 0 < blur < float("inf"):
        raise UsageError(
            "blur is not a length", got=repr(blur), expected="a positive number", fix=f"The benchmark uses {BLUR}."
        )
    x, y = as_features(generated, reference)
    centre = torch.cat([x, y]).double().mean(0)
    return x.double() - centre, y.double() - centre


class _Dense:
    """The kernel K_ij = exp((f_i + g_j - c_ij) / eps) as a matrix, scaled so that rows have mean 1."""

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
        """mean_j K_ij v_j."""
        return self._product(self.matrix, v) / len(v)

    def columns(self, u: Vector) -> Vector:
        """mean_i K_ij u_i."""
        return self._product(self.matrix.T, u) / len(u)

    def squares(self, w: Vector) -> Vector:
        """mean_i K_ij^2 w_i / M."""
        total = np.zeros(self.matrix.shape[1])
        for rows in chunks(*self.matrix.shape):
            total += self._product(self.matrix[rows].square().T, w[rows])
        return total / self.matrix.numel()

    def pairs(self, u: Vector, v: Vector) -> Tensor:
        """Rows and columns, (P, 2), of entries of u K v above exp(-WINDOW) of the largest of their row or column."""
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
    """1/2 |x_i - y_j|^2 of pairs sorted by i, (P,): from differences, or, of many pairs, from matrix products."""
    if len(i) * GATHER < len(x) * len(y):
        pieces = zip(i.split(50_000), j.split(50_000), strict=True)
        return torch.cat([(x[a] - y[b]).square_().sum(1) for a, b in pieces]) / 2
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
    """The same kernel on the pairs that count; the methods are those of `_Dense`."""

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


_Kernel = _Dense | _Sparse


@dataclass(frozen=True)
class _Match:
    """Potentials, and a kernel whose scaling u K v has exact rows, and columns to within `error`."""

    kernel: _Kernel | None
    u: Vector
    v: Vector
    f: Vector
    g: Vector
    error: float


def _match(build: Callable[[Vector], _Kernel], g: Vector, eps: float, tolerance: float) -> _Match:
    """Sinkhorn and Newton steps at one temperature, until the columns are met (or Newton's steps are used up).

    Unknown is the logarithm s of the column scaling; rows follow exactly. The dual is mean log u + mean s, its gradient
    (1 - c) / M with c the column sums, its Hessian -(diag c - K' diag(u)^2 K) / M, singular only along constants.
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
        if (rows > 0).all():
            gained = -float(np.log(rows).mean()) + length * float(step.mean())
            if gained >= dual + 1e-4 * length * slope:
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


def solve(x: Tensor, y: Tensor, eps: float) -> EntropicPlan:
    """Transport between centred samples: cooled from the mean cost down to eps, as the module's docstring tells."""
    n, m = len(x), len(y)
    start = float(x.square().sum(1).mean() + y.square().sum(1).mean()) / 8
    steps = int(np.ceil(log(max(start / eps, 1)) / log(COOLING)))
    g = np.zeros(m)
    pairs: _Pairs | None = None
    for step in range(steps, -1, -1):
        level = eps * (start / eps) ** (step / max(steps, 1)) if step else eps
        dtype = torch.float64 if step == 0 and n * m <= FLOAT64_SIZE**2 else torch.float32
        build = partial(_Sparse, pairs) if pairs is not None else partial(_Dense, x, y, dtype=dtype)
        match = _match(partial(build, eps=level), g, level, LOOSE if step else TIGHT)
        if step and isinstance(match.kernel, _Dense) and match.kernel.density(match.v) <= SPARSE:
            pairs = _Pairs(x, y, match.kernel.pairs(match.u, match.v))
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
    """The dual of exact transport, within eps log N of the entropic one's: for where cooling failed."""
    import ot

    cost = squared_distances(x, y).div_(2).cpu().numpy()
    log_ = ot.emd([], [], cost, numItermax=MAX_ITERATIONS, log=True)[1]
    f, g = np.asarray(log_["u"], np.float64), np.asarray(log_["v"], np.float64)
    return _Match(None, np.ones_like(f), np.ones_like(g), f, g, 1.0)


def _overlooked(x: Tensor, y: Tensor, match: _Match, eps: float) -> Tensor:
    """All pairs whose entry of the plan exceeds exp(-LAST_WINDOW) of the independent plan's: rows, columns, (P, 2)."""
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


def solve_with_itself(x: Tensor, eps: float) -> EntropicPlan:
    """Transport of a sample to itself, by averaged updates: the plan is positive definite, so each halves the error."""
    n = len(x)
    g = np.zeros(n)
    kernel: _Kernel
    if _self_density(x, eps) <= SPARSE:
        kernel = _Sparse(_Pairs(x, x, _overlooked(x, x, _Match(None, g, g, g, g, 0.0), eps)), g, eps)
    else:
        kernel = _Dense(x, x, g, eps, torch.float64 if n <= FLOAT64_SIZE else torch.float32)
    s = np.zeros(n)
    for _ in range(60):
        f = kernel.f / eps - np.log(kernel.rows(np.exp(s)))
        error = float(np.abs(np.exp(s - f) - 1).mean())
        if error <= TIGHT:
            break
        s = (s + f) / 2
    reach = float(x.square().sum(1).max()) * 2
    gap = error / 2 * (reach + eps * float(np.ptp(s)))
    return EntropicPlan(float(eps * (f.mean() + s.mean())), eps * f, eps * s, error, gap)


def _self_density(x: Tensor, eps: float) -> float:
    rows = torch.linspace(0, len(x) - 1, min(len(x), 256), device=x.device).long()
    return float((squared_distances(x[rows], x) / 2 < eps * LAST_WINDOW).double().mean())
