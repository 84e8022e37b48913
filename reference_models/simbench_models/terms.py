"""Terms of the founding paper's loss (papers/e2e-sae.txt) that no baseline has."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import torch
from torch import Tensor
from torch.nn import functional

BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)
"""The blurring kernel of each axis, over its sum, of Burt and Adelson's pyramid."""

LEVELS = 4
"""Levels of the pyramid, the last of them the blurred image that is left; fewer for images too small for them."""


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Images as a sum of details at ever coarser scales: (B, channels, H, W) -> LEVELS tensors, each half the size.

    L_j = g_j - up(g_{j+1}), g_0 the images, g_{j+1} every second pixel of g_j blurred; the last is g itself. Adding up
    from the last gives the images back.
    """
    levels = []
    for _ in range(LEVELS - 1):
        if min(images.shape[2:]) < 4:
            break
        smaller = _blur(images)[..., ::2, ::2]
        levels.append(images - enlarge(smaller, images.shape[2:]))
        images = smaller
    return [*levels, images]


def enlarge(images: Tensor, size: torch.Size) -> Tensor:
    """Images of a level, brought to the size of the level below it."""
    return functional.interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)


def _blur(images: Tensor) -> Tensor:
    channels = images.shape[1]
    line = images.new_tensor(BINOMIAL) / sum(BINOMIAL)
    kernel = torch.outer(line, line).expand(channels, 1, 5, 5)
    return functional.conv2d(functional.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def laplacian_distance(x: Tensor, y: Tensor) -> Tensor:
    """Lap1(x, y) = sum_j 2^(2j) |L_j(x) - L_j(y)|_1, eq. (1), of each pair of images: (B, channels, H, W) twice ->
    (B,)."""
    pairs = zip(laplacian_pyramid(x), laplacian_pyramid(y), strict=True)
    terms = [4**level * (a - b).abs().flatten(1).sum(1) for level, (a, b) in enumerate(pairs)]
    return torch.stack(terms).sum(0)


def cosine_penalty(codes: Tensor, tau: float) -> Tensor:
    """sum_{i != j} m_ij cos(y_i, y_j)^2, m_ij = 1 where |cos| >= tau, eqs. (5) and (6) without p: (N, d) -> ()."""
    unit = functional.normalize(codes, dim=1, eps=1e-8)
    cosines = (unit @ unit.T).fill_diagonal_(0)
    return cosines.square().where(cosines.abs() >= tau, 0).sum()


SETS = 3
"""Parts into which `independent_divergence` deals a batch: the repeats of a particle on zn-geant3."""

COOLING, PASSING_STEPS, STEPS, STILL = 4.0, 2, 20, 1e-4
"""Of `transport_costs`: ratio of successive temperatures and Sinkhorn steps at each; at the last, further steps at
most, or until no scaling of a column changes by more than STILL."""

LOWEST = -70.0
"""Least logarithm of a plan's entry: smaller numbers are slow to compute with and change nothing."""


def independent_divergence(real: Tensor, made: Tensor, conditions: Tensor, blur: float, solver: str) -> Tensor:
    """Sinkhorn divergence whose self terms are between independent codes: (B, d), (B, d), (B, C) -> ().

    2 E W(E_a, G_b) - E W(E_a, E_b) - E W(G_a, G_b), a and b different parts of the batch; W is eq. (3) with the
    Euclidean distance as its cost, E the encoded and G the made codes, each beside its conditions. Events of equal
    conditions are dealt to all parts in turn. In contrast to eq. (4), whose self terms compare a batch with itself, the
    expectation over batches is least where the two distributions are equal, however small the batches are.

    Reference: the minibatch energy distance of Salimans et al., arXiv:1803.05573, eq. (6).
    """
    count = min(SETS, len(real))
    if count < 2:
        return 0 * (real.sum() + made.sum())
    unit = torch.unique(conditions, dim=0, return_inverse=True)[1] if conditions.shape[1] else 0
    order = torch.argsort(unit + torch.rand(len(real), dtype=torch.float64, device=real.device))
    dealt = order[: len(real) // count * count].view(-1, count).T
    sets = torch.cat([real[dealt], made[dealt]])
    cross = [(a, count + b) for a, b in permutations(range(count), 2)]
    self_terms = list(combinations(range(count), 2))
    pairs = [*cross, *self_terms, *((count + a, count + b) for a, b in self_terms)]
    left, right = torch.tensor(pairs, device=real.device).T
    costs = transport_costs(sets[left], sets[right], blur, solver)
    return 2 * costs[: len(cross)].mean() - costs[len(cross) :].sum() / len(self_terms)


def conditional_divergence(real: Tensor, made: Tensor, conditions: Tensor) -> Tensor:
    """`independent_divergence` within each condition, of single codes: (B, d), (M B, d), (B, C) -> ().

    2 E |e - g| - E |e - e'| - E |g - g'| over different codes of one condition. It is the limit of a large scale beside
    the codes, where nothing is transported from one condition to another; what is transported between two single codes
    is their distance, at any temperature. `made` holds M codes of each condition, one batch after the other; all pairs
    of the batch count. This energy distance is 0 for equal distributions alone (Szekely and Rizzo,
    doi:10.1016/j.jspi.2013.03.018).
    """
    unit = torch.unique(conditions, dim=0, return_inverse=True)[1] if conditions.shape[1] else real.new_zeros(len(real))
    made_unit = unit.repeat(len(made) // len(real))

    def mean_distance(x: Tensor, of_x: Tensor, y: Tensor, of_y: Tensor) -> Tensor:
        pairs = of_x[:, None] == of_y
        if x is y:
            pairs.fill_diagonal_(False)
        one, other = pairs.nonzero(as_tuple=True)
        total: Tensor = torch.linalg.vector_norm(x[one] - y[other], dim=1).sum()
        return total / max(len(one), 1)

    cross = mean_distance(real, unit, made, made_unit)
    return 2 * cross - mean_distance(real, unit, real, unit) - mean_distance(made, made_unit, made, made_unit)


def transport_costs(x: Tensor, y: Tensor, blur: float, solver: str = "simbench", steps: int = STEPS) -> Tensor:
    """Entropic optimal transport, eq. (3), of P pairs of batches at cost |x - y| and temperature `blur`.

    (P, N, d), (P, M, d) -> (P,), with the gradient of the envelope theorem. Made for batches of a few hundred; the
    metrics' solver takes thousands, to a proven gap. Here some Sinkhorn steps are enough, as in `geomloss`, the papers'
    solver.
    """
    if solver == "geomloss":
        from geomloss import SamplesLoss

        loss = SamplesLoss("sinkhorn", p=1, blur=blur, scaling=0.95, debias=False, backend="tensorized")
        return torch.stack([loss(a, b) for a, b in zip(x, y, strict=True)])
    cost = torch.cdist(x, y)
    with torch.no_grad():
        fixed, n, m = cost.detach(), *cost.shape[1:]
        f, g = fixed.new_zeros(fixed.shape[:2]), fixed.new_zeros(fixed.shape[::2])
        temperature = COOLING * max(float(fixed.amax()), blur)
        while temperature > blur:
            temperature = max(temperature / COOLING, blur)
            for _ in range(PASSING_STEPS):
                f = -temperature * (torch.logsumexp((g[:, None] - fixed) / temperature, 2) - math.log(m))
                g = -temperature * (torch.logsumexp((f[:, :, None] - fixed) / temperature, 1) - math.log(n))
        plan = ((f[:, :, None] + g[:, None] - fixed) / blur).clamp(min=LOWEST).exp() / (n * m)
        v = torch.ones_like(g)[:, :, None]
        for _ in range(steps):
            u = 1 / (n * (plan @ v))
            before, v = v, 1 / (m * (plan.mT @ u))
            if bool(((v / before - 1).abs() < STILL).all()):
                break
        plan = u * plan * v.mT
        f, g = f + blur * u.log().squeeze(2), g + blur * v.log().squeeze(2)
    moved = (plan * cost).sum((1, 2))
    return f.mean(1) + g.mean(1) + moved - moved.detach()
