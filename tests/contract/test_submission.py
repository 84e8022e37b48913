"""A submission by a stranger, start to end: a git remote on this disk, and the very commands of the workflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from boards import write_small_board
from web import served
from workflows import FOLDER, runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
MODEL = """
import torch

class Blob:
    def sample(self, conditions, *, seed):
        rng = torch.Generator(conditions.device).manual_seed(seed)
        blob = torch.softmax(-((torch.arange(44) - 21.5) / 5).square() / 2, 0)
        return torch.poisson(0.7 * conditions[:, :1, None] * blob[:, None] * blob, generator=rng)
"""
METRICS = "conditional_energy,channel_wasserstein"
ONLY_ENTRIES, INSTALL = "Nothing but new entries and the records of their samples", "Install"


class World:
    """The board's repository `origin.git`, a stranger with a model, and machines that check pull requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        shim = folder / "bin" / "simbench"  # in the place of `pip install .`
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m simbench "$@"\n')
        shim.chmod(0o755)
        who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        path = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        self.environment = os.environ | who | path | {"NO_COLOR": "1", "OMP_NUM_THREADS": "1"}

    def does(self, where: str, words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """What a shell does in a folder, as a step of a workflow would: it stops at the first error."""
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", words],
            cwd=self.folder / where,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def done(self, where: str, words: str, **more: str) -> str:
        done = self.does(where, words, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def pull_request(self, branch: str, name: str) -> subprocess.CompletedProcess[str]:
        """The job `verify` on a branch, merged into main, in a fresh clone `name`."""
        self.done(".", f"git clone -q origin.git {name}")
        self.done(name, f"git merge -q --no-ff -m 'Merge {branch}' origin/{branch}")
        return self.job(name, BASE="HEAD^1")

    def job(self, where: str, without: tuple[str, ...] = (INSTALL,), **more: str) -> subprocess.CompletedProcess[str]:
        steps = [words for name, words in runs("submission.yml", "verify").items() if name not in without]
        return self.does(
            where, "\n".join(f"bash -eo pipefail <<'END_OF_STEP'\n{words}\nEND_OF_STEP" for words in steps), **more
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    write_small_board(world.folder / "seed" / "leaderboards", 80, 2)
    (world.folder / "seed" / "README.md").write_text("# board\n\n<!-- results -->\n<!-- /results -->\n")
    shutil.copytree(FOLDER, world.folder / "seed" / ".github" / "workflows")
    world.done(".", "git init -q --bare -b main origin.git")
    world.done("seed", "git init -q -b main && git add . && git commit -qm board && git push -q ../origin.git main")
    (world.folder / "model").mkdir()
    (world.folder / "model" / "blob.py").write_text(MODEL)
    world.done("model", "git init -q && git add . && git commit -qm model")
    run = f"simbench run -g blob.py:Blob --events 80 --repetitions 2 --metrics {METRICS} --batches 1 --no-report"
    world.done("model", run)
    return world


def submit(world: World, address: str) -> dict[str, Any]:
    """What the stranger does: prepares the submission, uploads the samples, and pushes a branch."""
    world.done(".", "git clone -q origin.git fork")
    words = (
        f"simbench submit runs/zn-geant3/Blob/*.json --boards ../fork/leaderboards -o ../upload --url {address} --json"
    )
    said: dict[str, Any] = json.loads(world.done("model", words))
    world.done("model", "\n".join(said["next"]))
    return said


def test_start_to_end(world: World) -> None:
    upload = world.folder / "upload"
    with served(world.folder) as root:
        said = submit(world, f"{root}/upload")
        entry = Path(said["entry"]).name
        branch = said["branch"]

        checked = world.pull_request(branch, "ci")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert f"leaderboards/zn-geant3/verified/{entry}" in checked.stdout
        assert "README.md" in checked.stdout

        # a cheat: one score is changed, with the checksum in the record of the samples
        world.done("fork", "git checkout -q -b cheat")
        tampered = world.folder / "fork" / "leaderboards" / "zn-geant3" / "entries" / entry
        cheat = (
            "import json, pathlib, sys; from simbench.boards.submitted import *; path = pathlib.Path(sys.argv[1]);"
            "data = json.loads(path.read_text()); first = data['measurements'][0];"
            "first['value'] *= 0.9; first['per_repetition'] = [0.9 * x for x in first['per_repetition']];"
            "path.write_text(json.dumps(data));"
            "record = json.loads(samples_path(path).read_text());"
            "write_samples_record(path, [SubmittedFile(**one) for one in record['samples']])"
        )
        world.done("fork", f'{sys.executable} -c "{cheat}" {tampered}')
        world.done("fork", "git commit -qam cheat && git push -q origin cheat")
        refused = world.pull_request("cheat", "ci-cheat")
        assert refused.returncode == 4, refused.stdout + refused.stderr
        assert "is not what these samples score" in refused.stderr
        assert not (world.folder / "ci-cheat" / "leaderboards" / "zn-geant3" / "verified").exists()

        # another: the samples were exchanged after the submission
        first, second = (upload / Path(file).name for file in said["samples"])
        kept = first.read_bytes()
        first.write_bytes(second.read_bytes()[: len(kept)])
        refused = world.pull_request(branch, "ci-samples")
        assert refused.returncode == 4, refused.stdout + refused.stderr
        assert f"{first.name} is another file" in refused.stderr
        first.write_bytes(kept)

        # a third: the rules of the board are changed along
        world.done("fork", f"git checkout -q {branch} && git checkout -q -b rules")
        world.done("fork", "sed -i 's/repetitions = 2/repetitions = 1/' leaderboards/zn-geant3/board.toml")
        world.done("fork", "git commit -qam rules && git push -q origin rules")
        refused = world.pull_request("rules", "ci-rules")
        assert refused.returncode == 1
        assert "::error::A submission adds entries" in refused.stdout

        # it is merged: the workflow renders the board and commits it
        before = world.done("ci", "git rev-parse HEAD^1")
        world.done("ci", "git push -q origin HEAD:main")
        world.done(".", "git clone -q origin.git ci-main && git clone -q origin.git ci-publish")
        merged = world.job("ci-main", (INSTALL, ONLY_ENTRIES), BASE=before)
        assert merged.returncode == 0, merged.stdout + merged.stderr
        (world.folder / "ci-publish" / "made").mkdir()
        shutil.copy(world.folder / "ci-main" / "boards.patch", world.folder / "ci-publish" / "made")
        world.done("ci-publish", *runs("submission.yml", "publish").values())
    world.done(".", "git clone -q origin.git after")
    readme = (world.folder / "after" / "README.md").read_text(encoding="utf-8")
    assert f"| 1 | [Blob](leaderboards/zn-geant3/entries/{entry})" in readme
    page = (world.folder / "after" / "leaderboards" / "zn-geant3" / "README.md").read_text(encoding="utf-8")
    assert "| re-scored (from its samples) |" in page
    assert world.done("after", "simbench leaderboard render --check").endswith("files are up to date.")
