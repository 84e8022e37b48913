"""`simbench run` as it is typed: what the results are called, what it leaves, several runs in one call."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from factories import make_result
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import DataError, GeneratorError, UsageError
from simbench.core.parameters import parse_grid, parse_params
from simbench.core.progress import Progress
from simbench.evaluation.evaluate import Evaluated, Options
from simbench.evaluation.jobs import Job, grid
from simbench.generators.resolve import Resolved
from simbench.metrics.base import Comparison
from simbench.results.schema import Result
from simbench.samples.files import TooLargeError
from simbench.tasks.base import Task
from simbench.tasks.zn import ZnGeant3

MODELS = """
import torch

class Blob:
    def __init__(self, rate: float = 1.0, cuts: str = ""): self.rate = rate
    def sample(self, conditions, *, seed):
        rng = torch.Generator().manual_seed(seed)
        return torch.poisson(torch.full((len(conditions), 44, 44), self.rate), generator=rng)

class Other:
    def sample(self, conditions, *, seed): return torch.zeros(len(conditions), 44, 44)
"""
QUICK = ("--events", "40", "--batches", "1", "--device", "cpu")


def no_embedding(_: object) -> None:
    raise DataError("no embedding")


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1", "conditional_energy/1"))
    monkeypatch.setattr("simbench.report.page.embed", no_embedding)  # it would take most of the time
    (tmp_path / "run_models.py").write_text(MODELS)
    yield tmp_path
    sys.modules.pop("run_models", None)


def simbench(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words), prog_name="simbench")
    assert done.exit_code == code, (done.exit_code, done.stderr)
    assert "Traceback" not in done.output
    return done


def data(*words: str, code: int = 0) -> Any:
    """The JSON that a verb prints on stdout."""
    return json.loads(simbench(*words, "--json", code=code).stdout)


# Labels


def test_a_label_is_what_tables_paths_and_reports_call_the_generator(workdir: Path) -> None:
    shown = simbench("run", "-g", "run_models:Blob", "--name", "Blob, 1 photon", *QUICK).stdout
    assert "Blob, 1 photon (rate=1.0, cuts=) on zn-geant3" in shown
    (path,) = workdir.glob("runs/zn-geant3/Blob-1-photon/*.json")
    record = json.loads(path.read_text())
    assert (record["spec"]["label"], record["generator"]["name"]) == ("Blob, 1 photon", "Blob")
    assert "<title>Blob, 1 photon on zn-geant3</title>" in path.with_suffix(".html").read_text()
    other = data("run", "-g", "run_models:Blob", *QUICK, "--no-report")
    assert other["spec"]["label"] is None
    plain = workdir / "runs" / "zn-geant3" / "Blob" / f"{other['id']}.json"
    compared = simbench("compare", str(path), str(plain)).stdout
    assert compared.startswith("A: Blob, 1 photon, ")
    assert "B: Blob, " in compared


def test_files_of_samples_take_a_label_too() -> None:
    samples = np.random.default_rng(0).poisson(1.0, (40, 44, 44)).astype(np.uint16)
    np.savez("s.npz", samples=samples, condition_index=np.arange(40), generator="inside")
    assert data("score", "s.npz", "--no-report", "--name", "mine")["spec"]["label"] == "mine"
    assert data("run", "-g", "samples:s.npz", "--no-report", "--name", "mine")["spec"]["label"] == "mine"
    assert len(list(Path("runs/zn-geant3/mine").glob("*.json"))) == 2


@pytest.mark.parametrize("label", ["", "  ", "x" * 101, "a\nb"])
def test_a_label_that_cannot_be_shown_is_refused_before_any_work(label: str) -> None:
    said = simbench("run", "-g", "run_models:Blob", "--name", label, *QUICK, code=2).stderr
    assert said.startswith("UsageError: --name is no label: got ")
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


# Samples


def run_blob(*words: str) -> Path:
    """The file of the result of a run; it writes no report."""
    result = data("run", "-g", "run_models:Blob", *QUICK, "--no-report", *words)
    return Path("runs/zn-geant3/Blob") / f"{result['id']}.json"


def test_the_samples_of_the_last_run_are_kept_and_a_report_has_its_figures() -> None:
    first = run_blob()
    assert first.with_suffix(".h5").is_file()
    second = run_blob("--param", "rate=2")
    assert sorted(second.parent.iterdir()) == sorted([first, second, second.with_suffix(".h5")])
    data("report", str(first), str(second), "--models", "none", "-o", "page.html")
    page = Path("page.html").read_text()
    assert '<figure id="showers">' in page
    assert "The samples of Blob (rate=1.0) are not at hand" in page
    third = run_blob("--no-samples")
    assert sorted(second.parent.iterdir()) == sorted([first, second, second.with_suffix(".h5"), third])
    data("leaderboard", "verify", str(second), "--samples", str(second.with_suffix(".h5")))


def too_large(*_: object, limit: float, **__: object) -> None:
    assert limit in (7e6, 8e6)
    raise TooLargeError("too large")


def test_samples_beyond_the_limit_are_not_kept_and_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simbench.samples.kept.write_samples", too_large)
    said = simbench("run", "-g", "run_models:Blob", *QUICK, "--no-report", "--samples-limit", "7").stderr
    assert "The samples are not kept: they take more than 7 MB (--samples-limit)." in said
    monkeypatch.setenv("SIMBENCH_SAMPLES_LIMIT", "8")
    assert "more than 8 MB" in simbench("run", "-g", "run_models:Blob", *QUICK, "--no-report").stderr
    assert len(list(Path("runs").rglob("*.json"))) == 2
    assert simbench("run", "-g", "run_models:Blob", "--samples-limit", "0", code=2).stderr


def test_a_disk_without_room_for_samples_takes_no_result_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    done = simbench("run", "-g", "run_models:Blob", *QUICK, "--no-report")
    assert "The samples are not kept: " in done.stderr
    assert "No space left on device" in done.stderr
    assert [path.suffix for path in Path("runs").rglob("*.*") if path.is_file()] == [".json"]


def test_clean_shows_what_is_kept_and_removes_the_samples_alone() -> None:
    path = run_blob()
    samples = path.with_suffix(".h5")
    shown = simbench("clean").stdout
    assert str(samples) in shown
    assert "1 file of samples below runs, " in shown
    assert "Remove them with --yes" in shown
    found = data("clean", str(path.parent))
    assert found == {
        "samples": [{"file": str(samples), "result": path.stem, "bytes": samples.stat().st_size}],
        "removed": False,
    }
    assert samples.is_file()
    assert "They are removed" in simbench("clean", "--yes").stdout
    assert list(path.parent.iterdir()) == [path]
    assert simbench("clean", "--yes").stdout == "0 files of samples below runs, 0 MB.\n"


# Several runs in one call


class Engine:
    """Stands in for the evaluation: eight real events and a result of its own for every call; `fails` stops one."""

    def __init__(self, fails: BaseException | None = None, at: int = 0) -> None:
        self.fails, self.at = fails, at
        self.results: list[Result] = []

    def __call__(self, resolved: Resolved, task: Task, options: Options, progress: Progress) -> Evaluated:
        if self.fails is not None and len(self.results) == self.at:
            raise self.fails
        reference = task.load("test", 8)
        made = make_result(
            resolved.name,
            task=task.name,
            id=f"run{len(self.results)}",
            quality=float(resolved.given.get("rate") or 3.0),
            parameters=dict(resolved.given),
        )
        spec = made.spec.model_copy(update={"label": options.label, "task": task.name})
        result = made.model_copy(update={"task": task.record(reference), "spec": spec})
        self.results.append(result)
        return Evaluated(result, Comparison(reference, reference), object())  # type: ignore[arg-type]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = Engine()
    monkeypatch.setattr("simbench.evaluation.jobs.evaluate", found)
    return found


def test_the_grid_is_every_generator_on_every_task_with_all_parameters() -> None:
    jobs = grid(["a", "b"], ["zn-geant3", "mnist"], {"width": ["3", "4"], "prior": ["nf"]}, ["A", "B"])
    assert len(jobs) == 8
    assert jobs[0] == Job("a", "zn-geant3", {"width": "3", "prior": "nf"}, "A")
    assert [job.params["width"] for job in jobs[:4]] == ["3", "4", "3", "4"]
    assert str(jobs[-1]) == "B: b (width=4, prior=nf) on mnist"
    assert pickle.loads(pickle.dumps(jobs)) == jobs
    for wrong in ((["a", "a"], ["t"], {}), (["a"], ["t", "t"], {}), (["a"], ["t"], {"x": ["1", "1"]})):
        with pytest.raises(UsageError, match="asked for twice"):
            grid(*wrong)
    with pytest.raises(UsageError, match="1 for 2 generators"):
        grid(["a", "b"], ["t"], {}, ["A"])


def test_each_run_of_a_grid_is_one_result_with_its_samples(engine: Engine, workdir: Path) -> None:
    done = simbench("run", "-g", "run_models:Blob", "--param", "rate=9,2", "-t", "zn-geant3", "--no-report")
    folder = workdir / "runs" / "zn-geant3" / "Blob"
    assert sorted(path.name for path in folder.iterdir()) == ["run0.h5", "run0.json", "run1.h5", "run1.json"]
    assert [json.loads((folder / f"run{at}.json").read_text())["generator"]["given"] for at in (0, 1)] == [
        {"rate": 9.0},
        {"rate": 2.0},
    ]
    assert "Run 2 of 2: run_models:Blob (rate=2) on zn-geant3" in done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition("  ")[0] for line in lines if line.startswith("Blob")] == [
        "Blob (rate=2.0)",
        "Blob (rate=9.0)",
    ]
    assert lines[-1] == "2 of 2 runs have a result."
    data("run", "-g", "run_models:Blob", "--param", "rate=5", "--no-report")
    assert sorted(path.name for path in folder.glob("*.h5")) == ["run2.h5"]


def test_a_run_that_fails_does_not_stop_the_others_and_the_exit_code_tells(engine: Engine) -> None:
    words = ("-g", "run_models:Other", "-g", "run_models:Blob", "-g", "nowhere:Model", "--name", "o", "--name", "b")
    assert "2 for 3 generators" in simbench("run", *words, code=2).stderr
    words += ("--name", "n", "--param", "rate=1", "--no-report")
    found = data("run", *words, code=2)
    assert [result["spec"]["label"] for result in found["results"]] == ["b"]
    assert [(failure["generator"], failure["exit_code"]) for failure in found["failed"]] == [
        ("run_models:Other", 2),
        ("nowhere:Model", 2),
    ]
    assert "has no parameter 'rate'" in found["failed"][0]["error"]
    assert "no module 'nowhere'" in found["failed"][1]["error"]
    shown = simbench("run", *words, code=2).stdout
    assert "Failed: o: run_models:Other (rate=1) on zn-geant3: UsageError: " in shown
    assert shown.endswith("1 of 3 runs have a result.\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (GeneratorError("it is broken"), 3, "GeneratorError: it is broken"),
        (ZeroDivisionError("a defect"), 70, "InternalError: ZeroDivisionError: a defect"),
    ],
)
def test_whatever_goes_wrong_in_one_run_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, said: str
) -> None:
    class Once(Engine):
        def __call__(self, *words: Any) -> Evaluated:
            try:
                return super().__call__(*words)
            finally:
                self.fails = None

    monkeypatch.setattr("simbench.evaluation.jobs.evaluate", Once(error))
    done = simbench("run", "-g", "run_models:Blob", "-p", "rate=1,2", "--no-report", code=code)
    assert said in done.stdout
    assert done.stdout.endswith("1 of 2 runs have a result.\n")
    assert len(list(Path("runs").rglob("*.json"))) == 1


def test_a_grid_that_is_interrupted_leaves_the_finished_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simbench.evaluation.jobs.evaluate", Engine(KeyboardInterrupt(), at=1))
    done = simbench("run", "-g", "run_models:Blob", "-p", "rate=1,2,3", code=130)
    assert done.stdout == ""
    assert done.stderr.endswith("Interrupted: nothing more is written.\n")
    assert [path.name for path in Path("runs").rglob("*.json")] == ["run0.json"]


def test_a_grid_ends_with_one_report(workdir: Path) -> None:
    """With the samples of each run, and of a file of samples beside them."""
    samples = np.random.default_rng(0).poisson(1.0, (40, 44, 44)).astype(np.uint16)
    np.savez("s.npz", samples=samples, condition_index=np.arange(40), generator="theirs")
    found = data("run", "-g", "run_models:Other", "-g", "samples:s.npz", *QUICK)
    assert [result["generator"]["name"] for result in found["results"]] == ["Other", "theirs"]
    (page,) = map(Path, found["reports"])
    assert page == Path("runs/zn-geant3") / f"comparison-{found['results'][0]['id']}.html"
    text = page.read_text()
    assert "<title>Other, theirs on zn-geant3</title>" in text
    assert "not at hand" not in text
    assert '<figure id="showers">' in text
    assert list(Path("runs").rglob("*.html")) == [page]


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        (["width=3,4", "prior=nf"], {"width": ["3", "4"], "prior": ["nf"]}),
        (['cuts="1,2"'], {"cuts": ["1,2"]}),
        (['cuts="1,2",3', "x="], {"cuts": ["1,2", "3"], "x": [""]}),
        (['say="a ""b"""', 'inch=5"'], {"say": ['a "b"'], "inch": ['5"']}),
    ],
)
def test_commas_part_values_and_quotes_keep_them(pairs: list[str], found: dict[str, list[str]]) -> None:
    assert parse_grid(pairs) == found


def test_values_that_cannot_be_told_apart_are_refused() -> None:
    for pair, message in (("x=1,,2", "between commas"), ("x=1,", "between commas"), ('x="1,2', "told apart")):
        with pytest.raises(UsageError, match=message):
            parse_grid([pair])
    with pytest.raises(UsageError, match=r"""If it is one: --param 'x="1,2"'\."""):
        parse_params(["x=1,2"])
    assert parse_params(['x="1,2"']) == {"x": "1,2"}
    assert "several values" in simbench("check", "run_models:Blob", "-p", "rate=1,2", code=2).stderr


# compare of several


def files_of(**qualities: float) -> list[str]:
    """Results of these names, each as many times the floor, as files."""
    for place, (name, quality) in enumerate(qualities.items()):
        Path(f"{name}.json").write_text(
            make_result(name, quality=quality, id=f"r{place}", events_per_s=quality).to_json()
        )
    return [f"{name}.json" for name in qualities]


def test_compare_of_several_is_a_table_sorted_by_a_column() -> None:
    files = files_of(middle=4.0, worst=9.0, best=2.0)

    def order(*words: str) -> list[str]:
        shown = simbench("compare", *files, *words).stdout
        return [line.split()[0] for line in shown.splitlines() if line.startswith(("middle", "worst", "best"))]

    assert order() == ["best", "middle", "worst"]
    assert order("--sort", "speed") == ["worst", "middle", "best"]
    assert order("--sort", "coverage") == ["middle", "worst", "best"]  # equal: as they were given
    assert order("--sort", "equivalent") == ["best", "middle", "worst"]
    assert order("--sort", "name") == ["best", "middle", "worst"]
    rows = data("compare", *files)
    assert [(row["label"], row["file"]) for row in rows] == [(n, f"{n}.json") for n in ("best", "middle", "worst")]
    assert [row["scores"]["channel_wasserstein/1"]["best"] for row in rows] == [True, False, False]
    assert "17.60 ± 0.88 " in simbench("compare", *files).stdout
    assert "8.80 ± 0.44*" in simbench("compare", *files).stdout
    assert "Did you mean 'coverage'?" in simbench("compare", *files, "--sort", "covrage", code=2).stderr
    assert "two or more" in simbench("compare", files[0], code=2).stderr


def test_compare_of_several_refuses_what_does_not_compare() -> None:
    files = files_of(a=2.0, b=3.0, c=4.0)
    record = json.loads(Path("c.json").read_text())
    record["task"]["events"] = 400
    Path("c.json").write_text(json.dumps(record))
    assert "differ in number of events" in simbench("compare", *files, code=4).stderr
    assert "B - A" in simbench("compare", *files[:2]).stdout
