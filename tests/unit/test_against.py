"""`simbench score A --against B`: two files without a task, and what files say of their own speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from boards import board_result, make_boards, write
from factories import make_result, make_throughput
from toys import ToyNoise
from typer.testing import CliRunner

from simbench.boards.board import add, read_board, read_entries
from simbench.boards.pages import render
from simbench.boards.pareto import read_quality
from simbench.cli.main import app
from simbench.core.errors import DataError
from simbench.core.progress import Progress
from simbench.evaluation.evaluate import Options, score_against
from simbench.results.compare import compare
from simbench.results.cost import cost_sentences
from simbench.results.schema import Result, write_result
from simbench.results.words import verdict
from simbench.samples.against import MOST, _shares, read_against
from simbench.samples.files import read_samples

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def events(count: int, seed: int, scale: float = 1.0, shape: tuple[int, ...] = (3,)) -> Array:
    return (scale * np.random.default_rng(seed).normal(size=(count, *shape))).astype(np.float32)


def save(name: str, samples: Array, **others: Any) -> Path:
    np.savez(name, samples=samples, **{key: np.asarray(value) for key, value in others.items()})
    return Path(name)


def conditions(values: list[float], repeats: int) -> Array:
    return np.repeat(np.array(values), repeats)[:, None]


def scored(*names: str, against: str, metrics: str = "energy_distance,diversity_ratio") -> Result:
    asked = Options(fast=True, metrics=metrics)
    return score_against([Path(name) for name in names], Path(against), asked, Progress(quiet=True))[0].result


def refused(one: str, other: str) -> str:
    with pytest.raises(DataError) as caught:
        read_against([Path(one)], Path(other), Progress(quiet=True))
    return str(caught.value)


def test_bare_arrays_are_compared_as_a_whole_beside_a_floor() -> None:
    np.save("a.npy", events(200, 1, 2.0))
    np.save("b.npy", events(500, 2))
    result = scored("a.npy", against="b.npy")
    distance, spread = (result.measurement(key) for key in ("energy_distance/1", "diversity_ratio/1"))
    assert distance
    assert spread
    assert result.task.events == distance.n == 200
    assert spread.value == pytest.approx(4, abs=4 * (spread.stderr or 0))
    assert spread.floor == pytest.approx(1, abs=0.3)
    assert abs(distance.floor or 1) < (distance.value or 0) / 5
    assert [warning.partition(":")[0] for warning in result.warnings] == [
        "this result has no task and cannot go to a leaderboard",
        "the floor is one half of b.npy against the other, 200 events each",
        "200 of 200 events of a.npy and 400 of 500 of b.npy were used",
    ]


def test_the_floor_is_that_of_the_two_halves() -> None:
    """Even events of B are scored against, odd ones give the floor: spoilt odd ones spoil the floor alone."""
    real = events(400, 3)
    real[1::2] *= 3
    save("b.npz", real)
    save("a.npz", events(200, 4))
    spread = scored("a.npz", against="b.npz").measurement("diversity_ratio/1")
    assert spread
    assert spread.value == pytest.approx(1, abs=0.3)
    assert spread.floor == pytest.approx(9, rel=0.3)


def test_rows_are_paired_by_their_conditions_in_whatever_order() -> None:
    """Samples that are their condition are no distance apart, however the files are ordered."""
    held = conditions([5, 1, 3, 2], 6)
    order = np.random.default_rng(0).permutation(12)
    answers = conditions([1, 2, 3, 4], 3)[order]
    save("a.npz", np.repeat(answers, 3, 1), conditions=answers)
    save("b.npz", np.repeat(held, 3, 1), conditions=held)
    found = read_against([Path("a.npz")], Path("b.npz"), Progress(quiet=True))
    pair = found.pairs[0]
    assert torch.equal(pair.generated.samples, pair.reference.samples)
    assert pair.reference.conditions[:, 0].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert torch.equal(found.task.load("floor").conditions, pair.reference.conditions)
    assert found.task.condition_names == ("condition 1",)


def test_a_condition_with_one_event_leaves_no_floor() -> None:
    save("a.npz", events(40, 1), conditions=conditions(list(range(20)), 2))
    save("b.npz", events(20, 2), conditions=conditions(list(range(20)), 1))
    result = scored("a.npz", against="b.npz", metrics="energy_distance,precision")
    assert all(m.status == "ok" and m.floor is m.ratio is m.p is None for m in result.measurements)
    assert "no floor: b.npz has a single event of some condition" in result.warnings[1]
    assert "no floor" in verdict(result)


def test_files_of_one_task_are_paired_by_its_rows() -> None:
    save("a.npz", events(30, 1), condition_index=np.arange(30), task="dips")
    save("b.npz", events(30, 2), condition_index=np.arange(30)[::-1], task="dips")
    found = read_against([Path("a.npz")], Path("b.npz"), Progress(quiet=True))
    assert found.task.load("test").samples.tolist() == events(30, 2)[::-1].tolist()
    assert not found.task.has_floor


def test_only_scores_that_know_no_physics_and_that_the_events_allow() -> None:
    save("a.npz", np.abs(events(40, 1)), conditions=conditions(list(range(20)), 2))
    save("b.npz", np.abs(events(80, 2)), conditions=conditions(list(range(20)), 4))
    save("c.npz", events(40, 3), conditions=conditions(list(range(20)), 2))

    def offered(one: str, other: str) -> set[str]:
        task = read_against([Path(one)], Path(other), Progress(quiet=True)).task
        return {key.partition("/")[0] for key in task.metrics}

    manifolds = {"precision", "recall", "density", "coverage", "sinkhorn", "exact_ot", "energy_distance"}
    assert offered("a.npz", "b.npz") == manifolds | {"class_energy", "diversity_ratio", "classifier_low"}
    assert offered("a.npz", "c.npz") == manifolds  # a single event of each condition, negative values


def test_several_files_are_repetitions() -> None:
    for seed in (1, 2):
        save(f"a{seed}.npz", events(60, seed, 1.1), generator="mine", seed=seed)
    save("b.npz", events(120, 3))
    result = scored("a1.npz", "a2.npz", against="b.npz")
    assert (result.spec.repetitions, result.generator.name, result.spec.root_seed) == (2, "mine", 1)
    save("a3.npz", events(50, 4), generator="mine")
    with pytest.raises(DataError, match="answer different"):
        scored("a1.npz", "a3.npz", against="b.npz")


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"samples": events(9, 1)}, {"samples": events(9, 1, shape=(4,))}, "differ in shape: got (3,) and (4,)"),
        ({"unit": "GeV"}, {"unit": "photons"}, "differ in unit: got GeV and photons"),
        ({"task": "one"}, {"task": "two"}, "differ in task"),
        ({"conditions": np.zeros((9, 2))}, {}, "differ in conditions: got `conditions`, 2 numbers and no conditions"),
        ({"conditions": np.zeros((9, 2))}, {"conditions": np.zeros((9, 1))}, "differ in conditions"),
        ({"conditions": np.zeros((9, 2))}, {"conditions": np.ones((9, 2))}, "no condition in common"),
        ({"conditions": np.zeros((8, 2))}, {}, "`conditions` has the wrong shape: got (8, 2), expected (9, C)"),
        ({"samples": np.full((9, 3), np.nan)}, {}, "holds NaN"),
        ({"samples": np.zeros(9)}, {}, "holds no samples: got `samples` of shape (9,)"),
        ({"samples": np.zeros((0, 3))}, {}, "holds no samples"),
        ({"samples": np.array([["a"]])}, {}, "values of type"),
        ({"seconds_per_event": -1.0}, {}, "`seconds_per_event` is no time: got"),
        ({"seconds_per_event": "fast"}, {}, "`seconds_per_event` is no time"),
    ],
)
def test_files_that_cannot_be_held_against_each_other(one: dict[str, Any], other: dict[str, Any], words: str) -> None:
    save("a.npz", **{"samples": events(9, 1)} | one)
    save("b.npz", **{"samples": events(9, 2)} | other)
    assert words in refused("a.npz", "b.npz")


def test_files_that_are_none(workdir: Path) -> None:
    save("a.npz", events(9, 1))
    assert "are the same file" in refused("a.npz", "a.npz")
    assert "no file none.npy" in refused("none.npy", "a.npz")
    (workdir / "text.npy").write_text("no array")
    assert "neither HDF5 nor npz nor npy" in refused("text.npy", "a.npz")
    np.save("whole.npy", events(9, 1))
    (workdir / "cut.npy").write_bytes((workdir / "whole.npy").read_bytes()[:-8])
    assert "cannot be read" in refused("cut.npy", "a.npz")
    np.save("pickled.npy", np.array([{}, {}]), allow_pickle=True)
    assert "values of type object" in refused("pickled.npy", "a.npz")


def test_more_events_than_are_scored_give_each_condition_its_share() -> None:
    assert _shares(np.array([7, 3])).tolist() == [7, 3]
    assert _shares(np.array([3 * MOST, MOST])).tolist() == [3 * MOST // 4, MOST // 4]
    many = _shares(np.ones(3 * MOST, np.int64))
    assert many.sum() == MOST
    assert set(many.tolist()) == {0, 1}
    assert many[:MOST].sum() == pytest.approx(MOST / 3, rel=0.1)  # not the first ones


def test_two_results_compare_where_they_are_of_one_file() -> None:
    for name, seed in (("a", 1), ("other", 2)):
        save(f"{name}.npz", events(60, seed, 1.2))
    save("b.npz", events(120, 3))
    save("c.npz", events(120, 4))
    one, two = scored("a.npz", against="b.npz"), scored("other.npz", against="b.npz")
    assert {difference.key for difference in compare(one, two)} == {"energy_distance/1", "diversity_ratio/1"}
    with pytest.raises(DataError, match="differ in data set"):
        compare(one, scored("a.npz", against="c.npz"))


def test_the_command_says_that_there_is_no_task_and_no_board(workdir: Path) -> None:
    save("a.npz", events(60, 1, 1.2), seconds_per_event=0.0012)
    save("b.npz", events(120, 2))
    words = ["score", "a.npz", "--against", "b.npz", "--metrics", "energy_distance"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "against b.npz, without a task: 60 events" in text
    assert "this result has no task and cannot go to a leaderboard" in text
    assert "Self-reported by its files: 1.20 ms per event; not measured here, and never ranked." in text
    assert "not timed (self-reported: 1.20 ms per event)" in text
    (file,) = workdir.glob("runs/no-task/a/*.json")
    assert "Self-reported by its files: 1.20 ms per event" in file.with_suffix(".html").read_text()
    make_boards(workdir)
    with pytest.raises(DataError, match="has no task"):
        add(file, workdir / "leaderboards")
    for code, further in ((2, ["--task", "mnist"]), (2, ["--metrics", "nonsense"]), (4, ["--against", "none.npz"])):
        failed = CliRunner().invoke(app, [*words, *further])
        assert failed.exit_code == code, failed.output
        assert "Traceback" not in failed.output
    report = CliRunner().invoke(app, ["report", str(file)])
    assert "this result has no task" in report.stderr


# --- what files say of their speed ------------------------------------------------------------------------------------


def test_an_array_alone_answers_a_task_without_conditions() -> None:
    np.save("a.npy", np.ones((12, 4, 4)))
    assert len(read_samples(Path("a.npy"), ToyNoise()).samples) == 12


def test_a_file_of_a_task_tells_its_seconds() -> None:
    save("a.npz", np.ones((12, 4, 4)), seconds_per_event=2.5)
    assert read_samples(Path("a.npz"), ToyNoise()).seconds_per_event == 2.5
    save("b.npz", np.ones((12, 4, 4)))
    assert read_samples(Path("b.npz"), ToyNoise()).seconds_per_event is None


def told(name: str, seconds: float | None, **changes: Any) -> Result:
    return make_result(name, self_reported_seconds=seconds, throughput=[], speedup=None, timing=None, **changes)


def test_it_is_shown_as_self_reported() -> None:
    result = told("mine", 0.25)
    assert cost_sentences(result)[0].startswith("Self-reported by its files: 250 ms per event")
    assert "self-reported: 250 ms per event" in verdict(result)
    assert cost_sentences(told("mine", None)) == []


def test_it_is_not_on_the_front(workdir: Path) -> None:
    timed = make_result("timed", throughput=[make_throughput(1, 10.0)])
    files = [write_result(result, workdir) for result in (timed, told("claims", 1e-9, id="20260102T030405Z-ffffffff"))]
    quality = read_quality([str(file) for file in files], "channel_wasserstein", "all", None)
    assert [one.trade.label for one in quality.trades if not one.trade.monte_carlo] == ["timed"]
    assert "claims" in quality.left_out[0]
    assert "was not timed (self-reported: 1.00 ns per event)" in quality.left_out[0]


def test_a_board_shows_it_and_ranks_nothing_by_it(workdir: Path) -> None:
    boards = make_boards(workdir)
    folder = boards / "zn-geant3"
    board = read_board(folder)
    add(write(board_result(board, "timed", seed=1), workdir), boards)
    silent = render(boards)
    claims = board_result(board, "claims", seed=2, self_reported_seconds=1e-9, throughput=[], speedup=None)
    add(write(claims, workdir), boards)
    pages = render(boards)
    text = pages[folder / "README.md"]
    assert "self-reported time" not in silent[folder / "README.md"]
    head, row = (next(line for line in text.splitlines() if word in line) for word in ("rank", "[claims]"))
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["self-reported time"] == "1.00 ns per event"
    assert cells["speed-up per core"] == cells["front"] == ""
    assert "claims" not in text.partition("## Speed on")[2].partition("##")[0]
    assert "claims" not in pages[folder / "pareto.svg"]
    assert "1.00 ns per event" in pages[folder / "board.html"]
    assert {entry.name: entry.self_reported for entry in read_entries(folder, board)} == {
        "timed": "",
        "claims": "1.00 ns per event",
    }
