"""`simbench leaderboard init`, and what docs/own-board.md says of `board.toml`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from boards import board_result, write
from toys import ToyTask
from typer.testing import CliRunner

from simbench.boards.board import Board, MetricColumn, add, read_board
from simbench.boards.new import board_toml, init, new_board
from simbench.boards.pages import render
from simbench.cli.main import app
from simbench.core.errors import DataError, UsageError
from simbench.tasks import get_task
from simbench.tasks.base import Task

PAGE = (Path(__file__).parents[2] / "docs" / "own-board.md").read_text(encoding="utf-8")


class Ranked(ToyTask):
    metrics = ("diversity_ratio/1", "sinkhorn/1", "energy_distance/1", "precision/1")
    primary = ("diversity_ratio/1", "energy_distance/1")


def test_a_board_follows_from_its_task() -> None:
    board = new_board(Ranked())
    assert (board.task, board.task_version, board.events, board.repetitions) == ("toy", "1.0", 12, 3)
    assert board.primary == "energy_distance/1"
    assert [column.metric for column in board.columns] == ["energy_distance/1", "diversity_ratio/1", "precision/1"]
    assert (board.columns[1].direction, board.columns[1].target) == ("target", 1.0)
    assert board.basis.feature_network is None
    assert board.basis.task_file is None


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = init(tmp_path / "boards", Ranked())
    assert path == tmp_path / "boards" / "toy" / "board.toml"
    assert read_board(path.parent) == new_board(Ranked())
    with pytest.raises(UsageError, match="exists already"):
        init(tmp_path / "boards", Ranked())


@pytest.mark.parametrize("text", ['a "quoted" one', "back\\slash", "line\nbreak", "# no comment", "µ √ \x7f \x01"])
def test_words_are_escaped(text: str) -> None:
    board = new_board(Ranked()).model_copy(update={"title": text, "unranked": {text: text}})
    assert Board.model_validate(tomllib.loads(board_toml(board))) == board


def test_a_task_without_a_metric_that_ranks_has_no_board() -> None:
    class Unranked(ToyTask):
        metrics = ("diversity_ratio/1", "sinkhorn/1")

    with pytest.raises(DataError, match="no metric of toy can rank a board"):
        new_board(Unranked())


def test_the_board_of_a_file_takes_its_own_version_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).parents[1] / "toys.py"
    text = source.read_text().replace("metrics = ()", 'metrics = ("energy_distance/1",)')
    text = text.replace("primary = ()", 'primary = ("energy_distance/1",)').replace("charge", "charges")
    (tmp_path / "mine.py").write_text(text)
    done = CliRunner().invoke(app, ["leaderboard", "init", "ours", "--task", "mine.py:ToyTask"])
    assert done.exit_code == 4  # its floor is its test split
    assert "independent ones" in done.stderr
    (tmp_path / "mine.py").write_text(
        text.replace("* torch.ones(12, 4, 4)", "* (1 + len(split)) * torch.ones(12, 4, 4)")
    )
    done = CliRunner().invoke(app, ["leaderboard", "init", "ours", "--task", "mine.py:ToyTask"])
    assert done.exit_code == 0, done.output
    assert "simbench run --generator mymodel.py:Model --task mine.py:ToyTask --repetitions 3" in done.stdout
    board = read_board(tmp_path / "ours" / "toy")
    assert board.task_source == "mine.py:ToyTask"
    result = board_result(board)
    task = result.task.model_copy(update={"source": "mine.py:ToyTask", "features_sha256": None})
    for sha256, taken in ((board.task_file_sha256, True), ("0" * 64, False), (None, False)):
        made = result.model_copy(update={"task": task.model_copy(update={"source_sha256": sha256})})
        if taken:
            add(write(made, tmp_path), tmp_path / "ours")
        else:
            with pytest.raises(DataError, match="other task file"):
                add(write(made, tmp_path), tmp_path / "ours")
    pages = render(tmp_path / "ours")
    assert "--task mine.py:ToyTask" in pages[tmp_path / "ours" / "toy" / "README.md"]


def test_the_page_tells_every_field() -> None:
    told = set(re.findall(r"`(\w+)`", "".join(line for line in PAGE.splitlines() if line.startswith("| `"))))
    assert told >= Board.model_fields.keys() | MetricColumn.model_fields.keys()


def test_the_example_on_the_page_is_a_board() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert Board.model_validate(tomllib.loads(example)).task == "pulses"


@pytest.mark.parametrize("name", ["zn-geant3"])
def test_shipped_tasks_have_one(name: str, tmp_path: Path) -> None:
    task: Task = get_task(name)
    read: Any = read_board(init(tmp_path, task).parent)
    assert read.scored_sha256 == task.scored_sha256
    assert read.features_sha256 == task.features_sha256
