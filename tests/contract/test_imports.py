"""Imports go reference_models -> baselines -> simbench, never back: the shipped models have no privileged way in."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"simbench": {"simbench_baselines", "simbench_models"}, "baselines/simbench_baselines": {"simbench_models"}}


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_nothing_imports_against_the_direction(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 5
    wrong = {str(path): names for path in files if (names := imported(path) & FORBIDDEN[folder])}
    assert not wrong


def test_the_shipped_models_register_as_anybody_does() -> None:
    points = {point.name: point.value for point in metadata.entry_points(group="simbench.generators")}
    assert points["vae"].startswith("simbench_baselines.")
    assert {"floor", "memoriser", "mean_response", "channel_marginals", "wrong_condition"} <= points.keys()


def test_the_scan_sees_imports_inside_functions(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from simbench_baselines.vae import VAE\n    import os.path\n")
    assert imported(path) == {"simbench_baselines", "os"}
