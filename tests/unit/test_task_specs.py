"""`--task file.py:Task` and `pkg.module:Task`: what is recorded of it, and every way in which that goes wrong."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import make_result
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import DataError, SimbenchError, UsageError
from simbench.results.compare import compare
from simbench.results.schema import read_result
from simbench.samples.files import write_samples
from simbench.tasks import get_task, task_of

TASK = """
import torch

from simbench.core.events import Events
from simbench.tasks.base import Task


class Dips(Task):
    name, version, summary, shape, unit, maximum = "dips", "1", "Noise.", (6,), "volts", 10.0
    condition_names, condition_units, repeats = ("height",), ("volts",), 2
    block_size, test_events, smoke_events = 20, 60, 20
    metrics, primary = ("energy_distance/1", "diversity_ratio/1"), ("energy_distance/1",)

    def events(self, split):
        height = torch.linspace(1, 5, 30).repeat_interleave(2)[:, None]
        rng = torch.Generator().manual_seed(sum(split.encode()))
        samples = height * torch.rand(60, 6, generator=rng)
        index = torch.arange(30).repeat_interleave(2)
        return Events(samples, height, index, index, derivations={"features": lambda values: values})

    def load_split(self, split):
        return self.events(split)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.height = torch.nn.Parameter(torch.ones(1))

    def sample(self, conditions, *, seed):
        rng = torch.Generator().manual_seed(seed)
        return conditions * torch.rand(len(conditions), 6, generator=rng) * self.height.detach().clamp(0.1, 1)

    def losses(self, samples, conditions):
        return {"square": (self.height * conditions - samples).square().mean()}


instance, number = Dips(), 3
class Folder(Dips):
    def __init__(self, data_dir=None): self.data_dir = data_dir
class Abstract(Task): ...
class Needs(Dips):
    def __init__(self, path): ...
class Raises(Dips):
    def __init__(self): raise OSError("no\\ndisk")
class Nameless(Task):
    def load_split(self, split): ...
class Spaced(Dips): name = "my task"
class Listed(Dips): shape = [6]
class Comma(Dips): metrics = ("energy_distance/1")
class Unknown(Dips): metrics = primary = ("energy_distanc/1",)
class Stray(Dips): primary = ("kid/1",)
class Half(Dips): test_events = 61
class Unread(Dips):
    def load_split(self, split): raise ValueError("no file")
class Nothing(Dips):
    def load_split(self, split): return None
class Wide(Dips): shape = (7,)
class Few(Dips): test_events = 80
class Low(Dips): maximum = 1.0
class Gaps(Dips):
    def load_split(self, split):
        events = self.events(split)
        events.samples[3] = float("nan")
        return events
class Doubles(Dips):
    def load_split(self, split):
        from dataclasses import replace
        return replace(self.events(split), conditions=self.events(split).conditions.double())
class Shuffled(Dips):
    def load_split(self, split): return self.events(split).take(torch.arange(60).roll(1))
class Copied(Dips):
    def load_split(self, split): return self.events("test")
class Other(Dips):
    def load_split(self, split):
        events = self.events(split)
        return events.take(torch.arange(60).flip(0)) if split == "floor" else events
"""


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with `dips.py` in it; what tests import from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NO_COLOR", "1")
    before = set(sys.modules)
    (tmp_path / "dips.py").write_text(TASK)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def simbench(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words), prog_name="simbench")
    assert done.exit_code == code, done.output
    return done


def refused(spec: str, kind: type[SimbenchError], *splits: Any) -> str:
    with pytest.raises(kind) as caught:
        [get_task(spec).load(split) for split in splits or ["test"]]
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("spec", ["dips.py:Dips", "./dips.py:Dips", "dips:Dips", "dips.py:instance"])
def test_a_file_or_module_gives_a_task_that_knows_where_it_came_from(workdir: Path, spec: str) -> None:
    task = get_task(spec)
    assert (task.name, task.spec, task.source) == ("dips", spec, spec)
    assert task.source_sha256 == hashlib.sha256(TASK.encode()).hexdigest()
    record = task.record(task.load("test"))
    assert (record.source, record.source_sha256) == (spec, task.source_sha256)
    assert task.load("test") is task.load("test")


def test_a_shipped_task_has_its_name_alone() -> None:
    task = get_task("zn-geant3")
    assert (task.spec, task.source, task.source_sha256) == ("zn-geant3", None, None)


def test_a_constructor_that_takes_a_folder_is_given_it(workdir: Path) -> None:
    assert vars(get_task("dips.py:Folder", workdir))["data_dir"] == workdir


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("dip", ["unknown task", "zn-geant3", "path/file.py:attr"]),
        ("zn-geant", ["unknown task", "Did you mean 'zn-geant3'?"]),
        ("dips.py", ["the task lacks the name", "dips.py:Dips"]),
        ("dip.py:Dips", ["no such file", "Did you mean 'dips.py'?"]),
        ("dips.py:Dipps", ["has no 'Dipps'", "Did you mean 'Dips'?"]),
        ("dip:Dips", ["no module 'dip'", "Did you mean 'dips'?"]),
        (":Dips", ["not a task"]),
    ],
)
def test_specs_that_name_nothing(workdir: Path, spec: str, words: list[str]) -> None:
    said = refused(spec, UsageError)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("number", ["is no task", "int object", "a subclass of simbench.tasks.base.Task", "docs/own-package.md"]),
        ("Model", ["is no task", "class Model"]),
        ("Abstract", ["cannot be constructed", "load_split"]),
        ("Needs", ["cannot be constructed", "'path'"]),
        ("Raises", ["cannot be constructed", "OSError: no disk (dips.py:"]),
        ("Nameless", ["a required attribute is missing", "no name, no version, no summary, no shape"]),
        ("Spaced", ["`name` cannot name a folder", "'my task'"]),
        ("Listed", ["`shape` is no shape", "[6]", "a tuple"]),
        ("Comma", ["`metrics` is no tuple", "'energy_distance/1'", "with the comma"]),
        ("Unknown", ["unknown metric", "Did you mean 'energy_distance/1'?"]),
        ("Stray", ["`primary` holds what is not in `metrics`", "'kid/1'"]),
        ("Half", ["no multiple of `repeats`", "61 test events"]),
    ],
)
def test_attributes_that_are_wrong(workdir: Path, name: str, words: list[str]) -> None:
    said = refused(f"dips.py:{name}", DataError)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        ("Unread", "test", ["cannot load its split 'test'", "ValueError: no file (dips.py:"]),
        ("Nothing", "test", ["returned no events", "NoneType"]),
        ("Wide", "train", ["`samples` is wrong", "(60, 6)", "(60, 7)"]),
        ("Few", "test", ["not `test_events`", "60", "80"]),
        ("Low", "train", ["out of the range", "0 to 1"]),
        ("Gaps", "test", ["`samples` holds NaN"]),
        ("Doubles", "test", ["`conditions` is wrong", "float64", "float32"]),
        ("Shuffled", "test", ["not side by side", "2 in a row"]),
        ("Copied", "floor", ["those of the split 'test'", "independent"]),
        ("Other", "floor", ["`conditions` are not those of the split 'test'"]),
    ],
)
def test_events_that_are_wrong(workdir: Path, name: str, split: str, words: list[str]) -> None:
    said = refused(f"dips.py:{name}", DataError, split)
    assert all(word in said for word in words), said


def test_a_file_that_fails_at_import(workdir: Path) -> None:
    (workdir / "bad.py").write_text("import nowhere_at_all")
    assert "Install the missing package" in refused("bad.py:Dips", DataError)


RUN = ("-g", "dips.py:Model", "--batches", "20")


def test_every_verb_takes_it(workdir: Path) -> None:
    """run, check, bench, conditions export, score, train, gate, tasks, report and verify."""
    task = ("--task", "dips.py:Dips")
    result = json.loads(simbench("run", *RUN, *task, "--json").stdout)
    assert result["task"]["source"] == "dips.py:Dips"
    file = f"runs/dips/Model/{result['id']}.json"
    assert "dips.py:Dips, sha256" in Path(file).with_suffix(".html").read_text()
    assert json.loads(simbench("check", "dips.py:Model", *task, "--json").stdout)["task"] == "dips.py:Dips"
    assert simbench("bench", *RUN, *task, "--json").exit_code == 0
    assert "--task dips.py:Dips" in simbench("conditions", "export", *task, "-o", "c.h5").stdout
    write_samples(Path("s.h5"), get_task("dips.py:Dips"), torch.rand(60, 6), torch.arange(60), "mine", 1)
    scored = json.loads(simbench("score", "s.h5", *task, "--json", "--no-report").stdout)
    assert scored["task"]["source_sha256"] == result["task"]["source_sha256"]
    trained = simbench("train", "dips.py:Model", *task, "--steps", "2", "--device", "cpu", "--json")
    assert Path(json.loads(trained.stdout)["weights"]).is_file()
    golden = ("gate", "--golden", "dips.golden.json")
    simbench(*golden, "-g", "dips.py:Model", *task, "--update", "--reason", "first")
    simbench(*golden)
    assert json.loads(simbench("tasks", "dips.py:Dips", "--json").stdout)["name"] == "dips"
    assert "Pass --task dips.py:Dips" in simbench("report", file, "-o", "r.html", code=2).stderr
    simbench("report", file, "-o", "r.html", *task)
    simbench("leaderboard", "verify", file, *task)
    assert "Pass --metric" in simbench("pareto", file, code=2).stderr
    simbench("init", "new.py", *task)
    assert "--task dips.py:Dips" in Path("new.py").read_text()


def test_an_error_of_the_file_is_one_line(workdir: Path) -> None:
    for code, name in ((2, "Dipps"), (4, "Listed"), (4, "Unread")):
        done = simbench("run", *RUN, "--task", f"dips.py:{name}", code=code)
        assert "Traceback" not in done.output
        assert done.stdout == ""
    assert not list(workdir.glob("runs/*/*/*"))


def test_two_versions_of_a_file_are_not_compared_silently(workdir: Path) -> None:
    ids = []
    for text in (TASK, TASK.replace("version, summary", "version, summary ").replace('"Noise."', '"More noise."')):
        (workdir / "dips.py").write_text(text)
        ids.append(json.loads(simbench("run", *RUN, "--task", "dips.py:Dips", "--json", "--no-report").stdout)["id"])
    first, second = (f"runs/dips/Model/{name}.json" for name in ids)
    one, other = (read_result(Path(file)) for file in (first, second))
    assert one.task.scored_sha256 == other.task.scored_sha256
    with pytest.raises(DataError, match="differ in task file"):
        compare(one, other)
    assert "differ in task file" in simbench("compare", first, second, code=4).stderr
    assert (
        "another version of the file"
        in simbench("report", first, second, "-o", "r.html", "--task", "dips.py:Dips", code=2).stderr
    )
    assert "another task file" in simbench("leaderboard", "verify", first, "--task", "dips.py:Dips", code=4).stderr


def test_a_result_of_an_installed_task_needs_no_spec() -> None:
    assert task_of(make_result().task).name == "zn-geant3"
