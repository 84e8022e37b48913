"""Many results as one tidy frame, and its export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from factories import make_measurement, make_result
from typer.testing import CliRunner

import simbench
from simbench.cli.main import app
from simbench.core.errors import DataError, UsageError
from simbench.results.frame import COLUMNS, export
from simbench.results.schema import write_result


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_result(make_result("vae", parameters={"latent": 10}), folder)
    write_result(make_result("=evil()", task="mnist", id="b"), folder)
    write_result(
        make_result(
            "file",
            id="c",
            measurements=[make_measurement(value=None, status="failed", error="no")],
            throughput=[],
            speedup=None,
        ),
        folder,
    )
    return folder


def test_a_row_for_each_run_and_metric(runs: Path) -> None:
    frame = simbench.load_results(f"{runs}/**/*.json")
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 12 + 5 + 1
    row = frame[(frame.generator == "vae") & (frame.metric == "channel_wasserstein/1")].iloc[0]
    assert (row.task, row.value, row.floor, row.parameters, row.equivalent_events) == (
        "zn-geant3",
        8.8,
        4.4,
        '{"latent": 10}',
        1000,
    )
    assert row.created == pd.Timestamp("2026-01-02T03:04:05Z")
    assert frame.training_seed.isna().all()
    failed = frame[frame.run == "c"].iloc[0]
    assert failed.status == "failed"
    assert pd.isna(failed.value)
    assert frame.value.dtype == frame.speedup.dtype == "float64"


def test_folders_files_and_overlapping_patterns(runs: Path) -> None:
    whole = simbench.load_results(runs)
    pd.testing.assert_frame_equal(simbench.load_results(runs, f"{runs}/**/*.json", *runs.rglob("*.json")), whole)
    odd = runs / "[odd]"
    write_result(make_result(id="d"), odd)
    assert len(simbench.load_results(odd)) == 12


def test_bad_files_are_named_and_left_out(runs: Path) -> None:
    (runs / "bad.json").write_text("{")
    with pytest.warns(UserWarning, match=r"1 file is left out: .*bad\.json is not a result"):
        frame = simbench.load_results(runs)
    assert frame["run"].nunique() == 3


def test_only_bad_files_and_no_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no files"):
        simbench.load_results(f"{tmp_path}/*.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="none of 1 files is a result"):
        simbench.load_results(tmp_path)


def test_importing_simbench_is_light() -> None:
    code = (
        "import simbench, sys; assert not {'torch', 'pandas', 'pydantic'} & set(sys.modules)\n"
        "simbench.load_results; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'load'"):
        simbench.load  # noqa: B018


def test_export_to_csv(runs: Path, tmp_path: Path) -> None:
    (runs / "bad.json").write_text("{")
    out = tmp_path / "results.csv"
    done = CliRunner().invoke(app, ["export", f"{runs}/**/*.json", "-o", str(out)])
    assert done.exit_code == 0
    assert "18 rows: 3 runs" in done.stdout
    assert "bad.json" in done.stderr
    again = pd.read_csv(out)
    assert set(again.generator) == {"vae", "'=evil()", "file"}
    assert (
        again.value.dropna().tolist() == simbench.load_results(*sorted(runs.glob("*/*/*.json"))).value.dropna().tolist()
    )
    assert CliRunner().invoke(app, ["export", str(runs), "-o", str(out)]).exit_code == 2
    assert CliRunner().invoke(app, ["export", str(runs), "-o", str(tmp_path / "x.xlsx")]).exit_code == 2
    assert CliRunner().invoke(app, ["export", str(tmp_path / "none"), "-o", str(tmp_path / "y.csv")]).exit_code == 4


def test_the_csv_is_that_of_pandas(tmp_path: Path) -> None:
    odd = 'quoted "x", two\nlines, é'
    write_result(make_result("vae", parameters={"a": odd, "b": 0.1, "c": True}), tmp_path / "runs")
    write_result(make_result(odd, task="mnist", id="b", throughput=[], speedup=None), tmp_path / "runs")
    frame = simbench.load_results(tmp_path / "runs")
    export(frame, tmp_path / "ours.csv")
    frame.to_csv(tmp_path / "theirs.csv", index=False)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "theirs.csv").read_bytes()


def test_parquet_without_pyarrow_names_the_extra(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = simbench.load_results(runs)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"simbench\[parquet\]"):
        export(frame, tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_parquet(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is an extra")
    frame = simbench.load_results(runs)
    export(frame, tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x.parquet"), frame, check_dtype=False)
