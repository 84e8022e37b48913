"""The speed gate: is head slower than base? Both are timed in the same job, in turns, so that a noisy machine is noisy
for both.

Base is a git revision, checked out beside the working tree for as long as it takes. Every timing is a process of its
own, in the order A B B A: a drift of the machine (heat, neighbours) cancels to first order. Head fails where an exact
one-sided Mann-Whitney test finds it slower with p < 0.002 *and* its median is slower by more than 5 %: the first alone
would report trifles, the second alone noise.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import PermutationMethod, mannwhitneyu

from simbench.core.errors import GeneratorError, NothingMeasuredError, SimbenchError, UsageError
from simbench.core.text import number, printable, thread_count
from simbench.gates.ci import Case, Report

MIN_RUNS = 7
"""Runs of each side: with 7 + 7 the smallest possible p is 1 / 3432, with 5 + 5 only 1 / 252."""
P_LIMIT = 0.002
EFFECT = 0.05
REGRESSION = 1
SET_BY_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
SCRIPT = Path(__file__).with_name("timed_run.py")


@dataclass(frozen=True)
class Timing:
    """What is timed, the same for base and head."""

    generator: str
    task: str
    params: dict[str, str] = field(default_factory=dict)
    batch: int = 1000
    threads: int = 1
    device: str = "cpu"
    seed: int = 0
    data_dir: Path | None = None

    def request(self) -> str:
        """The argument of the timing process."""
        data_dir = str(self.data_dir.resolve()) if self.data_dir else None
        return json.dumps(vars(self) | {"data_dir": data_dir})


@dataclass(frozen=True)
class SpeedComparison:
    """Events per second of every run. `p_slower`: chance of ranks so low for head if nothing has changed."""

    base: tuple[float, ...]
    head: tuple[float, ...]
    p_slower: float
    p_faster: float

    @property
    def change(self) -> float:
        """Relative change of the median speed from base to head: -0.1 is 10 % slower."""
        return median(self.head) / median(self.base) - 1

    @property
    def slower(self) -> bool:
        """Whether the gate fails."""
        return self.p_slower < P_LIMIT and self.change < -EFFECT

    @property
    def faster(self) -> bool:
        """Whether head is faster by as much as would fail it the other way."""
        return self.p_faster < P_LIMIT and 1 / (1 + self.change) < 1 - EFFECT

    def exit_code(self) -> int:
        """0 pass, 1 regression."""
        return REGRESSION if self.slower else 0


def mann_whitney(low: Sequence[float], high: Sequence[float]) -> float:
    """p-value of the one-sided Mann-Whitney U test: exact, and with ties from the permutations (of up to 7 + 7, all).

    Reference: Mann and Whitney, Ann. Math. Statist. 18 (1947) 50.
    """
    tied = len({*low, *high}) < len(low) + len(high)
    return float(mannwhitneyu(low, high, alternative="less", method=PermutationMethod() if tied else "exact").pvalue)


def compare_speed(
    time_base: Callable[[], float],
    time_head: Callable[[], float],
    runs: int = MIN_RUNS,
    on_run: Callable[[], object] = lambda: None,
) -> SpeedComparison:
    """Time both in turns: base head, head base, ...  Raises UsageError for fewer than `MIN_RUNS`."""
    if runs < MIN_RUNS:
        raise UsageError("too few runs to tell", got=f"--runs {runs}", expected=f"at least {MIN_RUNS} of each side")
    base: list[float] = []
    head: list[float] = []
    for pair in range(runs):
        sides = [(time_base, base), (time_head, head)]
        for timer, kept in sides if pair % 2 == 0 else reversed(sides):
            kept.append(timer())
            on_run()
    return SpeedComparison(tuple(base), tuple(head), mann_whitney(head, base), mann_whitney(base, head))


# Two trees


def _git(repository: Path, *arguments: str) -> str:
    """Output of git. Raises CalledProcessError, or UsageError where there is no git."""
    environment = {name: value for name, value in os.environ.items() if name not in SET_BY_HOOKS}
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], env=environment, capture_output=True, text=True, check=True
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed", fix="gate-speed checks the base out with it.") from error
    return done.stdout.strip()


def repository_of(folder: Path) -> Path:
    """The root of the git repository that holds a folder. Raises UsageError."""
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel")).resolve()
    except subprocess.CalledProcessError as error:
        raise UsageError(
            f"{folder} is in no git repository",
            got=error.stderr.strip(),
            fix="Run gate-speed inside the repository of the generator.",
        ) from error


def commit_of(repository: Path, ref: str) -> str:
    """The commit that a branch, tag or hash names. Raises UsageError."""
    try:
        return _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except subprocess.CalledProcessError as error:
        raise UsageError(
            "unknown --base",
            got=repr(ref),
            expected="a branch, tag or commit of this repository",
            fix="A shallow clone lacks it: fetch it first (actions/checkout with fetch-depth: 0).",
        ) from error


@contextlib.contextmanager
def checked_out(repository: Path, commit: str) -> Iterator[Path]:
    """The tree of a commit in a temporary worktree, removed afterwards, on Ctrl-C too."""
    with tempfile.TemporaryDirectory(prefix="simbench-base-") as folder:
        tree = Path(folder).resolve() / "base"
        try:
            try:
                _git(repository, "worktree", "add", "--detach", "--quiet", str(tree), commit)
            except subprocess.CalledProcessError as error:
                raise UsageError("the base cannot be checked out", got=error.stderr.strip()) from error
            yield tree
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                # --force twice: even one that git is still making
                _git(repository, "worktree", "remove", "--force", "--force", str(tree))


@dataclass(frozen=True)
class Tree:
    """A source tree to import from. `root` stands for `repository`, the tree of the running process."""

    name: str
    root: Path
    repository: Path

    def python_path(self) -> str:
        """$PYTHONPATH: what this process imports from the repository, moved to this tree; then the rest as it was."""
        installed = {Path(sysconfig.get_paths()[key]).resolve() for key in ("purelib", "platlib", "stdlib")}
        inside = [Path(entry).resolve() for entry in sys.path]
        inside = [entry for entry in inside if entry.is_relative_to(self.repository) and entry not in installed]
        outside = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        outside = [entry for entry in outside if not Path(entry).resolve().is_relative_to(self.repository)]
        moved = [self.root, self.root / "src", *(self.root / entry.relative_to(self.repository) for entry in inside)]
        return os.pathsep.join(dict.fromkeys([*map(str, moved), *outside]))

    def working_directory(self) -> Path:
        """The present working directory, in this tree."""
        return self.root / Path.cwd().resolve().relative_to(self.repository)

    def time(self, timing: Timing) -> float:
        """Events per second, by a process that imports from this tree.

        Raises:
            NothingMeasuredError: base does not have the generator, or cannot run it: there is nothing to compare with.
            GeneratorError: head cannot run it.
            UsageError: the generator comes from outside the tree, so that base and head would be the same code.
        """
        folder = self.working_directory()
        if not folder.is_dir():
            raise self._cannot(f"there is no folder {folder.relative_to(self.root)}")
        environment = os.environ | {"PYTHONPATH": self.python_path()}
        if "SIMBENCH_DATA" in environment:
            environment["SIMBENCH_DATA"] = str(Path(environment["SIMBENCH_DATA"]).resolve())
        command = [sys.executable, "-P", str(SCRIPT), timing.request()]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        answer = _last_object(done.stdout)
        if "error" in answer:
            raise self._cannot(str(answer["error"]))
        if "events_per_s" not in answer:
            raise self._cannot(done.stderr.strip()[-500:] or f"exit status {done.returncode}")
        self._check_source(timing.generator, answer["source"])
        return float(answer["events_per_s"])

    def _cannot(self, reason: str) -> SimbenchError:
        if self.name == "head":
            return GeneratorError("head cannot be timed", got=printable(reason, 1000))
        return NothingMeasuredError(
            f"{self.name} has no such generator, or cannot run it, so there is no speed to compare with",
            got=printable(reason, 1000),
            fix="Skip the speed gate for a new generator, or choose a later --base.",
        )

    def _check_source(self, generator: str, source: str | None) -> None:
        if source is not None and Path(source).resolve().is_relative_to(self.root):
            return
        if self.name != "head" and source is not None and Path(source).resolve().is_relative_to(self.repository):
            raise self._cannot(f"{generator} is imported from {source}, outside {self.name}")
        raise UsageError(
            f"{generator} is not imported from {self.name}, so both sides would be the same code",
            got=source or "a file unknown",
            expected=f"a file below {self.root}",
            fix="Install the package with `pip install -e`, or name a file relative to the working directory.",
        )


def _last_object(text: str) -> dict[str, Any]:
    """The JSON object on the last line of a process's output; empty where there is none."""
    lines = text.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def gate_speed(
    base: str, timing: Timing, runs: int = MIN_RUNS, on_run: Callable[[], object] = lambda: None
) -> SpeedComparison:
    """Compare the working tree with the git revision `base`. Raises as `Tree.time` and `compare_speed` do."""
    repository = repository_of(Path.cwd())
    commit = commit_of(repository, base)
    head = Tree("head", repository, repository)
    with checked_out(repository, commit) as folder:
        before = Tree("base", folder, repository)
        return compare_speed(lambda: before.time(timing), lambda: head.time(timing), runs, on_run)


def report(outcome: SpeedComparison, timing: Timing, base: str) -> Report:
    """The outcome as people and CI systems read it."""
    who = f"{printable(timing.generator, 80)} on {printable(timing.task, 60)}"
    threads = f", {thread_count(timing.threads)}" if timing.device == "cpu" else ""
    where = f"batch {timing.batch} on {timing.device}{threads}"
    change = f"{abs(outcome.change):.1%} {'slower' if outcome.change < 0 else 'faster'} than {printable(base, 60)}"
    told = (
        f"{who}: {number(median(outcome.head))} events/s, {change} ({number(median(outcome.base))}), {where}; "
        f"{len(outcome.base)} + {len(outcome.head)} runs, p = {number(outcome.p_slower, 2)}"
    )
    speeds = (number(median(outcome.base)), number(median(outcome.head)), f"{outcome.change:+.1%}")
    status = "regression" if outcome.slower else "pass"
    row = (printable(timing.generator, 60), *speeds, number(outcome.p_slower, 2), status)
    return Report(
        suite="simbench gate-speed",
        title=f"{who}: {where}, {len(outcome.base)} + {len(outcome.head)} runs against {printable(base, 60)}",
        columns=("events/s of", "base", "head", "change", "p", ""),
        rows=[row],
        cases=[Case(f"{who}: speed", "fail" if outcome.slower else "pass", told)],
        verdict=f"{'FAILED' if outcome.slower else 'Passed'}: {told}",
        notes=["Head is faster by more than chance."] if outcome.faster else [],
    )


def as_dict(outcome: SpeedComparison, timing: Timing, base: str) -> dict[str, Any]:
    """The outcome as plain values, for `--json`."""
    return {
        "passed": not outcome.slower,
        "exit_code": outcome.exit_code(),
        "generator": timing.generator,
        "task": timing.task,
        "base": base,
        "batch": timing.batch,
        "threads": timing.threads,
        "device": timing.device,
        "change": outcome.change,
        "p_slower": outcome.p_slower,
        "p_faster": outcome.p_faster,
        "p_limit": P_LIMIT,
        "effect_limit": EFFECT,
        "base_events_per_s": list(outcome.base),
        "head_events_per_s": list(outcome.head),
    }
