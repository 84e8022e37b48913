"""Standard errors from sampling: the bootstrap over units and the delete-a-group jackknife.

A unit is what is drawn together: all repeats of a condition where conditions repeat by design, else one event. Both
sides of a comparison share the units of their rows, so a resampled unit brings its generated and its real events. All
seeds are fixed: the same input gives the same error.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from scipy.special import ndtri, stdtrit
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.metrics.base import Comparison, Estimate, MetricFunction, Replicates

RESAMPLES = 200
GROUPS = 20
PAIR_GROUPS = 60
"""Groups of a statistic over pairs or a squared distance: more cost little there and make the error less noisy."""
SEED = 20201211


_resampling = contextvars.ContextVar("resampling", default=True)


@contextmanager
def values_only() -> Iterator[None]:
    """Within the block metrics give their values without errors: for floors, whose spread comes from swaps."""
    token = _resampling.set(False)
    try:
        yield
    finally:
        _resampling.reset(token)


def resampling() -> bool:
    """Whether errors are wanted."""
    return _resampling.get()


def dense(unit_id: Tensor) -> tuple[Tensor, int]:
    """Unit identifiers renumbered 0..U-1, (N,), and U."""
    unique, inverse = torch.unique(unit_id, return_inverse=True)
    return inverse, len(unique)


def by_condition(values: Tensor, condition: Tensor, conditions: int) -> tuple[Tensor, Tensor]:
    """Rows (N, C) by condition, padded with zeros: (conditions, R, C), and the mask (conditions, R) of real rows."""
    order = torch.argsort(condition, stable=True)
    counts = torch.bincount(condition, minlength=conditions)
    slot = torch.arange(len(condition), device=values.device) - (counts.cumsum(0) - counts)[condition[order]]
    gathered = values.new_zeros(conditions, int(counts.max()), values.shape[1])
    mask = torch.zeros(gathered.shape[:2], dtype=values.dtype, device=values.device)
    gathered[condition[order], slot] = values[order]
    mask[condition[order], slot] = 1
    return gathered, mask


def bootstrap_counts(units: int, resamples: int = RESAMPLES, chunk: int = 50) -> Iterator[Tensor]:
    """How often each unit is drawn in each resample, in chunks of (resamples, U) float64; each row sums to U."""
    rng = torch.Generator().manual_seed(SEED)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = torch.randint(units, (rows, units), generator=rng)
        counts = torch.zeros(rows, units, dtype=torch.float64)
        yield counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


def bootstrap(statistic: Callable[[Tensor], Tensor], unit_id: Tensor) -> Tensor:
    """A weighted statistic on bootstrap resamples of the units of events, (RESAMPLES, ...); NaN for a single unit.

    `statistic` maps event weights (resamples, N) float64 to values (resamples, ...).
    """
    inverse, units = dense(unit_id)
    values = torch.cat([statistic(counts[:, inverse]) for counts in bootstrap_counts(units)])
    return values if units > 1 else torch.full_like(values, torch.nan)


def bootstrapped(
    value: Tensor | float,
    statistic: Callable[[Tensor], Tensor],
    unit_id: Tensor,
    parts: Mapping[str, float] | None = None,
) -> Estimate:
    """`value`, its error and replicates by `bootstrap` of a weighted statistic (resamples, N) -> (resamples,)."""
    if not resampling():
        return Estimate(float(value), None, len(unit_id), parts or {})
    values = bootstrap(statistic, unit_id)
    kept = Replicates("bootstrap", tuple(values.tolist())) if bool(torch.isfinite(values).all()) else None
    return Estimate(float(value), finite_or_none(values.std()), len(unit_id), parts or {}, replicates=kept)


def bootstrap_mean(values: Tensor, unit_id: Tensor, parts: Mapping[str, float] | None = None) -> Estimate:
    """The mean of per-event `values` (N,), with its bootstrap error over units."""
    values = values.to(torch.float64)
    return bootstrapped(values.mean(), lambda weights: weights @ values / weights.sum(1), unit_id, parts)


def jackknifed(
    value: Tensor | float, left_out: Tensor, events: int, parts: Mapping[str, float] | None = None
) -> Estimate:
    """`value`, its error and replicates from the statistic with each group left out, (G,)."""
    finite = len(left_out) > 1 and bool(torch.isfinite(left_out).all())
    kept = Replicates("jackknife", tuple(left_out.tolist())) if finite else None
    return Estimate(float(value), finite_or_none(jackknife_sd(left_out)), events, parts or {}, replicates=kept)


def jackknifed_distance(
    value: Tensor | float,
    left_out: Callable[[Tensor], Tensor],
    unit_id: Tensor,
    parts: Mapping[str, float] | None = None,
    *,
    groups: int = PAIR_GROUPS,
) -> Estimate:
    """`value`, its jackknife error and replicates, for a squared distance Q(d), d the difference of two means (of
    moments, of histograms).

    If d is measured as d + e, e of covariance S, then var Q = 4 d'Sd + 2 tr S^2. A bootstrap starts from the measured
    difference, whose 4 d'Sd is larger by 4 tr S^2 on average, and finds three times the variance at d = 0, or more in
    many dimensions; the jackknife finds twice.

    `left_out` maps the group 0..G-1 of each event (N,) to Q without each group (G,).
    """
    group = jackknife_groups(unit_id, groups)
    if not resampling() or int(group.max()) == 0:
        return Estimate(float(value), None, len(unit_id), parts or {})
    return jackknifed(value, left_out(group), len(unit_id), parts)


def jackknife_groups(unit_id: Tensor, groups: int = GROUPS) -> Tensor:
    """The group 0..G-1 of each event, (N,): whole units dealt evenly to the groups in a fixed random order."""
    inverse, units = dense(unit_id)
    order = torch.randperm(units, generator=torch.Generator().manual_seed(SEED))
    return (order % min(groups, units))[inverse]


def jackknife_sd(left_out: Tensor) -> Tensor:
    """Delete-a-group jackknife error from the statistic with each of G groups left out, (G, ...) -> (...).

    Times the quantile of Student's t with G - 1 degrees of freedom over the normal one (1.07 for 20 groups), so that
    value ± 1.96 errors holds 95 % though the error itself comes from few groups.
    """
    groups = len(left_out)
    if groups < 2:
        return torch.full_like(left_out[0], torch.nan)
    spread = left_out - left_out.mean(0)
    widened = float(stdtrit(groups - 1, 0.975) / ndtri(0.975))
    return widened * (spread.square().sum(0) * (groups - 1) / groups).sqrt()


def finite_or_none(value: Tensor | float) -> float | None:
    """The number, or None where it is NaN or infinite."""
    number = float(value)
    return number if number == number and abs(number) != float("inf") else None


def with_strata(pair: Comparison, whole: Estimate, estimate: Callable[[Tensor], Estimate]) -> Estimate:
    """`whole`, and `estimate` of the rows, (N,) bool, of each stratum (`species=neutron`) that it can answer."""
    strata: dict[str, Estimate] = {}
    for stratification, names in pair.generated.strata.items() if pair.stratify else ():
        for name in sorted(set(names.tolist())):
            try:
                of_stratum = estimate(torch.from_numpy(names == name))
            except UsageError:  # too few events
                continue
            strata[f"{stratification}={name}"] = replace(of_stratum, replicates=None)
    return replace(whole, strata=strata)


def by_stratum(pair: Comparison, estimate: Callable[[Comparison], Estimate]) -> Estimate:
    """`estimate` of all events, with `estimate` of each stratum's events beside it."""
    return with_strata(pair, estimate(pair), lambda rows: estimate(pair.take(rows)))


def stratified(metric: MetricFunction) -> MetricFunction:
    """A metric function that gives its value in each stratum too."""

    @functools.wraps(metric)
    def with_its_strata(pair: Comparison) -> Estimate:
        return by_stratum(pair, metric)

    return with_its_strata
