"""Verification: events made again or read again, their checksums, their scores, and the record that a board shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from boards import board_result, make_boards, shipped_board, write
from toys import ToyTask

from simbench.boards.board import add, objections
from simbench.boards.pages import render
from simbench.boards.verified import record_path, verified_how, write_record
from simbench.core.errors import DataError, UsageError
from simbench.core.progress import Progress
from simbench.evaluation.evaluate import Options, evaluate, score_files
from simbench.evaluation.verify import Verification, verify
from simbench.generators.resolve import resolve
from simbench.results.schema import Result
from simbench.samples.files import write_samples

QUIET = Progress(quiet=True)
MODEL = """
import torch

class Model:
    def __init__(self, rate: float = 3.0, shift: float = 0.0):
        self.rate, self.shift = rate, shift

    def sample(self, conditions, *, seed):
        rng = torch.Generator().manual_seed(seed)
        return torch.poisson(torch.full((len(conditions), 4, 4), self.rate), generator=rng) + self.shift
"""


class Scored(ToyTask):
    metrics = ("rmse/1", "classifier_low/2")
    primary = ("rmse/1",)


TASK = Scored()


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Two repetitions of a generator with a parameter."""
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    options = Options(root_seed=5, repetitions=2, batches=(1,))
    return evaluate(resolve("model.py:Model", {"rate": "2"}), TASK, options, QUIET).result


def checked(result: Result, folder: Path, *samples: Path) -> Verification:
    return verify(write(result, folder), samples, TASK, QUIET)


def test_a_generator_is_run_again_in_the_blocks_that_were_scored(result: Result, tmp_path: Path) -> None:
    options = Options(root_seed=5, batches=(1,), block_size=3)
    other = evaluate(resolve("model.py:Model", {"rate": "2"}), TASK, options, QUIET).result
    assert other.samples_sha256[0] != result.samples_sha256[0]
    found = checked(other, tmp_path / "a")
    assert found.samples == [True]
    assert not found.wrong


def test_a_generator_is_run_again(result: Result, tmp_path: Path) -> None:
    found = checked(result, tmp_path / "a")
    assert (found.samples, found.whole, found.changes, found.wrong) == ([True, True], True, [], [])
    compared = [one for one in found.compared if one.agrees is not None]
    assert [one.submitted for one in compared] == result.measurements[0].per_repetition
    assert [one.again for one in compared] == result.measurements[0].per_repetition
    assert {one.key for one in found.compared if one.agrees is None} == {"classifier_low/2"}


def edited(result: Result, **changes: Any) -> Result:
    first, *others = result.measurements
    return result.model_copy(update={"measurements": [first.model_copy(update=changes), *others]})


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        (lambda r: edited(r, per_repetition=[0.1, 0.1], value=0.1), ["rmse/1", "rmse/1 value"]),
        (lambda r: edited(r, stderr=9.0), ["rmse/1 stderr"]),
        (lambda r: edited(r, floor=99.0), ["rmse/1 floor"]),
        (lambda r: edited(r, memoriser=1.0), ["rmse/1 memoriser"]),
        (
            lambda r: r.model_copy(update={"samples_sha256": ["0" * 64, r.samples_sha256[1]]}),
            ["samples of repetition 0"],
        ),
        (lambda r: r.model_copy(update={"samples_sha256": []}), ["samples of repetition 0", "samples of repetition 1"]),
    ],
)  # fmt: skip
def test_what_a_hand_wrote_is_found(
    result: Result, tmp_path: Path, edit: Callable[[Result], Result], wrong: list[str]
) -> None:
    assert checked(edit(result), tmp_path / "a").wrong == wrong


def test_a_metric_with_a_newer_version_is_not_compared(result: Result, tmp_path: Path) -> None:
    found = checked(edited(result, version="0"), tmp_path / "a")
    assert found.wrong == []
    assert {one.key for one in found.compared if one.agrees is None} == {"rmse/0", "classifier_low/2"}


def test_a_generator_that_changed_is_found_and_told(result: Result, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL.replace("shift: float = 0.0", "shift: float = 1.0"))
    found = checked(result, tmp_path / "a")
    assert found.samples == [False, False]
    assert "rmse/1" in found.wrong
    assert found.changes == ["the default of shift changed from 0.0 to 1.0", "its source file changed"]


def test_samples_are_scored_again(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.h5", "two.h5", "other.h5")]
    for place, path in enumerate(paths):
        samples = torch.poisson(torch.full((12, 4, 4), 2.0), generator=torch.Generator().manual_seed(place))
        write_samples(path, TASK, samples, torch.arange(12), "toy", 0)
    result = score_files(paths[:2], TASK, Options(), QUIET).result
    assert checked(result, tmp_path / "a", *paths[:2]).wrong == []
    part = checked(result, tmp_path / "b", paths[0])
    assert (part.wrong, part.whole) == ([], False)
    wrong = checked(result, tmp_path / "c", paths[0], paths[2]).wrong
    assert wrong[:2] == ["samples of repetition 1", "rmse/1"]
    with pytest.raises(DataError, match="fewer repetitions"):
        checked(result, tmp_path / "d", *paths)
    with pytest.raises(UsageError, match="no generator to run"):
        checked(result, tmp_path / "e")


# --- the board --------------------------------------------------------------------------------------------------------

BOARD = shipped_board()


def test_the_board_says_what_was_scored_again(tmp_path: Path) -> None:
    boards = make_boards(tmp_path)
    folder = boards / BOARD.task
    entries = [add(write(board_result(BOARD, f"model{i}", 2.0 + i, i), tmp_path / "runs"), boards) for i in (1, 2, 3)]
    for entry in entries[1:]:
        assert write_record(entry, entry.read_bytes(), "re-run") == folder / "verified" / entry.name
    data = json.loads(entries[2].read_text())
    data["equivalent_events"]["counts"][0]["value"] = 3999.0
    entries[2].write_text(json.dumps(data))
    assert [verified_how(entry, entry.read_bytes()) for entry in entries] == [None, "re-run", None]
    pages = render(boards)
    for name in ("README.md", "board.csv", "board.html", "board.tex"):
        text = pages[folder / name].replace("{-}", "-")
        assert text.count("re-scored") >= 4
        for line in text.split("<tr" if name.endswith("html") else "\n"):
            for place, mark in ((1, "not re-scored"), (2, "re-scored"), (3, "not re-scored")):
                if f"model{place}" in line and "batch" not in line and "events/s" not in line and "re-scored" in line:
                    assert ("not re-scored" in line) == (mark == "not re-scored")
    rows = [line for line in pages[folder / "board.csv"].splitlines() if line.startswith("entry")]
    assert ["not re-scored" in row for row in rows] == [True, False, True]


def test_a_record_is_for_entries_of_a_board_alone(tmp_path: Path) -> None:
    path = write(board_result(BOARD), tmp_path)
    assert record_path(path) is None
    assert write_record(path, path.read_bytes(), "samples") is None


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    boards = make_boards(tmp_path)
    entry = add(write(board_result(BOARD), tmp_path / "runs"), boards)
    record = write_record(entry, entry.read_bytes(), "samples")
    assert record is not None
    record.write_text("{}")
    with pytest.raises(DataError, match="entry_sha256"):
        verified_how(entry, entry.read_bytes())


def test_a_result_without_checksums_is_no_entry() -> None:
    result = board_result(BOARD).model_copy(update={"samples_sha256": []})
    (reason,) = objections(BOARD, result)
    assert "0 checksums of samples instead of one for each of" in reason
    assert "simbench leaderboard verify" in reason
