"""Equivalent Monte Carlo events: on a curve, of an energy distance, and which count is the headline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from factories import make_measurement

from simbench.evaluation import equivalent
from simbench.evaluation.equivalent import curve_events, equivalent_events
from simbench.evaluation.floors import CURVE_METRICS, Curve, FloorTable, shipped_floors
from simbench.results.schema import EquivalentCount
from simbench.tasks import get_task
from simbench.tasks.mnist import find

ZN = get_task("zn-geant3")
SPREAD = {"real_spread": 4.0}


@pytest.fixture
def curve(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Curve(
        metric="channel_wasserstein/1", events=[10, 100, 1000, 4000], value=[80.0, 40.0, 10.0, 10.5], sd=[1.0] * 4
    )
    table = FloorTable(
        task=ZN.name,
        version="1",
        scored_sha256="",
        train_sha256="",
        features_sha256=None,
        swaps=20,
        floors={},
        curve=found,
    )
    monkeypatch.setattr(equivalent, "shipped_floors", lambda task: table)


def counted(metric: str, value: float, stderr: float, events: int = 4000, **changes: Any) -> EquivalentCount:
    found = equivalent_events(ZN, [make_measurement(metric, value, stderr=stderr, **changes)], events)
    assert found is not None
    assert found.engine == "GEANT 3.21/11"
    return found.headline


@pytest.mark.usefixtures("curve")
def test_a_curve_is_interpolated_with_the_interval_of_the_score() -> None:
    found = counted("channel_wasserstein", float(np.sqrt(40 * 80)), 1.0)
    assert (found.value, found.bound, found.scored) == (pytest.approx(np.sqrt(10 * 100)), "exact", 4000)
    assert found.high is not None
    assert 20 < found.low < found.value < found.high < 50
    assert counted("channel_wasserstein", 5.0, 1.0).bound == "at least"
    assert counted("channel_wasserstein", 500.0, 1.0).bound == "below"
    assert counted("channel_wasserstein", 10.5, 1.0).high is None


@pytest.mark.usefixtures("curve")
def test_a_curve_is_of_the_whole_test_split_alone() -> None:
    assert equivalent_events(ZN, [make_measurement("channel_wasserstein", 40.0)], 400) is None


def test_an_energy_distance_counts_without_a_curve() -> None:
    found = counted("conditional_energy", 2.0, 0.1, parts=SPREAD, floor=0.02, floor_sd=0.03)
    assert (found.aspect, found.value, found.scored) == ("per particle", 2.0, 8.0)
    assert (found.low, found.high) == (pytest.approx(4 / 2.196), pytest.approx(4 / 1.804))
    near = counted("conditional_energy", 0.02, 0.03, parts=SPREAD, floor=0.02, floor_sd=0.03)
    assert (near.bound, near.high) == ("at least", None)
    assert near.value == pytest.approx(4.0 / (0.02 + 1.96 * 0.03))
    unsure = counted("conditional_energy", 0.05, 0.04, parts=SPREAD, floor=0.02, floor_sd=0.03)
    assert (unsure.bound, unsure.value, unsure.high) == ("exact", 80.0, None)


def test_where_the_floor_comes_from_another_population_its_distance_is_taken_off() -> None:
    """mnist's held-out training digits are not its test digits: they would read half as many as they are."""
    found = counted("conditional_energy", 0.06, 0.001, parts=SPREAD, floor=0.01, floor_sd=0.001)
    assert found.value == pytest.approx(4 / 0.05)


def test_the_expected_energy_distance_of_n_real_events() -> None:
    """Delta / N, on normal numbers: the distance of the empirical measure of 5 events from 3000 others."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn(3000, 2, generator=rng, dtype=torch.float64)
    spread = torch.pdist(truth).mean()
    found = []
    for _ in range(200):
        few = torch.randn(5, 2, generator=rng, dtype=torch.float64)
        within = torch.cdist(few, few).mean()  # with the pairs of an event with itself: of the measure, not the sample
        found.append(2 * torch.cdist(few, truth).mean() - within - spread)
    assert float(torch.stack(found).mean()) == pytest.approx(float(spread) / 5, rel=0.08)


@pytest.mark.usefixtures("curve")
def test_the_headline_is_the_aspect_furthest_below_what_was_scored() -> None:
    """Real events dealt to the wrong particles: perfect channels, and deaf to the conditions."""
    channels = make_measurement("channel_wasserstein", 5.0, stderr=0.1)
    deaf = make_measurement("conditional_energy", 28.0, stderr=0.7, parts=SPREAD)
    found = equivalent_events(ZN, [channels, deaf], 4000)
    assert found is not None
    assert (found.worst, found.headline.value) == ("per particle", pytest.approx(4 / 28))


@pytest.mark.parametrize(("name", "sizes"), [("zn-geant3", (1000, 2000, 3000, 4000)), ("mnist", (1000, 3000, 10_000))])
def test_real_events_are_worth_as_many_as_they_are(name: str, sizes: tuple[int, ...]) -> None:
    if name == "mnist" and find(None) is None:
        pytest.skip("the MNIST files are not on this machine: set SIMBENCH_DATA")
    task = get_task(name)
    key, distance = CURVE_METRICS[task.curve_metric]
    floor, test = task.load("floor").derived(key), task.load("test").derived(key)
    table = shipped_floors(task)
    assert table is not None
    assert table.curve is not None
    rng = torch.Generator().manual_seed(9)
    for size in sizes:
        draws = [distance(floor[torch.randperm(len(floor), generator=rng)[:size]], test) for _ in range(60)]
        assert curve_events(table.curve, float(np.mean(draws))) == pytest.approx(size, rel=0.1)
