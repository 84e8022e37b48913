"""Any equal number of repeats of each condition, end to end: 2 of 8 and 1 of 8 from files, --events that is no whole
multiple."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.evaluation.equivalent import equivalent_events
from simbench.metrics.base import Comparison
from simbench.metrics.registry import get_metric
from simbench.tasks import get_task

TASK = get_task("zn-geant3")
REPEATED = ("conditional_energy", "diversity_ratio", "conditional_wasserstein")
"""What cannot be measured on one event of each condition."""

CHOSEN = ("channel_wasserstein", "dispersion_ratio", *REPEATED)


@pytest.fixture(autouse=True)
def _workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def simbench(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def measured(done: Any, code: int = 0) -> dict[str, Any]:
    assert done.exit_code == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_name(result: dict[str, Any]) -> dict[str, Any]:
    return {one["metric"]: one for one in result["measurements"]}


def answers(repeats: int, conditions: int = 60) -> torch.Tensor:
    """Test rows: the last `repeats` of each condition, so that they are not the first rows of anything."""
    return (torch.arange(conditions)[:, None] * 8 + torch.arange(8 - repeats, 8)).flatten()


def write(repeats: int) -> torch.Tensor:
    """A file of real events of the split `floor`: what a perfect program would answer."""
    rows = answers(repeats)
    np.savez("mine.npz", samples=TASK.load("floor").samples[rows].numpy(), condition_index=rows.numpy())
    return rows


def test_two_of_eight_repeats_are_scored_beside_a_floor_of_the_same_rows() -> None:
    rows = write(2)
    result = measured(simbench("score", "mine.npz", "--metrics", ",".join(CHOSEN), "--json", "--no-report"))
    found = by_name(result)
    assert result["task"]["events"] == 120
    wasserstein = found.pop("conditional_wasserstein")
    assert (wasserstein["status"], wasserstein["error"]) == ("failed", "needs at least eight events of each condition.")
    assert {one["status"] for one in found.values()} == {"ok"}
    pair = Comparison(TASK.load("floor").take(rows), TASK.load("test").take(rows), stratify=False)
    for one in found.values():
        floor = get_metric(f"{one['metric']}/{one['version']}")(pair).value
        assert one["floor"] == pytest.approx(floor)
        assert one["value"] == pytest.approx(floor)
    file = f"runs/zn-geant3/mine/{result['id']}.json"
    measured(simbench("report", file, "--samples", "mine.npz", "-o", "page.html", "--json"))
    assert '<figure id="showers">' in Path("page.html").read_text()


def test_one_of_eight_repeats_has_its_channels_and_says_what_it_lacks() -> None:
    write(1)
    chosen = ",".join(["channel_wasserstein", *REPEATED])
    done = simbench("score", "mine.npz", "--metrics", chosen, "--json", "--no-report")
    found = by_name(measured(done, code=5))
    assert "conditional_energy/1: needs at least two events of each condition" in " ".join(done.stderr.split())
    assert found["channel_wasserstein"]["status"] == "ok"
    for name in REPEATED:
        assert (found[name]["status"], found[name]["value"]) == ("failed", None)
        assert "events of each condition" in found[name]["error"]
    alone = measured(simbench("score", "mine.npz", "--metrics", "channel_wasserstein", "--json", "--no-report"))
    assert (alone["status"], alone["equivalent_events"]) == ("complete", None)
    shown = simbench("score", "mine.npz", "--metrics", "channel_wasserstein", "--no-report")
    assert "Equivalent events not known for this number of events" in " ".join(shown.stdout.split())


@pytest.mark.parametrize(("events", "repeats"), [(1500, 6), (500, 5)])
def test_run_takes_as_many_events_as_can_be_shared_out(events: int, repeats: int) -> None:
    words = ["run", "-g", "floor", "--events", str(events), "--metrics", "channel_wasserstein,conditional_energy"]
    result = measured(simbench(*words, "--batch-size", "1", "--json", "--no-report"))
    assert (result["status"], result["task"]["events"], result["spec"]["events"]) == ("complete", events, events)
    (count,) = result["equivalent_events"]["counts"]
    assert (count["metric"], count["scored"]) == ("conditional_energy/1", repeats)
    file = f"runs/zn-geant3/floor/{result['id']}.json"
    assert Path(file).with_suffix(".h5").is_file()
    measured(simbench("report", file, "-o", "page.html", "--json"))
    assert '<figure id="showers">' in Path("page.html").read_text()
    again = measured(
        simbench("score", str(Path(file).with_suffix(".h5")), "--metrics", "rmse", "--json", "--no-report")
    )
    assert again["samples_sha256"] == result["samples_sha256"]


def test_a_count_per_particle_is_of_the_particles_at_hand() -> None:
    from factories import make_measurement

    score = make_measurement("conditional_energy", 2.0, stderr=0.1, parts={"real_spread": 4.0})
    found = equivalent_events(TASK, [score], 120, 60)
    assert found is not None
    assert (found.headline.value, found.headline.scored) == (2.0, 2.0)
