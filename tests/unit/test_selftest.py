"""The negative controls, at the size of a smoke run."""

from __future__ import annotations

import json

import pytest
import torch
from factories import make_measurement
from typer.testing import CliRunner

from simbench.core.errors import UsageError
from simbench.evaluation.floors import Floors
from simbench.metrics.channels import channel_sums
from simbench.metrics.registry import get_metric
from simbench.selftest.curves import curve_figure, curve_table, curve_values, metric_figure
from simbench.selftest.run import ControlResult, Response, controls, judge, real_pair, selftest
from simbench.tasks import get_task
from simbench.tasks.controls import Control, emptied, scaled, shrunk


@pytest.fixture(scope="module")
def results() -> list[ControlResult]:
    task = get_task("zn-geant3")
    return selftest(task, events=task.smoke_events, fast=True)


def test_strong_defects_are_flagged_at_smoke_size_by_the_metric_named_beforehand(results: list[ControlResult]) -> None:
    assert {result.control.name for result in results if result.status == "cannot tell"} <= {"photons x 0.95"}
    assert [result.control.name for result in results if not result.passed] == []


def test_nothing_flags_the_floor(results: list[ControlResult]) -> None:
    floor = results[0]
    assert floor.control.must_flag == ()
    assert floor.flags == {}
    assert floor.passed


def test_every_control_names_a_metric_of_the_task_that_is_no_classifier() -> None:
    for name in ("zn-geant3", "mnist"):
        _floor, *spoilt = controls(get_task(name))
        for control in spoilt:
            assert any(not key.startswith("classifier") for key in control.must_flag)
            assert all(get_metric(key).ranks for key in control.must_flag)
    with pytest.raises(UsageError, match="no negative controls"):
        controls(get_task("celeba64"))


def test_a_control_that_its_metric_does_not_see_fails() -> None:
    task = get_task("zn-geant3")
    harmless = Control("nothing at all", ("channel_wasserstein/1",), lambda events, rng: events.samples)
    floors = Floors(task, task.load("test", 160), measure_sd=True)
    result = judge(harmless, real_pair(task, 160), floors, ["channel_wasserstein/1"])
    assert not result.passed
    assert result.missed == ["channel_wasserstein/1"]
    assert result.status == "failed"


@pytest.mark.parametrize(
    ("weak", "whole", "measured", "status"),
    [
        (False, False, True, "failed"),
        (True, True, True, "failed"),
        (True, False, True, "cannot tell"),
        (False, True, False, "cannot tell"),
    ],
)
def test_a_miss_tells_nothing_where_nothing_could_be_seen(weak: bool, whole: bool, measured: bool, status: str) -> None:
    control = Control("x", ("channel_wasserstein/1",), scaled(0.95), weak=weak)
    found = {"channel_wasserstein/1": make_measurement()} if measured else {}
    assert ControlResult(control, found, {}, whole=whole).status == status
    assert ControlResult(control, found, {"channel_wasserstein/1": 1e-6}, whole=whole).status == "ok"


def test_what_could_not_be_seen_is_named_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from simbench.cli.main import app

    found = {"channel_wasserstein/1": make_measurement()}
    floor, weak = Control("floor", (), scaled(1.0)), Control("photons x 0.95", tuple(found), scaled(0.95), weak=True)
    results = [ControlResult(floor, found, {}), ControlResult(weak, found, {}, whole=False)]
    monkeypatch.setattr("simbench.selftest.run.selftest", lambda *args, **how: results)
    shown = CliRunner().invoke(app, ["selftest", "--smoke", "--fast"])
    assert shown.exit_code == 0
    assert "FAILED" not in shown.output
    assert "(leave out --smoke and --fast): photons x 0.95." in " ".join(shown.output.split())


def test_defects_do_what_they_say() -> None:
    events = get_task("zn-geant3").load("test", 400)
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(scaled(0.5)(events, rng), events.samples * 0.5)
    gone = (emptied(0.5)(events, rng).sum((1, 2)) == 0).double().mean()
    assert 0.4 < float(gone) < 0.65
    assert torch.equal(shrunk(0.0)(events, rng), events.samples)
    mean = shrunk(1.0)(events, rng)
    assert torch.allclose(mean[0], events.samples[:8].mean(0), atol=1e-4)
    by_name = {control.name: control.spoil for control in controls(get_task("zn-geant3"))}
    shuffled = by_name["pixels shuffled within each channel"](events, rng)
    assert torch.allclose(channel_sums(shuffled), channel_sums(events.samples))
    assert not torch.equal(shuffled, events.samples)
    permuted = by_name["channels permuted between events"](events, rng)
    assert torch.allclose(channel_sums(permuted).sort(0).values, channel_sums(events.samples).sort(0).values)
    wrong = by_name["conditions shuffled"](events, rng)
    assert sorted(wrong.sum((1, 2)).tolist()) == sorted(events.samples.sum((1, 2)).tolist())
    assert not torch.equal(wrong, events.samples)


def test_the_smallest_defect_is_the_last_before_a_strength_goes_unseen() -> None:
    def result(flagged: bool) -> ControlResult:
        return ControlResult(Control("x", (), scaled(1)), {}, {"m/1": 0.001} if flagged else {})

    response = Response(
        "scale", (0.5, 0.7, 0.9, 1.0, 1.1, 1.2), tuple(result(f) for f in (True, True, False, False, False, True))
    )
    assert response.smallest_detected("m/1", 1.0) == 0.7  # of 0.7 below and 1.2 above: the one further from 1
    assert response.smallest_detected("n/1", 1.0) is None
    gap = Response(
        "scale", (0.6, 0.8, 0.9, 1.0, 1.1, 1.5), tuple(result(f) for f in (True, False, True, False, False, True))
    )
    assert gap.smallest_detected("m/1", 1.0) == 1.5
    gap = Response("scale", (*gap.strengths[:5], 1.3), gap.results)
    assert gap.smallest_detected("m/1", 1.0) == 0.6  # 0.9 is flagged, but 0.8 is not
    one_side = Response("scale", gap.strengths, (*gap.results[:5], result(False)))
    assert one_side.smallest_detected("m/1", 1.0) is None
    one_sided = Response("emptied", (0.0, 0.1, 0.2), tuple(result(f) for f in (False, True, True)))
    assert one_sided.smallest_detected("m/1", 0.0) == 0.1


def test_the_table_and_the_figure_of_curves_name_metrics_as_people_do() -> None:
    task = get_task("zn-geant3")
    pair, floors = real_pair(task, 80), Floors(task, task.load("test", 80), measure_sd=True)
    keys = ["empty_fraction/1", "channel_wasserstein/1"]
    results = tuple(judge(Control(str(x), (), emptied(x)), pair, floors, keys) for x in (0.0, 0.5))
    response = Response("emptied", (0.0, 0.5), results)
    assert "| empty fraction (`empty_fraction/1`) | " in curve_table([response], task, 80)
    values = json.loads(json.dumps(curve_values([response], task, 80)))
    curve = values["defects"]["emptied"]["metrics"]["empty_fraction/1"]
    found = results[1].measurements["empty_fraction/1"]
    assert values["defects"]["emptied"]["strengths"] == [0.0, 0.5]
    assert (curve["flagged"], curve["floor"]) == ([False, True], pytest.approx(found.floor, rel=1e-5))
    assert curve["values"][1] == pytest.approx(found.value, rel=1e-5)
    assert [axes.get_xlabel() for axes in metric_figure(values, "empty_fraction/1").axes] == ["share of events emptied"]
    figure = curve_figure(response, task)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["empty fraction →0", "channel Wasserstein [photons] ↓"]
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["share of events emptied"] * 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "flagged (family error 1%, Holm)",
        "not flagged",
        "floor ± 2 sd",
    ]


def test_compare_from_the_command_line(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from factories import make_result

    from simbench.cli.main import app

    for name, quality in (("a", 2.0), ("b", 4.0)):
        (tmp_path / f"{name}.json").write_text(make_result(name, quality=quality).to_json())
    arguments = ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "better on" in shown.output
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert {row["better"] for row in found} >= {"A"}
    other = make_result("c", task="mnist").to_json()
    (tmp_path / "c.json").write_text(other)
    refused = CliRunner().invoke(app, ["compare", str(tmp_path / "a.json"), str(tmp_path / "c.json")])
    assert refused.exit_code == 4
    assert "differ in task" in refused.output
