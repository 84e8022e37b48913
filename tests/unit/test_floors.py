"""Floors: shipped and measured on the spot, and the dealing of real events into two sets."""

from __future__ import annotations

import pytest
import torch

from simbench.evaluation.floors import Floors, FloorTable, swaps, table_json, table_path
from simbench.metrics.base import Comparison
from simbench.metrics.registry import get_metric
from simbench.metrics.resampling import values_only
from simbench.tasks import get_task
from simbench.tasks.mnist import find


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


@pytest.mark.parametrize("name", ["zn-geant3", "zp-geant3", "mnist"])
def test_the_shipped_floors_cover_every_metric_of_the_task(name: str) -> None:
    from simbench.tasks.mnist import Mnist
    from simbench.tasks.zn import ZnGeant3, ZpGeant3

    task = {"zn-geant3": ZnGeant3, "zp-geant3": ZpGeant3, "mnist": Mnist}[name]
    table = FloorTable.model_validate_json(table_path(name).read_text())
    assert (table.scored_sha256, table.train_sha256) == (task.scored_sha256, task.train_sha256)
    for key in task.metrics:
        for events in (task.test_events, task.smoke_events):
            floor = table.floors[key][events]
            assert floor.sd is not None, key
            assert floor.memoriser is not None, key
    assert table.curve is not None
    assert table.curve.metric == task.curve_metric
    assert table.curve.events[-1] == task.test_events
    assert table.curve.value[-1] == pytest.approx(table.floors[task.curve_metric][task.test_events].value)
    assert table_json(table) == table_path(name).read_text()


def test_a_shipped_floor_is_what_the_metric_gives_now() -> None:
    task, metric = get_task("zn-geant3"), get_metric("channel_wasserstein/1")
    shipped = Floors(task, task.load("test")).of(metric)
    now = metric(Comparison(task.load("floor"), task.load("test")))
    assert shipped.value == pytest.approx(now.value, rel=1e-7)
    assert shipped.value == pytest.approx(4.3, abs=0.05)


@pytest.mark.parametrize("name", ["zn-geant3", "mnist"])
def test_every_shipped_floor_of_a_smoke_run_is_what_its_metric_gives_now(name: str) -> None:
    if name == "mnist" and find(None) is None:
        pytest.skip("the MNIST files are not on this machine: set SIMBENCH_DATA")
    task = get_task(name)
    test = task.load("test", task.smoke_events)
    floors, pair = Floors(task, test), Comparison(task.load("floor", task.smoke_events), test, stratify=False)
    with values_only():
        for metric in map(get_metric, task.metrics):
            if not metric.slow:
                found = floors.of(metric)
                assert found.value == pytest.approx(metric(pair).value, rel=1e-5, abs=1e-9), metric.key
                assert found.sd is not None
                assert 0 <= found.sd < 3 * abs(found.value) + 1, metric.key


def test_the_floor_of_other_rows_is_measured_on_those_rows() -> None:
    task, metric = get_task("zn-geant3"), get_metric("channel_wasserstein/1")
    rows = torch.arange(0, 4000, 25)
    floor = Floors(task, task.load("test").take(rows)).of(metric)
    assert floor.value == metric(Comparison(task.load("floor").take(rows), task.load("test").take(rows))).value
    assert floor.value > 4.3
    assert floor.sd is None
    assert Floors(task, task.load("test", task.smoke_events)).of(metric).sd is not None
    other = torch.arange(0, 4000, 10)  # as many rows as a smoke run has, but others
    assert Floors(task, task.load("test").take(other)).of(metric).sd is None


def test_another_training_split_takes_away_the_memoriser_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    task = get_task("zn-geant3")
    monkeypatch.setattr(type(task), "train_sha256", "another")
    found = Floors(task, task.load("test")).of(get_metric("channel_wasserstein/1"))
    assert found.sd is not None
    assert found.memoriser is None
