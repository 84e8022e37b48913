"""Floors, the curve behind the equivalent Monte Carlo events, and the dealing of real events into two sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simbench.evaluation import floors
from simbench.evaluation.floors import Curve, FloorTable, equivalent_events, floor_of, swaps, table_json, table_path
from simbench.metrics.registry import get_metric
from simbench.tasks import get_task


def test_swaps_deal_every_real_event_once_and_keep_conditions_paired() -> None:
    task = get_task("zn-geant3")
    floor, test = task.load("floor", 80), task.load("test", 80)
    everything = sorted(bytes(row.numpy()) for row in torch.cat([floor.samples, test.samples]))
    seen = set()
    for pair in swaps(floor, test, seed=1, count=5):
        assert torch.equal(pair.generated.condition_id, pair.reference.condition_id)
        assert torch.equal(pair.generated.conditions, pair.reference.conditions)
        dealt = torch.cat([pair.generated.samples, pair.reference.samples])
        assert sorted(bytes(row.numpy()) for row in dealt) == everything
        seen.add(bytes(pair.generated.samples.numpy()))
    assert len(seen) == 5


@pytest.mark.parametrize("name", ["zn-geant3", "mnist"])
def test_the_shipped_floors_cover_every_metric_of_the_task(name: str) -> None:
    from simbench.tasks.mnist import Mnist
    from simbench.tasks.zn import ZnGeant3

    task = {"zn-geant3": ZnGeant3, "mnist": Mnist}[name]
    table = FloorTable.model_validate_json(table_path(name).read_text())
    assert table.dataset_sha256 == task.dataset_sha256
    for key in task.metrics:
        for events in (task.test_events, task.smoke_events):
            floor = table.floors[key][events]
            assert floor.sd is not None, key
            assert floor.memoriser is not None, key
    assert table.curve is not None
    assert table.curve.metric == task.equivalent_metric
    assert table.curve.events[-1] == task.test_events
    assert table_json(table) == table_path(name).read_text()


def test_a_shipped_floor_is_what_the_metric_gives_now() -> None:
    task = get_task("zn-geant3")
    shipped = floor_of(task, "channel_wasserstein/1", task.test_events)
    from simbench.metrics.base import Comparison

    now = get_metric("channel_wasserstein/1")(Comparison(task.load("floor"), task.load("test")))
    assert shipped.value == pytest.approx(now.value, rel=1e-7)
    assert shipped.value == pytest.approx(4.3, abs=0.05)


def test_a_floor_of_another_size_is_measured_on_the_spot() -> None:
    floor = floor_of(get_task("zn-geant3"), "channel_wasserstein/1", 160)
    assert floor.value > 4.3
    assert floor.sd is None


def test_equivalent_events_interpolate_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    task = get_task("zn-geant3")
    curve = Curve(
        metric="channel_wasserstein/1", events=[10, 100, 1000, 4000], value=[80.0, 40.0, 10.0, 10.5], sd=[1.0] * 4
    )
    table = FloorTable(task=task.name, version="1", dataset_sha256="", swaps=20, floors={}, curve=curve)
    monkeypatch.setattr(floors, "_shipped", lambda name, sha: table)
    found = equivalent_events(task, float(np.sqrt(40 * 80)), task.test_events)
    assert found is not None
    assert (found.value, found.bound) == (pytest.approx(np.sqrt(10 * 100)), "exact")
    assert equivalent_events(task, 5.0, task.test_events).bound == "at least"  # type: ignore[union-attr]
    assert equivalent_events(task, 500.0, task.test_events).bound == "below"  # type: ignore[union-attr]
    assert equivalent_events(task, 40.0, 400) is None


def test_real_events_are_worth_about_as_many_as_they_are() -> None:
    task = get_task("zn-geant3")
    from simbench.metrics.channels import channel_wasserstein

    floor, test = task.load("floor").derived("channels"), task.load("test").derived("channels")
    rng = torch.Generator().manual_seed(9)
    draws = [channel_wasserstein(floor[torch.randperm(4000, generator=rng)[:300]], test) for _ in range(10)]
    found = equivalent_events(task, float(np.mean(draws)), task.test_events)
    assert found is not None
    assert 200 < found.value < 450
