"""Frechet distance between Gaussians fitted to two sets of features (FID on whatever features it is given)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.arrays import Array, as_features
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import GROUPS, PAIR_GROUPS, jackknife_groups, jackknifed_distance, stratified
from simbench.metrics.streams import Sums, Whole


def frechet_distance(generated: Array, reference: Array) -> float:
    """Squared 2-Wasserstein distance of the Gaussians that share the samples' means and unbiased covariances.

    |m1 - m2|^2 + tr S1 + tr S2 - 2 ||S1^1/2 S2^1/2||_*      (nuclear norm: the sum of singular values)

    (N, d), (M, d) features, N and M >= 2 -> squared feature units, >= 0 up to rounding, lower is better. Never complex
    or NaN, whatever the rank.

    Estimator: biased upwards by O(1/N) at given N; compare only at equal N. Float64 throughout. The nuclear norm equals
    tr (S1 S2)^1/2 but needs no root of a non-symmetric matrix: with any factors S = F'F it is the nuclear norm of F1
    F2', here of the centred data where N <= d.

    Reference: Heusel et al. 2017 (arXiv:1706.08500), eq. (6); Dowson and Landau 1982.
    """
    x, y = as_features(generated, reference, minimum=2)
    (mean_x, factor_x), (mean_y, factor_y) = _gaussian(x), _gaussian(y)
    traces = factor_x.square().sum() + factor_y.square().sum()
    overlap = torch.linalg.svdvals(factor_x @ factor_y.T).sum()
    return float((mean_x - mean_y).square().sum() + traces - 2 * overlap)


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (d,) of features (N, d), and a matrix F, (min(N, d), d), with F'F their unbiased covariance; float64."""
    centred = features.to(torch.float64, copy=True)
    mean = centred.mean(0)
    centred -= mean
    freedom = len(centred) - 1
    return mean, centred / freedom**0.5 if freedom < centred.shape[1] else _covariance_root(_gram(centred) / freedom)


def _gram(values: Tensor) -> Tensor:
    """X'X, (d, d): large ones on a CPU by numpy, which sees that the product is symmetric and does half the work."""
    if values.is_cuda or values.shape[1] <= 512:
        return values.T @ values
    array = values.numpy()
    return torch.from_numpy(array.T @ array)


def _covariance_root(covariance: Tensor) -> Tensor:
    """F with F'F = covariance, (..., d, d): Cholesky's, or, where one is singular, from its clipped eigenvalues."""
    triangle, failed = torch.linalg.cholesky_ex(covariance)
    if not bool(failed.any()):
        return cast(Tensor, triangle.mT)
    values, vectors = torch.linalg.eigh(covariance)
    return cast(Tensor, values.clamp(min=0).sqrt().unsqueeze(-1) * vectors.mT)


def frechet_left_out(generated: Tensor, reference: Tensor, group: Tensor) -> Tensor:
    """Frechet distance with each group of rows left out on both sides: (N, d), (N, d), (N,) -> (G,) float64."""
    sides, groups = [side.to(torch.float64) for side in (generated, reference)], int(group.max()) + 1
    centres = [side.mean(0) for side in sides]
    moments = [group_moments(side - centre, group, groups) for side, centre in zip(sides, centres, strict=True)]
    return _gaussian_distances(*(_left_out(*pair) for pair in zip(moments, centres, strict=True)))


def group_moments(centred: Tensor, group: Tensor, groups: int) -> Sums:
    """Of features (N, d) float64, less some centre, by group (N,): how many, (G,), sums (G, d), products (G, d, d)."""
    sizes = torch.bincount(group, minlength=groups)
    parts = centred[torch.argsort(group, stable=True)].split(sizes.tolist())
    sums, products = torch.stack([part.sum(0) for part in parts]), torch.stack([part.T @ part for part in parts])
    return Sums((sizes.to(torch.float64), sums, products))


def _left_out(moments: Sums, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Means (G, d) and unbiased covariances (G, d, d) without each group: the sums of all events minus the group's."""
    sizes, sums, products = moments.tensors
    return _mean_and_covariance(sizes.sum() - sizes, sums.sum(0) - sums, products.sum(0) - products, centre)


def _of_all(moments: Sums) -> tuple[Tensor, Tensor]:
    """Mean (1, d), less the centre, and unbiased covariance (1, d, d) of all groups together."""
    count, sums, products = (part.sum(0, keepdim=True) for part in moments.tensors)
    return _mean_and_covariance(count, sums, products, torch.zeros_like(sums))


def _mean_and_covariance(count: Tensor, sums: Tensor, products: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """(G,), (G, d), (G, d, d) -> (G, d), (G, d, d)."""
    count = count.unsqueeze(1)
    mean = sums / count
    scatter = products - count.unsqueeze(1) * mean.unsqueeze(2) * mean.unsqueeze(1)
    return mean + centre, scatter / (count.unsqueeze(1) - 1)


def _gaussian_distances(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> Tensor:
    """Frechet distances (G,) of Gaussians with means (G, d) and covariances (G, d, d)."""
    (mean_x, covariance_x), (mean_y, covariance_y) = x, y
    traces = (covariance_x + covariance_y).diagonal(dim1=1, dim2=2).sum(1)
    overlap = torch.linalg.svdvals(_covariance_root(covariance_x) @ _covariance_root(covariance_y).mT).sum(1)
    distance: Tensor = (mean_x - mean_y).square().sum(1) + traces - 2 * overlap
    return distance


@dataclass(frozen=True)
class FrechetStream:
    """A Frechet distance from the moments of features, in groups of units for the jackknife.

    Attributes:
        features: the features of events, (N, d).
        scale: their middle (d,) and scale (d,), from those of the reference; None: as they are.
    """

    features: Callable[[Events], Tensor]
    scale: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    stratified: bool = True
    below: int = sys.maxsize

    def summary(self, chunk: Comparison, row: Tensor, whole: Whole) -> Sums:
        """See Stream."""
        centre, scale, groups, _ = self._reference(whole)
        centred = (self.features(chunk.generated).to(torch.float64) - centre) / scale
        return group_moments(centred, groups[row], int(groups.max()) + 1)

    def estimate(self, total: Sums, whole: Whole) -> Estimate:
        """See Stream."""
        centre, _, groups, real = self._reference(whole)
        count, d = int(total.tensors[0].sum()), len(centre)
        _more_events_than_features(min(count, len(whole)), d)
        zero = torch.zeros_like(centre)

        def left_out(group: Tensor) -> Tensor:
            return _gaussian_distances(*(_left_out(side, zero) for side in (total, real)))

        value = _gaussian_distances(_of_all(total), _of_all(real))[0]
        found = jackknifed_distance(value, left_out, whole.events.unit_id, groups=int(groups.max()) + 1)
        return replace(found, n=count)

    def _reference(self, whole: Whole) -> tuple[Tensor, Tensor, Tensor, Sums]:
        """Mean and scale of the reference's features, the group of each row, and the moments of the groups."""

        def compute() -> tuple[Tensor, Tensor, Tensor, Sums]:
            real = self.features(whole.events).to(torch.float64)
            scale = self.scale(real)[1] if self.scale else torch.ones_like(real[0])
            centre, groups = real.mean(0), jackknife_groups(whole.events.unit_id, groups_of(real))
            return centre, scale, groups, group_moments((real - centre) / scale, groups, int(groups.max()) + 1)

        return whole.memo(self, compute)


@metric(
    "lenet_fid/1",
    label="LeNet FID",
    meaning="How far mean and covariance of the features that a pinned LeNet-5 reads off the events are from the real "
    "ones.",
    of=frechet_distance,
    stream=FrechetStream(lambda events: events.derived("features")),
)
@stratified
def lenet_fid_metric(pair: Comparison) -> Estimate:
    """Frechet distance of Gaussians fitted to the pinned LeNet-5's 84 penultimate activations."""
    return _feature_frechet(pair)


@metric(
    "inception_fid/1",
    label="Inception FID",
    meaning="How far mean and covariance of the features that a pinned Inception network reads off the images are from "
    "the real ones.",
    of=frechet_distance,
)
def inception_fid_metric(pair: Comparison) -> Estimate:
    """Frechet distance of Gaussians fitted to the 2048 features of the TF-compatible Inception-v3."""
    return _feature_frechet(pair)


def _feature_frechet(pair: Comparison) -> Estimate:
    x, y = as_features(*pair.derived("features"), minimum=2)
    more_events_than_features(x)

    def left_out(group: Tensor) -> Tensor:
        return frechet_left_out(x, y, group.to(x.device)).cpu()

    return jackknifed_distance(frechet_distance(x, y), left_out, pair.generated.unit_id, groups=groups_of(x))


def groups_of(features: Tensor) -> int:
    """The jackknife's groups for features (N, d): fewer of many features, whose covariances take time and memory."""
    return PAIR_GROUPS if features.shape[1] <= 256 else GROUPS


def more_events_than_features(features: Tensor) -> None:
    """Raises UsageError where features (N, d) have N <= d: with a singular covariance the distance tells only N."""
    _more_events_than_features(*features.shape)


def _more_events_than_features(n: int, d: int) -> None:
    if n <= d:
        raise UsageError(
            "a covariance needs more events than features",
            got=f"{n} events of {d} features",
            expected=f"more than {d} events",
            fix=f"Ask for more, e.g. --events {10 * d}.",
        )
