"""The CaloChallenge's features and separation powers, written out again event by event and voxel by voxel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from calo import BINNING, VOXELS, energies_of, showers_of
from numpy.typing import NDArray

from simbench.core.events import Events
from simbench.metrics.base import Comparison
from simbench.metrics.binning import Binning
from simbench.metrics.registry import get_metric
from simbench.metrics.showers import ATLAS, PAR04, ClassifierFeatures, HighLevelFeatures, low_level
from simbench.tasks.calo_files import read_binning

Array = NDArray[Any]
EVENTS, THRESHOLD = 150, 1.0
LAYERS = {0: ([0, 5, 10, 30], 1), 1: ([0, 2, 4, 8], 4), 12: ([0, 100, 200], 3)}
"""The edges of the rings and the number of slices of each layer in `calo.BINNING`."""


def cells() -> list[tuple[int, float, float]]:
    """Layer, r and alpha of the middle of each voxel, in the order in which an event holds them."""
    found = []
    for layer, (edges, slices) in LAYERS.items():
        turns = np.linspace(-math.pi, math.pi, slices + 1).tolist()
        for turn in range(slices):
            for ring in range(len(edges) - 1):
                alpha = turns[turn] + (turns[turn + 1] - turns[turn]) / 2
                found.append((layer, (edges[ring] + edges[ring + 1]) / 2, alpha))
    return found


def by_hand(shower: Array, threshold: float) -> dict[tuple[str, int | None], float]:
    """The features of one shower."""
    energies = [float(energy) if energy >= threshold else 0.0 for energy in shower]
    found: dict[tuple[str, int | None], float] = {("total", None): sum(energies)}
    for layer, (_, slices) in LAYERS.items():
        mine = [(energy, r, alpha) for energy, (of, r, alpha) in zip(energies, cells(), strict=True) if of == layer]
        total = sum(energy for energy, *_ in mine)
        found["layers", layer] = total
        found["sparsity", layer] = sum(energy == 0 for energy, *_ in mine) / len(mine)
        axes: dict[str, Callable[[float, float], float]] = {"r": lambda r, alpha: r}
        if slices > 1:
            axes |= {"eta": lambda r, alpha: r * math.cos(alpha), "phi": lambda r, alpha: r * math.sin(alpha)}
        for axis, place in axes.items():
            mean = sum(place(r, a) * energy for energy, r, a in mine) / (total + 1e-16)
            square = sum(place(r, a) ** 2 * energy for energy, r, a in mine) / (total + 1e-16)
            found[f"centre_{axis}", layer] = mean
            found[f"width_{axis}", layer] = math.sqrt(max(square - mean**2, 0.0))
    return found


def separation(first: Array, second: Array, edges: Array) -> float:
    """Of two sets of numbers; a histogram is normed to what lies within the edges."""
    shares = []
    for values in (first, second):
        counts = [0.0] * (len(edges) - 1)
        for value in values:
            for at in range(len(counts)):
                if edges[at] <= value < edges[at + 1] or (at == len(counts) - 1 and value == edges[-1]):
                    counts[at] += 1
        shares.append([count / sum(counts) for count in counts])
    return 0.5 * sum((p - q) ** 2 / (p + q + 1e-16) for p, q in zip(*shares, strict=True))


@pytest.fixture(scope="module")
def binning(tmp_path_factory: pytest.TempPathFactory) -> Binning:
    path = tmp_path_factory.mktemp("binning") / "binning.xml"
    path.write_text(BINNING.format(pid=22, particle="photon"))
    return read_binning(path, "photon")


@pytest.fixture(scope="module")
def sets() -> tuple[Array, Array, Array]:
    """Incident energies, generated and real showers; among them an empty one and one with a single voxel."""
    rng = np.random.default_rng(3)
    energies = energies_of(EVENTS, discrete=True, rng=rng)
    generated, real = (showers_of(energies, rng) for _ in range(2))
    generated[0] = 0
    generated[1, 1:] = 0
    real[2, 3:] = 0
    return energies, (generated * 1.03).astype(np.float32).astype(np.float64), real


def pair_of(sets: tuple[Array, Array, Array], features: HighLevelFeatures) -> Comparison:
    energies, *sides = sets
    rows = torch.arange(len(energies))
    derivations = {"high_level": features, "physics": ClassifierFeatures(features)}
    both = (
        Events(torch.from_numpy(side).float(), torch.from_numpy(energies).float(), rows, rows, derivations=derivations)
        for side in sides
    )
    return Comparison(*both, stratify=False)


def test_every_feature_is_that_of_the_challenge(binning: Binning, sets: tuple[Array, Array, Array]) -> None:
    features = HighLevelFeatures(binning, THRESHOLD, ATLAS)
    assert binning.voxels == VOXELS == len(cells())
    for side in sets[1:]:
        found = features(torch.from_numpy(side).float()).numpy()
        wanted = [by_hand(shower, THRESHOLD) for shower in side]
        assert set(features.columns) == set(wanted[0])
        for place, column in enumerate(features.columns):
            assert found[:, place] == pytest.approx([one[column] for one in wanted], rel=1e-6, abs=1e-6), column
        assert (side < THRESHOLD).any()
        assert ((side > 0) & (side < THRESHOLD)).any()  # the threshold matters


def test_the_features_do_not_depend_on_how_events_are_parted(
    binning: Binning, sets: tuple[Array, Array, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = HighLevelFeatures(binning, THRESHOLD, ATLAS)
    samples = torch.from_numpy(sets[1]).float()
    whole = features(samples)
    monkeypatch.setattr("simbench.metrics.showers.ELEMENTS", 7 * VOXELS)
    assert torch.equal(features(samples), whole)


def edges_of(family: str, layer: int | None, real: Array, atlas: bool) -> Array:
    """The challenge's bins, from its plots."""
    deep = atlas and layer in ((12, 13, 14) if family.endswith("_r") else (12, 13))
    if family == "layers":
        return np.logspace(np.log10(THRESHOLD), np.log10(real.max()), 40)
    low, high, count = {
        "total": (0.5, 1.5, 101),
        "sparsity": (0.0, 1.0, 21),
        "centre_r": (0.0, 1500.0 if deep else 500.0 if atlas else 42.0, 101),
        "width_r": (0.0, 1500.0 if deep else 500.0 if atlas else 20.0, 101),
    }.get(family, (0, 0, 0))
    if not count:
        reach = (400.0 if deep else 100.0 if atlas else 30.0) if "width" in family else (500.0 if deep else 100.0)
        reach = reach if atlas else 30.0
        low, high, count = (0.0 if "width" in family else -reach), reach, 101
    return np.linspace(low, high, count)


FAMILIES = ("total", "layers", "centre_eta", "centre_phi", "width_eta", "width_phi", "sparsity", "centre_r", "width_r")


@pytest.mark.parametrize("atlas", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_separation_is_that_of_the_challenge(
    family: str, atlas: bool, binning: Binning, sets: tuple[Array, Array, Array]
) -> None:
    """Of the layers that the smaller calorimeter's bins can hold."""
    pair = pair_of(sets, HighLevelFeatures(binning, THRESHOLD, ATLAS if atlas else PAR04))
    measured = get_metric(f"separation_{family}/1")(pair)
    energies, *sides = sets
    found = [[by_hand(shower, THRESHOLD) for shower in side] for side in sides]
    wanted = {}
    for layer in [None] if family == "total" else [of for kind, of in found[0][0] if kind == family]:
        scale = energies[:, 0] if family == "total" else np.ones(EVENTS)
        x, y = (np.array([one[family, layer] for one in side]) / scale for side in found)
        edges = edges_of(family, layer, y, atlas)
        if (y <= edges[-1]).any():
            wanted[f"layer {layer}"] = separation(x, y, edges)
    if family == "total":
        assert measured.value == pytest.approx(wanted["layer None"], rel=1e-6)
        return
    for name, value in wanted.items():
        assert measured.parts[name] == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert measured.value == pytest.approx(np.mean(list(measured.parts.values())))
    assert measured.stderr is not None
    assert measured.stderr > 0


def test_voxel_energies_and_single_energies(binning: Binning, sets: tuple[Array, Array, Array]) -> None:
    energies, generated, real = sets
    pair = pair_of(sets, HighLevelFeatures(binning, THRESHOLD, ATLAS, narrow=True))
    edges = np.logspace(np.log10(THRESHOLD), np.log10(real.max()), 50)
    x, y = (side[side >= THRESHOLD] for side in (generated, real))
    assert get_metric("separation_voxels/1")(pair).value == pytest.approx(separation(x, y, edges), rel=1e-6)
    measured = get_metric("separation_total_by_energy/1")(pair)
    assert len(measured.parts) == len(np.unique(energies))
    for energy in np.unique(energies):
        rows = energies[:, 0] == energy
        low, high = (0.9, 1.1) if energy >= 4096 else (0.4, 1.4)
        x, y = (np.where(side < THRESHOLD, 0, side).sum(1)[rows] / energy for side in (generated, real))
        wanted = separation(x, y, np.linspace(low, high, 21))
        assert measured.parts[f"{energy:g} MeV"] == pytest.approx(wanted, rel=1e-6)


def test_what_the_classifiers_see(binning: Binning, sets: tuple[Array, Array, Array]) -> None:
    """As the challenge prepares it: voxels over E_inc; logarithms of energies, positions over 100 mm."""
    features = HighLevelFeatures(binning, THRESHOLD, ATLAS)
    pair = pair_of(sets, features)
    energies, generated, _ = sets
    kept = np.where(generated < THRESHOLD, 0, generated)
    assert low_level(pair.generated).numpy() == pytest.approx(kept / energies, rel=1e-6)
    seen = pair.generated.derived("physics").numpy()
    for place, column in enumerate(features.columns):
        values = np.array([by_hand(shower, THRESHOLD)[column] for shower in generated])
        if column.family in ("total", "layers"):
            values = np.log10(values + 1e-8)
        elif column.family != "sparsity":
            values = values / 100
        assert seen[:, place] == pytest.approx(values, rel=1e-6, abs=1e-6), column
