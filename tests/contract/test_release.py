"""What a release is made of agrees with itself: versions, workflows, the container's recipe, the citation."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflows import FOLDER, runs, workflow

from simbench.core.version import __version__
from simbench.tasks import zn

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONTAINER = (ROOT / "Containerfile").read_text(encoding="utf-8")
WORKFLOWS = sorted(path.name for path in FOLDER.glob("*.yml"))


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {PROJECT["version"], citation["version"]} == {__version__}
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_asks_for_few_rights_and_pins_its_actions(name: str) -> None:
    found = workflow(name)
    assert found["permissions"] == {"contents": "read"}
    uses = [step["uses"] for step in steps(name) if "uses" in step]
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@(v\d+|release/v\d+|[0-9a-f]{40})", one) for one in uses)
    for job in found["jobs"].values():
        may_write = "write" in job.get("permissions", {}).values()
        assert not (may_write and any("pip install" in step.get("run", "") for step in job["steps"]))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_shell_holds_an_expression(name: str) -> None:
    """What a stranger can name (a branch, a title) must not become part of a command."""
    assert [step["run"] for step in steps(name) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_shell_of_every_step_is_well_formed(name: str) -> None:
    for step in steps(name):
        if "run" in step:
            done = subprocess.run(["bash", "-n"], input=step["run"], text=True, capture_output=True)
            assert done.returncode == 0, done.stderr


def test_the_python_versions_are_those_of_the_package() -> None:
    listed = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.", line)]
    assert PROJECT["requires-python"] == f">={listed[0]}"
    for name, jobs in (("release.yml", ("wheel", "sdist")), ("tests.yml", ("tests",))):
        for job in jobs:
            assert workflow(name)["jobs"][job]["strategy"]["matrix"]["python"] == listed


def test_nothing_is_published_that_was_not_tested() -> None:
    jobs = workflow("release.yml")["jobs"]
    assert set(jobs["publish"]["needs"]) == {"wheel", "sdist"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    for task in (zn.ZnGeant3, zn.ZpGeant3):
        published = f"publish {task.wanted().urls[0].split('/')[-2]} simbench/data/{task.file}.h5\n"
        assert published in runs("release.yml", "data")["The data, for slim packages"]


def test_a_submission_is_judged_before_its_code_is_installed() -> None:
    names = list(runs("submission.yml", "verify"))
    assert names.index("Nothing but new entries and the records of their samples") < names.index("Install")
    assert "pull_request_target" not in workflow("submission.yml")["on"]


# The container


def test_what_the_container_copies_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINER, flags=re.MULTILINE)
    assert [path for line in copied for path in line.split() if not (ROOT / path).exists()] == []
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(packages["packages"]) <= {path for line in copied for path in line.split()}


def test_the_container_runs_simbench_without_rights() -> None:
    last = CONTAINER.split("FROM ")[-1]
    (user,) = re.findall(r"^USER (\d+)$", last, flags=re.MULTILINE)
    assert f"useradd --create-home --uid {user} " in last
    assert 'ENTRYPOINT ["simbench"]' in last
    torch = [name for name in PROJECT["dependencies"] if name.startswith("torch>=") or name.startswith("torchvision")]
    assert len(torch) == 2
    assert all(f'"{name}"' in last for name in torch)
