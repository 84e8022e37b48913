"""The CaloChallenge's files, written here small: what is read, how it is split, what is refused, a run from end to
end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from browser import needs_chromium, opened
from calo import BINNING, VOXELS, energies_of, showers_of, write_dataset, write_showers
from numpy.typing import NDArray
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import DataError, SimbenchError, UsageError
from simbench.metrics.base import Comparison
from simbench.metrics.binning import Binning, Layer
from simbench.metrics.registry import get_metric
from simbench.metrics.showers import histogram_by_group, shares_apart
from simbench.report.page import ReportEntry, write_report
from simbench.results.schema import read_result
from simbench.tasks import calo_files, calo_import, get_task
from simbench.tasks.calo import Calo2, Calo3, CaloPhotons, CaloPions, CaloTask
from simbench.tasks.calo_files import read_binning

Array = NDArray[Any]
TASKS = {"calo-1-photons": CaloPhotons, "calo-1-pions": CaloPions, "calo-2": Calo2, "calo-3": Calo3}
EVENTS = 400


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("SIMBENCH_DATA", raising=False)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of all four datasets."""
    made = tmp_path_factory.mktemp("calo")
    for task in TASKS.values():
        write_dataset(made, task.dataset, EVENTS)
    return made


def contents(path: Path) -> tuple[Array, Array]:
    with h5py.File(path, "r") as file:
        return file["showers"][()], file["incident_energies"][()]


@pytest.mark.parametrize("kind", TASKS.values())
def test_every_event_is_in_one_split_as_it_is_in_the_file(kind: type[CaloTask], folder: Path) -> None:
    task = kind(folder)
    assert task.shape == (VOXELS,)
    for names, splits in ((kind.dataset.train, ("train", "validation")), (kind.dataset.test, ("test", "floor"))):
        showers, energies = map(np.concatenate, zip(*(contents(folder / name) for name in names), strict=True))
        known = {shower.astype(np.float32).tobytes(): row for row, shower in enumerate(showers)}
        rows = [[known[shower.numpy().tobytes()] for shower in task.load(split).samples] for split in splits]  # type: ignore[arg-type]
        both = [row for part in rows for row in part]
        assert len(both) == len(set(both))
        left_out = len(showers) - len(both)
        assert left_out <= (len(np.unique(energies)) if kind.dataset.discrete and "test" in splits else 0)
        of_first = task.load(splits[0])  # type: ignore[arg-type]
        assert of_first.conditions[:, 0].numpy() == pytest.approx(energies[rows[0], 0])


@pytest.mark.parametrize("kind", TASKS.values())
def test_the_floor_answers_the_test_energies_with_other_events(kind: type[CaloTask], folder: Path) -> None:
    task = kind(folder)
    test, floor = task.load("test"), task.load("floor")
    assert task.test_events == len(test) == len(floor)
    assert torch.equal(test.conditions, floor.conditions)
    assert torch.equal(test.condition_id, floor.condition_id)
    showers, energies = map(np.concatenate, zip(*(contents(folder / n) for n in kind.dataset.test), strict=True))
    energy_of = {shower.astype(np.float32).tobytes(): energy for shower, energy in zip(showers, energies, strict=True)}
    own = np.array([energy_of[shower.numpy().tobytes()][0] for shower in floor.samples])
    off = np.abs(own / test.conditions[:, 0].numpy() - 1)
    if kind.dataset.discrete:
        assert off.max() == 0
        assert len(test.condition_id.unique()) == len(np.unique(energies))
    else:  # neighbours among N energies over three decades
        assert off.max() > 0
        assert np.median(off) < 3 * np.log(1000) / len(energies)
    assert len(test.unit_id.unique()) == len(test)


def test_pairs_hold_no_event_twice_and_part_neighbours() -> None:
    energies = np.array([5.0, 1.0, 3.0, 1.0, 1.0, 5.0, 3.0, 9.0])
    test, floor = calo_import.pairs(energies, discrete=True)
    assert np.array_equal(energies[test], energies[floor])
    assert sorted(energies[test]) == [1.0, 3.0, 5.0]
    assert not set(test) & set(floor)
    energies = np.random.default_rng(0).permutation(101).astype(np.float64)
    test, floor = calo_import.pairs(energies, discrete=False)
    assert (np.abs(energies[test] - energies[floor]) == 1).all()
    assert len({*test, *floor}) == 100
    assert 20 < (energies[test] > energies[floor]).sum() < 30 + 5  # chance says which is which


def test_files_are_read_once_and_again_when_they_change(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path, Calo2.dataset, 40)
    first = Calo2(folder).load("test").samples.clone()
    told = Calo2(folder).scored_sha256
    monkeypatch.setattr(calo_files, "in_child", lambda *_, **__: pytest.fail("read again"))
    again = Calo2(folder)
    assert torch.equal(again.load("test").samples, first)
    again.load("test").samples.zero_()  # reaches no file
    assert torch.equal(Calo2(folder).load("test").samples, first)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    kept = next((cache / "simbench" / "calo").glob("*-test-showers-*[0-9a-f].npy"))
    kept.write_bytes(kept.read_bytes()[:200])  # a damaged one is made anew
    assert torch.equal(Calo2(folder).load("test").samples, first)
    rng = np.random.default_rng(9)
    energies = energies_of(40, discrete=False, rng=rng)
    write_showers(folder / "dataset_2_2.hdf5", showers_of(energies, rng), energies)
    os.utime(folder / "dataset_2_2.hdf5", ns=(1, 1))
    changed = Calo2(folder)
    assert changed.scored_sha256 != told
    assert not torch.equal(changed.load("test").samples, first)


def test_any_chunks_and_any_floats_give_the_same_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_dataset(tmp_path, Calo2.dataset, 50)
    showers, energies = contents(folder / "dataset_2_2.hdf5")
    wanted = Calo2(folder).load("test").samples.clone()
    binning = Calo2(folder).binning
    for how in ({"chunks": (7, 5)}, {"chunks": (50, 1)}, {"compression": None}):
        monkeypatch.setattr(calo_import, "BLOCK_BYTES", 11 * 8 * VOXELS)
        monkeypatch.setattr(calo_import, "LARGEST_BLOCK", 30 * 8 * VOXELS)
        write_showers(folder / "dataset_2_2.hdf5", showers.astype(np.float32), energies, **how)
        target, told = tmp_path / "showers.npy", tmp_path / "energies.npy"
        paths = [folder / "dataset_2_2.hdf5"]
        calo_import.import_showers(paths, binning, "test", target, told, 1e7, discrete=False)
        assert np.array_equal(np.load(target)[:25], wanted.numpy())


def test_the_binning_puts_a_voxel_where_a_point_in_it_is() -> None:
    binning = Binning((Layer(0, (0.0, 5.0, 10.0), 1), Layer(3, (1.0, 2.0, 4.0), 6)))
    assert binning.voxels == 14
    for layer, where in binning.slices():
        x, y = layer.plane
        found = binning.voxel_of(x, y, np.full(layer.voxels, layer.number))
        if layer.slices > 1:
            assert found.tolist() == list(range(where.start, where.stop))
        else:
            assert found.tolist() == [0, 1]
    x, y, of = np.array([0.5, 9.0, 0.0, 3.0]), np.zeros(4), np.array([3, 3, 1, 0])
    assert binning.voxel_of(x, y, of).tolist() == [-1, -1, -2, 0]


def test_histograms_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    values, group = rng.normal(size=1000).round(1), rng.integers(0, 4, 1000)
    edges = np.linspace(-1, 1, 21).round(1)
    found = histogram_by_group(values, edges, group, 4)
    for one in range(4):
        assert np.array_equal(found[one], np.histogram(values[group == one], edges)[0])


def test_separation_of_empty_histograms() -> None:
    some, none = np.array([1.0, 3.0]), np.zeros(2)
    assert [float(shares_apart(*both)) for both in ((some, some), (some, none), (none, some), (none, none))] == [
        *(0.0, 1.0, 1.0, 0.0)
    ]
    assert float(shares_apart(np.array([1.0, 0.0]), np.array([0.0, 7.0]))) == 1.0


def test_the_error_of_a_separation_is_the_spread_of_fresh_draws(folder: Path) -> None:
    """Of sets that differ: half the voxels of a layer are scaled. 40 fresh draws know their spread to 11 %."""
    task = CaloPhotons(folder)
    real = task.load("test")
    metric, scale = get_metric("separation_layers/1"), torch.ones(VOXELS)
    scale[:3] = 1.6
    rng, values, errors = torch.Generator().manual_seed(0), [], []
    for _ in range(40):
        one, other = (real.take(torch.randint(len(real), (len(real),), generator=rng)) for _ in range(2))
        made = other.with_samples(one.samples * scale)
        fresh = [events.take(torch.arange(len(events))) for events in (made, other)]
        estimate = metric(Comparison(*fresh, stratify=False))
        values.append(estimate.value)
        errors.append(estimate.stderr)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.5)


def changed(name: str, spoil: Callable[[Array, Array], tuple[Array, Array]]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        write_showers(folder / name, *spoil(*contents(folder / name)))

    return change


def at(showers: Array, value: float) -> Array:
    showers[3, 4] = value
    return showers


def without(key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with h5py.File(folder / TEST, "a") as file:
            del file[key]

    return change


def linked(folder: Path) -> None:
    with h5py.File(folder / TEST, "a") as file:
        del file["showers"]
        file["showers"] = h5py.ExternalLink("dataset_2_1.hdf5", "/showers")


def cut(folder: Path) -> None:
    (folder / TEST).write_bytes((folder / TEST).read_bytes()[:3000])


def text(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "binning_dataset_2.xml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


TEST = "dataset_2_2.hdf5"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / TEST).unlink(),
            r"calo-2 are missing \(in .*\): got no dataset_2_2.hdf5, expected .*",
        ),
        (without("showers"), r"dataset_2_2.hdf5 is no file of showers: got no 'showers', expected 'showers' \(N, 21\)"),
        (without("incident_energies"), r"got no 'incident_energies', .*showerdata.* Take the file as it was published"),
        (changed(TEST, lambda s, e: (s[:, :20], e)), r"another number of voxels: got 20, expected 21"),
        (changed(TEST, lambda s, e: (s[:9], e)), r"'showers' has the wrong shape: got \(9, 21\), expected \(40, 21\)"),
        (changed(TEST, lambda s, e: (s, e[:, 0])), ""),
        (changed(TEST, lambda s, e: (s, np.hstack([e, e]))), r"not one energy for each event: got \(40, 2\)"),
        (changed(TEST, lambda s, e: (s[:0], e[:0])), r"not one energy for each event: got \(0, 1\)"),
        (changed(TEST, lambda s, e: (s[:1], e[:1])), r"hold too few events for the split 'test'"),
        (changed(TEST, lambda s, e: (at(s, np.nan), e)), r"holds NaN or infinite energies: got some in event 3"),
        (changed(TEST, lambda s, e: (at(s, np.inf), e)), r"holds NaN or infinite energies: got some in event 3"),
        (changed(TEST, lambda s, e: (at(s, -0.5), e)), r"holds negative energies: got -0.5 MeV in event 3, expected 0"),
        (changed(TEST, lambda s, e: (at(s, 2e9), e)), r"too large energies: got 2e\+09 MeV in event 3.* Is it in MeV"),
        (changed(TEST, lambda s, e: (s, e * np.nan)), r"holds what is no energy: got nan in event 0, 40 such events"),
        (changed(TEST, lambda s, e: (s, e * 0)), r"holds what is no energy: got 0 in event 0.*expected above 0"),
        (changed(TEST, lambda s, e: (s.astype("S3"), e)), r"'showers' holds values of type"),
        (linked, r"'showers' is a link"),
        (cut, r"dataset_2_2.hdf5 cannot be read.*It may be truncated"),
        (lambda folder: (folder / TEST).write_text("no"), r"dataset_2_2.hdf5 is no HDF5 file"),
        (text('name="electron"', 'name="muon"'), r"the particle is not in it: got muon, expected <Bin name=.electron"),
        (text("0,5,10,30", "0,5,10,7"), r"a layer is no layer: got r_edges='0,5,10,7'"),
        (text("0,5,10,30", "0,5,ten"), r"a layer cannot be read: got r_edges='0,5,ten'"),
        (text('id="1"', 'id="0"'), r"it is no binning: got 3 layers.*each id once"),
        (text("0,5,10,30", "0,5,10"), r"another number of voxels: got 21, expected 20"),
        (text('n_bin_alpha="4"', 'n_bin_alpha="999999999"'), r"a layer is no layer"),
        (text("</Bins>", ""), r"cannot be read as XML"),
        (text("<Bins>", '<!DOCTYPE x [<!ENTITY a "b">]><Bins>'), r"needs no definitions of its own"),
    ],
)
def test_wrong_files_are_data_errors(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = write_dataset(tmp_path, Calo2.dataset, 40)
    spoil(folder)
    if not message:
        assert len(Calo2(folder).load("test")) == 20
        return
    with pytest.raises(DataError, match=message) as caught:
        Calo2(folder).load("test")
    assert "\n" not in str(caught.value)


def test_missing_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        Calo3(tmp_path).find_data()
    for word in ("binning_dataset_3.xml", *Calo3.dataset.train, *Calo3.dataset.test, "zenodo.6366323", "--data-dir"):
        assert word in str(caught.value)
    write_dataset(tmp_path / "calo-3", Calo3.dataset, 20)  # a folder of the task's name is found too
    assert Calo3(tmp_path).find_data() == f"Found in {tmp_path / 'calo-3'}: 21 voxels in 3 layers."


def test_a_full_disk_is_told_before_anything_is_written(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UsageError, match=r"no room to import dataset_2_2.hdf5: got 1e-06 GB free in .*XDG_CACHE_HOME"):
        Calo2(folder).load("test")
    assert not list((cache / "simbench" / "calo").glob("*showers*"))


def test_a_process_that_dies_is_a_data_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calo_import, "CHILD", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(DataError, match=r"dataset_2_2.hdf5: the HDF5 library does not survive it: got signal 11"):
        Calo2(folder).load("test")
    monkeypatch.setattr(calo_import, "CHILD", "raise SystemExit('out of luck')")
    with pytest.raises(DataError, match=r"dataset_2_2.hdf5 cannot be read: got out of luck"):
        Calo2(folder).load("test")
    monkeypatch.setattr(calo_import, "CHILD", "import time; time.sleep(60)")
    monkeypatch.setattr(calo_import, "BASE_SECONDS", 0.5)
    with pytest.raises(DataError, match=r"reading does not end"):
        Calo2(folder).load("test")


def points_of(showers: Array, binning: Binning, rng: np.random.Generator) -> list[Array]:
    """Points (x, y, layer, GeV, time), two in each voxel that is not empty, and one beyond the last ring."""
    found = []
    for shower in showers:
        points = [[1e4, 0.0, 0.0, 1.0, 0.0]]
        for layer, where in binning.slices():
            x, y = layer.plane
            for at in np.flatnonzero(shower[where]):
                share = rng.uniform(0.2, 0.8)
                for part in (share, 1 - share):
                    energy = shower[where][at] * part / 1000
                    points.append([x[at] * rng.uniform(0.99, 1.01), y[at], layer.number, energy, 3.0])
        found.append(np.array(points, np.float32))
    return found


def write_points(path: Path, points: list[Array], energies: Array) -> None:
    """The layout of the package showerdata."""
    with h5py.File(path, "w") as file:
        showers = file.create_dataset("showers", (len(points),), h5py.vlen_dtype(np.dtype("float32")))
        for row, one in enumerate(points):
            showers[row] = one.ravel()
        file["energies"] = energies.astype(np.float32) / 1000
        file["shape"] = np.array([len(points), max(map(len, points)), 5])
        file["num_points"] = np.array([len(one) for one in points], np.int32)


def test_points_of_showerdata_are_summed_in_voxels(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, Calo2.dataset, 30)
    wanted, binning = Calo2(folder).load("test"), Calo2(folder).binning
    showers, energies = contents(folder / TEST)
    write_points(folder / TEST, points_of(showers, binning, np.random.default_rng(0)), energies)
    found = Calo2(folder).load("test")
    assert found.samples.numpy() == pytest.approx(wanted.samples.numpy(), rel=1e-5)
    assert found.conditions.numpy() == pytest.approx(wanted.conditions.numpy(), rel=1e-6)


def test_the_package_showerdata_writes_what_is_read(tmp_path: Path) -> None:
    showerdata = pytest.importorskip("showerdata")
    folder = write_dataset(tmp_path, Calo2.dataset, 30)
    wanted, binning = Calo2(folder).load("test"), Calo2(folder).binning
    showers, energies = contents(folder / TEST)
    lists = points_of(showers, binning, np.random.default_rng(0))
    points = np.zeros((len(lists), max(map(len, lists)), 5), np.float32)
    for row, one in enumerate(lists):
        points[row, : len(one)] = one
    showerdata.save(showerdata.Showers(points, energies / 1000, 11), folder / TEST, overwrite=True)
    assert Calo2(folder).load("test").samples.numpy() == pytest.approx(wanted.samples.numpy(), rel=1e-5)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (2, 45.0, r"does not belong to the binning: got a point in layer 45 in event 3, expected layers 0 to 12"),
        (2, -7.0, r"a point in layer -1 in event 3"),
        (3, -2.0, r"holds negative energies: got -.* MeV in event 3"),
        (0, np.nan, r"holds NaN or infinite points: got some in event 3"),
        (None, 0.0, r"holds broken points: got 7 numbers in event 3, expected a multiple of 5"),
    ],
)
def test_wrong_points_are_data_errors(tmp_path: Path, column: int | None, value: float, message: str) -> None:
    folder = write_dataset(tmp_path, Calo2.dataset, 30)
    showers, energies = contents(folder / TEST)
    points = points_of(showers, Calo2(folder).binning, np.random.default_rng(0))
    if column is None:
        points[3] = points[3].ravel()[:7]
    else:
        points[3][1:, column] = value
    write_points(folder / TEST, points, energies)
    with pytest.raises(DataError, match=message):
        Calo2(folder).load("test")


MODEL = """
import torch


class Mean:
    def setup(self, task, device):
        real = task.load("train")
        self.mean = (real.samples / real.conditions).mean(0)

    def sample(self, conditions, *, seed):
        rng = torch.Generator().manual_seed(seed)
        spread = torch.rand((len(conditions), *self.mean.shape), generator=rng)
        return conditions * self.mean * 2 * spread
"""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_the_tasks_are_offered_by_name_and_told_without_their_files() -> None:
    import tomllib

    from simbench.cli.tasks import describe_task

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    offered = project["entry-points"]["simbench.tasks"]
    for name, kind in TASKS.items():
        assert offered[name] == f"simbench.tasks.calo:{kind.__name__}"
        assert kind.name == kind.dataset.task == name
        told = describe_task(kind())
        assert told["test_events"] is None
        assert told["shape"] == (kind.voxels,)


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "mean.py").write_text(MODEL)
    return f"{tmp_path / 'mean.py'}:Mean"


SPEC = "simbench.tasks.calo:CaloPhotons"


@pytest.mark.parametrize("generator", ["floor", "model"])
def test_a_run_goes_from_end_to_end(generator: str, model: str, folder: Path, tmp_path: Path) -> None:
    spec = model if generator == "model" else generator
    arguments = ["--task", SPEC, "--data-dir", str(folder), "--batches", "10", "--no-report", "--no-samples", "--json"]
    done = run("run", "-g", spec, *arguments, "-o", str(tmp_path / "runs"))
    assert done.exit_code == 0, done.output
    result = read_result(next((tmp_path / "runs").rglob("*.json")))
    assert result.task.name == "calo-1-photons"
    assert result.status == "complete"
    assert {m.key for m in result.measurements} == set(CaloPhotons.metrics)
    assert {m.key: m.error for m in result.measurements if m.status != "ok"} == {}
    assert all(m.floor is not None for m in result.measurements)
    for key in CaloPhotons.primary:
        m = result.measurement(key)
        assert m is not None
        assert set(m.strata) == {f"energy=q{place}" for place in range(1, 6)}
        if generator == "floor":  # the very events, in another order among equal energies
            assert m.value == pytest.approx(m.floor)
    low = result.measurement("classifier_voxels/1")
    assert low is not None
    assert low.value is not None
    assert (low.value > 0.65) == (generator == "model")


def test_exported_conditions_are_answered_and_scored(folder: Path, tmp_path: Path) -> None:
    """In the challenge's layout, and in simbench's."""
    to_answer, data = tmp_path / "conditions.h5", ["--task", SPEC, "--data-dir", str(folder)]
    done = run("conditions", "export", *data, "-o", str(to_answer))
    assert done.exit_code == 0, done.output
    with h5py.File(to_answer) as file:
        energies, index = file["conditions"][()], file["condition_index"][()]
        assert file.attrs["sample_shape"].tolist() == [VOXELS]
        assert file.attrs["sample_unit"] == "MeV"
    showers = showers_of(energies.astype(np.float64), np.random.default_rng(5))
    write_showers(tmp_path / "challenge.hdf5", showers, energies.astype(np.float64))
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["samples"], file["condition_index"] = showers, index
    values = []
    for name in ("challenge.hdf5", "own.h5"):
        folder_of = tmp_path / name.partition(".")[0]
        out = ["--fast", "--no-report", "-o", str(folder_of), "--json"]
        done = run("score", str(tmp_path / name), *data, *out)
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        values.append([m["value"] for m in told["measurements"] if m["status"] == "ok"])
    assert values[0] == values[1]
    assert len(values[0]) == len(CaloPhotons.metrics) - 2
    write_showers(tmp_path / "short.hdf5", showers[:, :-1], energies)
    done = run("score", str(tmp_path / "short.hdf5"), *data, "--no-report")
    assert done.exit_code == 3
    assert ", 20)" in done.output


@needs_chromium
def test_the_report_shows_layers_and_opens_without_errors(model: str, folder: Path, tmp_path: Path) -> None:
    arguments = ["--task", SPEC, "--data-dir", str(folder), "--batches", "10", "--fast", "--no-samples"]
    done = run("run", "-g", model, *arguments, "-o", str(tmp_path / "runs"))
    assert done.exit_code == 0, done.output
    page = next((tmp_path / "runs").rglob("*.html"))
    dom, logged = opened(page, tmp_path / "profile")
    assert logged == []
    for title in ("Mean shower, layer by layer", "Energy in each layer", "High-level features"):
        assert title in dom
    assert "Left out" not in dom
    assert "What is of one layer is of layer 1." in dom


def test_a_report_of_several_and_of_empty_showers(folder: Path, tmp_path: Path) -> None:
    task = Calo2(folder)
    real = task.load("test")
    result = _result(task, tmp_path)
    vars(task).update(source_sha256=result.task.source_sha256)
    samples = (torch.zeros_like(real.samples), real.samples * 3, real.samples)
    entries = [ReportEntry(result, Comparison(real.with_samples(one), real)) for one in samples]
    page = write_report(entries, task, tmp_path / "page.html").read_text()
    assert page.count("<svg") >= 3
    assert "Left out" not in page


def _result(task: CaloTask, out: Path) -> Any:
    arguments = ["--task", "simbench.tasks.calo:Calo2", "--data-dir", str(task.data_dir), "--batches", "10", "--fast"]
    done = run("run", "-g", "floor", *arguments, "--events", "50", "--no-report", "--no-samples", "-o", str(out))
    assert done.exit_code == 0, done.output
    return read_result(next(out.rglob("*.json")))


def test_models_for_images_say_that_they_take_none(folder: Path, tmp_path: Path) -> None:
    arguments = ["--task", SPEC, "--data-dir", str(folder), "-o", str(tmp_path / "weights.safetensors")]
    done = run("train", "vae", *arguments)
    assert done.exit_code == 2
    assert "the shipped networks take images" in done.output
    assert "(21,)" in done.output


def test_a_task_is_found_by_data_dir_and_takes_no_option(folder: Path) -> None:
    assert get_task(SPEC, folder).test_events < EVENTS / 2 + 1
    with pytest.raises(UsageError, match="has no parameter 'split'"):
        get_task(f"{SPEC}:split=wojnar", folder)
    with pytest.raises(SimbenchError, match="are missing"):
        get_task(SPEC, folder / "nowhere").load("test")


def test_a_small_file_leaves_events_to_train_and_to_validate(tmp_path: Path) -> None:
    task = Calo2(write_dataset(tmp_path, Calo2.dataset, 25))
    assert [len(task.load(split)) for split in ("train", "validation", "test", "floor")] == [23, 2, 12, 12]  # type: ignore[arg-type]
    assert read_binning(tmp_path / "binning_dataset_2.xml", "electron") == task.binning
    assert BINNING.count("<Layer") == len(task.binning.layers) + 1
