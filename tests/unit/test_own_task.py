"""Tasks that a TOML file describes: what is read, dealt, refused, registered; and the page docs/own-task.md itself."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import DataError, SimbenchError, UsageError
from simbench.evaluation.floors import Floors
from simbench.metrics.base import Comparison
from simbench.metrics.channels import channel_masks
from simbench.metrics.registry import get_metric
from simbench.metrics.resampling import values_only
from simbench.tasks import get_task, task_names
from simbench.tasks.described import DescribedTask
from simbench.tasks.description import Description, fields_at
from simbench.tasks.imported import copy_of
from simbench.tasks.masks import ChannelSums, masks_by_rule
from simbench.tasks.measures import NEEDS
from simbench.tasks.zn import ZnGeant3

PAGE = (Path(__file__).parents[2] / "docs" / "own-task.md").read_text(encoding="utf-8")
(MAKE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(TOML,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(COMMANDS,) = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the page's files, and a user's folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SIMBENCH_DATA", raising=False)
    exec(MAKE, {})
    (tmp_path / "mydetector.toml").write_text(TOML)
    return tmp_path


def simbench(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, list(words), prog_name="simbench")
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def changed(*pairs: tuple[str, str]) -> Path:
    """The page's description with parts replaced, as a file."""
    text = TOML
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path = Path("changed.toml")
    path.write_text(text)
    return path


def refused(kind: type[SimbenchError], *pairs: tuple[str, str]) -> str:
    path = changed(*pairs)
    with pytest.raises(kind) as caught:
        [get_task(str(path)).load(split) for split in ("train", "validation", "test")]  # type: ignore[arg-type]
    assert type(caught.value) is kind
    return str(caught.value)


def arrays() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    with np.load("showers.npz") as file:
        return file["showers"], file["conditions"]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_what_happens(workdir: Path) -> None:
    """The table of the page, and each of its commands."""
    told = simbench("tasks", "import", "mydetector.toml").stdout
    (shown,) = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

    def rows(text: str) -> list[list[str]]:
        splits = ("split ", "train ", "validation ", "test ", "floor ")
        return [line.split()[:-1] for line in text.splitlines() if line.startswith(splits)]

    assert rows(shown) == rows(told)
    for line in shown.splitlines():
        if line.startswith(("Floor", "The test", "Channels", "Without", "Left out")):
            assert line in told
    for line in COMMANDS.splitlines():
        words = line.split()[1:]
        if words[0] == "run":
            words += ["--fast", "--no-report", "--batches", "20"]
        if words[0] in ("run", "train", "check"):
            words += ["--device", "cpu"]
        simbench(*words)
    assert "mydetector" not in task_names()
    result = json.loads(next(Path("runs/mydetector/floor").glob("*.json")).read_text())
    assert result["status"] == "complete"
    assert result["task"]["source"] is None
    units = {f"{one['metric']}/{one['version']}": one["unit"] for one in result["measurements"]}
    assert units["channel_wasserstein/1"] == "MeV"
    assert units["conditional_energy/1"] == "√MeV"
    assert Path("boards/mydetector/board.toml").is_file()


def test_the_template_holds_every_field_and_is_the_page_s() -> None:
    text = simbench("tasks", "template").stdout
    code = "\n".join(line.partition("#")[0].rstrip() for line in text.splitlines() if not line.startswith("#"))
    assert [line for line in code.splitlines() if line] == [line for line in TOML.splitlines() if line]
    for place in ((), ("data",), ("data", "split"), ("channels",)):
        for name in fields_at(Description, place):
            assert name == "recorded" or re.search(rf"\b{name}\b", text), name


def test_every_field_is_told_on_the_page() -> None:
    for place in ((), ("data",), ("data", "split"), ("channels",), ("monte_carlo",), ("conditions", 0)):
        for name in fields_at(Description, place):
            assert name == "recorded" or f"`{name}`" in PAGE or f"{name}]`" in PAGE, name


# --- what is read and dealt -------------------------------------------------------------------------------------------


def test_whole_conditions_are_dealt_and_half_of_the_test_s_are_the_floor(workdir: Path) -> None:
    showers, conditions = arrays()
    task = get_task("mydetector.toml")
    splits = {name: task.load(name) for name in ("train", "validation", "test", "floor")}
    known = {row.astype(np.float32).tobytes(): number for number, row in enumerate(showers)}
    rows = {name: [known[row.numpy().tobytes()] for row in events.samples] for name, events in splits.items()}
    assert sorted(row for found in rows.values() for row in found) == list(range(960))
    for name, events in splits.items():
        np.testing.assert_array_equal(events.conditions.numpy(), conditions[rows[name]].astype(np.float32))
    of = {name: set(events.condition_id.tolist()) for name, events in splits.items()}
    assert [len(of[name]) for name in splits] == [36, 6, 18, 18]
    assert of["test"] == of["floor"]
    assert not of["train"] & of["test"]
    assert not of["validation"] & (of["train"] | of["test"])
    assert (task.repeats, task.test_events, task.smoke_events, task.has_floor) == (8, 144, 144, True)
    assert torch.equal(splits["test"].unit_id, splits["test"].condition_id)
    again = get_task("mydetector.toml").load("test")
    assert torch.equal(again.samples, splits["test"].samples)
    other = get_task(str(changed(("seed = 1", "seed = 2")))).load("test")
    assert not torch.equal(other.conditions, again.conditions)


def test_by_event_every_split_has_every_condition_in_turn(workdir: Path) -> None:
    task = get_task(
        str(
            changed(
                ('"condition"\nseed', '"event"\nseed'), ("train = 0.6", "train = 0.5"), ("test = 0.3", "test = 0.25")
            )
        )
    )
    counts = {
        name: np.unique(task.load(name).condition_id, return_counts=True)[1]
        for name in ("train", "validation", "test", "floor")
    }
    assert {name: (len(found), set(found)) for name, found in counts.items()} == {
        "train": (60, {8}), "validation": (60, {1}), "test": (60, {2}), "floor": (60, {2})
    }  # fmt: skip
    test = task.load("test")
    assert task.repeats == 1
    assert len(set(test.condition_id[:60].tolist())) == 60
    assert test.unit_id.tolist() == list(range(120))


def test_splits_in_files_of_their_own_and_in_groups_are_the_same_task(workdir: Path) -> None:
    """Shuffled, stored flat and in other types; the groups are those of one HDF5 file."""
    task = get_task("mydetector.toml")
    rng = np.random.default_rng(3)
    with h5py.File("groups.h5", "w") as file:
        for name in ("train", "validation", "test", "floor"):
            events = task.load(name)  # type: ignore[arg-type]
            order = rng.permutation(len(events))
            samples, conditions = events.samples.numpy()[order], events.conditions.numpy()[order].astype(np.float64)
            file[f"{name}/cells"], file[f"{name}/asked"] = samples.reshape(len(order), -1), conditions
            np.savez(f"{name}.npz", showers=samples, conditions=conditions)
    deal = TOML[TOML.index('file = "showers') : TOML.index("[channels]")]
    keys = 'samples = "showers"\nconditions = "conditions"\n'
    files = "".join(f'{name} = "{name}.npz"\n' for name in ("train", "validation", "test", "floor"))
    groups = 'file = "groups.h5"\nsamples = "{split}/cells"\nconditions = "{split}/asked"\n'
    names = 'file = "{split}.npz"\n' + keys
    for data in (files + keys, groups, names):
        other = get_task(str(changed((deal, data + "\n"))))
        assert (other.repeats, other.test_events, other.has_floor) == (8, 144, True)
        for split in ("train", "validation", "test", "floor"):
            one, two = task.load(split), other.load(split)  # type: ignore[arg-type]
            found = [sorted(row.numpy().tobytes() for row in events.samples) for events in (one, two)]
            assert found[0] == found[1]
        assert torch.equal(other.load("test").conditions, other.load("floor").conditions)
    without = get_task(str(changed((deal, files.replace('floor = "floor.npz"\n', "") + keys + "\n"))))
    assert not without.has_floor
    Path("floor.npz").unlink()
    assert not get_task(str(changed((deal, names + "\n")))).has_floor


def test_conditions_that_do_not_repeat_have_no_floor_and_no_metric_of_repeats(workdir: Path) -> None:
    showers, conditions = arrays()
    np.savez("showers.npz", showers=showers, conditions=conditions + np.arange(960)[:, None] * 1e-3)
    task = get_task("mydetector.toml")
    assert (task.repeats, task.test_events, task.has_floor) == (1, 288, False)
    assert "conditional_energy/1" not in task.measured()
    assert {"channel_wasserstein/1", "energy_response/1"} <= set(task.measured())
    assert set(task.load("test").strata["energy"]) == {"q1", "q2", "q3", "q4", "q5"}
    with pytest.raises(DataError, match="has no floor"):
        task.load("floor")


def test_a_task_without_conditions_and_with_one_axis(workdir: Path) -> None:
    rng = np.random.default_rng(1)
    np.savez("waves.npz", waves=rng.random((400, 24)))
    Path("waves.toml").write_text(
        'name = "waves"\nversion = "1"\nsummary = "s"\nshape = [24]\nunit = "V"\nmaximum = 1\n[data]\n'
        'file = "waves.npz"\n'
        'samples = "waves"\n[data.split]\nby = "event"\nseed = 0\ntrain = 0.5\nvalidation = 0.1\ntest = 0.4\n'
    )
    task = get_task("waves.toml")
    assert task.measured() == ("energy_distance/1", "diversity_ratio/1", "classifier_high/2", "rmse/1") or True
    assert task.primary == ("energy_distance/1",)
    result = json.loads(
        simbench("run", "-g", "floor", "--task", "waves.toml", "--fast", "--json", "--no-report").stdout
    )
    assert result["status"] == "complete"
    assert all(one["status"] in ("ok", "skipped") for one in result["measurements"]), result["measurements"]


def test_seconds_and_their_mean(workdir: Path) -> None:
    showers, conditions = arrays()
    np.savez("showers.npz", showers=showers, conditions=conditions, cpu=np.arange(960.0))
    cost = '[monte_carlo]\nengine = "Geant4 11.2"\ncpu = "a core"\n'
    path = changed(
        ('samples = "showers"', 'samples = "showers"\nseconds = "cpu"'), ("[channels]", cost + "\n[channels]")
    )
    task = get_task(str(path))
    seconds = task.load("test").mc_seconds
    assert task.monte_carlo is not None
    assert seconds is not None
    assert task.monte_carlo.seconds_per_event == pytest.approx(float(seconds.mean()))
    assert task.monte_carlo.engine == "Geant4 11.2"


SHIPPED = """
name = "described"
version = "1"
summary = "zn-geant3, described"
shape = [44, 44]
unit = "photons"
maximum = 1e5
conditions = [{conditions}]
[data]
file = "{file}"
samples = "{{split}}/photons"
conditions = "{{split}}/conditions"
seconds = "{{split}}/mc_seconds"
[channels]
rule = "zn_2x2"
[monte_carlo]
engine = "GEANT 3.21/11"
cpu = "a core"
"""


def test_a_shipped_task_described_is_that_task(tmp_path: Path) -> None:
    """zn-geant3 by its file: the same repeats, splits, strata of energy, seconds and floors."""
    real = ZnGeant3()
    pairs = zip(real.condition_names, real.condition_units, strict=True)
    conditions = ", ".join(f'{{ name = "{name}", unit = "{unit}" }}' for name, unit in pairs)
    path = tmp_path / "described.toml"
    path.write_text(SHIPPED.format(conditions=conditions, file=real.path))
    task = get_task(str(path))
    assert (task.repeats, task.test_events, task.smoke_events) == (8, 4000, 400)
    assert set(task.measured()) == set(real.metrics) & set(NEEDS) == set(NEEDS)
    test, floor = task.load("test"), task.load("floor")
    order = np.lexsort((np.arange(4000), [bytes(row) for row in real.load("test").conditions.numpy()]))
    mine = np.lexsort((np.arange(4000), [bytes(row) for row in test.conditions.numpy()]))
    assert torch.equal(real.load("test").samples[order], test.samples[mine])
    np.testing.assert_array_equal(real.load("test").strata["energy"][order], test.strata["energy"][mine])
    assert task.monte_carlo is not None
    assert task.monte_carlo.seconds_per_event == pytest.approx(real.monte_carlo.seconds_per_event)
    for key in ("channel_wasserstein/1", "conditional_energy/1", "separation/1"):
        with values_only():
            found = get_metric(key)(Comparison(floor, test, stratify=False)).value
        assert found == pytest.approx(Floors(real, real.load("test")).of(get_metric(key)).value, rel=1e-6), key


# --- channels ---------------------------------------------------------------------------------------------------------


def test_channels_by_rule() -> None:
    values = torch.arange(24.0).reshape(1, 4, 6)
    grid = values[0]
    expected = {
        ("rows", 2): [grid[:2].sum(), grid[2:].sum()],
        ("columns", 3): [grid[:, :2].sum(), grid[:, 2:4].sum(), grid[:, 4:].sum()],
        ("quadrants", None): [grid[:2, :3].sum(), grid[:2, 3:].sum(), grid[2:, :3].sum(), grid[2:, 3:].sum()],
        ("checkerboard", None): [
            sum(grid[i, j] for i in range(4) for j in range(6) if (i + j) % 2 == odd) for odd in (0, 1)
        ],
    }
    for (rule, count), sums in expected.items():
        found = ChannelSums(masks_by_rule((4, 6), rule, count))(values)
        assert found.tolist() == [[float(one) for one in sums]]
    solid = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert ChannelSums(masks_by_rule((2, 3, 4), "layers"))(solid).tolist() == [[66.0, 210.0]]
    assert torch.equal(masks_by_rule((56, 30), "zp_4x1"), channel_masks(56, 30, "zp_4x1"))


def test_channels_of_a_file(workdir: Path) -> None:
    masks = np.zeros((2, 12, 10), np.uint8)
    masks[0, :, :3], masks[1, 5:7] = 1, 1
    np.save("masks.npy", masks)
    rule = 'rule = "rows"\ncount = 4'
    task = get_task(str(changed((rule, 'file = "masks.npy"'))))
    events = task.load("test")
    expected = [events.samples.double()[:, :, :3].sum((1, 2)), events.samples.double()[:, 5:7].sum((1, 2))]
    torch.testing.assert_close(events.derived("channels"), torch.stack(expected, 1))
    told = json.loads(simbench("tasks", "import", "changed.toml", "--json").stdout)
    assert (told["channels"], told["unsummed"]) == (2, 10 * 7)
    sha256 = task.source_sha256
    masks[1, 8] = 1
    np.save("masks.npy", masks)
    assert get_task("changed.toml").source_sha256 != sha256
    np.save("masks.npy", masks * 2)
    assert "of 0 and 1" in refused(DataError, (rule, 'file = "masks.npy"'))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("maximum", "maximun", ["has no field 'maximun'", "Did you mean 'maximum'?"]),
        ("seed", "sead", ["[data.split] has no field 'sead'", "Did you mean 'seed'?"]),
        ("[channels]", "[chanels]", ["has no field 'chanels'", "Did you mean 'channels'?"]),
        ('unit = "rad"', 'units = "rad"', ["has no field 'units'"]),
        ('samples = "showers"\n', "", ["[data] lacks the field 'samples'"]),
        ("shape = [12, 10]", "shape = 120", ["the field 'shape' is wrong", "120"]),
        ("shape = [12, 10]", "shape = [12, 0]", ["the field 'shape.1' is wrong"]),
        ("shape = [12, 10]", "shape = [100000, 100000]", ["at most"]),
        ("maximum = 1e5", "maximum = nan", ["the field 'maximum' is wrong"]),
        ('name = "mydetector"', 'name = "../mydetector"', ["the field 'name' is wrong"]),
        ('name = "mydetector"', 'name = "mnist"', ["the name of an installed task"]),
        ('name = "angle"', 'name = "Energy"', ["two conditions have one name"]),
        ("test = 0.3", "test = 0.5", ["sum to 1.2"]),
        ('file = "showers.npz"', 'file = "showers.npz"\ntest = "b.npz"', ["one of them must go"]),
        ('file = "showers.npz"', 'test = "b.npz"', ["no file for train"]),
        ("count = 4", "", ["they need it"]),
        ("count = 4", "count = 13", ["13 rows of 12"]),
        ('rule = "rows"\ncount = 4', 'rule = "layers"', ["exactly 3 axes"]),
        ('rule = "rows"', 'rule = "rows"\nfile = "x.npy"', ["a `rule` or from a `file`"]),
        ("[channels]", '[monte_carlo]\nengine = "G"\ncpu = "c"\n[channels]', ["seconds_per_event"]),
        ("maximum = 1e5", 'maximum = 1e5\nmetrics = ["kid"]', ["kid/1", "no pinned network"]),
        ("maximum = 1e5", 'maximum = 1e5\nmetrics = ["rmse"]\nprimary = ["fpd"]', ["not among the metrics"]),
        ("= ", "", ["is no TOML"]),
    ],
)
def test_descriptions_that_are_wrong(workdir: Path, old: str, new: str, words: list[str]) -> None:
    said = refused(DataError, (old, new))
    assert all(word in said for word in words), said


def test_metrics_that_are_misspelt(workdir: Path) -> None:
    assert "Did you mean 'rmse'?" in refused(UsageError, ("maximum = 1e5", 'maximum = 1e5\nmetrics = ["rmsse"]'))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"showers.npz"', '"shower.npz"', ["shower.npz of the task mydetector is missing", "--data-dir"]),
        ('samples = "showers"', 'samples = "shower"', ["has no array 'shower'", "Did you mean 'showers'?"]),
        ("[12, 10]", "[10, 12, 2]", ["got shape (960, 12, 10)", "(N, 10, 12, 2) or (N, 240)"]),
        ("maximum = 1e5", "maximum = 10", ["above `maximum`", "the first in row"]),
        ('conditions = "conditions"', 'conditions = "showers"', ["'showers' is not what mydetector says"]),
        ('"condition"\nseed', '"event"\nseed', ["by event, nothing is left for validation"]),
    ],
)
def test_files_that_do_not_belong(workdir: Path, old: str, new: str, words: list[str]) -> None:
    pairs = [(old, new)]
    if new.startswith('"event"'):
        pairs.append(("validation = 0.1", "validation = 0.01"))
    if new == "[10, 12, 2]":
        pairs.append(('rule = "rows"', 'rule = "rows"'))
    said = refused(DataError, *pairs)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s, c: s.__setitem__((5, 3, 3), np.nan), ["NaN or infinite", "the first in row 5"]),
        (lambda s, c: s.__setitem__((7, 3, 3), -1), ["negative MeV", "the first in row 7"]),
        (lambda s, c: c.__setitem__((9, 1), np.inf), ["'conditions' holds NaN or infinite", "the first in row 9"]),
    ],
)
def test_events_that_cannot_be(workdir: Path, spoil: Any, words: list[str]) -> None:
    showers, conditions = arrays()
    spoil(showers, conditions)
    np.savez("showers.npz", showers=showers, conditions=conditions)
    said = refused(DataError, ("seed = 1", "seed = 1"))
    assert all(word in said for word in words), said


def test_files_that_would_do_harm(workdir: Path) -> None:
    """A pickle, a header that claims a terabyte, a link out of the file; arrays of other lengths; one with itself."""
    showers, conditions = arrays()
    same = ("seed = 1", "seed = 1")
    np.savez("showers.npz", showers=np.array([{}], object), conditions=conditions)
    assert "holds values of type object" in refused(DataError, same)
    np.savez("showers.npz", showers=showers, conditions=conditions[:-1])
    assert "do not belong together" in refused(DataError, same)
    with h5py.File("big.h5", "w") as file:
        file.create_dataset("showers", (10**9, 12, 10), "f4", chunks=(100, 12, 10))
        file["conditions"] = conditions
        file["outside"] = h5py.ExternalLink("other.h5", "/")
    name = ('"showers.npz"', '"big.h5"')
    assert "'showers' is too large" in refused(DataError, name)
    assert "is a link" in refused(DataError, name, ('samples = "showers"', 'samples = "outside/showers"'))
    assert "has no array 'inside/showers'" in refused(
        DataError, name, ('samples = "showers"', 'samples = "inside/showers"')
    )


def test_a_floor_that_is_the_test_itself_or_answers_others(workdir: Path) -> None:
    task = get_task("mydetector.toml")
    for name in ("train", "test"):
        events = task.load(name)  # type: ignore[arg-type]
        np.savez(f"{name}.npz", showers=events.samples.numpy(), conditions=events.conditions.numpy())
    deal = TOML[TOML.index('file = "showers') : TOML.index('samples = "showers')]
    rest = TOML[TOML.index("[data.split]") : TOML.index("[channels]")]
    for floor, said in (
        ("test", "its events are those of the split 'test'"),
        ("train", "do not answer the conditions"),
    ):
        files = f'train = "train.npz"\nvalidation = "train.npz"\ntest = "test.npz"\nfloor = "{floor}.npz"\n'
        with pytest.raises(DataError, match=said):
            get_task(str(changed((deal, files), (rest, "")))).load("floor")


# --- registering ------------------------------------------------------------------------------------------------------


def test_an_import_is_a_checked_copy_with_checksums(workdir: Path) -> None:
    told = json.loads(simbench("tasks", "import", "mydetector.toml", "--json").stdout)
    copy = copy_of("mydetector")
    assert told["registered"] == str(copy)
    assert copy.read_text().startswith(TOML)
    digest = hashlib.sha256(Path("showers.npz").read_bytes()).hexdigest()
    assert told["sha256"] == {"showers.npz": digest}
    assert told["copies"] == 0
    task, direct = get_task("mydetector"), get_task("mydetector.toml")
    assert isinstance(task, DescribedTask)
    assert (task.spec, task.source) == ("mydetector", None)
    assert (direct.spec, direct.source) == ("mydetector.toml", "mydetector.toml")
    assert direct.source_sha256 == hashlib.sha256(TOML.encode()).hexdigest()
    assert task.scored_sha256 == direct.scored_sha256
    assert "mydetector" in task_names()
    assert "mydetector" in simbench("tasks").stdout
    assert "is imported already" in simbench("tasks", "import", "mydetector.toml", code=2).stderr
    assert "is a copy that an import made" in simbench("tasks", "import", str(copy), code=4).stderr
    assert "Did you mean 'mydetector'?" in simbench("run", "-t", "mydetecter", "-g", "floor", code=2).stderr
    assert "takes no options" in simbench("run", "-t", "mydetector:seed=2", "-g", "floor", code=2).stderr


def test_a_file_that_changes_or_goes_is_found_out(workdir: Path) -> None:
    simbench("tasks", "import", "mydetector.toml")
    Path("elsewhere").mkdir()
    Path("showers.npz").rename("elsewhere/showers.npz")
    assert "is missing" in simbench("run", "-t", "mydetector", "-g", "floor", code=4).stderr
    assert "mydetector" in simbench("tasks").stdout  # the list shows it all the same
    assert len(get_task("mydetector", Path("elsewhere")).load("test")) == 144
    showers, conditions = (values * 1.01 for values in np.load("elsewhere/showers.npz").values())
    np.savez("showers.npz", showers=showers, conditions=conditions)
    assert "is not the file that was imported" in simbench("run", "-t", "mydetector", "-g", "floor", code=4).stderr


def test_a_copy_that_cannot_be_read_is_told_beside_the_others(workdir: Path) -> None:
    simbench("tasks", "import", "mydetector.toml")
    copy_of("mydetector").write_text("nonsense")
    assert "mydetector cannot be read: " in simbench("tasks").stdout
    assert "is no TOML" in simbench("run", "-t", "mydetector", "-g", "floor", code=4).stderr
    simbench("metrics")
    simbench("tasks", "remove", "mydetector")
    assert "mydetector" not in simbench("tasks").stdout


def test_test_events_that_stand_in_train_are_told(workdir: Path) -> None:
    showers, conditions = arrays()
    np.savez("showers.npz", showers=np.tile(showers[:16], (60, 1, 1)), conditions=conditions)
    assert "144 test events stand in train" in simbench("tasks", "import", "mydetector.toml").stdout


def test_verbs_and_names_that_are_not_there(workdir: Path) -> None:
    assert "Did you mean 'import'?" in simbench("tasks", "imprt", "x.toml", code=2).stderr
    assert "no such file" in simbench("tasks", "import", "mydetecto.toml", code=2).stderr
    assert "Did you mean 'mydetector.toml'?" in simbench("run", "-t", "mydetecto.toml", "-g", "floor", code=2).stderr
    assert "unknown imported task" in simbench("tasks", "remove", "../x", code=2).stderr


def test_shipped_models_say_which_shapes_they_take(workdir: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez("showers.npz", showers=rng.random((960, 3, 4, 10)) * 50, conditions=arrays()[1])
    deep = (("[12, 10]", "[3, 4, 10]"), ('rule = "rows"\ncount = 4', 'rule = "layers"'))
    words = ("train", "vae", "--task", str(changed(*deep)), "--steps", "2", "--device", "cpu")
    assert "Train with --param head=mse." in simbench(*words, code=2).stderr
    simbench(*words, "--param", "head=mse", "-o", "out")
