"""Metrics on the calorimeter's five read-out channels: the sums of photons that the detector itself measures."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.arrays import Array, as_photons
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import SEED, bootstrap_mean, bootstrapped, by_condition, dense, stratified
from simbench.metrics.streams import Rows, RowStream, Sorted, Whole, of_pair

CHANNEL_VARIANTS = ("zn_2x2", "zn_2x2_odd", "zp_2x2", "zp_4x1")
"""Which pixels feed which channel: named, never guessed."""

SPLITS = 20
HALF = 4


@functools.cache
def channel_masks(height: int, width: int, variant: str = "zn_2x2") -> Tensor:
    """Pixels of each channel of a read-out, (H*W, 5) float64 of 0 and 1; row i, column j, h = H/2, w = W/2.

    `zn_2x2`: ch1..ch4 are the quadrants (i < h, j < w), (i < h, j >= w), (i >= h, j < w), (i >= h, j >= w) of pixels
    with i + j even; ch5 is every pixel with i + j odd: every second fibre goes to the common photomultiplier.
    `zp_2x2`: the same for the proton detector, which is read out alike: on a task of one shape its channels are those
    of `zn_2x2`. `zn_2x2_odd`: the quadrants on odd pixels, in the order bottom left, bottom right, top left, top right
    (row 0 is the top), as in the ExpertSim code. `zp_4x1`: four equal bands along the rows, the proton detector's real
    towers, on even pixels.

    Raises:
        UsageError: no such variant.
    """
    if variant not in CHANNEL_VARIANTS:
        raise UsageError("unknown channel variant", got=repr(variant), expected=f"one of {', '.join(CHANNEL_VARIANTS)}")
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    even, top, left = (row + column) % 2 == 0, row < height // 2, column < width // 2
    if variant == "zn_2x2_odd":
        even = ~even
        towers = [~top & left, ~top & ~left, top & left, top & ~left]
    elif variant == "zp_4x1":
        towers = [(row * 4) // height == band for band in range(4)]
    else:
        towers = [top & left, top & ~left, ~top & left, ~top & ~left]
    masks = [*(even & tower for tower in towers), ~even]
    return torch.stack(masks).flatten(1).T.to(torch.float64)


def channel_sums(samples: Array, variant: str = "zn_2x2") -> Tensor:
    """Photons in each of the five channels: (N, H, W) counts -> (N, 5) float64. Raises UsageError on another shape."""
    photons = torch.as_tensor(samples).to(torch.float64)
    if photons.dim() != 3:
        raise UsageError("channel sums need images", got=f"shape {tuple(photons.shape)}", expected="(N, H, W)")
    return photons.flatten(1) @ channel_masks(photons.shape[1], photons.shape[2], variant).to(photons.device)


def _channels(generated: Array, reference: Array, *, paired: bool = False) -> tuple[Tensor, Tensor]:
    """Channel sums of two sets of images; sums that were made already, (N, C), pass through."""
    first, second = as_photons(generated, reference, paired=paired)
    return (channel_sums(first), channel_sums(second)) if first.dim() == 3 else (first, second)


def _conditions(condition_id: Array, events: int, least: int = 2) -> tuple[Tensor, int]:
    """Condition identifiers numbered 0..C-1, and C. Raises UsageError where one has fewer than `least` events."""
    condition, count = dense(torch.as_tensor(condition_id))
    if len(condition) != events:
        raise UsageError("condition_id does not match the events", got=str(len(condition)), expected=str(events))
    if int(torch.bincount(condition).min()) < least:
        words = {2: "two", 8: "eight"}.get(least, str(least))
        raise UsageError(f"needs at least {words} events of each condition")
    return condition, count


def _names(channels: int) -> list[str]:
    return [f"ch{index + 1}" for index in range(channels)]


def wasserstein_1d(generated: Tensor, reference: Tensor) -> Tensor:
    """1-D Wasserstein distance of each column, int |F_generated - F_reference|: (N, C), (M, C) -> (C,)."""
    n, m = len(generated), len(reference)
    weights = generated.new_full((1, n), m), reference.new_full((1, m), n)  # whole numbers: equal sets score 0 exactly
    return weighted_wasserstein(generated, reference)(*weights)[0]


def weighted_wasserstein(generated: Tensor, reference: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The distance as a function of event weights: (B, N), (B, M), rows of equal totals on both sides -> (B, C).

    Values are sorted once; a resample costs one cumulative sum.
    """
    values, order = torch.sort(torch.cat([generated, reference]), dim=0, stable=True)
    gaps = values.diff(dim=0)

    def distance(weights_generated: Tensor, weights_reference: Tensor) -> Tensor:
        signed = torch.cat([weights_generated, -weights_reference], 1)
        per_channel = [signed[:, order[:, c]].cumsum(1)[:, :-1].abs() @ gaps[:, c] for c in range(values.shape[1])]
        return torch.stack(per_channel, 1) / weights_generated.sum(1, keepdim=True)

    return distance


def channel_wasserstein(generated: Array, reference: Array) -> float:
    """Mean over the channels of the 1-D Wasserstein distance between generated and real photon sums.

    mean_c int |F_generated,c(s) - F_reference,c(s)| ds

    (N, H, W), (M, H, W) photon counts or (N, C), (M, C) channel sums -> photons, >= 0, lower is better. Blind to
    correlations between channels and to conditions. Biased upward at finite N: two independent samples of one
    distribution do not score 0, see the floor.

    Reference: Deja et al., "End-to-end Sinkhorn Autoencoder with Noise Generator", section 4.
    """
    return float(wasserstein_1d(*_channels(generated, reference)).mean())


@dataclass(frozen=True)
class WassersteinStream:
    """`channel_wasserstein` from the sorted sums of each channel. Its error is that of the subsample.

    `sums`: the channel sums of events, (N, C).
    """

    sums: Callable[[Events], Tensor]
    stratified: bool = True
    below: int = sys.maxsize

    def summary(self, chunk: Comparison, row: Tensor, whole: Whole) -> Sorted:
        """See Stream."""
        return Sorted.of(self.sums(chunk.generated))

    def estimate(self, total: Sorted, whole: Whole) -> Estimate:
        """See Stream."""
        distances = []
        for run, real in zip(total.columns(), self.sums(whole.events).T, strict=True):
            weights = run.counts.double()[None] * len(real), run.counts.sum().double().expand(1, len(real))
            distances.append(weighted_wasserstein(run.sample()[:, None], real[:, None])(*weights)[0, 0])
        parts = dict(zip(_names(len(distances)), map(float, distances), strict=True))
        return Estimate(float(torch.stack(distances).mean()), None, int(run.counts.sum()), parts)


def sums_of(variant: str | None = None) -> Callable[[Events], Tensor]:
    """What gives the channel sums of events: the task's own, or those of a variant."""

    def sums(events: Events) -> Tensor:
        return events.derived("channels") if variant is None else channel_sums(events.samples, variant)

    return sums


@metric(
    "channel_wasserstein/1",
    unit="photons",
    label="channel Wasserstein",
    meaning="How far the distribution of the photon sum in each read-out channel is from the real one, in photons, "
    "averaged over the channels.",
    of=channel_wasserstein,
    stream=WassersteinStream(sums_of()),
)
@stratified
def channel_wasserstein_metric(pair: Comparison) -> Estimate:
    """Distance between generated and real photon sums, mean over the 5 read-out channels."""
    return wasserstein_estimate(*pair.derived("channels"), pair.generated.unit_id)


def wasserstein_estimate(generated: Tensor, reference: Tensor, unit_id: Tensor) -> Estimate:
    """Mean distance of the columns of row-paired sums (N, C), each a part, with its bootstrap error over units."""
    distance = weighted_wasserstein(generated, reference)
    per_channel = wasserstein_1d(generated, reference)
    parts = dict(zip(_names(len(per_channel)), per_channel.tolist(), strict=True))
    return bootstrapped(per_channel.mean(), lambda weights: distance(weights, weights).mean(1), unit_id, parts)


def channel_mae(generated: Array, reference: Array) -> float:
    """Mean over events and channels of abs(generated - real), row-paired.

    (N, H, W), (N, H, W) photon counts or (N, C), (N, C) channel sums, row by row of one condition -> photons, >= 0.
    Lower looks better, but a constant median beats a perfect sampler, so it never ranks.

    Reference: Deja et al., "End-to-end Sinkhorn Autoencoder with Noise Generator", table 1.
    """
    first, second = _channels(generated, reference, paired=True)
    return float((first - second).abs().mean())


def mae_stream(sums: Callable[[Events], Tensor], *, stratified: bool = True) -> RowStream:
    """`channel_mae` of the channel sums that `sums` gives, its channels as parts."""

    def errors(chunk: Comparison) -> Tensor:
        error = (sums(chunk.generated) - sums(chunk.reference)).abs()
        return torch.cat([error, error.mean(1, keepdim=True)], 1)

    def estimate(rows: Rows, reference: Events) -> Estimate:
        parts = dict(zip(_names(rows.mean.shape[1] - 1), rows.mean[:, :-1].mean(0).tolist(), strict=True))
        return bootstrap_mean(rows.mean[:, -1], reference.unit_id, {**parts, "sd": rows.sd(-1)})

    return RowStream(errors, estimate, stratified)


MAE = mae_stream(sums_of())


@metric(
    "channel_mae/1",
    unit="photons",
    ranks=False,
    label="channel MAE",
    meaning="Photon error per channel, event by event against the real answer; a constant guess does well here, "
    "so it ranks nothing.",
    of=channel_mae,
    stream=MAE,
)
@stratified
def channel_mae_metric(pair: Comparison) -> Estimate:
    """Row-paired absolute error of the channel sums; rewards collapse, so it only reports."""
    return of_pair(MAE, pair)


def conditional_energies(
    generated: Tensor, reference: Tensor, condition: Tensor, conditions: int
) -> tuple[Tensor, Tensor]:
    """2E|X-Y| - E|X-X'| - E|Y-Y'| within each condition, U-statistics: (N, C) rows -> (conditions,); and E|Y-Y'|,
    (conditions,)."""
    x, mask_x = by_condition(generated, condition, conditions)
    y, mask_y = by_condition(reference, condition, conditions)

    def mean(a: Tensor, mask_a: Tensor, b: Tensor, mask_b: Tensor, pairs: Tensor) -> Tensor:
        distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        return (distance * mask_a[:, :, None] * mask_b[:, None, :]).sum((1, 2)) / pairs

    n = mask_x.sum(1)
    between = mean(x, mask_x, y, mask_y, n * n)
    spread = mean(y, mask_y, y, mask_y, n * (n - 1))
    return 2 * between - mean(x, mask_x, x, mask_x, n * (n - 1)) - spread, spread


def conditional_energy(generated: Array, reference: Array, condition_id: Array) -> float:
    """Energy distance of the channel sums' square roots within each condition, averaged over conditions.

    mean_c [ 2 E|X-Y| - E|X-X'| - E|Y-Y'| ], X and Y = sqrt(channel sums), generated and real, of condition c

    (N, H, W), (N, H, W) photon counts or (N, C), (N, C) channel sums, row i of both of condition_id[i] (N,), at least 2
    events of each -> sqrt(photons), lower is better. Unbiased at any number of repeats (a U-statistic): 0 on average
    for a perfect model, below 0 by chance, above 0 in expectation for any other.

    Reference: Szekely and Rizzo, "Energy statistics", J. Stat. Plan. Inference 143 (2013), section 2.
    """
    first, second = _channels(generated, reference, paired=True)
    condition, count = _conditions(condition_id, len(first))
    return float(conditional_energies(first.sqrt(), second.sqrt(), condition, count)[0].mean())


@metric(
    "conditional_energy/1",
    unit="√photons",
    meaning="How far the answers to one and the same particle are from the real ones, averaged over particles; "
    "0 for a perfect model.",
    of=conditional_energy,
)
@stratified
def conditional_energy_metric(pair: Comparison) -> Estimate:
    """Distance between the generated and real answers to one and the same particle, mean over particles."""
    generated, reference = pair.derived("channels")
    condition, count = _conditions(pair.generated.condition_id, len(pair))
    values, spread = conditional_energies(generated.sqrt(), reference.sqrt(), condition, count)
    parts = {"real_spread": float(spread.mean())}
    return replace(bootstrap_mean(values, torch.arange(count), parts), n=len(pair))


@metric(
    "conditional_wasserstein/1",
    unit="photons",
    ranks=False,
    label="conditional Wasserstein",
    meaning="Distance between four generated and four real answers to the same particle; "
    "it flatters samples with too little spread.",
)
@stratified
def conditional_wasserstein_metric(pair: Comparison) -> Estimate:
    """Distance of 4 generated to 4 real answers to one particle (`real`: of 4 other real ones); prefers shrinkage."""
    condition, count = _conditions(pair.generated.condition_id, len(pair), least=2 * HALF)
    x, y = (by_condition(channels, condition, count)[0] for channels in pair.derived("channels"))
    repeats, rng = int(torch.bincount(condition).min()), torch.Generator().manual_seed(SEED)
    splits = ([torch.randperm(repeats, generator=rng) for _ in range(2)] for _ in range(SPLITS))
    generated, real = torch.stack([_halves_distance(x, y, *split) for split in splits]).mean(0)
    mean = bootstrap_mean(generated, torch.arange(count), {"real": float(real.mean())})
    return replace(mean, n=len(pair))


def _halves_distance(generated: Tensor, real: Tensor, order: Tensor, drawn: Tensor) -> Tensor:
    """Mean distance of 4 generated, and of 4 other real answers, to 4 real ones: (conditions, R, C) -> (2, ...)."""
    half, rest, made = real[:, order[:HALF]], real[:, order[HALF : 2 * HALF]], generated[:, drawn[:HALF]]
    half, rest, made = (values.sort(1).values for values in (half, rest, made))
    return torch.stack([(made - half).abs().mean((1, 2)), (rest - half).abs().mean((1, 2))])


def _within_variance(values: Tensor, condition: Tensor, conditions: int) -> Tensor:
    """Unbiased variance of each column within each condition: (N, C) -> (conditions, C)."""
    grouped, mask = by_condition(values, condition, conditions)
    n = mask.sum(1)[:, None]
    mean = grouped.sum(1) / n
    return ((grouped - mean[:, None]).square() * mask[..., None]).sum(1) / (n - 1)


def dispersion_ratio(generated: Array, reference: Array, condition_id: Array) -> float:
    """Spread of the answers to one condition, generated over real, each condition counting about equally.

    mean_channel sum_c g_c / sum_c r_c,   (g_c, r_c) = (sd_generated, sd_real) / sqrt(sd_generated^2 + sd_real^2)

    sd is the standard deviation of sqrt(photons) within condition c, whose Poisson part is the same for every particle.

    Args:
        generated: (N, H, W) photon counts or (N, C) channel sums; row i answers condition_id[i].
        reference: the same shape.
        condition_id: (N,) integers; every condition needs 2 events or more.

    Returns:
        The ratio, dimensionless; target 1, 0 is collapse, above 1 is too much noise. (g_c, r_c) lies on the unit
        circle: no condition can
        outweigh the others, whatever its energy; a channel in which neither side varies does not count. The mean is 1
        at the truth with any
        number of repeats; away from it the ratio is drawn towards 1 (half the spread reads .52 with 8 repeats, .55 with
        4, .63 with 2).

    Raises:
        UsageError: a condition has a single event, or the real answers do not vary.
    """
    first, second = _channels(generated, reference, paired=True)
    condition, count = _conditions(condition_id, len(first))
    return float(_dispersion(first, second, condition, count)(torch.ones(1, count, dtype=torch.float64)).mean())


def _dispersion(generated: Tensor, reference: Tensor, condition: Tensor, conditions: int) -> Callable[[Tensor], Tensor]:
    """The ratio per channel as a function of condition weights (B, conditions) -> (B, C)."""
    variances = [_within_variance(side.sqrt(), condition, conditions) for side in (generated, reference)]
    if not bool((variances[1].sum(0) > 0).all()):
        raise UsageError("the real answers to a condition do not vary: there is no dispersion to compare with")
    scale = (variances[0] + variances[1]).clamp(min=1e-300)
    g, r = ((variance / scale).sqrt() for variance in variances)
    return lambda weights: (weights @ g) / (weights @ r).clamp(min=1e-300)


@metric(
    "dispersion_ratio/2",
    direction="target",
    target=1.0,
    label="dispersion",
    meaning="How much the answers to one and the same particle spread, relative to the real ones, every particle "
    "counting equally: 1 is right, 0 is collapse.",
    of=dispersion_ratio,
)
@stratified
def dispersion_ratio_metric(pair: Comparison) -> Estimate:
    """Spread of the answers to one and the same particle, generated over real, every particle counting equally; 0 is
    collapse."""
    generated, reference = pair.derived("channels")
    condition, count = _conditions(pair.generated.condition_id, len(pair))
    ratio = _dispersion(generated, reference, condition, count)
    per_channel = ratio(torch.ones(1, count, dtype=torch.float64))[0]
    parts = dict(zip(_names(len(per_channel)), per_channel.tolist(), strict=True))
    estimate = bootstrapped(per_channel.mean(), lambda weights: ratio(weights).mean(1), torch.arange(count), parts)
    return replace(estimate, n=len(pair))


def empty_fraction(generated: Array, reference: Array) -> float:
    """Share of all-zero events, generated minus real: (N, ...), (M, ...) -> [-1, 1]; target 0."""
    first, second = (events.flatten(1) for events in as_photons(generated, reference))
    return float((first == 0).all(1).double().mean() - (second == 0).all(1).double().mean())


def _empty(events: Events) -> Tensor:
    return (events.derived("channels").sum(1) == 0).double()


def _empty_estimate(rows: Rows, reference: Events) -> Estimate:
    generated, real = rows.mean[:, 0], _empty(reference)
    parts = {"generated": float(generated.mean()), "real": float(real.mean())}
    return bootstrap_mean(generated - real, reference.unit_id, parts)


EMPTY = RowStream(lambda chunk: _empty(chunk.generated)[:, None], _empty_estimate)


@metric(
    "empty_fraction/1",
    share=True,
    direction="target",
    target=0.0,
    meaning="Share of events without a single photon, generated minus real: 0 is right.",
    of=empty_fraction,
    stream=EMPTY,
)
@stratified
def empty_fraction_metric(pair: Comparison) -> Estimate:
    """Share of all-zero events, generated minus real."""
    return of_pair(EMPTY, pair)


def _ranks(values: Tensor) -> Tensor:
    """Average ranks of each column, ties shared: (N, C) -> (N, C) float64."""
    columns = []
    for column in values.T:
        _, inverse, counts = torch.unique(column, return_inverse=True, return_counts=True)
        columns.append((counts.cumsum(0).double() - (counts.double() - 1) / 2)[inverse])
    return torch.stack(columns, 1)


def _correlations(ranks: Tensor, weights: Tensor) -> Tensor:
    """Weighted correlation matrices of the columns: (N, C), (B, N) -> (B, C, C); 0 for a constant column."""
    total = weights.sum(1)[:, None]
    products = (ranks[:, :, None] * ranks[:, None, :]).flatten(1)
    mean = weights @ ranks / total
    covariance = (weights @ products / total).unflatten(1, (ranks.shape[1], -1)) - mean[:, :, None] * mean[:, None, :]
    sd = covariance.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    scale = sd[:, :, None] * sd[:, None, :]
    return torch.where(scale > 1e-9, covariance / scale.clamp(min=1e-9), 0.0)


def correlation_distance(generated: Array, reference: Array) -> float:
    """Frobenius norm of the difference of the channels' rank-correlation matrices (Spearman; ties share a mean rank).

    (N, H, W), (M, H, W) counts -> [0, 2C), lower is better. Channel Wasserstein cannot see correlations; this sees
    nothing else.
    """
    first, second = _channels(generated, reference)
    a, b = (_correlations(_ranks(x), x.new_ones(1, len(x))) for x in (first, second))
    return float((a - b).square().sum().sqrt())


@metric(
    "correlation_distance/1",
    meaning="How far the rank correlations between the five channels are from the real ones.",
    of=correlation_distance,
)
@stratified
def correlation_distance_metric(pair: Comparison) -> Estimate:
    """Distance between the generated and real rank correlations of the channels."""
    ranks = [_ranks(channels) for channels in pair.derived("channels")]

    def distance(weights: Tensor) -> Tensor:
        return (_correlations(ranks[0], weights) - _correlations(ranks[1], weights)).square().sum((1, 2)).sqrt()

    return bootstrapped(distance(torch.ones(1, len(pair), dtype=torch.float64)), distance, pair.generated.unit_id)
