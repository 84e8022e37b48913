"""ALICE's files, written here in its layouts: what is read, how it is split, what is refused, what the papers' numbers
are."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from sklearn.model_selection import train_test_split
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import DataError, SimbenchError, UsageError
from simbench.evaluation.evaluate import metric_keys
from simbench.metrics.base import Comparison
from simbench.metrics.registry import get_metric
from simbench.results.comparable import Basis
from simbench.results.schema import read_result
from simbench.tasks import alice_files, get_task
from simbench.tasks.alice import AliceTask, ZnAlice, ZpAlice
from simbench.tasks.alice_files import HEADER, PARTICLES, RESPONSES
from simbench.tasks.measures import NEEDS_REPEATS
from simbench.tasks.zn import data_file

Arrays = tuple[NDArray[Any], NDArray[Any]]
ZN, ZP = "simbench.tasks.alice:ZnAlice", "simbench.tasks.alice:ZpAlice"


def zn_arrays(particles: int = 60, repeats: int = 8) -> Arrays:
    """Photons and particles (with the PDG code) of zn-geant3, in random order."""
    rows = (np.arange(particles)[:, None] * 8 + np.arange(repeats)).ravel()
    rows = np.random.default_rng(1).permutation(rows)
    with h5py.File(data_file(), "r") as file:
        test = file["test"]
        stop = particles * 8
        photons, conditions, pdg = (test[key][:stop][rows] for key in ("photons", "conditions", "pdg"))
    return photons, np.column_stack([conditions, pdg])


def zp_arrays(particles: int = 60, repeats: int = 8) -> Arrays:
    """Poisson blobs of 56 x 30, as bright as the energy."""
    rng = np.random.default_rng(2)
    with h5py.File(data_file(), "r") as file:
        conditions = file["test/conditions"][: 8 * particles : 8].repeat(repeats, 0)
    y, x = np.mgrid[:56, :30]
    blob = np.exp(-((y - 27) ** 2 / 60 + (x - 14) ** 2 / 20))
    return rng.poisson(0.3 * conditions[:, :1, None] * blob / blob.sum()), conditions


def write_npz(folder: Path, arrays: Arrays) -> Path:
    alice_files.read.cache_clear()
    np.savez_compressed(folder / RESPONSES, arrays[0])
    np.savez(folder / PARTICLES, arrays[1])
    return folder


def write_text(folder: Path, arrays: Arrays, detector: str = "neutron") -> Path:
    alice_files.read.cache_clear()
    photons, particles = arrays
    lines = [",".join(HEADER)]
    for image, row in zip(photons, particles, strict=True):
        values = [f"{int(row[9])}", *(repr(float(value)) for value in row[:7]), f"{image.sum()}"]
        lines.append(",".join([detector, *values]))
    (folder / "particles.csv").write_text("\n".join(lines) + "\n")
    rows = photons.reshape(-1, photons.shape[2])
    (folder / f"{detector}_image.txt").write_text("\n".join(" ".join(map(str, row)) for row in rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def zn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("zn"), zn_arrays())


@pytest.fixture(scope="module")
def zp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("zp"), zp_arrays())


def rows_of(photons: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in photons if image.sum() > 0}


def test_npz_is_read_as_it_is(zn: Path) -> None:
    photons, particles = zn_arrays()
    found = alice_files.read(zn, ZnAlice.detector)
    assert np.array_equal(found.photons, photons)
    assert np.array_equal(found.conditions, particles[:, :9])
    assert found.pdg is not None
    assert np.array_equal(found.pdg, particles[:, 9])


def test_text_gives_the_same_events_as_npz(tmp_path: Path) -> None:
    arrays = zn_arrays(particles=12, repeats=1)
    found = alice_files.read(write_text(tmp_path, arrays), ZnAlice.detector)
    assert np.array_equal(found.photons, arrays[0])
    assert found.conditions == pytest.approx(arrays[1][:, :9], rel=1e-6)  # the masses of another edition of the tables
    assert found.pdg is not None
    assert np.array_equal(found.pdg, arrays[1][:, 9])


def test_a_table_of_both_detectors_is_read_for_each(tmp_path: Path) -> None:
    photons, particles = zn_arrays(particles=5, repeats=1)
    write_text(tmp_path, (photons, particles))
    of_neutrons = (tmp_path / "particles.csv").read_text()
    small = zp_arrays(particles=5, repeats=1)[0]
    write_text(tmp_path, (small, particles), "proton")
    of_protons = (tmp_path / "particles.csv").read_text().splitlines()[1:]
    (tmp_path / "particles.csv").write_text(of_neutrons + "\n".join(of_protons) + "\n")
    alice_files.read.cache_clear()
    assert np.array_equal(alice_files.read(tmp_path, ZnAlice.detector).photons, photons)
    assert np.array_equal(alice_files.read(tmp_path, ZpAlice.detector).photons, small)


def test_by_condition_shares_no_particle_and_halves_the_test(zn: Path) -> None:
    task = ZnAlice(zn)
    splits = {name: task.load(name) for name in ("train", "validation", "test", "floor")}  # type: ignore[arg-type]
    ids = {name: set(events.condition_id.tolist()) for name, events in splits.items()}
    assert not ids["train"] & ids["test"]
    assert not ids["validation"] & (ids["train"] | ids["test"])
    assert len(ids["train"] | ids["validation"] | ids["test"]) == 60
    assert sum(map(len, splits.values())) == 480
    assert torch.equal(splits["test"].conditions, splits["floor"].conditions)
    assert torch.equal(splits["test"].condition_id, splits["floor"].condition_id)
    assert not rows_of(splits["test"].samples) & rows_of(splits["floor"].samples)
    assert task.measured() == tuple(key for key in task.metrics if key != "conditional_wasserstein/1")  # needs 8


def test_a_particle_stays_in_its_split_when_events_are_left_out(zn: Path) -> None:
    few = ZnAlice(zn, min_photons=300, max_photons=3000)
    kept = few.load("test").samples.sum((1, 2))
    assert 300 <= float(kept.min()) <= float(kept.max()) <= 3000
    for split in ("train", "test"):
        of_all = {row.tobytes() for row in ZnAlice(zn).load(split).conditions.numpy()}  # type: ignore[arg-type]
        assert {row.tobytes() for row in few.load(split).conditions.numpy()} <= of_all  # type: ignore[arg-type]


def test_without_independent_events_there_is_no_floor(tmp_path: Path) -> None:
    task = ZnAlice(write_npz(tmp_path, zn_arrays(particles=200, repeats=1)))
    assert not task.has_floor
    assert set(task.metrics) - set(task.measured()) == set(NEEDS_REPEATS)
    with pytest.raises(DataError, match=r"zn-alice has no floor: not every test condition has 4 events"):
        task.load("floor")
    assert task.record(task.load("test")).scored_sha256 == task.scored_sha256
    assert task.record(task.load("test", 5)).scored_sha256 != task.scored_sha256


def test_wojnar_is_the_split_of_the_public_code(zn: Path) -> None:
    """As the code does it, on the arrays themselves."""
    photons, particles = zn_arrays()
    r_train, r_test, p_train, p_test = train_test_split(photons, particles, test_size=0.2, random_state=42)
    r_train, r_val, p_train, _ = train_test_split(r_train, p_train, test_size=0.1 / 0.8, random_state=43)
    task = ZnAlice(zn, split="wojnar")
    for name, wanted in (("train", r_train), ("validation", r_val), ("test", r_test)):
        assert np.array_equal(task.load(name).samples.numpy(), wanted)  # type: ignore[arg-type]
    assert np.array_equal(task.load("test").conditions.numpy(), p_test[:, :9].astype(np.float32))
    assert not task.has_floor
    assert not set(NEEDS_REPEATS) & set(task.measured())


def test_options_stand_in_the_name_and_part_results(zn: Path) -> None:
    specs = {"": "", ":min_photons=0": "", ":min_photons=10,split=wojnar": ":split=wojnar,min_photons=10"}
    bases = []
    for given, told in specs.items():
        task = get_task(f"{ZN}{given}", zn)
        assert task.name == f"zn-alice{told}"
        assert task.spec == f"{ZN}{given}"
        bases.append(Basis.of(task.record(task.load("test")), "simbench"))
    assert bases[0]._replace(task_file=None) == bases[1]._replace(task_file=None)
    assert {"task", "number of events", "data set"} <= {name for name, *_ in bases[0].unlike(bases[2])}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("min_photon=3", r"has no parameter 'min_photon'.*min_photons"),
        ("min_photons=few", r"option min_photons has the wrong type: got 'few', expected int"),
        ("split=random", r"option split has the wrong type: got 'random', expected one of 'by_condition', 'wojnar'"),
        ("data_dir=x", r"has no parameter 'data_dir'"),
        ("min_photons=9,max_photons=3", r"photons of an event cannot be so many: got min_photons=9, max_photons=3"),
        ("split=wojnar,split=wojnar", r"options of a task cannot be read.*each option once"),
        ("split=wojnar,", r"options of a task cannot be read"),
    ],
)
def test_wrong_options_are_usage_errors(zn: Path, options: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        get_task(f"{ZN}:{options}", zn)


def test_missing_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMBENCH_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"arr_0 \(N, 56, 30\), beside .*proton_image.txt beside .*--data-dir"):
        ZpAlice(tmp_path).load("test")
    write_npz(tmp_path, zn_arrays(particles=30, repeats=1))
    assert ZnAlice(tmp_path).find_data() == f"Found in {tmp_path}."


def test_a_pickle_is_not_opened_but_told_how_to_convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SIMBENCH_DATA", raising=False)
    (tmp_path / "photons.pkl").write_bytes(pickle.dumps(zn_arrays(2, 1)[0]))
    with pytest.raises(DataError, match="is a pickle") as caught:
        ZnAlice(tmp_path).load("test")
    lines = caught.value.fix.splitlines()[1:]
    assert len(lines) == 2
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines))  # the advice works
    with np.load("NAME.npz", allow_pickle=False) as made:
        assert np.array_equal(made["arr_0"], zn_arrays(2, 1)[0])


def fractions(photons: NDArray[Any], particles: NDArray[Any]) -> Arrays:
    return np.log1p(photons.astype(np.float32)), particles


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r, p: (r[:, :40], p), r"holds other data: got 'arr_0' of shape \(30, 40, 44\), expected .*44, 44"),
        (lambda r, p: (r, p[:, :8]), r"expected 'arr_0' of shape \(N, 9\) or \(N, 10\)"),
        (lambda r, p: (r[:20], p), r"do not belong together: got 20 images and 30 particles"),
        (fractions, r"image 0 holds what are no photons.*before any logarithm"),
        (lambda r, p: (-r.astype(np.int64), p), r"holds what are no photons"),
        (lambda r, p: (r.astype(np.int64) * 100_000, p), r"holds what are no photons"),
        (lambda r, p: (r.astype(object), p), r"holds values of type object"),
        (lambda r, p: (r, np.where(p == p[3, 0], np.nan, p)), r"1 of 30 particles, the first in row 3"),
        (lambda r, p: (r, -p), r"an energy above 0"),
        (lambda r, p: (r[:0], p[:0]), r"of shape \(0, 10\)"),
    ],
)
def test_wrong_arrays_are_data_errors(tmp_path: Path, spoil: Callable[..., Arrays], message: str) -> None:
    write_npz(tmp_path, spoil(*zn_arrays(particles=30, repeats=1)))
    with pytest.raises(DataError, match=message):
        ZnAlice(tmp_path).load("test")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    write_npz(tmp_path, zn_arrays(particles=2, repeats=1))
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 44, 44)}
    with zipfile.ZipFile(tmp_path / RESPONSES, "w") as archive, archive.open("arr_0.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(DataError, match="cannot be read"):
        ZnAlice(tmp_path).load("test")
    (tmp_path / RESPONSES).write_bytes((tmp_path / RESPONSES).read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read"):
        ZnAlice(tmp_path).load("test")


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def cut(folder: Path) -> None:
    lines = (folder / "neutron_image.txt").read_text().splitlines()
    (folder / "neutron_image.txt").write_text("\n".join([*lines[:-1], " " * 100]))


def longer(folder: Path) -> None:
    with (folder / "neutron_image.txt").open("a") as file:
        file.write(" ".join("0" * 44) + "\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (replaced("particles.csv", "Detector", "detektor"), "not one table beside it: got none"),
        (replaced("particles.csv", "neutron,", "neutron,x"), "line 2 is no row of the table"),
        (replaced("particles.csv", "neutron,", "neutron,1,"), "line 2 is no row of the table"),
        (replaced("particles.csv", "neutron,", "neutron,nan"), "line 2 is no row of the table"),
        (lambda folder: (folder / "two.csv").write_bytes((folder / "particles.csv").read_bytes()), "two.csv"),
        (replaced("neutron_image.txt", " ", " 7 "), "row 1 is no row of an image: got 45 numbers"),
        (replaced("neutron_image.txt", "0 ", "a "), "hold what is no number"),
        (replaced("neutron_image.txt", "0 ", "1 "), "do not belong together: image 0 has another PhotonSum"),
        (cut, "ends early: got 131 rows, expected 132"),
        (longer, "goes on after the last particle"),
        (lambda folder: (folder / "neutron_image.txt").write_text("0 " * 99), "does not belong to the table beside it"),
        (lambda folder: (folder / "neutron_image.txt").write_text("0 " * 10_000), "row 1 is no row of an image"),
    ],
)
def test_wrong_text_is_a_data_error(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(write_text(tmp_path, zn_arrays(particles=3, repeats=1)))
    with pytest.raises(DataError, match=message):
        ZnAlice(tmp_path).load("test")


def test_an_unknown_particle_is_named(tmp_path: Path) -> None:
    photons, particles = zn_arrays(particles=3, repeats=1)
    particles[1, 9] = 12345678
    with pytest.raises(DataError, match="PDG code 12345678"):
        ZnAlice(write_text(tmp_path, (photons, particles))).load("test")


def by_hand(images: NDArray[Any], odd: bool = False) -> NDArray[Any]:
    """The five channels, pixel by pixel: quadrants of every second pixel, and all the others."""
    height, width = images.shape[1:]
    sums = np.zeros((len(images), 5))
    for i, j in product(range(height), range(width)):
        if ((i + j) % 2 == 1) != odd:
            channel = 4
        elif odd:  # bottom left, bottom right, top left, top right
            channel = (0 if i >= height // 2 else 2) + (j >= width // 2)
        else:
            channel = (0 if i < height // 2 else 2) + (j >= width // 2)
        sums[:, channel] += images[:, i, j]
    return sums


def paper(preset: str, generated: NDArray[Any], real: NDArray[Any]) -> list[float]:
    """The numbers of each paper, in the order in which simbench prints them."""
    x, y = (by_hand(images, odd=preset == "bedkowski2024") for images in (generated, real))
    wasserstein = sum(wasserstein_distance(x[:, c], y[:, c]) for c in range(5)) / 5
    mae = float(np.abs(x - y).sum() / (5 * len(x)))
    rmse = float(np.sqrt(((generated - real) ** 2).sum() / len(real)))
    return {
        "deja2020": [mae, wasserstein],
        "wojnar2024": [wasserstein, mae, rmse],
        "wojnar2025": [wasserstein, mae / 5],
        "bedkowski2024": [wasserstein, mae],
    }[preset]


@pytest.mark.parametrize("preset", ["deja2020", "wojnar2024", "wojnar2025", "bedkowski2024"])
@pytest.mark.parametrize("kind", [ZnAlice, ZpAlice])
def test_printed_definitions_are_those_of_the_papers(kind: type[AliceTask], preset: str, zn: Path, zp: Path) -> None:
    task = kind(zn if kind is ZnAlice else zp, split="wojnar")  # type: ignore[arg-type]
    real = task.load("test")
    generated = real.samples.roll(1, 0) * 1.5
    pair = Comparison(real.with_samples(generated), real, stratify=False)
    found = [get_metric(key)(pair).value for key in metric_keys(task, preset)]
    wanted = paper(preset, generated.double().numpy(), real.samples.double().numpy())
    assert found == pytest.approx(wanted, rel=1e-9)
    assert min(wanted) > 0


@pytest.mark.parametrize(("spec", "floor"), [(f"{ZN}:min_photons=1", True), (f"{ZP}:split=wojnar", False)])
def test_a_run_goes_from_end_to_end(spec: str, floor: bool, zp: Path, tmp_path: Path) -> None:
    (tmp_path / "bright.py").write_text(
        "import torch\n"
        "def model(conditions, *, seed):\n"
        f"    shape = (len(conditions), *{(44, 44) if floor else (56, 30)})\n"
        "    rng = torch.Generator().manual_seed(seed)\n"
        "    rate = (conditions[:, :1, None] / 3000).expand(shape)\n"
        "    return torch.poisson(rate.contiguous(), generator=rng)\n"
    )
    folder = write_npz(tmp_path, zn_arrays(particles=200)) if floor else zp
    arguments = ["--task", spec, "--data-dir", str(folder), "--batches", "10", "--fast", "--no-report", "--no-samples"]
    command = ["run", "-g", f"{tmp_path / 'bright.py'}:model", *arguments, "-o", str(tmp_path / "runs"), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    result = read_result(next((tmp_path / "runs").rglob("*.json")))
    failed = {m.key: m.error for m in result.measurements if m.status == "failed"}
    assert failed == {}
    assert result.status == "complete"
    assert json.loads(done.stdout)["task"]["name"] == spec.replace(ZN, "zn-alice").replace(ZP, "zp-alice")
    assert result.speedup is None
    floors = {m.floor is not None for m in result.measurements if m.status == "ok"}
    assert floors == {floor}
    assert ("conditional_energy/1" in {m.key for m in result.measurements}) == floor
    assert bool(result.equivalent_events) == floor


def test_the_tasks_are_offered_by_name() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    offered = project["entry-points"]["simbench.tasks"]
    assert offered["zn-alice"] == ZN
    assert offered["zp-alice"] == ZP


def test_tasks_are_listed_and_described_without_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simbench.cli.tasks import describe_task

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SIMBENCH_DATA", raising=False)
    told = describe_task(ZnAlice())
    assert told["test_events"] is None
    assert told["scored_sha256"] is None
    assert set(told["options"]) == {"split", "min_photons", "max_photons"}
    with pytest.raises(SimbenchError, match="missing"):
        ZnAlice().find_data()
