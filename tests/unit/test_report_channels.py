"""The figures of the read-out channels: their arithmetic, and what they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import chi2_contingency, spearmanr

from simbench.core.events import Events
from simbench.metrics.base import Comparison
from simbench.report.channels import channel_histograms, chi_square, correlations, rank_correlations
from simbench.report.response import energy_response
from simbench.report.showers import pick_conditions, shower_grid
from simbench.report.spread import dispersion
from simbench.report.style import Series
from simbench.tasks.zn import ZnGeant3

EVENTS = 400


@pytest.fixture(scope="module")
def task() -> ZnGeant3:
    return ZnGeant3()


@pytest.fixture(scope="module")
def series(task: ZnGeant3) -> list[Series]:
    """Real events with their light doubled, and none at all."""
    real = task.load("test", EVENTS)
    spoilt = (real.samples * 2, torch.zeros_like(real.samples))
    return [
        Series(name, place, Comparison(real.with_samples(samples), real))
        for place, (name, samples) in enumerate(zip(("bright", "dark"), spoilt, strict=True))
    ]


@pytest.fixture(scope="module")
def other(task: ZnGeant3) -> Events:
    return task.load("floor", EVENTS)


def texts(figure: Figure) -> list[str]:
    own = [text.get_text() for text in figure.texts]
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return own + legends + [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title)]


def test_rank_correlations_are_spearmans() -> None:
    values = np.random.default_rng(0).poisson(3.0, (200, 5)).astype(float)
    np.testing.assert_allclose(rank_correlations(values), spearmanr(values).statistic, atol=1e-12)
    values[:, 2] = 0
    assert np.isnan(rank_correlations(values)[2]).all()


def test_chi_square_is_pearsons_test_of_two_histograms() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.poisson(20, 12).astype(float), rng.poisson(33, 12).astype(float)
    expected = chi2_contingency(np.stack([first, second]), correction=False)
    value, degrees = chi_square(np.append(first, 0.0), np.append(second, 0.0))  # an empty bin counts for nothing
    assert value == pytest.approx(expected.statistic, abs=1e-9)
    assert degrees == expected.dof
    assert chi_square(first, 3 * first)[0] == pytest.approx(0, abs=1e-9)


def test_each_panel_of_the_histograms_says_how_far_they_are_apart(
    series: list[Series], task: ZnGeant3, other: Events
) -> None:
    found = texts(channel_histograms(series, task, other))
    for name in ("real–real", "bright", "dark"):
        assert sum(text.startswith(f"{name}: χ² ") for text in found) == 6
    assert f"{EVENTS} events of {EVENTS // 8} conditions" in found
    assert any(text.startswith("zn-geant3") for text in found)
    assert "ratio above 2" in found
    assert not any("real–real" in text for text in texts(channel_histograms(series[:1], task, None)))


def test_the_response_has_a_panel_for_every_species_and_points_at_the_energy_of_their_bin(
    series: list[Series], task: ZnGeant3
) -> None:
    figure = energy_response(series[:1], task)
    real = series[0].pair.reference
    kinds = ["all", "photon", "neutron", "proton", "other"]
    sizes = [len(real), *(int((real.strata["species"] == kind).sum()) for kind in kinds[1:])]
    wanted = [f"{kind}\n{size} events" for kind, size in zip(kinds, sizes, strict=True)]
    assert [text for text in texts(figure) if text.endswith("events") and "\n" in text] == wanted
    energy = real.conditions[:, task.condition_names.index("Energy")].numpy()
    edges = np.quantile(energy, np.linspace(0, 1, 11))
    bins = np.clip(np.searchsorted(edges, energy, side="right") - 1, 0, 9)
    expected = [energy[bins == place].mean() for place in range(10)]
    (points,) = [line for line in figure.axes[0].lines if line.get_marker() == series[0].points["fmt"]]
    figure.draw_without_rendering()
    on_screen = points.get_transform().transform(points.get_xydata())
    np.testing.assert_allclose(figure.axes[0].transData.inverted().transform(on_screen)[:, 0], expected, rtol=1e-5)
    assert "ratio outside the panel" in texts(figure)  # twice the light


def test_the_spread_and_the_correlations_stand_beside_those_of_other_real_events(
    series: list[Series], task: ZnGeant3, other: Events
) -> None:
    figure = dispersion(series, task, other)
    told = [text.get_text() for axes in figure.axes if axes.legend_ for text in axes.legend_.get_texts()]
    assert {"real against real", "median in bins"} <= set(told)
    assert f"below the frame: {EVENTS // 8}" in told  # the dark one has no spread
    figure = correlations(series, other)
    titles = [axes.get_title() for axes in figure.axes]
    expected = rank_correlations(other.derived("channels").numpy()) - rank_correlations(
        series[0].pair.reference.derived("channels").numpy()
    )
    (chance,) = [title for title in titles if title.startswith("other real − real")]
    assert float(chance.split("norm ")[1].strip(")")) == pytest.approx(np.linalg.norm(expected), rel=0.06)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == [
        "rank correlation",
        "difference from real",
    ]


def test_no_sum_of_photons_lies_on_an_image(series: list[Series], task: ZnGeant3) -> None:
    figure = shower_grid(series, pick_conditions(series[0].pair.reference, task), task.unit)
    figure.draw_without_rendering()
    (sheet, _bar) = figure.axes
    images = [image.get_window_extent() for image in sheet.images]
    sums = [text.get_window_extent() for text in sheet.texts if text.get_text().startswith("Σ")]
    assert len(sums) == len(images) > 20
    assert not any(image.overlaps(text) for image in images for text in sums)
