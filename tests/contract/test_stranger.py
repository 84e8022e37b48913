"""A package that simbench has never heard of brings a task, metrics and a generator: the commands work on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
FILES = {
    "pulses/__init__.py": '"""Pulses of a silicon sensor."""\n',
    "pulses/task.py": '''
"""Waveforms of 24 samples, for an amplitude and a width."""

import torch

from simbench.core.events import Events
from simbench.tasks.base import Task
from simbench.tasks.controls import Control, shrunk


def waveforms(conditions, rng):
    time = torch.arange(24.0) - 12
    noise = 1 + 0.2 * torch.randn(len(conditions), 1, generator=rng)
    return (conditions[:, :1] * noise * torch.exp(-((time / conditions[:, 1:]) ** 2))).clamp(min=0)


class Pulses(Task):
    name = "pulses"
    version = "2"
    summary = "Waveforms of a silicon sensor."
    shape = (24,)
    unit = "ADC counts"
    maximum = 1e4
    condition_names = ("amplitude", "width")
    condition_units = ("ADC counts", "ns")
    repeats = 4
    block_size = 50
    test_events = 400
    smoke_events = 200
    metrics = ("energy_distance/1", "diversity_ratio/1", "peak_height/1")
    primary = ("peak_height/1",)
    equivalent_metric = ""
    dataset_sha256 = "0" * 64
    controls = (
        Control("half as high", ("peak_height/1", "energy_distance/1"), lambda events, rng: events.samples * 0.5),
        Control("mean response per condition", ("diversity_ratio/1",), shrunk(1.0)),
    )

    def load_split(self, split):
        particle = torch.arange(100).repeat_interleave(4)
        of_particles = torch.Generator().manual_seed(1 if split in ("test", "floor") else 2)
        conditions = torch.rand(100, 2, generator=of_particles) * torch.tensor([90.0, 3.0]) + torch.tensor([10.0, 1.0])
        conditions = conditions[particle]
        samples = waveforms(conditions, torch.Generator().manual_seed(sum(split.encode())))
        strata = {"amplitude": (conditions[:, 0] > 55).numpy().astype(int).astype(str)}
        return Events(samples, conditions, particle, particle, strata, {"features": lambda values: values})
''',
    "pulses/metrics.py": '''
"""The height of the peak."""

from simbench.metrics import bootstrap_mean, metric


@metric("peak_height/1", unit="ADC counts", direction="target", target=0.0)
def peak_height(pair):
    """Mean height of the peak, generated minus real: what the trigger sees."""
    difference = pair.generated.samples.amax(1) - pair.reference.samples.amax(1)
    return bootstrap_mean(difference.double(), pair.generated.unit_id)
''',
    "pulses/models.py": '''
"""Waveforms without noise, too low by a factor."""

import torch

from pulses.task import waveforms


class Parametrisation:
    version = "0.3"

    def __init__(self, factor: float = 0.9):
        self.factor = factor

    def sample(self, conditions, *, seed):
        return self.factor * waveforms(conditions, torch.Generator().manual_seed(seed))
''',
    "pulses/excess.py": README[
        README.index("from simbench.metrics import") : README.index("```\n\n`simbench run --gen")
    ],
    "pulses-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: pulses\nVersion: 1.0\n",
    "pulses-1.0.dist-info/entry_points.txt": """
[simbench.tasks]
pulses = pulses.task:Pulses

[simbench.metrics]
peak_height = pulses.metrics:peak_height
photon_excess = pulses.excess:photon_excess

[simbench.generators]
parametrisation = pulses.models:Parametrisation
""",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages, as pip would leave it."""
    folder = tmp_path_factory.mktemp("site-packages")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.lstrip())
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def simbench(installed: Path, workdir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What the command does, in a process of its own, where the package is installed."""
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "simbench", *words]
    environment = os.environ | {"PYTHONPATH": path, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=workdir, env=environment, capture_output=True, text=True, timeout=120)


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def result(installed: Path, workdir: Path) -> dict[str, Any]:
    words = ["run", "--task", "pulses", "-g", "parametrisation", "-p", "factor=0.8", "--batch-size", "10", "--json"]
    found: dict[str, Any] = data(simbench(installed, workdir, *words, "--no-report"))
    return found


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
    folder = workdir / "runs" / "pulses" / "parametrisation"
    assert [path.name for path in folder.iterdir()] == [f"{result['id']}.json"]


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
