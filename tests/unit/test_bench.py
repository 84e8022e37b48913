"""`simbench bench` and the file that it writes for pytest-benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from simbench.core.errors import GeneratorError
from simbench.core.progress import Progress
from simbench.evaluation.bench import bench, pytest_benchmark_json, statistics
from simbench.evaluation.evaluate import Options
from simbench.generators.resolve import Resolved
from simbench.tasks import get_task


class Zeros:
    def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        return torch.zeros(len(conditions), 44, 44)


def test_the_statistics_of_ten_rounds() -> None:
    seconds = (0.3, 0.1, 0.25, 0.2, 0.22, 0.24, 0.9, 0.21, 0.23, 0.19)
    expected = {
        "min": 0.1,
        "max": 0.9,
        "mean": np.mean(seconds),
        "stddev": np.std(seconds, ddof=1),
        "rounds": 10,
        "median": np.median(seconds),
        "iqr": 0.05,
        "q1": 0.2,
        "q3": 0.25,
        "iqr_outliers": 2,
        "stddev_outliers": 1,
        "outliers": "1;2",
        "ld15iqr": 0.19,
        "hd15iqr": 0.3,
        "ops": 10 / sum(seconds),
        "total": sum(seconds),
    }
    assert statistics(seconds) == {
        key: known if isinstance(known, str) else pytest.approx(known) for key, known in expected.items()
    }


def test_a_generator_that_fails_at_every_batch_is_an_error() -> None:
    class Eight(Zeros):
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            if len(conditions) > 8:
                raise ValueError("eight at most")
            return super().sample(conditions, seed=seed)

    task = get_task("zn-geant3")
    with pytest.raises(GeneratorError, match="eight at most"):
        bench([Resolved("eight", "eight", Eight())], task, Options(batches=(100,)), Progress(quiet=True))


def test_pytest_benchmark_compares_our_files(tmp_path: Path) -> None:
    (timed,) = bench(
        [Resolved("zeros", "zeros", Zeros())], get_task("zn-geant3"), Options(batches=(8,)), Progress(quiet=True)
    )
    assert {row.batch for row in timed.rows} == {8}
    assert timed.speedup is not None
    for kept in timed.rounds:
        assert len(kept.seconds) == kept.row.repeats
        assert 8 / sorted(kept.seconds)[5] <= kept.row.events_per_s.p50 <= 8 / sorted(kept.seconds)[4]
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(pytest_benchmark_json([timed], task="zn-geant3", command="x"))
    data = json.loads((tmp_path / "a.json").read_text())
    assert {"machine_info", "commit_info", "benchmarks", "datetime", "version"} == set(data)
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "a.json", "b.json", "--csv", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "zeros[cpu-1threads-batch8] (a)" in done.stdout
    assert "zeros[cpu-1threads-batch8] (b)" in done.stdout
