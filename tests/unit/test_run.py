"""`simbench run` as it is typed: what the results are called, what it leaves, several runs in one call."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.tasks.zn import ZnGeant3

MODELS = """
import torch

class Blob:
    def __init__(self, rate: float = 1.0): self.rate = rate
    def sample(self, conditions, *, seed):
        rng = torch.Generator().manual_seed(seed)
        return torch.poisson(torch.full((len(conditions), 44, 44), self.rate), generator=rng)
"""
QUICK = ("--events", "40", "--batches", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1", "conditional_energy/1"))
    monkeypatch.setattr("simbench.report.features.ITERATIONS", 250)
    monkeypatch.setattr("simbench.report.features.TOTAL", 300)
    (tmp_path / "run_models.py").write_text(MODELS)
    yield tmp_path
    sys.modules.pop("run_models", None)


def simbench(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words), prog_name="simbench")
    assert done.exit_code == code, (done.exit_code, done.stderr)
    assert "Traceback" not in done.output
    return done


def data(*words: str, code: int = 0) -> Any:
    """The JSON that a verb prints on stdout."""
    return json.loads(simbench(*words, "--json", code=code).stdout)


# Labels


def test_a_label_is_what_tables_paths_and_reports_call_the_generator(workdir: Path) -> None:
    shown = simbench("run", "-g", "run_models:Blob", "--name", "Blob, 1 photon", *QUICK).stdout
    assert "Blob, 1 photon (rate=1.0) on zn-geant3" in shown
    (path,) = workdir.glob("runs/zn-geant3/Blob-1-photon/*.json")
    record = json.loads(path.read_text())
    assert (record["spec"]["label"], record["generator"]["name"]) == ("Blob, 1 photon", "Blob")
    assert "<title>Blob, 1 photon on zn-geant3</title>" in path.with_suffix(".html").read_text()
    other = data("run", "-g", "run_models:Blob", *QUICK, "--no-report")
    assert other["spec"]["label"] is None
    plain = workdir / "runs" / "zn-geant3" / "Blob" / f"{other['id']}.json"
    compared = simbench("compare", str(path), str(plain)).stdout
    assert compared.startswith("A: Blob, 1 photon ")
    assert "B: Blob " in compared


def test_files_of_samples_take_a_label_too() -> None:
    samples = np.random.default_rng(0).poisson(1.0, (40, 44, 44)).astype(np.uint16)
    np.savez("s.npz", samples=samples, condition_index=np.arange(40), generator="inside")
    assert data("score", "s.npz", "--no-report", "--name", "mine")["spec"]["label"] == "mine"
    assert data("run", "-g", "samples:s.npz", "--no-report", "--name", "mine")["spec"]["label"] == "mine"
    assert len(list(Path("runs/zn-geant3/mine").glob("*.json"))) == 2


@pytest.mark.parametrize("label", ["", "  ", "x" * 101, "a\nb"])
def test_a_label_that_cannot_be_shown_is_refused_before_any_work(label: str) -> None:
    said = simbench("run", "-g", "run_models:Blob", "--name", label, *QUICK, code=2).stderr
    assert said.startswith("UsageError: --name is no label: got ")
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
