"""Has the generator learnt its training events by heart?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.arrays import squared_distances
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import SEED, jackknife_groups, jackknifed, with_strata

MIN_PHOTONS = 10.0
"""Events with less are alike by nature and left out (a digit's grey values sum to far more)."""

SMALLEST = 5
"""A stratum with fewer held-out units than this says nothing and is left out."""


def _vectors(events: Events, rows: NDArray[np.int64]) -> Tensor:
    """What distances are taken between: the square roots of the pixels, whose Poisson noise is the same everywhere;
    float32."""
    return events.samples[torch.from_numpy(rows)].flatten(1).sqrt()


def _nearest(queries: Tensor, targets: Tensor, *, others: bool = False) -> Tensor:
    """Squared distance of each query to the nearest target, exactly 0 for a copy; where `others`, to the nearest that
    is not itself.

    `others` is for held-out events: where the floor is scored, the events judged are among them.
    """
    best = torch.empty(len(queries))
    for start in range(0, len(queries), 1000):
        rows = queries[start : start + 1000]
        distances, index = squared_distances(rows, targets).topk(min(2, len(targets)), dim=1, largest=False)
        copy = (rows - targets[index[:, 0]]).square().sum(1) == 0
        replacement = distances[:, -1] if others else torch.zeros(len(rows))
        best[start : start + 1000] = torch.where(copy, replacement, distances[:, 0])
    return best


def _units(events: Events, rows: NDArray[np.int64], repeats: int) -> list[NDArray[np.int64]]:
    """`rows` gathered by unit, at most `repeats` of each."""
    unit = events.unit_id.numpy()[rows]
    order = np.argsort(unit, kind="stable")
    return [part[:repeats] for part in np.split(rows[order], np.flatnonzero(np.diff(unit[order])) + 1)]


def _subsets(train: list[NDArray[np.int64]], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Disjoint sets of `size` training units, as event rows, that together hold (nearly) all of them."""
    order = rng.permutation(len(train))
    for start in range(0, len(train) - size + 1, size):
        yield np.concatenate([train[i] for i in order[start : start + size]])


@metric(
    "memorisation/1",
    direction="target",
    target=0.5,
    meaning="Share of generated events nearer to a training event than to an unseen one: 0.5 is right, "
    "more is copying.",
)
def memorisation_metric(pair: Comparison) -> Estimate:
    """Share of generated events nearer to a training than to an equally probable held-out event; 0.5 is right, 1 is a
    copy machine.

    Within each stratum (species and energy quintile; digit), as many training units as there are held-out ones, with
    equally many repeats; training subsets are disjoint and take turns until all training events were used. Part
    `copies`: the share of generated events that equal a training event pixel for pixel; `p`: Mann-Whitney, one-sided,
    distances to training below those to held-out events.
    """
    generated = pair.generated
    if generated.other_split is None:
        raise UsageError("memorisation needs the training split, which these events do not come with")
    train, held_out = generated.other_split("train"), generated.other_split("validation")
    enough = [events.samples.flatten(1).sum(1).numpy() >= MIN_PHOTONS for events in (generated, train, held_out)]
    names = [events.stratum for events in (generated, train, held_out)]
    rng = np.random.default_rng(SEED)
    share = np.full(len(generated), np.nan)
    copied = np.zeros(len(generated), bool)
    to_train, to_held = np.full(len(generated), np.nan), np.full(len(generated), np.nan)
    for name in np.unique(names[0]):
        rows, rows_train, rows_held = (
            np.flatnonzero(ok & (named == name)) for ok, named in zip(enough, names, strict=True)
        )
        if min(len(rows), len(rows_train), len(rows_held)) == 0:
            continue
        repeats = min(
            int(np.unique(events.unit_id.numpy()[r], return_counts=True)[1].max())
            for events, r in ((train, rows_train), (held_out, rows_held))
        )
        units_train, units_held = _units(train, rows_train, repeats), _units(held_out, rows_held, repeats)
        size = min(len(units_train), len(units_held))
        if size < SMALLEST:
            continue
        queries = _vectors(generated, rows)
        held_rows = np.concatenate([units_held[i] for i in rng.permutation(len(units_held))[:size]])
        held = _nearest(queries, _vectors(held_out, held_rows), others=True)
        wins, distances = [], []
        for subset in _subsets(units_train, size, rng):
            near = _nearest(queries, _vectors(train, subset))
            wins.append((near < held).double() + 0.5 * (near == held).double())
            distances.append(near)
        share[rows] = torch.stack(wins).mean(0).numpy()
        to_train[rows], to_held[rows] = distances[0].numpy(), held.numpy()
        copied[rows] = (torch.stack(distances).min(0).values == 0).numpy()
    used = ~np.isnan(share)
    if not used.any():
        raise UsageError("no generated event has enough photons and a stratum with held-out events")
    group = jackknife_groups(generated.unit_id).numpy()

    def estimate(rows: NDArray[np.bool_], parts: Mapping[str, float]) -> Estimate:
        kept, groups = share[rows], group[rows]
        left_out = torch.tensor([kept[groups != g].mean() for g in np.unique(groups)], dtype=torch.float64)
        return jackknifed(kept.mean(), left_out, int(rows.sum()), parts)

    def stratum(rows: Tensor) -> Estimate:
        members = used & rows.numpy()
        if len(np.unique(group[members])) < 2:
            raise UsageError("too few events for an error")
        return estimate(members, {})

    test = mannwhitneyu(to_train[used], to_held[used], alternative="less")
    parts = {"copies": float(copied[used].mean()), "p": float(test.pvalue), "used": float(used.mean())}
    return with_strata(pair, estimate(used, parts), stratum)
