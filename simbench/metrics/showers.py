"""Showers in voxels: the high-level features of the CaloChallenge, and the separation powers of their histograms.

Definitions: Krause et al., "CaloChallenge 2022" (arXiv:2410.21611), section 4, and the evaluation that the challenge
published. Voxels below the readout threshold count as empty everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.events import Events
from simbench.metrics.arrays import chunks
from simbench.metrics.base import Comparison, Estimate, Metric, metric
from simbench.metrics.binning import Binning
from simbench.metrics.classifier import held_out_scores
from simbench.metrics.physics import separation_power
from simbench.metrics.resampling import PAIR_GROUPS, jackknife_groups, jackknifed_distance, stratified, with_strata

Array = NDArray[np.float64]

TINY = 1e-16
"""Added to an energy that something is divided by."""
LEAST = 1e-8
"""Added to an energy of which a logarithm is taken [MeV]."""
ELEMENTS = 1_000_000
"""Voxels that are looked at at once: a bound on memory."""
LENGTH = 100.0
"""The unit [mm] of positions in a classifier."""

FAMILIES = (
    *("total", "layers", "centre_eta", "centre_phi", "width_eta", "width_phi", "sparsity", "centre_r", "width_r"),
)
"""The families of features, in the order of the columns of `HighLevelFeatures`."""
IN_ALPHA = ("centre_eta", "centre_phi", "width_eta", "width_phi")
"""Families of those layers only that are divided in alpha."""


class Column(NamedTuple):
    """What a column of the features is: its family, and the number of the layer; None: of the whole event."""

    family: str
    layer: int | None


@dataclass(frozen=True)
class Range:
    """The range of a histogram with `bins` equal bins; that of the layers `deep` is `far`."""

    bins: int
    near: tuple[float, float]
    far: tuple[float, float] = (0.0, 0.0)
    deep: tuple[int, ...] = ()

    def edges(self, layer: int | None) -> Array:
        """The edges of the bins, (bins + 1,)."""
        return np.linspace(*(self.far if layer in self.deep else self.near), self.bins + 1)


TOTAL, SPARSITY = Range(100, (0.5, 1.5)), Range(20, (0.0, 1.0))
ATLAS = {
    "total": TOTAL,
    "sparsity": SPARSITY,
    "centre_eta": Range(100, (-100.0, 100.0), (-500.0, 500.0), (12, 13)),
    "centre_phi": Range(100, (-100.0, 100.0), (-500.0, 500.0), (12, 13)),
    "width_eta": Range(100, (0.0, 100.0), (0.0, 400.0), (12, 13)),
    "width_phi": Range(100, (0.0, 100.0), (0.0, 400.0), (12, 13)),
    "centre_r": Range(100, (0.0, 500.0), (0.0, 1500.0), (12, 13, 14)),
    "width_r": Range(100, (0.0, 500.0), (0.0, 1500.0), (12, 13, 14)),
}
"""The challenge's histograms of dataset 1, in mm; energies of layers and of voxels: see `logarithmic_edges`."""
PAR04 = {
    "total": TOTAL,
    "sparsity": SPARSITY,
    "centre_eta": Range(100, (-30.0, 30.0)),
    "centre_phi": Range(100, (-30.0, 30.0)),
    "width_eta": Range(100, (0.0, 30.0)),
    "width_phi": Range(100, (0.0, 30.0)),
    "centre_r": Range(100, (0.0, 42.0)),
    "width_r": Range(100, (0.0, 20.0)),
}
"""Those of the datasets 2 and 3."""
LAYER_EDGES, VOXEL_EDGES = 40, 50
"""Edges of the histograms of energies in a layer and in a voxel."""


@dataclass(frozen=True)
class HighLevelFeatures:
    """The high-level features of showers: a map from (N, voxels) MeV to (N, columns) float64, see `columns`.

    Of each event the energy E_tot [MeV]. Of each layer, with E_i the energies of its voxels at (eta_i, phi_i) [mm]:

        energy          E = sum_i E_i                                    [MeV]
        centre in eta   <eta> = sum_i eta_i E_i / E                      [mm], 0 in an empty layer
        width in eta    sqrt(sum_i eta_i^2 E_i / E - <eta>^2)            [mm]
        sparsity        share of the voxels that are empty

    centre and width in phi and in the radius r alike; those in eta and phi of layers that are divided in alpha.

    Attributes:
        binning: where the voxels are.
        threshold: voxels with less energy [MeV] count as empty.
        ranges: of each family the range of its histograms.
        narrow: where true, the histograms of E_tot at one energy from 4 GeV up span 0.9 to 1.1 (see
            `separation_total_by_energy`).
    """

    binning: Binning
    threshold: float
    ranges: dict[str, Range]
    narrow: bool = False

    @functools.cached_property
    def columns(self) -> tuple[Column, ...]:
        """What each column is."""
        layers = {
            family: [layer.number for layer in self.binning.layers if layer.slices > 1 or family not in IN_ALPHA]
            for family in FAMILIES
        }
        return tuple(
            Column(family, layer) for family in FAMILIES for layer in ([None] if family == "total" else layers[family])
        )

    def places(self, family: str) -> list[int]:
        """The columns of a family."""
        return [place for place, column in enumerate(self.columns) if column.family == family]

    def __call__(self, samples: Tensor) -> Tensor:
        """(N, voxels) -> (N, columns) float64 on the CPU, a part of the events at a time."""
        parts = [self._of(self.seen(samples[rows])) for rows in chunks(len(samples), self.binning.voxels, ELEMENTS)]
        return torch.from_numpy(np.concatenate(parts) if parts else np.empty((0, len(self.columns))))

    def seen(self, samples: Tensor) -> Array:
        """Energies (n, voxels) with those below the threshold set to 0, float64."""
        energies = samples.detach().cpu().numpy().astype(np.float64)
        return np.where(energies < self.threshold, 0.0, energies)

    def _of(self, energies: Array) -> Array:
        found = np.empty((len(energies), len(self.columns)))
        places = {column: place for place, column in enumerate(self.columns)}
        found[:, places[Column("total", None)]] = energies.sum(-1)
        for layer, where in self.binning.slices():
            mine = energies[:, where]
            total = mine.sum(-1)
            found[:, places[Column("layers", layer.number)]] = total
            found[:, places[Column("sparsity", layer.number)]] = 1.0 - (mine > 0).mean(-1)
            axes = {"r": layer.radii}
            if layer.slices > 1:
                axes |= dict(zip(("eta", "phi"), layer.plane, strict=True))
            for axis, position in axes.items():
                centre = (position * mine).sum(-1) / (total + TINY)
                square = (position * position * mine).sum(-1) / (total + TINY)
                found[:, places[Column(f"centre_{axis}", layer.number)]] = centre
                found[:, places[Column(f"width_{axis}", layer.number)]] = np.sqrt((square - centre**2).clip(min=0.0))
        return found


@dataclass(frozen=True)
class ClassifierFeatures:
    """The high-level features as the challenge's classifier sees them, (N, voxels) MeV -> (N, columns) float64.

    Energies as log10(E + 1e-8 MeV), positions over 100 mm, sparsities as they are. The incident energy is told apart
    from them, as the condition.
    """

    features: HighLevelFeatures

    def __call__(self, samples: Tensor) -> Tensor:
        """The features of samples."""
        found = self.features(samples)
        for place, column in enumerate(self.features.columns):
            if column.family in ("total", "layers"):
                found[:, place] = (found[:, place] + LEAST).log10()
            elif column.family != "sparsity":
                found[:, place] /= LENGTH
        return found


def logarithmic_edges(real: Array, threshold: float, count: int) -> Array | None:
    """`count` edges of bins of equal width in the logarithm, from the threshold to the largest real value.

    None where no real value lies above the threshold.
    """
    highest = real.max(initial=0.0)
    return np.logspace(np.log10(threshold), np.log10(highest), count) if highest > threshold else None


def histogram_by_group(values: Array, edges: Array, group: NDArray[np.int64], groups: int) -> Array:
    """Values per bin, (N,) with the group of each -> (groups, bins); what lies outside the edges is left out.

    As numpy's histogram: a bin holds its lower edge, the last one its upper edge, too.
    """
    bins = len(edges) - 1
    at = np.searchsorted(edges, values, side="right") - 1
    at[values == edges[-1]] = bins - 1
    inside = (at >= 0) & (at < bins)
    counts = np.bincount(group[inside] * bins + at[inside], minlength=groups * bins)
    return counts.astype(np.float64).reshape(groups, bins)


def shares_apart(generated: Array, real: Array) -> Array:
    """Separation power of histograms of counts, (..., bins) each -> (...): each is divided by its own sum.

    1 where one of the two is empty, 0 where both are.
    """
    sums = [side.sum(-1, keepdims=True) for side in (generated, real)]
    p, q = (torch.from_numpy(side / np.maximum(total, 1)) for side, total in zip((generated, real), sums, strict=True))
    empty = [total[..., 0] == 0 for total in sums]
    return np.where(empty[0] | empty[1], (empty[0] != empty[1]).astype(np.float64), separation_power(p, q).numpy())


def separation_of_showers(generated: Sequence[Array], real: Sequence[Array]) -> float:
    """Separation power of histograms of counts, generated and real, (bins,) each; the mean over pairs of histograms.

    1/2 sum_b (p_b - q_b)^2 / (p_b + q_b)

    p and q are the shares of the events within the range of the histogram: what lies outside of it counts on neither
    side. In [0, 1], lower is better; 1 where only one of the two histograms is empty. Biased upward at finite N by
    about (bins in use) / 4 * (1/N + 1/M): compare at equal N.

    Reference: Diefenbacher et al., "DCTRGAN" (arXiv:2009.03796), eq. (15), as the challenge uses it.
    """
    return float(np.mean([shares_apart(p, q) for p, q in zip(generated, real, strict=True)]))


def features_of(events: Events) -> HighLevelFeatures:
    """The features that events of the challenge's tasks come with."""
    found = events.derivations["high_level"]
    assert isinstance(found, HighLevelFeatures)
    return found


def _estimate(pair: Comparison, histograms: Sequence[tuple[str, Array, Array]]) -> Estimate:
    """The mean separation of histograms by jackknife group, (name, generated (G, bins), real (G, bins)), with its
    error; parts: each by its name, where there are several."""
    sums = [(generated.sum(0), real.sum(0)) for _, generated, real in histograms]
    values = [float(shares_apart(*both)) for both in sums]

    def powers(group: Tensor) -> Tensor:
        kept = [
            shares_apart(*(total - side for side, total in zip(sides, both, strict=True)))
            for (_, *sides), both in zip(histograms, sums, strict=True)
        ]
        return torch.from_numpy(np.mean(kept, 0)[: int(group.max()) + 1])

    parts = {name: value for (name, *_), value in zip(histograms, values, strict=True)} if len(values) > 1 else {}
    return jackknifed_distance(float(np.mean(values)), powers, pair.generated.unit_id, parts)


def _groups(pair: Comparison) -> NDArray[np.int64]:
    return np.asarray(jackknife_groups(pair.generated.unit_id, PAIR_GROUPS).numpy())


def _of_family(pair: Comparison, family: str) -> Estimate:
    """The separation of a family of features, mean over layers."""
    features, group = features_of(pair.generated), _groups(pair)
    generated, real = (side.numpy() for side in pair.derived("high_level"))
    histograms = []
    for place in features.places(family):
        layer = features.columns[place].layer
        x, y = generated[:, place], real[:, place]
        if family == "layers":
            edges = logarithmic_edges(y, features.threshold, LAYER_EDGES)
            if edges is None:  # no real event has energy here: one bin for what the generator puts here
                edges = np.array([features.threshold, np.inf])
        else:
            edges = features.ranges[family].edges(layer)
        if family == "total":
            energy = pair.generated.conditions[:, 0].double().numpy()
            x, y = x / energy, y / energy
        both = (histogram_by_group(values, edges, group, PAIR_GROUPS) for values in (x, y))
        histograms.append((f"layer {layer}", *both))
    return _estimate(pair, histograms)  # type: ignore[arg-type]


def _family(family: str, of: str, label: str) -> Metric:
    """The registered metric of a family: `of` says what its histograms are of."""

    @stratified
    def separation(pair: Comparison) -> Estimate:
        return _of_family(pair, family)

    mean = "" if family == "total" else ", mean over layers"
    separation.__doc__ = f"Separation power of the histograms of {of}{mean}; 0: equal, 1: apart."
    meaning = f"How much of the histograms of {of} is not shared by generated and real showers."
    register = metric(f"separation_{family}/1", label=f"separation, {label}", meaning=meaning, of=separation_of_showers)
    return register(separation)


TOTAL_ENERGY = _family("total", "the energy of the shower over that of the particle, E_tot / E_inc", "E_tot / E_inc")
LAYER_ENERGIES = _family("layers", "the energy in each layer", "layer energies")
CENTRES_ETA = _family("centre_eta", "the centre of energy in eta", "centre in eta")
CENTRES_PHI = _family("centre_phi", "the centre of energy in phi", "centre in phi")
CENTRES_R = _family("centre_r", "the centre of energy in the radius", "centre in r")
WIDTHS_ETA = _family("width_eta", "the width of the shower in eta", "width in eta")
WIDTHS_PHI = _family("width_phi", "the width of the shower in phi", "width in phi")
WIDTHS_R = _family("width_r", "the width of the shower in the radius", "width in r")
SPARSITIES = _family("sparsity", "the share of empty voxels", "sparsity")


@metric(
    "separation_voxels/1",
    label="separation, voxel energies",
    meaning="How much of the histogram of voxel energies is not shared by generated and real showers.",
    of=separation_of_showers,
)
@stratified
def separation_voxels(pair: Comparison) -> Estimate:
    """Separation power of the histogram of voxel energies, all voxels of all events together; 0: equal, 1: apart.

    49 bins of equal width in the logarithm, from the readout threshold to the largest real voxel.
    """
    features, group = features_of(pair.generated), _groups(pair)
    real = pair.reference.samples
    highest = np.array([float(real.max()) if len(real) else 0.0])
    edges = logarithmic_edges(highest, features.threshold, VOXEL_EDGES)
    if edges is None:
        edges = np.array([features.threshold, np.inf])
    sides = (_voxel_histogram(events, edges, features.threshold, group) for events in (pair.generated, pair.reference))
    return _estimate(pair, [("voxels", *sides)])  # type: ignore[list-item]


def _voxel_histogram(events: Events, edges: Array, threshold: float, group: NDArray[np.int64]) -> Array:
    counts = np.zeros((PAIR_GROUPS, len(edges) - 1))
    for rows in chunks(len(events), events.samples.shape[1], ELEMENTS):
        energies = events.samples[rows].numpy().astype(np.float64)
        event, voxel = np.nonzero(energies >= threshold)
        counts += histogram_by_group(energies[event, voxel], edges, group[rows][event], PAIR_GROUPS)
    return counts


FROM = 4096.0
"""The energy [MeV] from which on photons have the narrow histograms."""
WIDE_TOTAL, NARROW_TOTAL = Range(20, (0.4, 1.4)), Range(20, (0.9, 1.1))


@metric(
    "separation_total_by_energy/1",
    label="separation, E_tot / E_inc by energy",
    meaning="How much of the histograms of E_tot / E_inc at each incident energy is not shared by both sides.",
    of=separation_of_showers,
)
def separation_total_by_energy(pair: Comparison) -> Estimate:
    """Separation power of the histograms of E_tot / E_inc at each incident energy, mean over energies.

    20 bins from 0.4 to 1.4, of photons from 4.096 GeV on 20 bins from 0.9 to 1.1. Parts: each energy.
    """
    features, group = features_of(pair.generated), _groups(pair)
    energy = pair.generated.conditions[:, 0].double().numpy()
    place = features.places("total")[0]
    sides = [side[:, place].numpy() / energy for side in pair.derived("high_level")]
    histograms = []
    for one in np.unique(energy):
        edges = (NARROW_TOTAL if features.narrow and one >= FROM else WIDE_TOTAL).edges(None)
        rows = energy == one
        both = (histogram_by_group(side[rows], edges, group[rows], PAIR_GROUPS) for side in sides)
        histograms.append((f"{one:g} MeV", *both))
    return _estimate(pair, histograms)  # type: ignore[arg-type]


def low_level(events: Events) -> Tensor:
    """What the challenge's low-level classifier sees beside log10 E_inc: voxels above the threshold over E_inc.

    (N, voxels) float32.
    """
    threshold = features_of(events).threshold
    return torch.where(events.samples < threshold, 0.0, events.samples).div_(events.conditions[:, :1])


@metric(
    "classifier_voxels/1",
    slow=True,
    trains=True,
    label="classifier (low)",
    meaning="How well a small network tells generated from real showers by voxels: 0.5 is not at all, 1 is always.",
)
def classifier_voxels(pair: Comparison) -> Estimate:
    """How well a small network tells generated from real showers by their voxels; 0.5 is not at all, 1 always.

    1/2 + |AUC - 1/2| of the network and folds of `classifier_low/2`, on the inputs of the challenge's low-level
    classifier: voxels above the readout threshold over the incident energy, and log10 of that energy. The challenge's
    own network is far larger (three layers of 2048) and sees an event of each side once: its AUC is another number.
    """
    generated, real = pair.generated, pair.reference
    told = generated.conditions.log10()
    scores = held_out_scores(low_level(generated), low_level(real), told, generated.unit_id)
    return with_strata(pair, scores.estimate(torch.ones(len(pair), dtype=torch.bool)), scores.estimate)
