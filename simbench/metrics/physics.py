"""The shower's physics features, and the metrics that compare their distributions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simbench.metrics.arrays import Array, as_features, as_photons
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.channels import channel_sums
from simbench.metrics.frechet import frechet_distance, weighted_frechet
from simbench.metrics.kernel import kernel_distance
from simbench.metrics.resampling import bootstrapped, by_stratum

PHYSICS_FEATURES = (
    "photon sum", "ch1", "ch2", "ch3", "ch4", "ch5", "centre x", "centre y", "width x", "width y", "largest pixel", "occupied pixels",
    "share within 3", "share within 6", "asymmetry left-right", "asymmetry top-bottom", "asymmetry diagonal",
)  # fmt: skip
"""Columns of `physics_features`."""

QUANTILES = (0.05, 0.95)
"""The scale of a feature is the reference's range between these quantiles: one outlier does not move it."""

BINS = 50


def physics_features(samples: Array) -> Tensor:
    """What a physicist reads off a shower: (N, H, W) photon counts -> (N, 17) float64, columns `PHYSICS_FEATURES`.

    Photons for the sums and the largest pixel; pixels for centre of gravity, widths (standard deviation) and the number of occupied
    pixels; the shares of photons within 3 and 6 pixels of the centre of gravity and the asymmetries (right - left, bottom - top, one diagonal
    pair of quadrants - the other, over the sum) are without unit. An empty event has its centre in the middle and 0 elsewhere.
    """
    photons = torch.as_tensor(samples).to(torch.float64)
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
        total, *channels.T, centre_x, centre_y, torch.where(empty, 0.0, width_x), torch.where(empty, 0.0, width_y),
        photons.flatten(1).amax(1), (photons > 0).flatten(1).sum(1).to(torch.float64), *near, *asymmetries,
    ]  # fmt: skip
    return torch.stack(features, 1)


def quantile_scaled(generated: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in units of the reference's median and inter-quantile range, per column; a constant column is only centred."""
    low, middle, high = torch.quantile(
        reference, torch.tensor([QUANTILES[0], 0.5, QUANTILES[1]], dtype=reference.dtype), dim=0
    )
    scale = torch.where(high > low, high - low, 1.0)
    return (generated - middle) / scale, (reference - middle) / scale


@metric("fpd/1")
def fpd_metric(pair: Comparison) -> Estimate:
    """Frechet distance of the physics features, scaled by the real inter-quantile range (Frechet physics distance, plain, at this N)."""
    generated, reference = quantile_scaled(*pair.derived("physics"))
    value = frechet_distance(generated, reference)
    return bootstrapped(value, lambda weights: weighted_frechet(generated, reference, weights), pair.generated.unit_id)


@metric("kpd/1")
def kpd_metric(pair: Comparison) -> Estimate:
    """Unbiased squared MMD of the physics features with the kernel (x.y/d + 1)^4 (kernel physics distance), batches of 1000."""
    return kernel_distance(pair, *quantile_scaled(*pair.derived("physics")), degree=4)


def separation(generated: Array, reference: Array, bins: int = BINS) -> Tensor:
    """Separation power of each feature's histogram.

    1/2 sum_b (p_b - q_b)^2 / (p_b + q_b)

    Args:
        generated: (N, d) features.
        reference: (M, d) features; the bins' edges are its quantiles, so that equally many real events are in each (fewer where values tie).
        bins: bins per feature.

    Returns:
        (d,) the power, in [0, 1]; lower is better. Biased upward at finite N by about bins / 2 * (1/N + 1/M) / 2.

    Reference: Diefenbacher et al., "DCTRGAN" (arXiv:2009.03796), eq. (15).
    """
    x, y = (values.to(torch.float64) for values in as_features(generated, reference))
    power = _weighted_separation(x, y, bins)
    return power(x.new_ones(1, len(x)), y.new_ones(1, len(y)))[0]


def _weighted_separation(generated: Tensor, reference: Tensor, bins: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The power as a function of event weights (B, N), (B, M) -> (B, d)."""
    inner = torch.arange(1, bins, dtype=torch.float64, device=reference.device) / bins
    one_hot = []
    for g, r in zip(generated.T.contiguous(), reference.T.contiguous(), strict=True):
        edges = torch.quantile(r, inner).unique()
        pair = [
            torch.nn.functional.one_hot(torch.bucketize(v, edges, right=True), len(edges) + 1).to(torch.float64)
            for v in (g, r)
        ]
        one_hot.append(pair)

    def power(weights_generated: Tensor, weights_reference: Tensor) -> Tensor:
        total_g, total_r = weights_generated.sum(1, keepdim=True), weights_reference.sum(1, keepdim=True)
        per_feature = []
        for g, r in one_hot:
            p, q = weights_generated @ g / total_g, weights_reference @ r / total_r
            per_feature.append(((p - q).square() / (p + q).clamp(min=1e-300)).sum(1) / 2)
        return torch.stack(per_feature, 1)

    return power


@metric("separation/1")
def separation_metric(pair: Comparison) -> Estimate:
    """Separation power of the physics features' histograms, mean over features."""
    generated, reference = pair.derived("physics")
    power = _weighted_separation(generated, reference, BINS)
    ones = torch.ones(1, len(pair), dtype=torch.float64)
    value = power(ones, ones)[0]
    parts = dict(zip(PHYSICS_FEATURES, value.tolist(), strict=True))
    return bootstrapped(value.mean(), lambda weights: power(weights, weights).mean(1), pair.generated.unit_id, parts)


def rmse(generated: Array, reference: Array) -> float:
    """Square root of the mean over events and pixels of the squared difference, row-paired: (N, ...), (N, ...) -> task units, >= 0."""
    x, y = as_photons(generated, reference, paired=True)
    return float((x - y).square().mean().sqrt())


@metric("rmse/1", unit="photons", ranks=False)
def rmse_metric(pair: Comparison) -> Estimate:
    """Root of the mean squared pixel difference, row-paired; rewards collapse, so it only reports."""

    def estimate(pair: Comparison) -> Estimate:
        squared = (pair.generated.samples.double() - pair.reference.samples.double()).square().flatten(1).mean(1)
        root = squared.mean().sqrt()
        return bootstrapped(root, lambda weights: (weights @ squared / weights.sum(1)).sqrt(), pair.generated.unit_id)

    return by_stratum(pair, estimate)
