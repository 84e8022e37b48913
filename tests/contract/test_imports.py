"""Imports go one way: reference_models -> baselines -> simbench, whose folders have an order too."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"simbench": {"simbench_baselines", "simbench_models"}, "baselines/simbench_baselines": {"simbench_models"}}
PACKAGES = ("baselines/simbench_baselines", "reference_models/simbench_models")

FOLDERS = (
    *("cli", "gates", "selftest", "boards", "report", "sweep", "simulation", "evaluation", "training", "generators"),
    *("samples", "tasks", "results", "metrics", "features", "core"),
)
"""The folders of simbench: each may import those that come after it."""

FLOORS = 8
"""The longest chain of folders that import one another, the shipped models' included, may not be longer."""

HEAVY = ("torch", "numpy", "pydantic", "h5py", "scipy", "pandas", "matplotlib", "lightning", "rich", "dask")


def sources(folder: str) -> list[Path]:
    """The Python files of a folder, those that only make data set aside."""
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if "data" not in path.relative_to(ROOT).parts]


def modules(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it. `from a import b` gives `a.b`: b may be a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    return {module.partition(".")[0] for module in modules(path)}


@functools.cache
def arrows() -> dict[str, set[str]]:
    """Which folders of simbench, and packages of models, import which others."""
    found: dict[str, set[str]] = {}
    for place in (*(f"simbench/{name}" for name in FOLDERS), *PACKAGES):
        parts = [module.split(".") for path in sources(place) for module in modules(path)]
        below = {part[0] if part[0] != "simbench" else part[1] for part in parts if len(part) > 1}
        name = place.rpartition("/")[2]
        found[name] = below & {*FOLDERS, "simbench_baselines", "simbench_models"} - {name}
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_nothing_imports_against_the_direction(folder: str) -> None:
    files = sources(folder)
    assert len(files) > 5
    wrong = {str(path): names for path in files if (names := imported(path) & FORBIDDEN[folder])}
    assert not wrong


def test_two_modules_alone_know_dask() -> None:
    dask = {"dask", "distributed", "dask_jobqueue"}
    assert [path.name for path in sources("simbench") if imported(path) & dask] == ["spread.py", "cluster.py"]


def test_every_folder_has_a_place_in_the_order() -> None:
    assert {path.parent.name for path in (ROOT / "simbench").glob("*/__init__.py")} == set(FOLDERS)
    assert {path.name for path in (ROOT / "simbench").glob("*.py")} == {"__init__.py", "__main__.py"}


def test_the_architecture_lists_the_folders_in_this_order() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == FOLDERS


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_those_below_it(folder: str) -> None:
    assert arrows()[folder] <= set(FOLDERS[FOLDERS.index(folder) + 1 :])  # so there are no circles either


def test_the_house_has_few_floors() -> None:
    def floors(folder: str) -> int:
        return 1 + max((floors(below) for below in arrows()[folder]), default=0)

    heights = {folder: floors(folder) for folder in arrows()}
    assert heights["core"] == 1
    assert heights["cli"] > 4
    assert max(heights.values()) <= FLOORS, heights


def test_the_shipped_models_register_as_anybody_does() -> None:
    points = {point.name: point.value for point in metadata.entry_points(group="simbench.generators")}
    assert points["vae"].startswith("simbench_baselines.")
    assert {"floor", "memoriser", "mean_response", "channel_marginals", "wrong_condition"} <= points.keys()


def test_the_scan_sees_imports_inside_functions(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "def f():\n    from simbench_baselines.vae import VAE\n    import os.path\n    from simbench import gates\n"
    )
    assert imported(path) == {"simbench_baselines", "os", "simbench"}
    assert set(modules(path)) == {"simbench_baselines.vae.VAE", "os.path", "simbench.gates"}


def test_simbench_itself_shows_what_it_hands_on() -> None:
    simbench = import_module("simbench")
    assert "load_results" in dir(simbench)
    assert set(dir(simbench)) == set(simbench.__all__)


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_names_resolve_and_hide_no_module(folder: str) -> None:
    package = import_module(f"simbench.{folder}")
    assert (package.__doc__ or "").strip()
    names = getattr(package, "__all__", [])
    assert bool(names) == (folder not in ("cli", "tasks"))
    for name in names:
        assert getattr(package, name).__module__.startswith(f"simbench.{folder}"), name
    assert not {path.stem for path in sources(f"simbench/{folder}")} & set(names)
    assert set(names) <= set(dir(package))
    assert not hasattr(package, "no_such_name")


@pytest.mark.parametrize(
    "statement",
    [
        ", ".join(f"simbench.{folder}" for folder in FOLDERS),
        "simbench.gates.pytest_plugin",
        "simbench.cli.main, simbench.__main__",
    ],
    ids=["folders", "pytest plugin", "command line"],
)
def test_nothing_heavy_comes_along(statement: str) -> None:
    code = f"import sys, {statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
