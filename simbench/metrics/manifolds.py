"""Precision, recall, density and coverage: do generated and real events lie in each other's nearest-neighbour balls?

Distances are screened by one matrix product a chunk, with a bound on the rounding error. Where that bound leaves a
comparison open, the distance is computed again in float64 from the differences: all counts are exact, identical rows
lie at distance 0. The jackknife uses the same pass: the ball of an event with a group of others left out follows from
its sorted neighbours, and counts are kept by the group of the event that made them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.metrics.arrays import Array, as_features, chunks
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import jackknife_groups, jackknifed, with_strata

NEIGHBOURS = 5
SPARE_NEIGHBOURS = 16
"""Neighbours kept beyond the k-th, so that a ball with a group left out seldom needs another look at the data."""

ELEMENTS = 2_000_000
"""Distances screened at once: few enough to stay in the processor's cache."""
FOLDS = 16
PAIRS = 500_000
"""Pairs of events compared at once."""


class PRDC(NamedTuple):
    """The four numbers of Naeem et al. 2020."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(generated: Array, reference: Array, k: int = NEIGHBOURS, *, inclusive: bool = False) -> PRDC:
    """Precision, recall, density and coverage by k-nearest-neighbour balls.

    precision = share of generated events inside any real event's ball
    recall    = share of real events inside any generated event's ball
    density   = mean number of real balls around a generated event, over k
    coverage  = share of real events whose ball holds a generated event
    The ball of an event is open (closed where `inclusive`, for data with ties) and reaches to its k-th nearest
    neighbour on its own side, itself not counted.

    (N, d), (M, d) features, N and M > k -> four numbers without unit: precision, recall, coverage in [0, 1], higher is
    better; density >= 0, right at 1. At the truth, density is 1 and coverage 1 - 2^-k in expectation (N = M, large).

    Estimator: indicator counts equal those of the `prdc` package on data without ties. Biased at finite N: compare at
    equal N. O(N) memory. Where many events are identical (empty showers) open balls have radius 0 and hold nothing: see
    `coverage_ties/1`.

    Reference: Naeem et al. 2020 (arXiv:2002.09797), section 3.2; Kynkaanniemi et al. 2019 (arXiv:1904.06991), eq. (1).
    """
    x, y = as_features(generated, reference)
    return PRDC(*_scores(x, y, k, inclusive, None)[0].tolist())


@dataclass(frozen=True)
class _Points:
    """One side of a comparison.

    Attributes:
        exact: (N, d) the values as given.
        left, right: (N, d + 2) centred and augmented: left_i . right_j is a lower bound of the squared distance of i
            and j, by at most 2 (slack_i + slack_j).
        slack: (N,) each point's share of the rounding error.
        radii: (N, 1 + G) float64 squared radii: [:, 0] of the ball, [:, 1 + g] with group g left out, never smaller.
        reach: (N,) the largest of them.
        groups: (N,) the group of each point.
    """

    exact: Tensor
    left: Tensor
    right: Tensor
    slack: Tensor
    radii: Tensor
    reach: Tensor
    groups: Tensor | None


def _exact(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances of paired rows, float64 from differences: exactly 0 where the rows are identical."""
    parts = [
        (x[at : at + 100_000].double() - y[at : at + 100_000].double()).square_().sum(1)
        for at in range(0, max(len(x), 1), 100_000)
    ]
    return torch.cat(parts)


def _points(values: Tensor, centre: Tensor, k: int, groups: Tensor | None) -> _Points:
    screen = (values.double() - centre).to(values.dtype)
    norms = screen.double().square().sum(1, keepdim=True)
    # |x|^2 + |y|^2 - 2 x.y sums d + 2 products of total size 2 (|x|^2 + |y|^2) at most; 4 more roundings: coordinates
    slack = norms * ((2 * values.shape[1] + 16) * torch.finfo(values.dtype).eps)
    lower, one = (norms - slack).to(values.dtype), torch.ones_like(norms, dtype=values.dtype)
    left, right = torch.cat([-2 * screen, lower, one], 1), torch.cat([screen, one, lower], 1)
    radii = _radii(values, left, right, k, groups)
    return _Points(values, left, right, slack.squeeze(1), radii, radii.amax(1), groups)


def _radii(values: Tensor, left: Tensor, right: Tensor, k: int, groups: Tensor | None) -> Tensor:
    """Squared distance to the k-th nearest other point, (N, 1 + G) float64: of all, then with each group left out."""
    n = len(values)
    size = 0 if groups is None else int(groups.max()) + 1
    keep = min(n - 1, k + (SPARE_NEIGHBOURS if size else 3))
    radii = torch.empty(n, 1 + size, dtype=torch.float64, device=values.device)
    padding = torch.zeros(-n % FOLDS, right.shape[1], dtype=right.dtype, device=right.device)
    padding[:, -1] = torch.finfo(right.dtype).max / 4
    padded = torch.cat([right, padding]).T
    for rows in chunks(n, n, ELEMENTS):
        lower = left[rows] @ padded
        here = torch.arange(rows.start, rows.stop, device=values.device)
        lower[torch.arange(len(here), device=values.device), here] = torch.inf
        bounds, nearest = _smallest(lower, keep)
        distances = _exact(values[here].repeat_interleave(keep, 0), values[nearest.flatten()]).view(-1, keep)
        found = _kth(distances, nearest, k, groups, size)
        horizon = bounds.amax(1).double().clamp(min=0) if keep < n - 1 else torch.full_like(found[:, 0], torch.inf)
        for row in (found.amax(1) > horizon).nonzero().flatten().tolist():
            candidates = (lower[row, :n] <= found[row].amax()).nonzero().flatten()
            candidates = candidates[candidates != here[row]]
            distances = _exact(values[here[row]].expand(len(candidates), -1), values[candidates]).unsqueeze(0)
            found[row] = _kth(distances, candidates.unsqueeze(0), k, groups, size)[0]
        if groups is not None:
            own = (1 + groups[rows]).unsqueeze(1)
            found.scatter_(1, own, found[:, :1])
        radii[rows] = found
    return radii


def _smallest(values: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` smallest of each row and where they are, (B, keep): in the `keep` folds of smallest minimum."""
    folds = values.view(len(values), FOLDS, -1)
    if folds.shape[2] <= 2 * keep:
        return values.topk(keep, largest=False, sorted=False)
    fold = folds.amin(1).topk(keep, largest=False, sorted=False).indices
    smallest, at = (
        folds.gather(2, fold.unsqueeze(1).expand(-1, FOLDS, -1)).flatten(1).topk(keep, largest=False, sorted=False)
    )
    return smallest, at // keep * folds.shape[2] + fold.gather(1, at % keep)


def _kth(distances: Tensor, neighbours: Tensor, k: int, groups: Tensor | None, size: int) -> Tensor:
    """k-th smallest distance of each row, (B, 1 + G): of all, then without each group; inf where there are fewer."""
    distances, order = distances.sort(1)
    radii = [distances[:, k - 1]]
    if groups is not None:
        labels = groups[neighbours.gather(1, order)]
        padded = torch.cat([distances, torch.full_like(distances[:, :1], torch.inf)], 1)
        for group in range(size):
            fewer = ((labels != group).cumsum(1) < k).sum(1, keepdim=True)
            radii.append(padded.gather(1, fewer).squeeze(1))
    return torch.stack(radii, 1)


def _scores(x: Tensor, y: Tensor, k: int, inclusive: bool, groups: Tensor | None) -> Tensor:
    """Precision, recall, density, coverage, (1 + G, 4) float64: of all, then without each group on both sides."""
    if k < 1 or min(len(x), len(y)) <= k:
        raise UsageError(
            "nearest-neighbour balls need more events than neighbours",
            got=f"{len(x)} generated, {len(y)} reference, k={k}",
            expected="k >= 1 and more than k events on each side",
            fix="Ask for more events.",
        )
    centre = torch.cat([x, y]).double().mean(0)
    fake, real = _points(x, centre, k, groups), _points(y, centre, k, groups)
    counts = _counts(fake, real, inclusive)
    kept = torch.ones(
        len(x) if groups is not None else 1, counts.precision.shape[1], dtype=torch.float64, device=x.device
    )
    if groups is not None:
        kept[torch.arange(len(x)), 1 + groups] = 0

    def share(values: Tensor) -> Tensor:
        weights = kept.expand(len(values), -1)
        return (values * weights).sum(0) / weights.sum(0)

    return torch.stack(
        [
            share((counts.precision > 0).double()),
            share((counts.recall > 0).double()),
            share(counts.precision.double()) / k,
            share((counts.coverage > 0).double()),
        ],
        dim=1,
    )


class _Counts(NamedTuple):
    """Balls around each event, or events in its ball: (N, 1 + G), of all and with each group left out on both sides."""

    precision: Tensor
    recall: Tensor
    coverage: Tensor


def _counts(fake: _Points, real: _Points, inclusive: bool) -> _Counts:
    """One pass over the distances between the sides."""
    below = torch.le if inclusive else torch.lt
    size = fake.radii.shape[1] - 1
    precision = _Tally(len(fake.exact), size, fake.exact.device)
    recall, coverage = (_Tally(len(real.exact), size, fake.exact.device) for _ in range(2))
    fake_reach, real_reach = (_round_up(side.reach, fake.left.dtype) for side in (fake, real))
    for rows in chunks(len(real.exact), len(fake.exact), ELEMENTS):
        lower = real.left[rows] @ fake.right.T
        near = (lower <= real_reach[rows].unsqueeze(1)).logical_or_(lower <= fake_reach)
        for pairs in near.nonzero().split(PAIRS):
            bounds = lower[pairs[:, 0], pairs[:, 1]].double()
            i, j = pairs[:, 0] + rows.start, pairs[:, 1]
            distances = _resolve(bounds, i, j, fake, real)
            core, shell = _compare(below, distances, i, real)
            coverage.add(i, j, core, shell, fake.groups)
            precision.add(j, i, core, shell, real.groups)
            recall.add(i, j, *_compare(below, distances, j, fake), fake.groups)
    return _Counts(precision.result(), recall.result(), coverage.result())


def _round_up(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype).mul_(1 + 4 * torch.finfo(dtype).eps)


def _resolve(bounds: Tensor, i: Tensor, j: Tensor, fake: _Points, real: _Points) -> Tensor:
    """Squared distances of pairs (i real, j fake): exact where comparing with a radius needs it, else lower bounds."""
    upper = bounds + 2 * (real.slack[i] + fake.slack[j])
    open_ = torch.zeros_like(bounds, dtype=torch.bool)
    for side, index in ((real, i), (fake, j)):
        open_ |= (bounds <= side.reach[index]) & (upper >= side.radii[index, 0])
    bounds[open_] = _exact(real.exact[i[open_]], fake.exact[j[open_]])
    return bounds


def _compare(
    below: Callable[[Tensor, Tensor], Tensor], distances: Tensor, index: Tensor, side: _Points
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Which pairs lie in the ball of point `index`, (P,); which others (Q,) do with which groups left out, (Q, G)."""
    core = below(distances, side.radii[index, 0])
    maybe = (~core & (distances <= side.reach[index])).nonzero().flatten()
    wider = below(distances[maybe].unsqueeze(1), side.radii[index[maybe], 1:])
    any_ = wider.any(1)
    return core, (maybe[any_], wider[any_])


class _Tally:
    """For each event, how many pairs count: of all, and with each group of events left out on both sides."""

    def __init__(self, events: int, size: int, device: torch.device) -> None:
        self.total = torch.zeros(events, dtype=torch.int64, device=device)
        self.change = torch.zeros(events, size, dtype=torch.int64, device=device)

    def add(
        self, event: Tensor, partner: Tensor, core: Tensor, shell: tuple[Tensor, Tensor], groups: Tensor | None
    ) -> None:
        """Count pairs (event, partner): of `core` unless the partner's group is left out, of `shell` where it says."""
        inside = event[core]
        self.total += torch.bincount(inside, minlength=len(self.total))
        if groups is None:
            return
        size = self.change.shape[1]
        self.change.view(-1).index_add_(0, inside * size + groups[partner[core]], torch.full_like(inside, -1))
        which, wider = shell
        wider = wider.scatter(1, groups[partner[which]].unsqueeze(1), False)
        self.change.index_add_(0, event[which], wider.long())

    def result(self) -> Tensor:
        return torch.cat([self.total.unsqueeze(1), self.total.unsqueeze(1) + self.change], 1)


def _shared(pair: Comparison, rows: Tensor, inclusive: bool) -> Tensor:
    """The scores (1 + G, 4) of the events at `rows`, (N,) bool, computed once for all metrics here: of all, then with
    each of 20 groups of units left out. Raises UsageError where they are too few."""

    def compute() -> Tensor:
        x, y = (features[rows] for features in as_features(*pair.derived("features")))
        groups = jackknife_groups(pair.generated.unit_id[rows]).to(x.device)
        alone = len(x) - int(torch.bincount(groups, minlength=1).max()) <= NEIGHBOURS
        return _scores(x, y, NEIGHBOURS, inclusive, None if alone else groups)

    return pair.memo(("manifolds", inclusive, rows.numpy().tobytes()), compute)


def _estimate(pair: Comparison, name: str, inclusive: bool = False) -> Estimate:
    def estimate(rows: Tensor) -> Estimate:
        column, n = _shared(pair, rows, inclusive)[:, PRDC._fields.index(name)], int(rows.sum())
        return jackknifed(column[0], column[1:], n) if len(column) > 2 else Estimate(float(column[0]), None, n)

    return with_strata(pair, estimate(torch.ones(len(pair), dtype=torch.bool)), estimate)


@metric(
    "precision/1",
    share=True,
    direction="higher",
    meaning="Share of generated events that lie among the real ones: low where the model makes events that nature does "
    "not.",
    of=prdc,
)
def precision_metric(pair: Comparison) -> Estimate:
    """Share of generated events that lie in the 5-nearest-neighbour ball of a real one."""
    return _estimate(pair, "precision")


@metric(
    "recall/1",
    share=True,
    direction="higher",
    meaning="Share of real events that lie among the generated ones: low where the model misses kinds of events.",
    of=prdc,
)
def recall_metric(pair: Comparison) -> Estimate:
    """Share of real events that lie in the 5-nearest-neighbour ball of a generated one."""
    return _estimate(pair, "recall")


@metric(
    "density/1",
    direction="target",
    target=1.0,
    meaning="How densely the real events surround the generated ones; close to 1 for a perfect model.",
    of=prdc,
)
def density_metric(pair: Comparison) -> Estimate:
    """How many real 5-nearest-neighbour balls hold a generated event, over 5: 1 is right."""
    return _estimate(pair, "density")


@metric(
    "coverage/1",
    share=True,
    direction="higher",
    meaning="Share of real events with a generated one close by; what a perfect model reaches is its floor (0.97, "
    "less where events tie).",
    of=prdc,
)
def coverage_metric(pair: Comparison) -> Estimate:
    """Share of real events whose 5-nearest-neighbour ball holds a generated one: 0.969 at the truth."""
    return _estimate(pair, "coverage")


@metric(
    "coverage_ties/1",
    share=True,
    direction="higher",
    meaning="Coverage in which events at equal distance count as close.",
    of=prdc,
)
def coverage_ties_metric(pair: Comparison) -> Estimate:
    """Coverage with closed balls, for sparse counts; `tied_share`: of real events that open balls can never cover."""
    estimate = _estimate(pair, "coverage", inclusive=True)
    y = as_features(*pair.derived("features"))[1]
    copies = torch.unique(y, dim=0, return_inverse=True, return_counts=True)
    tied = copies[2][copies[1]] > NEIGHBOURS
    return replace(estimate, parts={"tied_share": float(tied.double().mean())})
