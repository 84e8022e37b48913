"""Energy distance and diversity ratio: two numbers that no collapsed generator can pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.arrays import Array, as_features
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.pairs import BlockSums, block_sums
from simbench.metrics.resampling import (
    GROUPS,
    PAIR_GROUPS,
    bootstrapped,
    by_condition,
    dense,
    jackknife_groups,
    jackknifed,
    stratified,
)
from simbench.metrics.streams import Rows, RowStream, of_pair


def energy_distance(generated: Array, reference: Array, *, paired: bool = False) -> float:
    """Energy distance between two samples, as a U-statistic.

    2 E|X - Y| - E|X - X'| - E|Y - Y'|      (Euclidean norm; means over pairs of different events)

    (N, d), (M, d) features, N and M >= 2 -> feature units, lower is better. `paired`: row i of both answers the same
    condition. Then the N pairs (x_i, y_i) are left out of the first mean, as the pairs (x_i, x_i) are of the second:
    the expectation is 0 at the truth for given conditions too, not for random ones only.

    Estimator: unbiased, 0 at the truth and > 0 elsewhere at any N: single values can be negative. Float64, for in
    float32 |x|^2 + |y|^2 - 2 x.y puts identical events apart; O(N) memory.

    Reference: Szekely and Rizzo, J. Stat. Plan. Inference 143 (2013), section 2; Gretton et al. 2012, eq. (3) with
    kernel -|x - y|.
    """
    x, y = as_features(generated, reference, minimum=2)
    return float(_energy_sums(x, y, paired=paired).discrepancy())


def _negative_distance(x: Tensor, y: Tensor) -> Tensor:
    return -torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist")


def _energy_sums(
    x: Tensor, y: Tensor, groups_x: Tensor | None = None, groups_y: Tensor | None = None, *, paired: bool
) -> BlockSums:
    x, y = x.double(), y.double()
    centre = torch.cat([x, y]).mean(0)
    return block_sums(_negative_distance, x - centre, y - centre, groups_x, groups_y, paired=paired)


@metric(
    "energy_distance/1",
    meaning="How far the generated events are from the real ones in feature space, in value and in variety; "
    "0 for a perfect model at any number of events.",
    of=energy_distance,
)
@stratified
def energy_distance_metric(pair: Comparison) -> Estimate:
    """2E|X-Y| - E|X-X'| - E|Y-Y'| on the features, unbiased: the ranking metric of diversity."""
    x, y = as_features(*pair.derived("features"), minimum=2)
    groups = jackknife_groups(pair.generated.unit_id, PAIR_GROUPS)
    sums = _energy_sums(x, y, groups, groups, paired=True)
    return jackknifed(sums.discrepancy(), sums.left_out(), len(x), {"real_spread": _real_spread(sums)})


def _real_spread(sums: BlockSums) -> float:
    """E|Y - Y'| of the reference."""
    return -float(sums.yy.sum() / sums.pairs_yy.sum())


def class_energy(generated: Array, reference: Array, condition_id: Tensor) -> float:
    """Energy distance within each class, averaged over classes: unconditional quality does not help a generator that is
    deaf to its labels.

    mean_c [ 2 E|X - Y| - E|X - X'| - E|Y - Y'| ]      (X, Y generated and real events of class c)

    Args:
        generated: (N, d) features.
        reference: (N, d) features; row i of both answers `condition_id[i]`.
        condition_id: (N,) int64 the class of each row; at least two events each.

    Returns:
        the distance in feature units, lower is better; unbiased as `energy_distance` is.

    Reference: Szekely and Rizzo, "Energy statistics", J. Stat. Plan. Inference 143 (2013), section 2.
    """
    x, y = as_features(generated, reference, minimum=2)
    sums = _sums_by_class(x, y, condition_id, torch.zeros(len(x), dtype=torch.int64))
    return float(torch.stack([one.discrepancy() for one in sums]).mean())


def _sums_by_class(x: Tensor, y: Tensor, condition_id: Tensor, groups: Tensor) -> list[BlockSums]:
    rows = [condition_id == condition for condition in torch.unique(condition_id)]
    return [_energy_sums(x[at], y[at], groups[at], groups[at], paired=True) for at in rows]


@metric(
    "class_energy/1",
    of=class_energy,
    meaning="How far the events of one and the same class are from the real ones in feature space, averaged "
    "over classes.",
    label="class energy",
)
@stratified
def class_energy_metric(pair: Comparison) -> Estimate:
    """Energy distance of the features within each class, mean over classes."""
    x, y = as_features(*pair.derived("features"), minimum=2)
    condition, units = pair.generated.condition_id, pair.generated.unit_id
    groups = torch.zeros_like(units)
    smallest = int(torch.unique(condition, return_counts=True)[1].min())
    for label in condition.unique():  # each class has all groups
        groups[condition == label] = jackknife_groups(units[condition == label], min(GROUPS, smallest))
    sums = _sums_by_class(x, y, condition, groups)
    value, left_out = (
        torch.stack(values).mean(0)
        for values in ([one.discrepancy() for one in sums], [one.left_out() for one in sums])
    )
    parts = {"real_spread": sum(map(_real_spread, sums)) / len(sums)}
    return jackknifed(value, left_out, len(x), parts)


def diversity_ratio(generated: Array, reference: Array, condition_id: Tensor) -> float:
    """How much generated events of one condition vary, over how much real ones do.

    sum_c sum_i |x_ci - mean_c x|^2 / sum_c sum_i |y_ci - mean_c y|^2

    (N, d), (N, d) features, row by row of condition_id (N,) -> the ratio, >= 0, no unit; 1 is right, 0 is collapse to
    one event per condition, above 1 is too much variety.

    Estimator: both traces of the pooled within-condition covariance are unbiased (degrees of freedom N - C, which
    cancel); conditions with a single event say nothing and drop out.

    Reference: the pooled within-class scatter of Fisher 1936, here of generated over real.
    """
    x, y = as_features(generated, reference, minimum=2)
    if len(x) != len(y) or len(condition_id) != len(x):
        raise UsageError(
            "diversity needs row-paired events",
            got=f"{len(x)} generated, {len(y)} reference, {len(condition_id)} conditions",
            expected="equal numbers",
            fix="Generate one event per row of conditions.",
        )
    condition_id = condition_id.to(x.device)
    rows = Rows.of(x, torch.arange(len(x), device=x.device), len(x))
    return float(_diversity(rows, y.double(), condition_id)(rows.count[None]))


def _diversity(rows: Rows, reference: Tensor, condition_id: Tensor) -> Callable[[Tensor], Tensor]:
    """The ratio as a function of weights (R, M) of the rows. Raises UsageError where there is none.

    Each condition counts on both sides by its degrees of freedom, events less one: all of them together cancel where
    rows have one answer each.
    """
    condition = dense(condition_id)[0]
    real = torch.bincount(condition)
    several = real[condition] > 1
    if not bool(several.any()):
        raise UsageError("needs at least two events of each condition")
    lost = int((real > 1).sum())
    freedom = (int(several.sum()) - lost) / (float(rows.count[several].sum()) - lost)
    scatter = torch.where(several, rows.scatter.sum(1), 0.0)

    def ratio(weights: Tensor) -> Tensor:
        generated = within_scatter(rows.mean, condition, weights * rows.count) + weights @ scatter
        return freedom * generated / within_scatter(reference, condition, weights)

    if not float(within_scatter(reference, condition, torch.ones_like(rows.count[None]))) > 0:
        raise UsageError(
            "the reference does not vary within its conditions",
            got="a within-condition variance of 0",
            expected="at least one condition with two different events",
            fix="Use whole conditions, or more events.",
        )
    return ratio


def _diversity_estimate(rows: Rows, reference: Events) -> Estimate:
    _, y = as_features(rows.mean, reference.derived("features").double().cpu(), minimum=2)
    ratio = _diversity(rows, y, reference.condition_id)
    return bootstrapped(ratio(torch.ones_like(rows.count[None]))[0], ratio, reference.unit_id)


DIVERSITY = RowStream(
    lambda chunk: chunk.generated.derived("features").double().cpu(), _diversity_estimate, below=100_000
)
"""By row: with 84 features it takes memory where the reference itself is large."""


def within_scatter(values: Tensor, condition_id: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of squared distances to the weighted mean of the condition: (N, d), (N,), (R, N) float64 -> (R,)."""
    condition, count = dense(condition_id)
    gathered, mask = by_condition(values, condition, count)
    centred = (gathered - gathered.sum(1, keepdim=True) / mask.sum(1)[:, None, None]) * mask[..., None]
    weight = by_condition(weights.T, condition, count)[0].transpose(1, 2)  # (conditions, R, repeats)
    squares = torch.bmm(weight, centred.square().sum(2, keepdim=True)).squeeze(2)
    means = torch.bmm(weight, centred).square().sum(2) / weight.sum(2).clamp(min=1)
    return (squares - means).sum(0)


@metric(
    "diversity_ratio/1",
    direction="target",
    target=1.0,
    label="diversity",
    meaning="How much events of the same condition differ from each other in feature space, relative to the real ones: "
    "1 is right, 0 is one event over and over.",
    of=diversity_ratio,
    stream=DIVERSITY,
)
@stratified
def diversity_ratio_metric(pair: Comparison) -> Estimate:
    """Within-condition variance of the features, generated over real: 1 is right, 0 is collapse."""
    return of_pair(DIVERSITY, pair)
