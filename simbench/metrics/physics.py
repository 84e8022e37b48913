"""The shower's physics features, and the metrics that compare their distributions."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from simbench.metrics.arrays import Array, as_features, as_photons
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.channels import channel_sums
from simbench.metrics.frechet import (
    FrechetStream,
    frechet_distance,
    frechet_left_out,
    groups_of,
    more_events_than_features,
)
from simbench.metrics.kernel import kernel_distance
from simbench.metrics.resampling import (
    PAIR_GROUPS,
    SEED,
    bootstrapped,
    jackknife_groups,
    jackknifed_distance,
    stratified,
)
from simbench.metrics.streams import RowStream, Sums, Whole, of_pair

PHYSICS_FEATURES = (
    "photon sum", "ch1", "ch2", "ch3", "ch4", "ch5", "centre x", "centre y", "width x", "width y",
    "largest pixel", "occupied pixels", "share within 3", "share within 6",
    "asymmetry left-right", "asymmetry top-bottom", "asymmetry diagonal",
)  # fmt: skip
"""Columns of `physics_features`."""

QUANTILES = (0.05, 0.95)
"""The scale of a feature is the reference's range between these quantiles: one outlier does not move it."""

CHUNK = 125
"""Events at a time, in double precision: arrays of 2 MB. With 2000 events the same takes three times as long."""

BINS = 50
EXTRAPOLATED = 50_000
"""From this many events on `fpd` is extrapolated to infinitely many."""


def physics_features(samples: Array) -> Tensor:
    """What a physicist reads off a shower: (N, H, W) photon counts -> (N, 17) float64, columns `PHYSICS_FEATURES`.

    Photons for the sums and the largest pixel; pixels for centre of gravity, widths (standard deviation) and the number
    of occupied pixels; the shares of photons within 3 and 6 pixels of the centre of gravity and the asymmetries (right
    - left, bottom - top, one diagonal pair of quadrants - the other, over the sum) are without unit. An empty event has
    its centre in the middle and 0 elsewhere.
    """
    return torch.cat([_physics_features(part) for part in torch.as_tensor(samples).split(CHUNK)])


def _physics_features(samples: Tensor) -> Tensor:
    photons = samples.to(torch.float64)
    channels = channel_sums(photons)
    height, width = photons.shape[1:]
    total = photons.sum((1, 2))
    safe = total.clamp(min=1e-300)
    columns, rows = photons.sum(1), photons.sum(2)
    x, y = (torch.arange(size, dtype=torch.float64, device=photons.device) for size in (width, height))
    middle = (width - 1) / 2, (height - 1) / 2
    empty = total == 0
    centre_x = torch.where(empty, middle[0], columns @ x / safe)
    centre_y = torch.where(empty, middle[1], rows @ y / safe)
    width_x = ((columns @ x.square() / safe - centre_x.square()).clamp(min=0)).sqrt()
    width_y = ((rows @ y.square() / safe - centre_y.square()).clamp(min=0)).sqrt()
    radius = (x[None, None, :] - centre_x[:, None, None]).square() + (
        y[None, :, None] - centre_y[:, None, None]
    ).square()
    near = [torch.where(radius <= r * r, photons, 0.0).sum((1, 2)) / safe for r in (3, 6)]
    left, top = columns[:, : width // 2].sum(1), rows[:, : height // 2].sum(1)
    diagonal = photons[:, : height // 2, : width // 2].sum((1, 2)) + photons[:, height // 2 :, width // 2 :].sum((1, 2))
    asymmetries = [torch.where(empty, 0.0, 1 - 2 * part / safe) for part in (left, top, diagonal)]
    features = [
        total,
        *channels.T,
        centre_x,
        centre_y,
        torch.where(empty, 0.0, width_x),
        torch.where(empty, 0.0, width_y),
        photons.flatten(1).amax(1),
        (photons > 0).flatten(1).sum(1).to(torch.float64),
        *near,
        *asymmetries,
    ]
    return torch.stack(features, 1)


def quantile_scaled(generated: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in units of the reference's median and inter-quantile range; a constant column is only centred."""
    middle, scale = quantile_scale(reference)
    return (generated - middle) / scale, (reference - middle) / scale


def quantile_scale(reference: Tensor) -> tuple[Tensor, Tensor]:
    """The median and the inter-quantile range of each column, (d,), (d,); 1 for the range of a constant one."""
    low, middle, high = torch.quantile(
        reference, torch.tensor([QUANTILES[0], 0.5, QUANTILES[1]], dtype=reference.dtype), dim=0
    )
    return middle, torch.where(high > low, high - low, 1.0)


def _features(generated: Array, reference: Array, *, minimum: int = 1) -> tuple[Tensor, Tensor]:
    x, y = as_features(generated, reference, minimum=minimum)
    return x.to(torch.float64), y.to(torch.float64)


def separation(generated: Array, reference: Array, bins: int = BINS) -> Tensor:
    """Separation power of each feature's histogram.

    1/2 sum_b (p_b - q_b)^2 / (p_b + q_b)

    (N, d), (M, d) features -> (d,), in [0, 1], lower is better. The bins' edges are quantiles of the reference, so that
    equally many real events are in each. Biased upward at finite N by about bins / 2 * (1/N + 1/M) / 2.

    Reference: Diefenbacher et al., "DCTRGAN" (arXiv:2009.03796).
    """
    x, y = _features(generated, reference)
    edges = _edges(y, bins)
    p, q = (
        _histograms(side, edges, torch.zeros(len(side), dtype=torch.int64, device=side.device), 1)[0] for side in (x, y)
    )
    return separation_power(p / len(x), q / len(y))


def _edges(reference: Tensor, bins: int = BINS) -> list[Tensor]:
    """The inner edges of each feature's bins; fewer where events tie."""
    inner = torch.arange(1, bins, dtype=torch.float64, device=reference.device) / bins
    return [torch.quantile(values, inner).unique() for values in reference.T.contiguous()]


def _histograms(features: Tensor, edges: list[Tensor], group: Tensor, groups: int) -> Tensor:
    """How many events (N, d) of each group (N,) are in each bin of each feature: (G, d, B) float64."""
    bins = max(map(len, edges)) + 1
    counts = [
        torch.bincount(group * bins + torch.bucketize(values, inner, right=True), minlength=groups * bins)
        for values, inner in zip(features.T.contiguous(), edges, strict=True)
    ]
    by_group: Tensor = torch.stack(counts).unflatten(1, (groups, bins)).transpose(0, 1)
    return by_group.double()


def separation_power(p: Tensor, q: Tensor) -> Tensor:
    """1/2 sum_b (p_b - q_b)^2 / (p_b + q_b) of shares of events in bins, (..., B) and (..., B) -> (...)."""
    return ((p - q).square() / (p + q).clamp(min=1e-300)).sum(-1) / 2


@dataclass(frozen=True)
class SeparationStream:
    """The mean separation of the physics features from their histograms, in groups of units for the jackknife."""

    stratified: bool = True
    below: int = sys.maxsize

    def summary(self, chunk: Comparison, row: Tensor, whole: Whole) -> Sums:
        """See Stream."""
        edges, groups, _ = self._reference(whole)
        features = chunk.generated.derived("physics").to(torch.float64)
        return Sums((_histograms(features, edges, groups[row], int(groups.max()) + 1),))

    def estimate(self, total: Sums, whole: Whole) -> Estimate:
        """See Stream."""
        groups, real = self._reference(whole)[1:]
        sides = [total.tensors[0], real]
        events = [side[:, :1].sum(2, keepdim=True) for side in sides]  # (G, 1, 1)
        values = separation_power(*(side.sum(0) / n.sum() for side, n in zip(sides, events, strict=True)))
        parts = (
            dict(zip(PHYSICS_FEATURES, values.tolist(), strict=True)) if len(values) == len(PHYSICS_FEATURES) else {}
        )

        def powers(group: Tensor) -> Tensor:
            left_out = ((side.sum(0) - side) / (n.sum() - n) for side, n in zip(sides, events, strict=True))
            return separation_power(*left_out).mean(1)

        found = jackknifed_distance(values.mean(), powers, whole.events.unit_id, parts, groups=int(groups.max()) + 1)
        return replace(found, n=int(events[0].sum()))

    def _reference(self, whole: Whole) -> tuple[list[Tensor], Tensor, Tensor]:
        """The edges of the bins, the group of each row, and the histograms of the real events."""

        def compute() -> tuple[list[Tensor], Tensor, Tensor]:
            real = whole.events.derived("physics").to(torch.float64)
            edges, groups = _edges(real), jackknife_groups(whole.events.unit_id, PAIR_GROUPS)
            return edges, groups, _histograms(real, edges, groups, int(groups.max()) + 1)

        return whole.memo(self, compute)


SEPARATION = SeparationStream()


@metric(
    "separation/1",
    meaning="How far the distributions of the shower's physics quantities are from the real ones, bin by bin: "
    "0 is equal, 1 is apart.",
    of=separation,
    stream=SEPARATION,
)
@stratified
def separation_metric(pair: Comparison) -> Estimate:
    """Separation power of the physics features' histograms, mean over features."""
    _features(*pair.derived("physics"))
    return of_pair(SEPARATION, pair)


def fpd(generated: Array, reference: Array) -> float:
    """Frechet physics distance: the Frechet distance of features scaled by `quantile_scaled`.

    (N, d), (M, d) features, as of `physics_features`, N and M > d -> no unit, lower is better. Plain below EXTRAPOLATED
    events on either side, biased upwards by O(1/N); from there on the limit of infinitely many events, by a straight
    line in 1/N through the means over 20 subsets at each of 10 sizes from 20 000 to 50 000.

    Reference: Kansal et al. 2023 (arXiv:2211.10295), section III; Chong and Forsyth 2020 (arXiv:1911.07023). Differs
    from the former in the scale (quantiles; there the maximum, which one outlier moves) and in drawing subsets without
    replacement: with it the line ends at the distance of the two finite samples, bias and all.
    """
    return _frechet_at_any_size(*quantile_scaled(*_features(generated, reference, minimum=2)))


def _frechet_at_any_size(x: Tensor, y: Tensor) -> float:
    for side in (x, y):
        more_events_than_features(side)
    return _extrapolated(x, y) if min(len(x), len(y)) >= EXTRAPOLATED else frechet_distance(x, y)


def _extrapolated(x: Tensor, y: Tensor) -> float:
    rng = torch.Generator().manual_seed(SEED)
    inverse = torch.linspace(1 / 20_000, 1 / 50_000, 10, dtype=torch.float64)
    means = []
    for size in (1 / inverse).long().tolist():
        subsets = ((torch.randperm(len(side), generator=rng)[:size] for side in (x, y)) for _ in range(20))
        means.append(sum(frechet_distance(x[a], y[b]) for a, b in subsets) / 20)
    design = torch.stack([torch.ones_like(inverse), inverse], 1)
    return float(torch.linalg.lstsq(design, torch.tensor(means, dtype=torch.float64).unsqueeze(1)).solution[0])


@metric(
    "fpd/1",
    label="FPD",
    meaning="How far mean and covariance of the shower's physics quantities are from the real ones.",
    of=fpd,
    stream=FrechetStream(lambda events: events.derived("physics"), quantile_scale, below=EXTRAPOLATED),
)
@stratified
def fpd_metric(pair: Comparison) -> Estimate:
    """Frechet distance of the physics features, scaled by the real inter-quantile range (Frechet physics distance).

    Plain at this N below 50 000 events, extrapolated to infinite N from there on; the error is the jackknife's of the
    plain distance.
    """
    x, y = quantile_scaled(*_features(*pair.derived("physics"), minimum=2))
    value = _frechet_at_any_size(x, y)
    left_out = partial(frechet_left_out, x, y)
    return jackknifed_distance(value, left_out, pair.generated.unit_id, groups=groups_of(x))


@metric(
    "kpd/1",
    label="KPD",
    meaning="How far the shower's physics quantities are from the real ones by a polynomial kernel.",
)
@stratified
def kpd_metric(pair: Comparison) -> Estimate:
    """Unbiased squared MMD of the physics features with the kernel (x.y/d + 1)^4, mean over subsets of 1000."""
    return kernel_distance(pair, *quantile_scaled(*_features(*pair.derived("physics"), minimum=2)), degree=4)


def rmse(generated: Array, reference: Array) -> float:
    """Root of the mean squared difference of pixels, row-paired: (N, ...), (N, ...) -> task units, >= 0."""
    x, y = as_photons(generated, reference, paired=True)
    return float((x - y).square().mean().sqrt())


def error_stream(*, per_pixel: bool = True, stratified: bool = True) -> RowStream:
    """Root of the mean of each event's squared pixel differences: their mean, or their sum."""

    def squared(chunk: Comparison) -> Tensor:
        pixels = chunk.generated.samples[0].numel() if per_pixel else 1
        return squared_errors(chunk)[:, None] / pixels

    return RowStream(squared, lambda rows, reference: root_mean(rows.mean[:, 0], reference.unit_id), stratified)


SQUARED = error_stream()


@metric(
    "rmse/1",
    unit="photons",
    ranks=False,
    label="RMSE",
    meaning="Photon error per pixel, event by event against the real answer; a blurred guess does well here, "
    "so it ranks nothing.",
    of=rmse,
    stream=SQUARED,
)
@stratified
def rmse_metric(pair: Comparison) -> Estimate:
    """Root of the mean squared pixel difference, row-paired; rewards collapse, so it only reports."""
    return of_pair(SQUARED, pair)


def squared_errors(pair: Comparison) -> Tensor:
    """Sum over the pixels of each event's squared difference from its real partner, (N,) float64."""
    sides = zip(pair.generated.samples.split(CHUNK), pair.reference.samples.split(CHUNK), strict=True)
    return torch.cat([(generated.double() - real.double()).square().flatten(1).sum(1) for generated, real in sides])


def root_mean(squared: Tensor, unit_id: Tensor) -> Estimate:
    """Square root of the mean of `squared` (N,), with its bootstrap error over units."""
    return bootstrapped(squared.mean().sqrt(), lambda weights: (weights @ squared / weights.sum(1)).sqrt(), unit_id)
