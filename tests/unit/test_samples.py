"""Files of samples: what is read back, and what strangers' files cannot do."""

from __future__ import annotations

import csv
import io
import os
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from toys import ToyDigits, ToyNoise, ToyTask

from simbench.core.errors import DataError, GeneratorError, SimbenchError, UsageError
from simbench.core.files import new_file
from simbench.samples.files import export_conditions, read_samples, write_samples

TASK = ToyTask()
GOOD = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((12, 4, 4), np.float32)
ROWS = np.arange(12)
CONDITIONS = TASK.load("test").conditions.numpy()


def save(path: Path, attributes: dict[str, Any] | None = None, **arrays: Any) -> Path:
    """A file as a stranger's program writes it."""
    if path.suffix == ".npz":
        np.savez(path, **arrays, **{key: np.asarray(value) for key, value in (attributes or {}).items()})
    else:
        with h5py.File(path, "w") as file:
            for key, values in arrays.items():
                file[key] = values
            file.attrs.update(attributes or {})
    return path


def refused(path: Path, kind: type[SimbenchError], *words: str, task: ToyTask = TASK) -> None:
    with pytest.raises(kind) as caught:
        read_samples(path, task)
    assert type(caught.value) is kind
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


both = pytest.mark.parametrize("suffix", [".h5", ".npz"])


@both
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"new/folder/s{suffix}"
    write_samples(path, TASK, torch.from_numpy(GOOD), torch.from_numpy(ROWS), "mine", 5)
    found = read_samples(path, TASK)
    assert torch.equal(found.samples, torch.from_numpy(GOOD))
    assert found.index.dtype == torch.int64
    assert found.index.tolist() == ROWS.tolist()
    assert (found.generator, found.seed, len(found.sha256)) == ("mine", 5, 64)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with pytest.raises(UsageError, match="never overwritten"):
        write_samples(path, TASK, torch.from_numpy(GOOD), torch.from_numpy(ROWS), "mine", 5)


@both
@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", ">i2", "u1", "u2", "u8"])
def test_any_real_type_is_read(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = save(tmp_path / f"s{suffix}", samples=GOOD.astype(dtype), condition_index=ROWS.astype(np.uint16))
    found = read_samples(path, TASK)
    assert torch.equal(found.samples, torch.from_numpy(GOOD))
    assert (found.generator, found.seed) == ("s", None)


@both
def test_rows_come_in_the_order_of_the_test_split_whatever_the_file_has(tmp_path: Path, suffix: str) -> None:
    order = np.random.default_rng(0).permutation(12)
    found = read_samples(save(tmp_path / f"s{suffix}", samples=GOOD[order], condition_index=order), TASK)
    assert torch.equal(found.samples, torch.from_numpy(GOOD))


def test_arrays_in_fortran_order_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((12, 4, 4), np.float32)
    found = read_samples(save(tmp_path / "s.npz", samples=np.asfortranarray(values), condition_index=ROWS), TASK)
    assert torch.equal(found.samples, torch.from_numpy(values))


def test_whole_conditions_are_enough(tmp_path: Path) -> None:
    rows = [2, 3, 10, 11]
    found = read_samples(save(tmp_path / "s.h5", samples=GOOD[rows], condition_index=rows), TASK)
    assert found.index.tolist() == rows


@both
def test_conditions_in_place_of_rows_are_matched_one_by_one(tmp_path: Path, suffix: str) -> None:
    order = np.random.default_rng(1).permutation(12)
    path = save(tmp_path / f"s{suffix}", samples=GOOD[order], conditions=CONDITIONS[order].astype(np.float64))
    found = read_samples(path, TASK)
    assert found.index.tolist() == ROWS.tolist()
    first_answers = [float(GOOD[order][np.flatnonzero(order // 2 == c)[0], 0, 0]) for c in range(6)]
    assert found.samples[::2, 0, 0].tolist() == first_answers


def test_labels_are_matched_one_by_one(tmp_path: Path) -> None:
    labels = np.array([2, 2, 0, 1])
    images = np.linspace(0, 1, 4, dtype=np.float32)[:, None, None, None] * np.ones((4, 1, 2, 2), np.float32)
    for conditions in (labels, np.eye(3)[labels]):
        path = tmp_path / "s.h5"
        path.unlink(missing_ok=True)
        found = read_samples(save(path, samples=images, conditions=conditions), ToyDigits())
        assert found.index.tolist() == [0, 1, 2, 5]
        assert torch.allclose(found.samples[:, 0, 0, 0], torch.tensor([2 / 3, 1, 0, 1 / 3]))


def test_an_unconditional_task_needs_no_conditions(tmp_path: Path) -> None:
    assert read_samples(save(tmp_path / "s.npz", samples=GOOD[:7]), ToyNoise()).index.tolist() == list(range(7))


def changed(row: int, value: float) -> np.ndarray:
    values = GOOD.copy()
    values[row, 1, 2] = value
    return values


@both
@pytest.mark.parametrize(
    ("arrays", "kind", "words"),
    [
        ({}, DataError, ["no `samples`", "(N, 4, 4)"]),
        ({"samples": GOOD}, DataError, ["does not say which conditions"]),
        ({"samples": GOOD[:, None], "condition_index": ROWS}, GeneratorError, ["(12, 1, 4, 4)", "squeeze(1)"]),
        ({"samples": GOOD.reshape(12, 16), "condition_index": ROWS}, GeneratorError, ["(12, 16)", "reshape"]),
        ({"samples": np.float32(3), "condition_index": ROWS}, DataError, ["no samples", "()"]),
        ({"samples": GOOD[:0], "condition_index": ROWS[:0]}, DataError, ["no samples"]),
        ({"samples": np.zeros((13, 4, 4)), "condition_index": np.arange(13)}, DataError, ["13", "at most 12"]),
        ({"samples": changed(2, np.nan), "condition_index": ROWS}, GeneratorError, ["NaN"]),
        ({"samples": changed(2, -1), "condition_index": ROWS}, GeneratorError, ["negative photons"]),
        ({"samples": changed(2, 1e7), "condition_index": ROWS}, GeneratorError, ["too large photons"]),
        ({"samples": changed(2, 1).astype(np.float64) * 1e300, "condition_index": ROWS}, GeneratorError, ["infinite"]),
        ({"samples": GOOD.astype(np.complex64), "condition_index": ROWS}, DataError, ["complex64"]),
        ({"samples": GOOD.astype(bool), "condition_index": ROWS}, DataError, ["bool"]),
        ({"samples": np.zeros(12, [("a", "f4")]), "condition_index": ROWS}, DataError, ["type"]),
        ({"samples": GOOD, "condition_index": ROWS[:5]}, DataError, ["condition_index", "(5,)"]),
        ({"samples": GOOD, "condition_index": ROWS[:, None]}, DataError, ["condition_index", "(12, 1)"]),
        ({"samples": GOOD, "condition_index": ROWS.astype(float)}, DataError, ["float64", "integers"]),
        ({"samples": GOOD, "condition_index": ROWS - 1}, DataError, ["no test row", "-1"]),
        ({"samples": GOOD, "condition_index": ROWS + 1}, DataError, ["no test row", "12"]),
        ({"samples": GOOD, "condition_index": ROWS.astype(np.uint64) + np.uint64(2**63)}, DataError, ["no test row"]),
        (
            {"samples": GOOD, "condition_index": [*range(11), 0]},
            DataError,
            ["more than once", "row 0", "one sample per row"],
        ),
        (
            {"samples": GOOD[:3], "condition_index": [0, 1, 5]},
            DataError,
            ["unequally", "1 samples for rows 4 to 5, 2 for"],
        ),
        ({"samples": GOOD, "conditions": CONDITIONS[:, :1]}, DataError, ["(12, 1)", "(12, 2)"]),
        ({"samples": GOOD, "conditions": CONDITIONS + 0.01}, DataError, ["row 0", "no test condition"]),
        ({"samples": GOOD, "conditions": CONDITIONS * np.nan}, DataError, ["no test condition"]),
        ({"samples": GOOD[:3], "conditions": CONDITIONS[[0, 0, 1]]}, DataError, ["too often", "at most 2"]),
    ],
)
def test_contents_that_cannot_be_scored(
    tmp_path: Path, suffix: str, arrays: dict[str, Any], kind: type[SimbenchError], words: list[str]
) -> None:
    refused(save(tmp_path / f"s{suffix}", **arrays), kind, *words)


@both
def test_a_file_for_another_task(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"s{suffix}", {"task": "mnist"}, samples=GOOD, condition_index=ROWS)
    refused(path, DataError, "made for another task", "mnist", "--task mnist")


@both
def test_attributes_are_a_strangers_text(tmp_path: Path, suffix: str) -> None:
    attributes = {"task": "toy", "generator": "\x1b[31mred\n" + "x" * 150, "seed": 2**40}
    found = read_samples(save(tmp_path / f"s{suffix}", attributes, samples=GOOD, condition_index=ROWS), TASK)
    assert found.generator == "?[31mred?" + "x" * 150
    assert found.seed == 2**40


@both
@pytest.mark.parametrize("attributes", [{"generator": 3.5, "seed": "text"}, {"generator": "", "seed": 1.5}])
def test_attributes_of_other_types_are_left_aside(tmp_path: Path, suffix: str, attributes: dict[str, Any]) -> None:
    found = read_samples(save(tmp_path / f"s{suffix}", attributes, samples=GOOD, condition_index=ROWS), TASK)
    assert (found.generator, found.seed) in (("s", None),)


@both
def test_attributes_must_be_single(tmp_path: Path, suffix: str) -> None:
    refused(
        save(tmp_path / f"s{suffix}", {"seed": [1, 2]}, samples=GOOD, condition_index=ROWS), DataError, "seed", "single"
    )


# --- files that mean harm, or met some --------------------------------------------------------------------------------


def test_files_that_are_not_there_or_are_something_else(tmp_path: Path) -> None:
    refused(tmp_path / "missing.h5", DataError, "no file")
    refused(tmp_path, DataError, "is a folder")
    for content in (b"", b"PK", b"text" * 100, b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" + b"\0" * 50, b"\x93NUMPY"):
        path = tmp_path / "x.h5"
        path.write_bytes(content)
        refused(path, DataError, "x.h5")


@both
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"s{suffix}", samples=GOOD, condition_index=ROWS)
    content = path.read_bytes()
    for keep in (9, 40, len(content) // 3, len(content) // 2, len(content) - 200):
        path.write_bytes(content[:keep])
        refused(path, DataError)


@pytest.mark.parametrize(("suffix", "trials"), [(".npz", 150), (".h5", 6)])
def test_damaged_bytes_never_end_in_a_traceback(
    tmp_path: Path, suffix: str, trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simbench.core.containers.PROBE_SECONDS", 5.0)
    content = save(tmp_path / f"s{suffix}", {"task": "toy"}, samples=GOOD, condition_index=ROWS).read_bytes()
    rng = random.Random(0)
    path = tmp_path / f"damaged{suffix}"
    outcomes = set()
    for _ in range(trials):
        damaged = bytearray(content)
        for position in rng.sample(range(len(content)), 12):
            damaged[position] = rng.randrange(256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_samples(path, TASK)
                outcomes.add("read")
            except SimbenchError as error:
                outcomes.add(type(error).__name__)
    assert "DataError" in outcomes


@pytest.mark.parametrize(
    ("child", "words"), [("import os; os.abort()", "signal 6"), ("while True: pass", "no end after 2 s")]
)
def test_files_that_the_hdf5_library_does_not_survive(
    tmp_path: Path, child: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simbench.core.containers.PROBE", child)
    monkeypatch.setattr("simbench.core.containers.PROBE_SECONDS", 2.0)
    refused(save(tmp_path / "s.h5", samples=GOOD, condition_index=ROWS), DataError, "does not survive", words)


@pytest.fixture(autouse=True)
def no_probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process for every file would take a minute: only the tests of damaged files do."""
    if "damaged" not in request.node.name and "survive" not in request.node.name:
        monkeypatch.setattr("simbench.core.containers._survive", lambda path, limit, keys: None)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = tmp_path / "s.npz"
    np.savez(path, samples=np.array([Bomb()], dtype=object), condition_index=ROWS)
    refused(path, DataError)
    np.savez(path, samples=GOOD, condition_index=ROWS, generator=np.array(Bomb(), dtype=object))
    refused(path, DataError)
    assert not (tmp_path / "exploded").exists()


def npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    "shape", [(10**12, 4, 4), (12, 10**9, 4), (12, 4, 4, 10**15), (2**62, 4, 4), (12,) * 40, (12, 4, -4)]
)
def test_shapes_are_looked_at_before_memory_is_taken(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samples.npy", npy_header(shape) + b"\0" * 64)
    with pytest.raises((DataError, GeneratorError)):
        read_samples(path, TASK)


def test_zip_bombs_are_refused_by_their_size(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("samples.npy", "w") as member:
        member.write(npy_header((12, 4, 4)))
        for _ in range(100):
            member.write(bytes(2**20))
    refused(path, DataError, "too large for this task")


def test_a_zip_that_lies_about_its_size_is_read_no_further_than_announced(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples.npy", npy_header((12, 4, 4)) + GOOD.tobytes())
        archive.writestr("condition_index.npy", b"")
        info = archive.getinfo("samples.npy")
        info.file_size = 200
    refused(path, DataError)


@pytest.mark.parametrize("shape", [(10**12, 4, 4), (12, 10**9, 4)])
def test_hdf5_shapes_are_looked_at_before_memory_is_taken(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("samples", shape, "f4", chunks=(1, 4, 4))
        file["condition_index"] = ROWS
    with pytest.raises((DataError, GeneratorError)):
        read_samples(path, TASK)


def test_files_much_larger_than_the_task_are_refused_unopened(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with path.open("wb") as file:
        file.truncate(2**40)
    refused(path, DataError, "too large")


def test_hdf5_files_cannot_point_out_of_themselves(tmp_path: Path) -> None:
    secret = save(tmp_path / "secret.h5", samples=GOOD)
    raw = tmp_path / "raw.bin"
    raw.write_bytes(GOOD.tobytes())
    layout = h5py.VirtualLayout((12, 4, 4), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "samples", (12, 4, 4))
    makers: dict[str, Callable[[h5py.File], Any]] = {
        "external": lambda file: file.__setitem__("samples", h5py.ExternalLink("secret.h5", "samples")),
        "soft": lambda file: file.__setitem__("samples", h5py.SoftLink("/condition_index")),
        "virtual": lambda file: file.create_virtual_dataset("samples", layout),
        "raw": lambda file: file.create_dataset(
            "samples", (12, 4, 4), "f4", external=[(str(raw), 0, h5py.h5f.UNLIMITED)]
        ),
        "group": lambda file: file.create_group("samples"),
        "empty": lambda file: file.create_dataset("samples", data=h5py.Empty("f4")),
    }
    for name, make in makers.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file["condition_index"] = ROWS
            make(file)
        refused(path, DataError, "samples")


# --- conditions for foreign programs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".csv"])
def test_exported_conditions_lead_back_to_the_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"c{suffix}"
    assert export_conditions(TASK, path, root_seed=3, events=8) == 8
    if suffix == ".h5":
        with h5py.File(path) as file:
            conditions, attributes = file["conditions"][()], dict(file.attrs)
            assert file["condition_index"][()].tolist() == list(range(8))
    elif suffix == ".npz":
        with np.load(path) as file:
            conditions, attributes = file["conditions"], {key: file[key] for key in file.files}
    else:
        lines = path.read_text().splitlines()
        attributes = dict(line[2:].split(": ") for line in lines if line.startswith("#"))
        table = list(csv.reader(line for line in lines if not line.startswith("#")))
        assert table[0] == ["condition_index", "condition_id", "Energy", "charge"]
        conditions = np.array(table[1:], dtype=np.float64)[:, 2:]
    assert str(attributes["task"]) == "toy"
    assert int(attributes["root_seed"]) == 3
    assert int(attributes["repeats"]) == 2
    assert "GeV" in list(attributes["condition_units"]) or attributes["condition_units"] == "GeV, e"
    found = read_samples(save(tmp_path / "made.npz", samples=GOOD[:8], conditions=conditions), TASK)
    assert found.index.tolist() == list(range(8))


def test_exports_refuse_what_they_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of"):
        export_conditions(TASK, tmp_path / "c.txt")
    export_conditions(TASK, tmp_path / "c.csv")
    with pytest.raises(UsageError, match="never overwritten"):
        export_conditions(TASK, tmp_path / "c.csv")
    with pytest.raises(UsageError, match=r"c\.csv is no folder"):
        export_conditions(TASK, tmp_path / "c.csv" / "below_a_file.h5")


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    def write() -> None:
        with new_file(tmp_path / "x.h5") as scratch:
            scratch.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []
