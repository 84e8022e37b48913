"""Has the generator learnt its training events by heart?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.arrays import chunks, squared_distances
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import GROUPS, SEED, dense, jackknife_groups, resampling, with_strata

MIN_PHOTONS = 10.0
"""Events with less are alike by nature and left out (a digit's grey values sum to far more)."""

SMALLEST = 5
"""A stratum with fewer held-out units than this says nothing and is left out."""

LARGEST = 5
"""Training sets are drawn from at most this many times as many training units as there are held-out ones."""

MOST = 2000
"""Held-out units of a stratum that are looked at, chosen at random where there are more."""

RESPLITS = 10
"""Draws of the repeats of a held-out unit, where it has more of them than a training unit."""

NEAR = 0.5
"""An event closer than this share of the distance to any other event of its split has been copied."""

CELLS = 8
"""Copies are looked for on images averaged to about this many cells a side, and then judged on the pixels."""

CANDIDATES = 4
"""Events nearest in the averaged images of which the pixels are looked at."""


def _vectors(samples: Tensor) -> Tensor:
    """What distances are taken between: the square roots of the pixels, whose Poisson noise is the same everywhere."""
    return samples.flatten(1).sqrt()


def _coarse(samples: Tensor) -> Tensor:
    """The roots of the pixels averaged in cells, (N, cells)."""
    images = samples.sqrt().reshape(len(samples), -1, *samples.shape[-2:])
    return avg_pool2d(images, max(1, max(samples.shape[-2:]) // CELLS), ceil_mode=True).flatten(1)


def _copies(queries: Tensor, targets: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Which queries are near copies of a target, and which exact ones: (N, *shape), (M, *shape) -> (N,), (N,).

    The candidates are the nearest in coarse images. Where `others` (N,) is True an exact copy is passed over: the query
    is among the targets itself. Targets that are as far as the nearest one are its duplicates, and no yardstick.
    """
    coarse_queries, coarse_targets = _coarse(queries), _coarse(targets)
    near, exact = torch.empty(2, len(queries), dtype=torch.bool)
    for rows in chunks(len(queries), len(targets)):
        distances = squared_distances(coarse_queries[rows], coarse_targets)
        candidates = distances.topk(min(CANDIDATES, len(targets)), dim=1, largest=False).indices
        x = _vectors(queries[rows])
        distances = torch.stack([(x - _vectors(targets[column])).square().sum(1) for column in candidates.T], 1)
        distances[others[rows, None] & (distances == 0)] = torch.inf
        nearest = distances.amin(1, keepdim=True)
        second = distances.masked_fill(distances == nearest, torch.inf).amin(1)
        near[rows] = second.isfinite() & (nearest[:, 0] < NEAR**2 * second)
        exact[rows] = nearest[:, 0] == 0
    return near, exact


def _units(unit_id: Tensor, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """`rows` gathered by unit."""
    unit = unit_id.numpy()[rows]
    order = np.argsort(unit, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(unit[order])) + 1)


def _table(units: list[NDArray[np.int64]], repeats: int) -> Tensor:
    """The first `repeats` rows of each unit, (U, repeats); a unit that has fewer shows some of them twice."""
    return torch.from_numpy(np.stack([np.resize(rows[:repeats], repeats) for rows in units]))


def nearer_to_training(closer: Tensor, training: Tensor | int, drawn: Tensor) -> Tensor:
    """Probability that `drawn` of the `training` units, at random, hold one of the `closer` ones.

    1 - C(training - closer, drawn) / C(training, drawn): the share of re-splits, all of them at once. Closer: nearer
    than the held-out event.
    """
    left = (training - closer).double()
    total = torch.as_tensor(training).double()
    missed = (
        torch.lgamma(left + 1)
        - torch.lgamma((left - drawn).clamp(min=0) + 1)
        - torch.lgamma(total + 1)
        + torch.lgamma((total - drawn).clamp(min=0) + 1)
    ).exp()
    return torch.where(left >= drawn, 1 - missed, 1.0)


@dataclass(frozen=True)
class _Split:
    """One split with the group of each event's unit, and which of its events have enough photons."""

    events: Events
    group: Tensor
    enough: NDArray[np.bool_]

    @classmethod
    def of(cls, events: Events) -> _Split:
        return cls(events, jackknife_groups(events.unit_id), _enough(events.samples))

    def units(self, stratum: str) -> list[NDArray[np.int64]]:
        """The events of a stratum that have enough photons, by unit."""
        rows = np.flatnonzero(self.enough & (self.events.stratum == stratum))
        return _units(self.events.unit_id, rows) if len(rows) else []


def _enough(samples: Tensor) -> NDArray[np.bool_]:
    return np.asarray(samples.flatten(1).sum(1).numpy() >= MIN_PHOTONS)


def _shares(queries: Tensor, train: _Split, held_out: _Split, stratum: str) -> tuple[Tensor, Tensor] | None:
    """How often each query (N, *shape) is nearer to a training set than to the held-out set of a stratum, (N,).

    And the same with each jackknife group of training and held-out units left out, (N, GROUPS). None where the stratum
    is too small.
    """
    rng = np.random.default_rng(SEED)
    units_train, units_held = (split.units(stratum) for split in (train, held_out))
    if min(len(units_train), len(units_held)) < SMALLEST:
        return None
    units_held = [units_held[i] for i in rng.permutation(len(units_held))[: min(len(units_train), MOST)]]
    units_train = [units_train[i] for i in rng.permutation(len(units_train))[: LARGEST * len(units_held)]]
    repeats_train, repeats_held = (max(len(rows) for rows in units) for units in (units_train, units_held))
    repeats = min(repeats_train, repeats_held)
    splits = RESPLITS if repeats_held > repeats else 1
    rows_train = _table([rng.permutation(rows) for rows in units_train], repeats)
    group_train, group_held = train.group[rows_train[:, 0]], held_out.group[[int(rows[0]) for rows in units_held]]
    members_train, members_held = (one_hot(group, GROUPS) for group in (group_train, group_held))
    events_train = _vectors(train.events.samples[rows_train.flatten()])
    tables_held = [_table([rng.permutation(rows) for rows in units_held], repeats) for _ in range(splits)]
    share, without = (
        torch.zeros(len(queries), dtype=torch.float64),
        torch.zeros(len(queries), GROUPS, dtype=torch.float64),
    )
    for part in chunks(len(queries), max(rows_train.numel(), 1000)):
        x = _vectors(queries[part])
        to_train = squared_distances(x, events_train).unflatten(1, (-1, repeats)).amin(2)
        for table in tables_held:
            to_held = _to_held_out(x, _vectors(held_out.events.samples[table.flatten()]), repeats)
            units = to_held.isfinite()
            nearest, at = to_held.min(1)
            of = group_held[at]
            second = to_held.masked_fill(of[:, None] == group_held, torch.inf).amin(1)
            drawn = units.sum(1)
            drawn_without = drawn[:, None] - units.long() @ members_held
            closer = (to_train < nearest[:, None]).float() @ members_train.float()
            closer_second = (to_train < second[:, None]).float() @ members_train.float()
            own = one_hot(of, GROUPS).bool()
            closer_without = torch.where(
                own, closer_second.sum(1, keepdim=True) - closer_second, closer.sum(1, keepdim=True) - closer
            )
            share[part] += nearer_to_training(closer.sum(1), len(group_train), drawn) / splits
            left = len(group_train) - members_train.sum(0)
            without[part] += nearer_to_training(closer_without, left, drawn_without) / splits
    return share, without


def _to_held_out(x: Tensor, held: Tensor, repeats: int) -> Tensor:
    """Squared distances of queries to held-out units, (N, U); infinite to the unit of which the query is an event."""
    distances: Tensor = squared_distances(x, held)
    nearest = distances.argmin(1)
    itself = (x == held[nearest]).all(1)
    distances = distances.unflatten(1, (-1, repeats)).amin(2)
    distances[itself, nearest[itself] // repeats] = torch.inf
    return distances


def _by_unit(values: Tensor, unit: Tensor, units: int) -> Tensor:
    return values.new_zeros(units, values.shape[1]).index_add_(0, unit, values)


def _stderr(terms: Tensor, changes: Tensor) -> float | None:
    """Error of a sum over units of `terms` (U, 1), which move by `changes` (U, G) as groups of the sets are left out.

    The variance between units holds with the sets as they are. What the sets add is the jackknife variance of the sum
    over their groups, less what the units alone put into it: for they have been counted, and at the null the sets add
    nothing.
    """
    units, groups = changes.shape
    if units < 2:
        return None
    between = float(terms.var()) * units
    changes = changes - changes.mean(1, keepdim=True)
    sets = float((changes.sum(0).square() - changes.var(0) * units).sum()) * (groups - 1) / groups
    return float((between + max(sets, 0.0)) ** 0.5)


@metric(
    "memorisation/3",
    reads_train=True,
    direction="target",
    target=0.0,
    meaning="Share of generated events nearer to a training event than to an unseen one, beyond that of real events: "
    "0 is right, 0.5 is copying.",
)
def memorisation_metric(pair: Comparison) -> Estimate:
    """Share of generated events nearer to training than to unseen events, minus that of real ones; 0.5: a copy machine.

    mean_g P(d(g, T) < d(g, H)) - mean_r P(d(r, T) < d(r, H))

    g are the generated events, r the real ones of the same conditions, H the held-out events (split `validation`), T as
    many training events, drawn at random; d is the distance to the nearest event of a set, between square roots of
    pixels. Each event is compared within its stratum (species and energy quintile; digit), sets of as many units with
    as many repeats, over all re-splits of the training events at once. Events below 10 photons are left out, and a
    held-out event is never compared with itself.

    Copies count as nearer whichever re-split their original is in, so that copying is found in a training split of any
    size: generated events less than half as far from some training event, of any stratum, as from every other one. A
    copy is about as far from the others as its original is. An event that was not copied has neighbours at about equal
    distances: in d dimensions 2^-d of such events are flagged, whatever the sizes of the splits, the noise of the event
    or its place; held-out events as the yardstick would flag m times as many where there are m times as many training
    events. Repeats of a condition count as other events, so that the answer to a condition is no copy of one of them.
    Real events are treated alike.

    Parts: `copies`, the share of generated events that are exact or near copies of events in all of `train`; `test
    copies` the same of the test split; both also as `real` events show them, of other events than themselves; `exact
    copies`, `exact test copies`; `used`, the share of generated events that were judged. The error holds the spread of
    the conditions, and that of the held-out and training units (a jackknife over 20 groups of them).
    """
    generated = pair.generated
    if generated.other_split is None:
        raise UsageError("memorisation needs the training split, which these events do not come with")
    train, held_out = (_Split.of(generated.other_split(name)) for name in ("train", "validation"))
    count = len(generated)
    sides = generated.samples, pair.reference.samples

    def samples(rows: Tensor) -> Tensor:
        """Generated events, rows from 0, and real ones, rows from `count`; `rows` ascend."""
        return torch.cat([sides[0][rows[rows < count]], sides[1][rows[rows >= count] - count]])

    enough, stratum = np.concatenate([_enough(side) for side in sides]), np.tile(generated.stratum, 2)
    share = torch.full((2 * count,), torch.nan, dtype=torch.float64)
    without = torch.full((2 * count, GROUPS), torch.nan, dtype=torch.float64)
    for name in np.unique(stratum):
        rows = torch.from_numpy(np.flatnonzero(enough & (stratum == name)))
        found = _shares(samples(rows), train, held_out, name) if len(rows) else None
        if found is not None:
            share[rows], without[rows] = found
    judged = ~share.isnan()
    if not (bool(judged[:count].any()) and bool(judged[count:].any())):
        raise UsageError("no generated event has enough photons and a stratum with held-out events")
    real = torch.arange(2 * count) >= count
    looked = torch.from_numpy(np.flatnonzero(enough))
    copied, exact = torch.zeros(2, 2 * count, dtype=torch.bool), torch.zeros(2, 2 * count, dtype=torch.bool)
    queries, among = samples(looked), real[looked]
    for place, (target, others) in enumerate(
        ((train.events, torch.zeros_like(among)), (generated.other_split("test"), among))
    ):
        copied[place, looked], exact[place, looked] = _copies(queries, _bright(target), others)
    share[judged & copied[0]] = 1.0
    without[judged & copied[0]] = 1.0

    def estimate(rows: Tensor, parts: dict[str, float]) -> Estimate:
        sides = [torch.nonzero(judged & rows.repeat(2) & side).squeeze(1) for side in (~real, real)]
        if not all(len(side) for side in sides):
            raise UsageError("too few events")
        value = share[sides[0]].mean() - share[sides[1]].mean()
        unit, units = dense(generated.unit_id[torch.cat(sides) % count])
        terms = torch.cat(
            [sign * (share[side] - share[side].mean()) / len(side) for sign, side in zip((1, -1), sides, strict=True)]
        )
        changes = torch.cat(
            [sign * (without[side] - share[side, None]) / len(side) for sign, side in zip((1, -1), sides, strict=True)]
        )
        stderr = (
            _stderr(_by_unit(terms[:, None], unit, units), _by_unit(changes, unit, units)) if resampling() else None
        )
        return Estimate(float(value), stderr, len(sides[0]), parts)

    def of(flags: Tensor, side: Tensor) -> float:
        return float(flags[side & torch.from_numpy(enough)].double().mean())

    parts = {
        "copies": of(copied[0], ~real),
        "copies real": of(copied[0], real),
        "exact copies": of(exact[0], ~real),
        "test copies": of(copied[1], ~real),
        "test copies real": of(copied[1], real),
        "exact test copies": of(exact[1], ~real),
        "used": float(judged[:count].double().mean()),
    }
    return with_strata(pair, estimate(torch.ones(count, dtype=torch.bool), parts), lambda rows: estimate(rows, {}))


def _bright(events: Events) -> Tensor:
    """The events with enough photons."""
    return events.samples[torch.from_numpy(_enough(events.samples))]
