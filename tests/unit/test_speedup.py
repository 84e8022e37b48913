from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from factories import make_result, make_throughput

from simbench.core.errors import DataError, UsageError
from simbench.evaluation.speedup import Cost, measured_cost, recorded_cost, speedup
from simbench.generators.session import Session
from simbench.results.cost import cost_sentences
from simbench.results.schema import Training
from simbench.samples.monte_carlo import MonteCarloEvents, MonteCarloFileRecord, write_monte_carlo
from simbench.tasks import get_task

TASK = get_task("zn-geant3")


class Zeros:
    def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        return torch.zeros(len(conditions), 44, 44)


def session() -> Session:
    return Session(Zeros(), TASK, "zeros")


def recorded() -> Cost:
    cost = recorded_cost(TASK)
    assert cost is not None
    return cost


def test_the_speedup_is_the_mean_monte_carlo_seconds_of_the_test_split_at_the_fastest_batch() -> None:
    seconds = TASK.load("test").mc_seconds
    assert seconds is not None
    rows = [make_throughput(100, 5000.0), make_throughput(10_000, 4000.0), make_throughput(100, 6000.0, threads=2)]
    result = speedup(rows, recorded(), session(), None)
    assert result is not None
    assert result.value == pytest.approx(6000 * float(seconds.mean()))
    assert result.per_core == pytest.approx(5000 * float(seconds.mean()))
    assert result.batch == 100
    assert result.monte_carlo.engine.startswith("GEANT")


def test_by_energy_the_monte_carlo_takes_longer_and_all_events_are_counted() -> None:
    result = speedup([make_throughput(100, 5000.0)], recorded(), session(), None)
    assert result is not None
    fifths = [result.strata[f"energy=q{fifth}"] for fifth in range(1, 6)]
    assert sum(fifth.events for fifth in fifths) == 4000
    assert np.all(np.diff([fifth.monte_carlo_s for fifth in fifths]) > 0)
    assert all(fifth.generator_s > 0 for fifth in fifths)
    assert sum(cost.events for key, cost in result.strata.items() if key.startswith("species=")) == 4000


def test_no_monte_carlo_cost_no_speedup() -> None:
    assert speedup([make_throughput()], None, session(), None) is None
    assert speedup([], recorded(), session(), None) is None


def record(events: int, mean: float) -> MonteCarloFileRecord:
    told = {"engine": "gflash", "physics": "-", "cuts": "-", "cpu": "a CPU", "measured": "here", "workers": "1"}
    told |= {"task": TASK.name, "task_version": TASK.version, "particles": "test", "request": "{}", "simbench": "0"}
    return MonteCarloFileRecord(
        **told, seconds_per_event=mean, threads=1, events=events, seed=0, created="today", command="simbench simulate"
    )


def live(path: Path, conditions: torch.Tensor) -> Path:
    count = len(conditions)
    seconds = np.linspace(1, 2, count).astype(np.float32)
    block = MonteCarloEvents(
        np.zeros((count, 44, 44), np.uint16),
        conditions.double().numpy(),
        np.zeros(count, np.int32),
        np.arange(count, dtype=np.int32),
        seconds,
    )
    write_monte_carlo(path, [block], record(count, float(seconds.astype(np.float64).mean())))
    return path


def test_a_live_record_takes_the_place_of_the_recorded_one(tmp_path: Path) -> None:
    cost = measured_cost(live(tmp_path / "live.h5", TASK.load("test").conditions[::8]), TASK)
    assert cost.record.engine == "gflash"
    result = speedup([make_throughput(100, 5000.0)], cost, session(), None)
    assert result is not None
    assert result.per_core == pytest.approx(5000 * 1.5)
    assert sum(part.events for key, part in result.strata.items() if key.startswith("energy=")) == 500


def test_a_bare_factor_and_other_particles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a number, not a measurement"):
        measured_cost(Path("50"), TASK)
    for name, conditions in {
        "other": TASK.load("train").conditions[:8],
        "some": TASK.load("test").conditions[:80],
    }.items():
        with pytest.raises(DataError, match="does not hold the conditions of the test split"):
            measured_cost(live(tmp_path / f"{name}.h5", conditions), TASK)


def test_what_a_speedup_is_worth_is_said_in_sentences() -> None:
    result = make_result()
    assert result.speedup is not None
    found = speedup([make_throughput(100, 1000.0)], recorded(), session(), Training(seconds=809.0, events=20_040))
    assert found is not None
    by_stratum, training, *_ = cost_sentences(result.model_copy(update={"speedup": found}))
    assert "by energy from" in by_stratum
    mean = found.monte_carlo.seconds_per_event
    gained = mean - 1 / 1000
    assert f"{int(np.ceil(809 / gained)):,}".replace(",", " ") in training.replace("\u202f", " ")
    assert cost_sentences(result.model_copy(update={"speedup": None})) == []
