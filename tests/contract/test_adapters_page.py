"""The examples of docs/adapters.md, run as they stand there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import written as all_written

from simbench.generators.contract import check_generator
from simbench.tasks import get_task


def written(name: str, folder: Path) -> Path:
    return next(path for path in all_written("adapters.md", folder) if path.name == name)


def passes(spec: str, **params: str) -> None:
    checks = list(check_generator(spec, params, get_task("zn-geant3")))
    assert [each for each in checks if each.status != "ok"] == []
    assert len(checks) > 10


def test_networks_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, written("export.py", tmp_path)], check=True, capture_output=True)
    passes("onnx:blob.onnx", output="log1p", whole="true")
    passes("pt2:blob.pt2", output="log1p", whole="true")


def test_a_program_in_python(tmp_path: Path) -> None:
    passes(f"cmd:{sys.executable} {written('blob.py', tmp_path)}")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_program_in_cpp(tmp_path: Path) -> None:
    source = written("blob.cpp", tmp_path)
    subprocess.run(["g++", "-O2", "-Wall", "-Werror", "-o", tmp_path / "blob", source], check=True)
    passes(f"cmd:{tmp_path / 'blob'}")


def test_jax(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    passes(f"{written('blob_jax.py', tmp_path)}:blob")


def test_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    passes(f"{written('blob_tf.py', tmp_path)}:blob")


def test_numpy(tmp_path: Path) -> None:
    passes(f"{written('blob_numpy.py', tmp_path)}:blob")
