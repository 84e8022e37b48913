"""The speed gate: its test against scipy, its order of runs, and its worktree, which is gone whatever happens."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import GeneratorError, NothingMeasuredError, UsageError
from simbench.gates import speed as speed_gate
from simbench.gates.speed import (
    Timing,
    Tree,
    checked_out,
    commit_of,
    compare_speed,
    gate_speed,
    mann_whitney,
    report,
    repository_of,
)

MODEL = """
import torch

class {name}:
    def sample(self, conditions, *, seed):
        return torch.zeros(len(conditions), 44, 44)
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "model.py").write_text(MODEL.format(name="Model"))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "base")
    monkeypatch.chdir(folder)
    return folder


def worktrees(folder: Path) -> int:
    return len(git(folder, "worktree", "list").splitlines())


@pytest.mark.parametrize(("m", "n"), [(7, 7), (5, 9), (1, 3), (12, 10)])
def test_mann_whitney_is_scipys_exact_test(m: int, n: int) -> None:
    rng = np.random.default_rng(m)
    for shift in (0.0, 1.0, -2.0):
        low, high = rng.normal(-shift, 1, m).tolist(), rng.normal(0, 1, n).tolist()
        expected = scipy.stats.mannwhitneyu(low, high, alternative="less", method="exact").pvalue
        assert mann_whitney(low, high) == pytest.approx(expected, rel=1e-12)


def test_mann_whitney_with_ties_counts_every_choice() -> None:
    low, high = [1.0, 2.0, 2.0, 3.0], [2.0, 3.0, 3.0, 4.0, 1.0]
    together = low + high
    ranks = scipy.stats.rankdata(together)
    sums = [sum(ranks[list(chosen)]) for chosen in itertools.combinations(range(9), 4)]
    assert mann_whitney(low, high) == pytest.approx(np.mean([total <= sums[0] for total in sums]))
    assert mann_whitney([1.0] * 7, [1.0] * 7) == 1


def test_the_smallest_p_of_seven_and_seven() -> None:
    assert mann_whitney(range(7), range(7, 14)) == pytest.approx(1 / 3432)


def test_runs_alternate_so_that_a_drift_cancels() -> None:
    order: list[str] = []
    compare_speed(lambda: float(order.append("A") or len(order)), lambda: float(order.append("B") or len(order)))
    assert "".join(order) == "ABBAABBAABBAAB"
    with pytest.raises(UsageError, match="at least 7"):
        compare_speed(lambda: 1.0, lambda: 1.0, runs=6)


@pytest.mark.parametrize(
    ("head", "failed"),
    [
        ([90, 91, 92, 93, 94, 89, 88], True),
        ([96, 97, 98, 96.5, 97.5, 98.5, 95.5], False),  # surely slower, by too little
        ([60, 101, 105, 60, 103, 60, 60], False),  # slower by a lot, perhaps
        ([120, 121, 122, 123, 124, 125, 126], False),
    ],
)
def test_it_takes_both_evidence_and_size_to_fail(head: list[float], failed: bool) -> None:
    base, now = iter([100.0, 101, 102, 99, 103, 104, 98.9]), iter(head)
    outcome = compare_speed(lambda: next(base), lambda: next(now))
    assert outcome.slower is failed
    assert outcome.exit_code() == int(failed)
    shown = report(outcome, Timing("m:M", "zn-geant3"), "main")
    assert shown.cases[0].outcome == ("fail" if failed else "pass")
    assert bool(shown.notes) is (head[0] == 120)


def test_what_is_no_repository_or_revision_is_refused(repository: Path, tmp_path: Path) -> None:
    assert repository_of(repository) == repository
    with pytest.raises(UsageError, match="in no git repository"):
        repository_of(tmp_path)
    for ref in ("nosuch", "--help", "-x", ""):
        with pytest.raises(UsageError, match="unknown --base"):
            commit_of(repository, ref)
    assert commit_of(repository, "main") == git(repository, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_worktree_is_removed_even_on_ctrl_c(repository: Path, error: type[BaseException]) -> None:
    (repository / "model.py").write_text("changed")
    seen: list[Path] = []

    def interrupted() -> None:
        with checked_out(repository, commit_of(repository, "main")) as tree:
            seen.append(tree)
            assert "class Model" in (tree / "model.py").read_text()
            assert worktrees(repository) == 2
            raise error

    with pytest.raises(error):
        interrupted()
    assert worktrees(repository) == 1
    assert not seen[0].parent.exists()
    assert (repository / "model.py").read_text() == "changed"


def test_ctrl_c_in_the_middle_of_the_runs_leaves_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(tree: Tree, timing: Timing) -> float:
        if tree.name == "head":
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(speed_gate.Tree, "time", interrupted)
    done = CliRunner().invoke(app, ["gate-speed", "--base", "main", "-g", "model.py:Model"])
    assert done.exit_code == 130
    assert worktrees(repository) == 1


def test_import_paths_inside_the_repository_move_to_the_tree(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "lib"))
    monkeypatch.setenv("PYTHONPATH", f"{repository / 'lib'}:/elsewhere")
    tree = tmp_path / "base"
    parts = Tree("base", tree, repository).python_path().split(":")
    assert parts[:2] == [str(tree), str(tree / "src")]
    assert str(tree / "lib") in parts
    assert parts[-1] == "/elsewhere"
    assert not [part for part in parts if part.startswith(str(repository))]


def test_a_timing_is_a_process_that_imports_from_its_tree(repository: Path) -> None:
    """The real process: a generator that only head has is missing in base."""
    (repository / "new.py").write_text(MODEL.format(name="New"))
    with checked_out(repository, commit_of(repository, "main")) as folder:
        base = Tree("base", folder, repository)
        assert base.time(Timing("model.py:Model", "zn-geant3", batch=8)) > 0
        with pytest.raises(NothingMeasuredError, match=r"base has no such generator.*no such file"):
            base.time(Timing("new.py:New", "zn-geant3", batch=8))


def test_what_a_process_answers_is_checked(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(text: str) -> None:
        done = subprocess.CompletedProcess([], 1, stdout=text, stderr="Segmentation fault")
        monkeypatch.setattr(speed_gate.subprocess, "run", lambda *a, **k: done)

    head, base = Tree("head", repository, repository), Tree("base", repository / "base", repository)
    answers("chatter\n")
    with pytest.raises(GeneratorError, match="Segmentation fault"):
        head.time(Timing("m", "zn-geant3"))
    (repository / "base").mkdir()
    answers(f'chatter\n{{"events_per_s": 5.0, "source": "{repository / "model.py"}"}}\n')
    assert head.time(Timing("m", "zn-geant3")) == 5
    answers('{"events_per_s": 5.0, "source": "/site-packages/m.py"}')
    with pytest.raises(UsageError, match="both sides would be the same code"):
        head.time(Timing("m", "zn-geant3"))
    answers(f'{{"events_per_s": 5.0, "source": "{repository / "model.py"}"}}')
    with pytest.raises(NothingMeasuredError, match="outside base"):
        base.time(Timing("m", "zn-geant3"))


@pytest.mark.slow
def test_a_slower_head_fails(repository: Path) -> None:
    slow = MODEL.format(name="Model").replace("return", "torch.randn(800, 800) @ torch.randn(800, 800)\n        return")
    (repository / "model.py").write_text(slow)
    outcome = gate_speed("main", Timing("model.py:Model", "zn-geant3", batch=100))
    assert outcome.slower
    assert worktrees(repository) == 1
