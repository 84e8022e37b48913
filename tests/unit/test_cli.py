"""The command line: what it prints, where, and what it exits with. What goes wrong is one line, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer
from factories import make_result
from typer.testing import CliRunner

import simbench
from simbench.cli.main import app
from simbench.tasks import get_task

MODELS = """
import sys
import torch

def noise(conditions, seed): return torch.rand(len(conditions), 44, 44, generator=torch.Generator().manual_seed(seed))

class Good:
    def __init__(self, scale: float = 1.0): self.scale = scale
    def sample(self, conditions, *, seed):
        print("chatter on stdout")
        return noise(conditions, seed) * self.scale

class Channel:
    def sample(self, conditions, *, seed): return noise(conditions, seed)[:, None]
class NaN:
    def sample(self, conditions, *, seed): return noise(conditions, seed) * float("nan")
class Negative:
    def sample(self, conditions, *, seed): return -noise(conditions, seed)
class Huge:
    def sample(self, conditions, *, seed): return noise(conditions, seed) * 1e30
class Sampleless: ...
class Needy:
    def __init__(self, depth: int): ...
    def sample(self, conditions, *, seed): ...
class Raises:
    def sample(self, conditions, *, seed): raise ValueError("in sample")
class Interrupted:
    def sample(self, conditions, *, seed): raise KeyboardInterrupt
class Slow:
    def sample(self, conditions, *, seed):
        import time
        print("sampling", file=sys.stderr, flush=True)
        time.sleep(60)
"""


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("SIMBENCH_DEBUG", raising=False)
    (tmp_path / "cli_models.py").write_text(MODELS)
    (tmp_path / "cli_broken.py").write_text("raise RuntimeError('at import')")
    (tmp_path / "cli_other.json").write_text('{"schema": "another/1"}')
    yield tmp_path
    sys.modules.pop("cli_models", None)


def simbench_does(*words: str) -> Any:
    return CliRunner().invoke(app, list(words), prog_name="simbench")


def fails(code: int, kind: str, *words: str) -> str:
    """Run a command that must fail: exit code, one line on stderr that starts with `kind`, nothing on stdout."""
    done = simbench_does(*words)
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith(("preflight", "reading"))]
    assert done.exit_code == code, (done.exit_code, done.stderr)
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"{kind}: "), lines
    assert "Traceback" not in done.output
    assert done.stdout.replace("chatter on stdout\n", "") == ""
    return str(lines[0])


# --- a process of its own ---------------------------------------------------------------------------------------------

HEAVY = ("torch", "pydantic", "h5py", "numpy", "rich", "scipy", "matplotlib")
HELP = f"""
import sys
from simbench.cli.main import app
try:
    app(["--help"])
except SystemExit as stop:
    assert stop.code == 0
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def test_help_imports_nothing_heavy_and_is_quick() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert done.stderr.strip() == "[]"
    assert "simbench run --generator" in done.stdout
    assert min(seconds) < 1.0  # 0.15 s of CPU on an idle machine; the limit leaves room for a busy one


def test_ctrl_c_in_the_middle_is_one_line_and_leaves_nothing(workdir: Path) -> None:
    command = [sys.executable, "-m", "simbench", "run", "-g", "cli_models:Slow", "--smoke", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "sampling" not in (line := process.stderr.readline()):
        assert line, process.wait()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "Interrupted: nothing more is written."
    assert "Traceback" not in stderr
    assert stdout == ""
    assert [
        path
        for path in workdir.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "cli_other.json"
    ] == []


@pytest.mark.parametrize("moment", ["typer", "numpy", "torch", "preflight:", "sampling:", "timing:"])
def test_ctrl_c_on_the_real_command_is_one_line_at_any_moment(tmp_path: Path, moment: str) -> None:
    """During imports, preflight, sampling, timing and scoring: each begins after the line with `moment`."""
    command = [
        sys.executable,
        *(["-X", "importtime"] if ":" not in moment else []),
        "-m",
        "simbench",
        "run",
        "--generator",
        "vae",
    ]
    command += ["--task", "zn-geant3", "--smoke", "--batch-size", "1", "--device", "cpu"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while moment not in (line := process.stderr.readline()):
        assert line, process.wait()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    said = [line for line in stderr.splitlines() if not line.startswith("import time:")]
    assert said[-1] == "Interrupted: nothing more is written."
    assert "Traceback" not in stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "simbench", "generators"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    _, stderr = process.communicate(timeout=60)
    assert stderr == ""
    assert process.returncode == 141


# --- help, names, usage -----------------------------------------------------------------------------------------------


def commands(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command, sub-commands too, with the words that call it."""
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *words, name)
    if not hasattr(command, "commands"):
        yield words, command


VERBS = dict(commands(typer.main.get_command(app)))


def test_the_verbs_are_those_of_the_design() -> None:
    assert {words[0] for words in VERBS} >= {
        *("run", "score", "train", "init", "check", "conditions", "gate", "compare", "leaderboard"),
        *(
            "report",
            "clean",
            "selftest",
            "tasks",
            "metrics",
            "generators",
            "doctor",
            "bench",
            "export",
            "floor",
            "gate-speed",
        ),
        "table1",
    }


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_with_an_example(verb: tuple[str, ...]) -> None:
    done = simbench_does(*verb, "--help")
    assert done.exit_code == 0
    assert "Examples:" in done.stdout
    assert f"simbench {' '.join(verb)}" in done.stdout.partition("Examples:")[2]
    assert "--json" in done.stdout


def test_the_help_lists_the_verbs_but_not_the_maintainers() -> None:
    listed = {
        line.split()[0]
        for line in simbench_does("--help").stdout.splitlines()
        if line.startswith("  ") and line.strip()
    }
    hidden = {words[0] for words, command in VERBS.items() if command.hidden}
    assert hidden == {"floor"}
    assert {words[0] for words in VERBS} - hidden <= listed
    assert not hidden & listed


def test_version() -> None:
    assert simbench_does("--version").stdout == f"simbench {simbench.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rum"], "Did you mean 'run'?"),
        (["run", "--genrator", "vae"], "--generator"),
        (["run", "--seed", "x"], "seed"),
        (["run", "--seed", "-1"], "seed"),
        (["run", "--repetitions", "0"], "repetitions"),
        (["conditions", "exprt"], "export"),
        (["score"], "FILE"),
    ],
)
def test_usage_errors_of_the_parser_exit_with_2(words: list[str], said: str) -> None:
    done = simbench_does(*words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize(
    ("code", "kind", "words", "said"),
    [
        (2, "UsageError", ["run"], "--generator"),
        (2, "UsageError", ["run", "-g", "memoriserr"], "Did you mean 'memoriser'?"),
        (2, "UsageError", ["run", "-g", "vae", "--task", "mnits"], "Did you mean 'mnist'?"),
        (2, "UsageError", ["run", "-g", "cli_models:Goood"], "Did you mean 'Good'?"),
        (2, "UsageError", ["run", "-g", "nowhere.py:Good"], "no such file"),
        (2, "UsageError", ["run", "-g", "cli_models:Good", "--param", "scale"], "key=value"),
        (2, "UsageError", ["run", "-g", "cli_models:Good", "--param", "scael=3"], "Did you mean 'scale'?"),
        (2, "UsageError", ["run", "-g", "cli_models:Good", "--param", "scale=x"], "float"),
        (2, "UsageError", ["run", "-g", "cli_models:Needy"], "--param depth=…"),
        (2, "UsageError", ["run", "-g", "cli_models:Good", "--events", "3999"], "--events 3992"),
        (2, "UsageError", ["run", "-g", "cli_models:Good", "--device", "gpu"], "auto, cpu, cuda"),
        (2, "UsageError", ["run", "-g", "cli_models:Good", "--device", "cuda:99"], "no device cuda:99"),
        (2, "UsageError", ["run", "-g", "cli_models:Good", "--definitions", "mine"], "unknown definitions"),
        (2, "UsageError", ["run", "-g", "cli_models:Good", "--out", "cli_models.py"], "cannot be written"),
        (2, "UsageError", ["run", "-g", "samples:x.h5", "--smoke"], "--smoke"),
        (3, "GeneratorError", ["run", "-g", "cli_broken:Model"], "RuntimeError: at import (cli_broken.py:1)"),
        (3, "GeneratorError", ["run", "-g", "cli_models:Sampleless"], "without a method `sample`"),
        (3, "GeneratorError", ["run", "-g", "cli_models:Channel"], "squeeze(1)"),
        (3, "GeneratorError", ["run", "-g", "cli_models:NaN"], "NaN"),
        (3, "GeneratorError", ["run", "-g", "cli_models:Negative"], "negative photons"),
        (3, "GeneratorError", ["run", "-g", "cli_models:Huge"], "too large photons"),
        (3, "GeneratorError", ["run", "-g", "cli_models:Raises"], "ValueError: in sample (cli_models.py:"),
        (130, "Interrupted", ["run", "-g", "cli_models:Interrupted"], "nothing"),
        (4, "DataError", ["run", "-g", "samples:missing.h5"], "no file missing.h5"),
        (4, "DataError", ["score", "missing.npz"], "no file missing.npz"),
        (4, "DataError", ["score", "cli_models.py"], "neither HDF5 nor npz"),
        (2, "UsageError", ["check", "cli_models:Nobody"], "has no 'Nobody'"),
        (2, "UsageError", ["init", "mymodel.txt"], "mymodel.py"),
        (2, "UsageError", ["init", "cli_models.py"], "never overwritten"),
        (2, "UsageError", ["init", "new.py", "--task", "mnits"], "Did you mean 'mnist'?"),
        (2, "UsageError", ["conditions", "export", "-o", "c.xlsx"], "one of"),
        (2, "UsageError", ["tasks", "mnits"], "Did you mean 'mnist'?"),
        (2, "UsageError", ["metrics", "chanel_wasserstein"], "Did you mean 'channel_wasserstein'?"),
    ],
)
def test_every_mistake_is_one_line_with_its_exit_code(code: int, kind: str, words: list[str], said: str) -> None:
    assert said in fails(code, kind, *words)
    assert not list(Path("runs").rglob("*.json"))


@pytest.mark.parametrize(
    ("code", "kind", "words", "said"),
    [
        (4, "DataError", ["report", "none.json"], "got no such file. Pass the JSON file that `simbench run` wrote"),
        (4, "DataError", ["report", "folder"], "got a folder"),
        (4, "DataError", ["report", "empty.json"], "got an empty file"),
        (4, "DataError", ["report", "curly.json"], "got no schema, expected schema 'simbench.run/1'"),
        (2, "UsageError", ["report", "zn.json", "mnist.json"], "another task: got mnist"),
        (2, "UsageError", ["report", "zn.json", "-o", "folder"], "folder is a folder"),
        (2, "UsageError", ["report", "zn.json", "--figures", "empty.json"], "empty.json is no folder"),
        (4, "DataError", ["report", "zn.json", "--samples", "none.h5"], "no file none.h5"),
        (4, "DataError", ["report", "zn.json", "--samples", "empty.json"], "neither HDF5 nor npz"),
        (4, "DataError", ["report", "zn.json", "--samples", "folder"], "folder is a folder"),
        (4, "DataError", ["compare", "zn.json", "none.json"], "no such file"),
        (4, "DataError", ["compare", "zn.json", "mnist.json"], "differ in task"),
        (4, "DataError", ["score", "folder"], "folder is a folder"),
        (4, "DataError", ["clean", "none"], "there is no folder none"),
        (4, "DataError", ["clean", "empty.json", "--yes"], "there is no folder empty.json"),
        (4, "DataError", ["export", "none", "-o", "x.csv"], "names no files"),
        (4, "DataError", ["export", "empty.json", "-o", "x.csv"], "an empty file"),
        (2, "UsageError", ["export", "zn.json", "-o", "folder"], "expected .csv or .parquet"),
        (2, "UsageError", ["export", "zn.json", "-o", "empty.json/x.csv"], "empty.json is no folder"),
        (4, "DataError", ["leaderboard", "add", "zn.json", "--boards", "folder"], "holds no boards"),
        (4, "DataError", ["leaderboard", "add", "empty.json"], "an empty file"),
        (4, "DataError", ["leaderboard", "render", "--boards", "empty.json"], "holds no boards"),
        (4, "DataError", ["leaderboard", "verify", "zn.json"], "against another data set"),
        (4, "DataError", ["leaderboard", "verify", "zn.json", "--samples", "folder"], "folder is a folder"),
        (2, "UsageError", ["gate", "zn.json"], "no golden file"),
        (4, "DataError", ["gate", "zn.json", "--golden", "none.json"], "--update --reason"),
        (4, "DataError", ["gate", "zn.json", "--golden", "empty.json"], "no golden file: got an empty file"),
        (4, "DataError", ["gate", "zn.json", "--golden", "mnist.json"], "simbench.golden/1"),
        (2, "UsageError", ["gate", "--golden", "folder", "--update", "--reason", "x"], "folder is a folder"),
        (2, "UsageError", ["gate", "zn.json", "--golden", "none.json", "--junit", "folder"], "folder is a folder"),
        (4, "DataError", ["gate", "zn.json", "--golden", "cut.json"], "no golden file: got EOF while parsing"),
        (4, "DataError", ["gate", "zn.json", "--golden", "cut.json"], "restore it from git"),
        (2, "UsageError", ["report", "zn.json", "-o", "x.pdf"], "Try x.html; --figures"),
        (2, "UsageError", ["report", "zn.json", "-o", "zn.json"], "a report is an HTML page"),
        (2, "UsageError", ["bench", "-g", "cli_models:God"], "Did you mean 'Good'?"),
        (2, "UsageError", ["bench", "-g", "cli_models:Good", "--pytest-benchmark", "zn.json"], "never overwritten"),
    ],
)
def test_wrong_files_are_one_line_with_its_exit_code(
    workdir: Path, code: int, kind: str, words: list[str], said: str
) -> None:
    (workdir / "folder").mkdir()
    (workdir / "empty.json").touch()
    (workdir / "curly.json").write_text("{}")
    golden = Path(__file__).parents[1] / "gates" / "mnist-vae.golden.json"
    (workdir / "cut.json").write_bytes(golden.read_bytes()[:2000])
    for task in ("zn", "mnist"):
        (workdir / f"{task}.json").write_text(make_result(task="zn-geant3" if task == "zn" else task).to_json())
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    assert said in fails(code, kind, *words)
    shutil.rmtree(workdir / "__pycache__", ignore_errors=True)
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


def test_missing_mnist_says_which_files_to_put_where(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    def closed_network(*_: object, **__: object) -> None:
        raise OSError("the network is closed")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", closed_network)
    monkeypatch.setenv("SIMBENCH_DATA", str(workdir / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir / "cache"))
    said = fails(4, "DataError", "run", "-g", "cli_models:Good", "--task", "mnist", "--data-dir", "nowhere")
    assert all(word in said for word in ("train-images-idx3-ubyte.gz", "--data-dir", "nowhere", "empty"))


def test_a_defect_of_simbench_is_one_line_and_its_traceback_on_request(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("simbench.generators.template.write_scaffold", defect)
    assert "ZeroDivisionError: a defect" in fails(70, "InternalError", "init", "new.py")
    monkeypatch.setenv("SIMBENCH_DEBUG", "1")
    assert "Traceback" in simbench_does("init", "new.py").stderr


# --- what verbs do ----------------------------------------------------------------------------------------------------


def data(*words: str) -> Any:
    """The JSON that a verb prints on stdout."""
    done = simbench_does(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


class Engine:
    """Stands in for the evaluation: runs the generator once, and has a result ready."""

    def __init__(self, status: str = "complete") -> None:
        self.result = make_result(status=status)
        self.asked: dict[str, Any] = {}

    def __call__(self, resolved: Any, task: Any, options: Any, progress: Any) -> Any:
        from simbench.evaluation.evaluate import Evaluated

        self.asked = vars(options) | {"resolved": resolved, "task": task}
        resolved.generator.sample(task.load("test", 8).conditions, seed=1)
        return Evaluated(self.result, None)  # type: ignore[arg-type]


def test_run_writes_a_result_and_prints_it(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    monkeypatch.setattr("simbench.evaluation.jobs.evaluate", engine)
    done = simbench_does(
        "run",
        "-g",
        "cli_models:Good",
        "-p",
        "scale=2",
        "--seed",
        "7",
        "--smoke",
        "--repetitions",
        "2",
        "--batch-size",
        "10",
        "--fast",
        "--device",
        "cpu",
        "--no-report",
        "--no-samples",
    )
    assert done.exit_code == 0, done.stderr
    asked = engine.asked
    assert asked["resolved"].parameters == {"scale": 2.0}
    assert asked["task"].name == "zn-geant3"
    assert (asked["root_seed"], asked["events"], asked["repetitions"], asked["batches"]) == (7, 400, 2, (10,))
    assert (asked["devices"], asked["fast"], asked["definitions"]) == (("cpu",), True, "simbench")
    written = list((workdir / "runs").rglob("*.json"))
    assert [path.read_text() for path in written] == [engine.result.to_json()]
    assert written[0].name in done.stdout.replace("\n", "")


def test_run_json_is_the_result_and_nothing_else(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    monkeypatch.setattr("simbench.evaluation.jobs.evaluate", engine)
    done = simbench_does("run", "-g", "cli_models:Good", "--json", "--no-report", "--no-samples", "--out", "elsewhere")
    assert done.stdout == engine.result.to_json()
    assert "chatter on stdout" in done.stderr
    assert len(list((workdir / "elsewhere").rglob("*.json"))) == 1


def test_a_run_that_measured_nothing_is_written_and_exits_with_5(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simbench.evaluation.jobs.evaluate", Engine("incomplete"))
    done = simbench_does("run", "-g", "cli_models:Good", "--no-report", "--no-samples", "--json")
    assert done.exit_code == 5
    assert done.stderr.splitlines()[-1].startswith("NothingMeasuredError: ")
    assert len(list((workdir / "runs").rglob("*.json"))) == 1


def test_run_leaves_a_report_beside_the_result_and_report_compares_several(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simbench.evaluation.jobs.evaluate", Engine())
    assert simbench_does("run", "-g", "cli_models:Good", "--no-samples").exit_code == 0
    (page,) = (workdir / "runs").rglob("*.html")
    (result,) = (workdir / "runs").rglob("*.json")
    assert page.stem == result.stem
    assert data("report", str(result), "-o", "both.html")["report"] == "both.html"
    assert "<html" in (workdir / "both.html").read_text()
    assert "schema" in fails(4, "DataError", "report", str(result), "cli_other.json")


def test_samples_that_a_run_saved_are_in_the_report_and_pass_the_verification(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simbench.tasks.zn import ZnGeant3

    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1", "conditional_energy/1"))
    common = ["-g", "cli_models:Good", "--events", "40", "--batch-size", "1", "--no-report"]
    result = data("run", *common, "--repetitions", "2")
    path = workdir / "runs" / "zn-geant3" / "Good" / f"{result['id']}.json"
    samples = path.with_suffix(".h5")
    assert sorted(path.parent.iterdir()) == [samples, path]
    verified = data("leaderboard", "verify", str(path), "--samples", str(samples))
    assert verified["verified"]
    assert [metric["agrees"] for metric in verified["metrics"]] == [True, True]
    data("report", str(path), "-o", "page.html")
    assert '<figure id="showers">' in (workdir / "page.html").read_text()
    shutil.move(samples, "elsewhere.h5")
    data("report", str(path), "-o", "none.html")
    assert '<figure id="showers">' not in (workdir / "none.html").read_text()
    data("report", str(path), "-o", "page.html", "--samples", "elsewhere.h5")
    assert '<figure id="showers">' in (workdir / "page.html").read_text()
    with h5py.File("elsewhere.h5", "r+") as file:
        file["samples"][3] = file["samples"][3] * 2 + 1
    done = simbench_does("leaderboard", "verify", str(path), "--samples", "elsewhere.h5")
    assert done.exit_code == 4
    assert "is not what these samples score: " in done.stderr
    assert "channel_wasserstein/1" in done.stderr
    assert "differs" in done.stdout


def test_files_of_a_foreign_program_are_repetitions_that_a_board_takes(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boards import make_boards

    from simbench.tasks.zn import ZnGeant3

    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1", "conditional_energy/1"))
    boards = make_boards(workdir)
    board = boards / "zn-geant3" / "board.toml"
    task = ZnGeant3()
    scored = task.record(task.load("test", 40)).scored_sha256
    rules = board.read_text().replace("events = 4000", "events = 40").replace(task.scored_sha256, scored).splitlines()
    board.write_text("\n".join(line for line in rules if "{ metric" not in line or "conditional_energy" in line))
    for seed in (1, 2, 3):
        samples = np.random.default_rng(seed).poisson(1.0, (40, 44, 44)).astype(np.uint16)
        np.savez(f"seed{seed}.npz", samples=samples, condition_index=np.arange(40), generator="mine", seed=seed)
    files = [f"seed{seed}.npz" for seed in (1, 2, 3)]
    said_who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), ("add", "-A"), (*said_who, "commit", "-q", "-m", "program")):
        subprocess.run(("git", *words), check=True, cwd=workdir)
    result = data("score", *files, "--no-report")
    first = result["measurements"][0]
    assert len(set(first["per_repetition"])) == 3
    assert first["value"] == pytest.approx(np.mean(first["per_repetition"]))
    assert first["sd_repetition"] == pytest.approx(np.std(first["per_repetition"], ddof=1))
    assert (result["generator"]["name"], result["spec"]["repetitions"], result["spec"]["root_seed"]) == ("mine", 3, 1)
    path = workdir / "runs" / "zn-geant3" / "mine" / f"{result['id']}.json"
    entry = data("leaderboard", "add", str(path), "--boards", str(boards))["entry"]
    named = [word for file in files for word in ("--samples", file)]
    verified = data("leaderboard", "verify", entry, *named)
    assert (verified["verified"], verified["samples"]) == (True, [True] * 3)
    assert json.loads(Path(verified["record"]).read_text())["how"] == "samples"
    assert data("leaderboard", "verify", entry, *named[:2])["record"] is None
    swapped = simbench_does("leaderboard", "verify", entry, "--samples", files[1])
    assert swapped.exit_code == 4
    data("report", str(path), *named, "-o", "page.html")
    assert '<figure id="showers">' in (workdir / "page.html").read_text()
    assert "hold the same samples" in fails(4, "DataError", "score", files[0], files[0])


def test_a_report_that_fails_hides_no_result(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    engine = Engine()
    monkeypatch.setattr("simbench.evaluation.jobs.evaluate", engine)
    monkeypatch.setattr("simbench.report.page.write_report", defect)
    done = simbench_does("run", "-g", "cli_models:Good", "--no-samples", "--json")
    assert done.exit_code == 70
    assert done.stdout == engine.result.to_json()
    assert len(list((workdir / "runs").rglob("*.json"))) == 1


def test_init_then_check_passes(workdir: Path) -> None:
    done = simbench_does("init", "mymodel.py")
    assert done.exit_code == 0
    assert "simbench check mymodel.py:Model" in done.stdout
    found = data("check", "mymodel.py:Model")
    assert found["passed"]
    assert {check["status"] for check in found["checks"]} == {"ok"}
    table = simbench_does("check", "mymodel.py:Model", "--param", "width=4")
    assert table.exit_code == 0
    assert "0 failed" in table.stdout


def test_init_names_the_class_after_the_file(workdir: Path) -> None:
    done = simbench_does("init", "my_flow.py")
    assert "simbench check my_flow.py:MyFlow" in done.stdout
    assert "class MyFlow:" in (workdir / "my_flow.py").read_text()
    assert "my_flow.py:MyFlow" in (workdir / "my_flow.py").read_text()
    assert "Try my_flow.py:MyFlow." in fails(2, "UsageError", "check", "my_flow")


def test_check_exits_with_3_where_the_contract_is_broken(workdir: Path) -> None:
    for spec in ("cli_models:Negative", "cli_broken:Model", "cli_models:Sampleless"):
        done = simbench_does("check", spec)
        assert done.exit_code == 3
        assert "1 failed" in done.stdout
    assert json.loads(simbench_does("check", "cli_models:Negative", "--json").stdout)["passed"] is False


def test_check_shows_the_users_traceback_on_request(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in simbench_does("check", "cli_models:Raises").stderr
    monkeypatch.setenv("SIMBENCH_DEBUG", "1")
    done = simbench_does("check", "cli_models:Raises", "--json")
    assert 'raise ValueError("in sample")' in done.stderr
    assert json.loads(done.stdout)["passed"] is False


def test_compare_tells_runs_of_one_class_apart_by_their_parameters(workdir: Path) -> None:
    for place, width in enumerate((4.0, 5.0)):
        made = make_result("Model", parameters={"width": width, "depth": 2}, quality=width, id=f"run-{place}")
        (workdir / f"{place}.json").write_text(made.to_json())
    told = simbench_does("compare", "0.json", "1.json").stdout
    assert "A: Model (width=4.0), run-0\nB: Model (width=5.0), run-1\n" in told
    assert "< 1e-09" in told
    itself = simbench_does("compare", "0.json", "0.json").stdout
    assert "Both are scores of the same events" in itself
    assert "B is better on 0 and A on 0" in itself
    assert {(one["low"], one["high"]) for one in data("compare", "0.json", "0.json")} == {(0.0, 0.0)}


def test_conditions_go_out(workdir: Path) -> None:
    assert data("conditions", "export", "-o", "c.h5", "--events", "16") == {
        "file": "c.h5",
        "task": "zn-geant3",
        "events": 16,
    }
    with h5py.File("c.h5") as file:
        assert file["conditions"].shape == (16, 9)
        assert file.attrs["task"] == "zn-geant3"
    assert "simbench score" in simbench_does("conditions", "export", "-o", "c.csv", "--events", "16").stdout


def test_samples_of_the_wrong_shape_are_an_invalid_generator(workdir: Path) -> None:
    np.savez("s.npz", samples=np.zeros((8, 1, 44, 44)), condition_index=np.arange(8))
    assert "squeeze(1)" in fails(3, "GeneratorError", "score", "s.npz")
    shutil.copy("s.npz", "t.npz")
    os.truncate("t.npz", 700)
    assert "t.npz" in fails(4, "DataError", "score", "t.npz")


def test_tasks_metrics_and_generators_are_listed_and_described() -> None:
    tasks = {task["name"]: task for task in data("tasks")}
    assert tasks["zn-geant3"]["conditions"]["Energy"] == "GeV"
    assert data("tasks", "mnist")["shape"] == [1, 28, 28]
    metrics = {metric["key"]: metric for metric in data("metrics")}
    assert metrics["channel_wasserstein/1"]["unit"] == "photons"
    assert data("metrics", "channel_wasserstein") == metrics["channel_wasserstein/1"]
    assert {"memoriser", "floor"} <= {generator["name"] for generator in data("generators")}
    for words in (["tasks"], ["tasks", "mnist"], ["metrics"], ["metrics", "channel_wasserstein"], ["generators"]):
        done = simbench_does(*words)
        assert done.exit_code == 0
        assert done.stdout.strip()


@pytest.mark.parametrize("words", [[], ["--task", "zn-geant3"]])
def test_metrics_are_a_table_a_task_with_one_line_each_at_80_columns(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = simbench_does("metrics", *words).stdout.splitlines()
    task = get_task("zn-geant3")
    start = lines.index("zn-geant3")
    shown = [line.split()[0] for line in lines[start + 2 : start + 2 + len(task.metrics)]]
    assert shown == list(task.metrics)
    assert lines[start + 2].split()[-1] == "primary"
    assert any(line.split()[:1] == ["rmse/wojnar2024"] and line.split()[-1] == "wojnar2024" for line in lines)
    assert ("mnist" in lines) == (not words)
    assert max(map(len, lines)) <= 80


def test_the_metrics_of_one_task_as_data() -> None:
    keys = {metric["key"] for metric in data("metrics", "--task", "mnist")}
    assert {*get_task("mnist").metrics, "sinkhorn/deja2020"} == keys
    assert "one of" in fails(2, "UsageError", "metrics", "--task", "mnits")


def test_doctor_looks_at_everything_and_leaves_nothing(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMBENCH_DATA", str(workdir / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir / "cache"))
    done = simbench_does("doctor", "--json", "--out", "deep/er")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert {
        "versions",
        "devices",
        "data of zn-geant3",
        "data of mnist",
        "generator memoriser",
        "output",
        "disk",
    } <= set(found)
    assert found["data of mnist"]["status"] == "warn"
    assert "SIMBENCH_DATA" in found["data of mnist"]["fix"]
    assert found["data of zn-geant3"]["status"] == "ok"
    assert done.exit_code == (4 if any(check["status"] == "fail" for check in found.values()) else 0)
    assert sorted(path.name for path in workdir.iterdir()) == ["cli_broken.py", "cli_models.py", "cli_other.json"]


def test_doctor_spells_names_as_they_are(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "mypkg.py").touch()
    lost = metadata.EntryPoint("mine", "mypkg:Lost", "simbench.generators")
    monkeypatch.setattr("simbench.cli.doctor.entry_points", lambda group: {"mine": lost})
    monkeypatch.setattr("simbench.core.specs.entry_points", lambda group: {"mine": lost})
    found = {check["name"]: check for check in json.loads(simbench_does("doctor", "--json").stdout)["checks"]}
    assert found["generator mine"]["reason"].startswith("mypkg has no 'Lost'")


def test_doctor_fails_where_results_cannot_be_written(workdir: Path) -> None:
    done = simbench_does("doctor", "--json", "--out", "cli_models.py/below")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.exit_code == 4
    assert found["output"]["status"] == "fail"
