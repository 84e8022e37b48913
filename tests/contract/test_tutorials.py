"""The tutorials of docs/, run as they stand there: their files are written, their commands run one after the other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import DOCS, commands, written
from typer.testing import CliRunner

from simbench.cli.main import app

ROOT = DOCS.parent
SHORTER = {"run": ["--batches", "1", "--no-report"]}
"""Options that spare a test's time: the clock and the page have tests of their own."""


def run(words: list[str], folder: Path) -> str:
    """What a command prints. In this process where it is one of simbench."""
    if words[0] == "simbench":
        done = CliRunner().invoke(app, [*words[1:], *SHORTER.get(words[1], [])])
        assert done.exit_code == 0, f"{words}: {done.output}"
        return done.output
    command = [sys.executable, *words[1:]] if words[0] == "python" else words
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=250, check=False)
    assert shown.returncode == 0, f"{words}: {shown.stdout}{shown.stderr}"
    return shown.stdout


@pytest.mark.parametrize("page", ["five-minutes.md", "add-a-metric.md", "add-a-task.md"])
def test_a_tutorial_runs_as_it_stands(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}", prepend=":")
    assert written(page, tmp_path)
    ran = [run(words, tmp_path) for words in commands(page)]
    assert ran
    assert "Traceback" not in "".join(ran)


def test_the_metric_of_the_tutorial_finds_its_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its floor comes by itself, and its key and direction are as the page says."""
    monkeypatch.syspath_prepend(tmp_path)
    written("add-a-metric.md", tmp_path)
    from mymetrics import row_offset  # type: ignore[import-not-found]

    from simbench.evaluation.floors import Floors
    from simbench.tasks import get_task

    task = get_task("zn-geant3")
    assert (row_offset.key, row_offset.target) == ("row_offset/1", 0.0)
    assert abs(Floors(task, task.load("test", 80)).of(row_offset).value) < 1


def test_every_command_that_a_page_names_exists() -> None:
    """Verbs and options of every `simbench ...`, in the blocks and in the text of every page."""
    known, checked = typer.main.get_command(app), 0
    pages = [path for path in DOCS.glob("**/*.md") if "generated" not in path.parts]
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(pages)]:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        fenced = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        named = re.findall(r"^(?:\$ |\s*)simbench ([a-z].*)$", fenced, re.MULTILINE)
        for line in [*named, *re.findall(r"`simbench ([a-z][^`\n]*)`", text)]:
            words = line.partition("#")[0].split()
            command: Any = known.commands.get(words[0])  # type: ignore[attr-defined]
            command = getattr(command, "commands", {}).get(words[1], command) if len(words) > 1 else command
            assert command is not None, f"{page.name}: simbench {words}"
            options = {o for parameter in command.params for o in (*parameter.opts, *parameter.secondary_opts)}
            used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            assert used <= options, f"{page.name}: simbench {words}: {used - options}"
            checked += 1
    assert checked > 100
