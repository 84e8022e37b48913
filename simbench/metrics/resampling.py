"""Standard errors from sampling: the bootstrap over units and the delete-a-group jackknife.

A unit is what is drawn together: all repeats of a condition where conditions repeat by design, else one event. Both sides of a comparison
share the units of their rows, so a resampled unit brings its generated and its real events. All seeds are fixed: the same input gives the same error.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from simbench.errors import UsageError
from simbench.metrics.base import Comparison, Estimate, Replicates

RESAMPLES = 200
GROUPS = 20
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
    """Rows (N, C) gathered by condition 0..conditions-1 and padded with zeros: (conditions, R, C), and the mask (conditions, R) of real rows."""
    order = torch.argsort(condition, stable=True)
    counts = torch.bincount(condition, minlength=conditions)
    slot = torch.arange(len(condition), device=values.device) - (counts.cumsum(0) - counts)[condition[order]]
    gathered = values.new_zeros(conditions, int(counts.max()), values.shape[1])
    mask = torch.zeros(gathered.shape[:2], dtype=values.dtype, device=values.device)
    gathered[condition[order], slot] = values[order]
    mask[condition[order], slot] = 1
    return gathered, mask


def bootstrap_counts(units: int, resamples: int = RESAMPLES, *, chunk: int = 50, seed: int = SEED) -> Iterator[Tensor]:
    """How often each unit is drawn in each resample, in chunks of (resamples, U) float64; each row sums to U."""
    rng = torch.Generator().manual_seed(seed)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = torch.randint(units, (rows, units), generator=rng)
        yield torch.zeros(rows, units, dtype=torch.float64).scatter_add_(
            1, drawn, torch.ones_like(drawn, dtype=torch.float64)
        )


def bootstrap(statistic: Callable[[Tensor], Tensor], unit_id: Tensor, *, resamples: int = RESAMPLES) -> Tensor:
    """A weighted statistic on bootstrap resamples of units.

    Args:
        statistic: maps event weights (resamples, N) float64 to values (resamples, ...).
        unit_id: (N,) the unit of each event.

    Returns:
        (resamples, ...) the values; NaN where there is a single unit.
    """
    inverse, units = dense(unit_id)
    values = torch.cat([statistic(counts[:, inverse]) for counts in bootstrap_counts(units, resamples)])
    return values if units > 1 else torch.full_like(values, torch.nan)


def bootstrapped(
    value: Tensor | float,
    statistic: Callable[[Tensor], Tensor],
    unit_id: Tensor,
    parts: Mapping[str, float] | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Estimate:
    """`value`, its error and replicates by `bootstrap` of a weighted statistic (resamples, N) -> (resamples,)."""
    if not resampling():
        return Estimate(float(value), None, len(unit_id), parts or {})
    values = bootstrap(statistic, unit_id, resamples=resamples)
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
    kept = (
        Replicates("jackknife", tuple(left_out.tolist()))
        if len(left_out) > 1 and bool(torch.isfinite(left_out).all())
        else None
    )
    return Estimate(float(value), finite_or_none(jackknife_sd(left_out)), events, parts or {}, replicates=kept)


def jackknife_groups(unit_id: Tensor, groups: int = GROUPS) -> Tensor:
    """The group 0..G-1 of each event, (N,): whole units dealt to `groups` groups of equal size (to one) in a fixed random order."""
    inverse, units = dense(unit_id)
    order = torch.randperm(units, generator=torch.Generator().manual_seed(SEED))
    return (order % min(groups, units))[inverse]


def jackknife_sd(left_out: Tensor) -> Tensor:
    """Delete-a-group jackknife error from the statistic with each of G groups left out, (G, ...) -> (...)."""
    groups = len(left_out)
    if groups < 2:
        return torch.full_like(left_out[0], torch.nan)
    spread = left_out - left_out.mean(0)
    return (spread.square().sum(0) * (groups - 1) / groups).sqrt()


def finite_or_none(value: Tensor | float) -> float | None:
    """The number, or None where it is NaN or infinite."""
    number = float(value)
    return number if number == number and abs(number) != float("inf") else None


def by_stratum(pair: Comparison, estimate: Callable[[Comparison], Estimate]) -> Estimate:
    """`estimate` of all events, with `estimate` of each stratum beside it (`species=neutron`). A stratum it cannot answer is left out."""
    whole = estimate(pair)
    if not pair.stratify:
        return whole
    strata: dict[str, Estimate] = {}
    for stratification, names in pair.generated.strata.items():
        for name in sorted(set(names.tolist())):
            members = pair.take(torch.from_numpy(names == name))
            try:
                strata[f"{stratification}={name}"] = estimate(members)
            except UsageError:
                continue
    return replace(whole, strata=strata)
