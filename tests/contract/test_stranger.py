"""A package that simbench has never heard of, that of docs/own-package.md: the commands work on what it brings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "own-package.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXCESS = README[README.index("from simbench.metrics import") : README.index("```\n\n`simbench run --gen")]


def tutorial_files() -> dict[str, str]:
    """The files of the package in docs/own-package.md, by name, as they stand there."""
    return dict(re.findall(r"^`([\w./]+)`:\n\n```(?:python|toml)\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: the tutorial's, with the README's metric, as pip would leave it."""
    folder, files = tmp_path_factory.mktemp("site-packages"), tutorial_files()
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    groups = project["entry-points"]
    groups["simbench.metrics"]["photon_excess"] = "pulses.excess:photon_excess"
    lines = [line for group, names in groups.items() for line in (f"[{group}]", *map(" = ".join, names.items()))]
    about = f"{project['name']}-{project['version']}.dist-info"
    files |= {
        "pulses/excess.py": EXCESS,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
        f"{about}/entry_points.txt": "\n".join(lines),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git tree with everything committed, as boards want it."""
    folder = tmp_path_factory.mktemp("work")
    said_who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), (*said_who, "commit", "-q", "--allow-empty", "-m", "package")):
        subprocess.run(("git", *words), check=True, cwd=folder)
    return folder


def simbench(installed: Path, workdir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What the command does, in a process of its own, where the package is installed."""
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "simbench", *words]
    environment = os.environ | {"PYTHONPATH": path, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=workdir, env=environment, capture_output=True, text=True, timeout=280)


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def result(installed: Path, workdir: Path) -> dict[str, Any]:
    (line,) = re.findall("^simbench (run .*)$", TUTORIAL, re.MULTILINE)
    found: dict[str, Any] = data(
        simbench(installed, workdir, *line.split(), "--batches", "50", "--json", "--no-report")
    )
    return found


def test_the_tutorial_holds_a_package() -> None:
    assert set(tutorial_files()) == {
        "pyproject.toml",
        *(f"pulses/{name}.py" for name in ("__init__", "task", "metrics", "models")),
    }
    assert all(f"  {name}" in TUTORIAL for name in ("__init__.py", "task.py", "metrics.py", "models.py"))


def test_every_command_of_the_tutorial_exists() -> None:
    verbs = re.findall(r"^simbench ((?:leaderboard )?\w+)", TUTORIAL, re.MULTILINE)
    assert verbs == [
        *("tasks", "check", "selftest", "run", "leaderboard init", "leaderboard add", "leaderboard render")
    ]


def test_run(result: dict[str, Any], workdir: Path) -> None:
    assert result["status"] == "complete"
    assert (result["task"]["name"], result["task"]["version"], result["task"]["events"]) == ("pulses", "2", 400)
    assert (result["generator"]["version"], result["generator"]["parameters"]) == ("0.3", {"factor": 0.8})
    measured = {f"{one['metric']}/{one['version']}": one for one in result["measurements"]}
    assert list(measured) == ["energy_distance/1", "diversity_ratio/1", "peak_height/1"]
    peak = measured["peak_height/1"]
    assert peak["value"] == pytest.approx(-0.2 * 55, rel=0.2)
    assert abs(peak["floor"]) < 3 * peak["stderr"]
    spread = measured["diversity_ratio/1"]
    assert abs(spread["value"] - 0.8**2) < 3 * spread["stderr"]
    assert set(measured["energy_distance/1"]["strata"]) == {"amplitude=0", "amplitude=1"}
    assert result["task"]["source"] is None
    folder = workdir / "runs" / "pulses" / "parametrisation"
    assert {path.name for path in folder.iterdir()} == {f"{result['id']}.json", f"{result['id']}.h5"}


def test_report(result: dict[str, Any], installed: Path, workdir: Path) -> None:
    file = f"runs/pulses/parametrisation/{result['id']}.json"
    assert data(simbench(installed, workdir, "report", file, "-o", "page.html", "--json"))["report"] == "page.html"
    page = (workdir / "page.html").read_text()
    assert "peak height" in page
    assert "pulses" in page
    assert "<svg" in page


def test_check(installed: Path, workdir: Path) -> None:
    found = data(simbench(installed, workdir, "check", "parametrisation", "--task", "pulses", "--json"))
    assert found["passed"]
    assert {check["status"] for check in found["checks"]} == {"ok"}


def test_selftest(installed: Path, workdir: Path) -> None:
    found = data(simbench(installed, workdir, "selftest", "--task", "pulses", "--json"))
    assert [control["passed"] for control in found] == [True, True, True]
    assert found[0]["flags"] == {}
    assert set(found[1]["flags"]) >= {"peak_height/1", "energy_distance/1"}


def test_a_board_of_ones_own(result: dict[str, Any], installed: Path, workdir: Path) -> None:
    """The tutorial's commands: init, add, render."""
    lines = re.findall("^simbench (leaderboard .*)$", TUTORIAL, re.MULTILINE)
    # without its speeds: on a busy machine 50 waveforms, 80 µs, take thirty times as long when they are timed
    untimed = result | {"throughput": [], "timing": None}
    (workdir / f"runs/pulses/parametrisation/{result['id']}.json").write_text(json.dumps(untimed))
    for line in lines:
        data(simbench(installed, workdir, *line.replace("RESULT", result["id"]).split(), "--json"))
    page = (workdir / "ourboards" / "pulses" / "README.md").read_text()
    assert "| 1 | [parametrisation](entries/parametrisation-" in page
    assert "equivalent" not in page.partition("Add yours")[0].partition("| rank")[2].partition("\n")[0]


def test_a_metric_of_ones_own_is_scored_on_a_shipped_task(installed: Path, workdir: Path) -> None:
    """The README's example, as it stands there."""
    words = ["run", "-g", "floor", "--metrics", "channel_mae,+photon_excess", "--events", "80", "--batch-size", "1"]
    found = data(simbench(installed, workdir, *words, "--json", "--no-report"))
    assert [one["metric"] for one in found["measurements"]] == ["channel_mae", "photon_excess"]
    assert found["spec"]["metrics"] == ["channel_mae/1", "photon_excess/1"]
    excess = found["measurements"][1]
    assert (excess["status"], excess["unit"], excess["target"]) == ("ok", "photons", 0.0)
    assert excess["floor"] == excess["value"]
    assert excess["stderr"] > 0
    unknown = simbench(installed, workdir, "run", "-g", "floor", "--metrics", "+photon_exces", "--events", "80")
    assert (unknown.returncode, "Did you mean 'photon_excess'?" in unknown.stderr) == (2, True)
