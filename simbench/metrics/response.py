"""Energy response and resolution: mean and relative width of the light that a particle of known energy makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import PAIR_GROUPS, dense, jackknife_groups, jackknife_sd, resampling, stratified
from simbench.metrics.streams import Rows, RowStream, of_pair

ENERGY = 0
"""The column of the conditions that holds the particle's energy."""

BINS = 5
SMALLEST_BIN = 10
"""Bins of energy per species: fewer where a bin would hold less than this many units."""
SMALLEST_SPECIES = 5
"""A species with fewer units is left out."""

Shape = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A number of a distribution from its size, sum and sum of squares."""


def mean_of(size: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The mean."""
    return first / size


def relative_width(size: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Standard deviation (unbiased in the variance) over mean; 0 where the mean is."""
    mean = first / size
    variance = (second / size - mean.square()).clamp(min=0) * size / (size - 1).clamp(min=1)
    return torch.where(mean > 0, variance.sqrt() / mean.clamp(min=1e-300), 0.0)


@dataclass(frozen=True)
class _Bin:
    """Units of a species and energy bin: group (U,); size, sum and sum of squares of photons per energy (U, 3)."""

    name: str
    group: Tensor
    generated: Tensor
    real: Tensor

    def ratio(self, shape: Shape, left_out: Tensor | None = None) -> Tensor:
        """`shape` of the generated over that of the real events; without the units that `left_out` (U, L) marks,
        (L,)."""
        moments = []
        for side in (self.generated, self.real):
            total = side.sum(0)
            kept = total[:, None] if left_out is None else total[:, None] - side.T @ left_out
            moments.append(shape(*kept))
        return moments[0] / moments[1]


def _bins(light: Sequence[Tensor], events: Events) -> Iterator[_Bin]:
    """From the light (M, 3) of generated and of real events, by the real `events` that both answer for."""
    species = events.strata.get("species", np.full(len(events), "all"))
    groups = jackknife_groups(events.unit_id, PAIR_GROUPS)
    for name in sorted(set(species.tolist())):
        rows = torch.from_numpy(np.flatnonzero(species == name))
        unit, units = dense(events.unit_id[rows])
        if units < SMALLEST_SPECIES:
            continue
        energy = torch.zeros(units, dtype=torch.float64)
        energy[unit] = events.conditions[rows, ENERGY].double()
        group = torch.zeros(units, dtype=torch.int64)
        group[unit] = groups[rows]
        moments = [torch.zeros(units, 3, dtype=torch.float64).index_add_(0, unit, side[rows]) for side in light]
        pieces = np.array_split(energy.argsort(stable=True).numpy(), min(max(units // SMALLEST_BIN, 1), BINS))
        for place, piece in enumerate(pieces, 1):
            at = torch.from_numpy(piece)
            found = _Bin(f"{name} {place}", group[at], moments[0][at], moments[1][at])
            if float(found.real[:, 1].sum()) > 0 and float(relative_width(*found.real.sum(0))) > 0:
                yield found


def _light(events: Events) -> Tensor:
    """1, photons per energy and its square, of each event, (N, 3)."""
    light = events.derived("channels").sum(1) / events.conditions[:, ENERGY].double()
    return torch.stack([torch.ones_like(light), light, light.square()], 1)


def _beyond_error(bins: list[_Bin], shape: Shape, group: int | None) -> tuple[float, list[float]]:
    """Mean over bins, by units, of (ratio - 1)^2 less the ratio's squared error, and the ratios; without one group."""
    squares, ratios, weights = [], [], []
    for one in bins:
        kept = one if group is None else _without(one, group)
        units = len(kept.group)
        ratio = kept.ratio(shape)
        left_out = kept.ratio(shape, torch.eye(units, dtype=torch.float64))
        error = (left_out - left_out.mean()).square().sum() * (units - 1) / units
        squares.append(float((ratio - 1).square() - error))
        ratios.append(float(ratio))
        weights.append(units)
    return float(np.average(squares, weights=weights)), ratios


def _without(one: _Bin, group: int) -> _Bin:
    keep = one.group != group
    return _Bin(one.name, one.group[keep], one.generated[keep], one.real[keep])


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))


def _estimate(rows: Rows, reference: Events, shape: Shape) -> Estimate:
    bins = list(_bins([rows.mean * rows.count[:, None], _light(reference)], reference))
    if not bins:
        raise UsageError(f"the energy response needs {SMALLEST_SPECIES} conditions or more of one species")
    square, ratios = _beyond_error(bins, shape, None)
    parts = dict(zip((one.name for one in bins), ratios, strict=True))
    groups = torch.cat([one.group for one in bins]).unique().tolist()
    if not resampling() or len(groups) < 2:
        return Estimate(_root(square), None, rows.events, parts)
    sd = float(
        jackknife_sd(torch.tensor([_beyond_error(bins, shape, group)[0] for group in groups], dtype=torch.float64))
    )
    stderr = (_root(square + 1.96 * sd) - _root(square - 1.96 * sd)) / (2 * 1.96)
    return Estimate(_root(square), stderr, rows.events, parts)


def _stream(shape: Shape) -> RowStream:
    return RowStream(lambda chunk: _light(chunk.generated), lambda rows, reference: _estimate(rows, reference, shape))


RESPONSE, RESOLUTION = _stream(mean_of), _stream(relative_width)


@metric(
    "energy_response/1",
    meaning="By what share the mean light of particles of one kind and energy is off, beyond chance: 0 is right.",
    stream=RESPONSE,
)
@stratified
def energy_response_metric(pair: Comparison) -> Estimate:
    """How far the mean light at one species and energy is from the real one, as a share of it; 0 is right.

    sqrt( max(0, mean_b [ (m_generated / m_real - 1)^2 - e^2 ]) )

    m is the mean of the photon sum over the particle's energy in bin b: 5 bins of each species with equally many
    particles (fewer where a bin would hold less than 10), and the mean over bins counts each by its particles; e is the
    error of the ratio, a jackknife over the particles of the bin. 0.05: the light is off by 5 %, after what chance does
    to the ratio is taken off. Parts: the ratio in each bin, `neutron 1` the lowest energies. The error comes from that
    of the square (jackknife, 60 groups): half the width of its 95 % interval after the root, over 1.96.
    """
    return of_pair(RESPONSE, pair)


@metric(
    "energy_resolution/1",
    meaning="By what share the width of the light at one species and energy is off, beyond chance: 0 is right.",
    stream=RESOLUTION,
)
@stratified
def energy_resolution_metric(pair: Comparison) -> Estimate:
    """How far the relative width of the light at one species and energy is from the real one, as a share; 0 is right.

    As `energy_response`, of standard deviation over mean. The photon sum is taken over the energy, so that the energies
    within a bin do not widen it. What spreads within a bin are particles and the answers to each: `dispersion_ratio`
    sees the latter alone.
    """
    return of_pair(RESOLUTION, pair)
