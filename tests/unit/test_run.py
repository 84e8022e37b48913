"""`simbench run` as it is typed: what the results are called, what it leaves, several runs in one call."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import DataError
from simbench.samples.files import TooLargeError
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


def no_embedding(_: object) -> None:
    raise DataError("no embedding")


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1", "conditional_energy/1"))
    monkeypatch.setattr("simbench.report.page.embed", no_embedding)  # it would take most of the time
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


# Samples


def run_blob(*words: str) -> Path:
    """The file of the result of a run; it writes no report."""
    result = data("run", "-g", "run_models:Blob", *QUICK, "--no-report", *words)
    return Path("runs/zn-geant3/Blob") / f"{result['id']}.json"


def test_the_samples_of_the_last_run_are_kept_and_a_report_has_its_figures() -> None:
    first = run_blob()
    assert first.with_suffix(".h5").is_file()
    second = run_blob("--param", "rate=2")
    assert sorted(second.parent.iterdir()) == sorted([first, second, second.with_suffix(".h5")])
    data("report", str(first), str(second), "--models", "none", "-o", "page.html")
    page = Path("page.html").read_text()
    assert '<figure id="showers">' in page
    assert "The samples of Blob (rate=1.0) are not at hand" in page
    third = run_blob("--no-samples")
    assert sorted(second.parent.iterdir()) == sorted([first, second, second.with_suffix(".h5"), third])
    data("leaderboard", "verify", str(second), "--samples", str(second.with_suffix(".h5")))


def too_large(*_: object, limit: float, **__: object) -> None:
    assert limit in (7e6, 8e6)
    raise TooLargeError("too large")


def test_samples_beyond_the_limit_are_not_kept_and_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simbench.samples.kept.write_samples", too_large)
    said = simbench("run", "-g", "run_models:Blob", *QUICK, "--no-report", "--samples-limit", "7").stderr
    assert "The samples are not kept: they take more than 7 MB (--samples-limit)." in said
    monkeypatch.setenv("SIMBENCH_SAMPLES_LIMIT", "8")
    assert "more than 8 MB" in simbench("run", "-g", "run_models:Blob", *QUICK, "--no-report").stderr
    assert len(list(Path("runs").rglob("*.json"))) == 2
    assert simbench("run", "-g", "run_models:Blob", "--samples-limit", "0", code=2).stderr


def test_a_disk_without_room_for_samples_takes_no_result_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    done = simbench("run", "-g", "run_models:Blob", *QUICK, "--no-report")
    assert "The samples are not kept: " in done.stderr
    assert "No space left on device" in done.stderr
    assert [path.suffix for path in Path("runs").rglob("*.*") if path.is_file()] == [".json"]


def test_clean_shows_what_is_kept_and_removes_the_samples_alone() -> None:
    path = run_blob()
    samples = path.with_suffix(".h5")
    shown = simbench("clean").stdout
    assert str(samples) in shown
    assert "1 file of samples below runs, " in shown
    assert "Remove them with --yes" in shown
    found = data("clean", str(path.parent))
    assert found == {
        "samples": [{"file": str(samples), "result": path.stem, "bytes": samples.stat().st_size}],
        "removed": False,
    }
    assert samples.is_file()
    assert "They are removed" in simbench("clean", "--yes").stdout
    assert list(path.parent.iterdir()) == [path]
    assert simbench("clean", "--yes").stdout == "0 files of samples below runs, 0 MB.\n"
