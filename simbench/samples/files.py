"""Files of samples: what a foreign program made for the test conditions of a task, in HDF5 or npz (npy: samples alone).

    samples          (N, *task.shape) in task units
    condition_index  (N,) integers: the rows of the test split that the samples answer; or, in its place,
    conditions       (N, C): the conditions themselves; the k-th sample of a condition answers its k-th test row
    task, generator, seed   attributes (npz: scalars), all optional; so is `result`, the id of the result they belong to
    seconds_per_event       optional: what the program says of its speed; shown as self-reported, never ranked

A file as the CaloChallenge has them, `showers` and `incident_energies`, is read as `samples` and `conditions`.
Such files come from strangers: see `simbench.core.containers`.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.containers import MAX_TEXT, Source, opened
from simbench.core.errors import DataError, UsageError
from simbench.core.files import file_sha256, new_file
from simbench.tasks.base import Task

HDF5_SUFFIXES = (".h5", ".hdf5")
ALIASES = {"samples": "showers", "conditions": "incident_energies"}
"""What the CaloChallenge calls the arrays."""
MAX_OTHER_BYTES = 2**26
"""What a file may hold beyond the samples."""


class TooLargeError(UsageError):
    """Samples that take more room than they may."""


@dataclass(frozen=True)
class SampleSet:
    """Samples from a file, ordered by the test rows that they answer.

    Attributes:
        index: (N,) int64, ascending rows of the task's test split; equally many of each condition.
        samples: (N, *task.shape) float32.
        generator: the name in the file, else the file's own.
        named: whether the file holds a name.
        seed: the seed in the file, if there is one.
        sha256: the checksum of the file.
        result: the id of the result that the samples belong to, if the file says so.
        seconds_per_event: what the file says of the generator's speed, if it does.
    """

    index: Tensor
    samples: Tensor
    generator: str
    seed: int | None
    sha256: str
    result: str | None = None
    named: bool = True
    seconds_per_event: float | None = None


def read_samples(path: Path, task: Task) -> SampleSet:
    """Read a file of samples, trusting nothing in it.

    Raises:
        DataError: the file is missing, damaged, made for another task, or does not answer its test conditions equally
            often.
        GeneratorError: the samples are not events of the task: shape, NaN, negative or too large values.
    """
    limit = 8 * task.test_events * math.prod(task.shape) + MAX_OTHER_BYTES
    with opened(path, limit) as source:
        check_made_for(path, task, source)
        count = _check_count(path, task, shape_of(path, task, source))
        samples = source.read(found_as(source, "samples")[0])
        generator, seed = text_of(source.scalar("generator")), integer_of(source.scalar("seed"))
        result, seconds = text_of(source.scalar("result")), seconds_of(path, source)
        answers = _read_answers(path, task, source, count)
        sha256 = file_sha256(path)
    index = _rows(path, task, answers, count)
    checked = task.check_samples(as_float32(samples), count, path.name)
    order = np.argsort(index, kind="stable")
    _check_equal(path, task, index[order])
    return SampleSet(
        index=torch.from_numpy(index[order]),
        samples=checked[torch.from_numpy(order)],
        generator=generator or path.stem,
        seed=seed,
        sha256=sha256,
        result=result,
        named=generator is not None,
        seconds_per_event=seconds,
    )


def write_samples(
    path: Path,
    task: Task,
    samples: Tensor,
    condition_index: Tensor,
    generator: str,
    seed: int,
    result: str | None = None,
    limit: float = math.inf,
) -> None:
    """Write a file of samples, HDF5 or npz by its suffix.

    Raises:
        TooLargeError: an HDF5 file would take more than about `limit` bytes; writing stops there, and nothing is left.
        UsageError: the file exists or cannot be written.
    """
    arrays = {"samples": samples.cpu().numpy(), "condition_index": condition_index.cpu().numpy().astype(np.int64)}
    of = {} if result is None else {"result": result}
    _write(path, arrays, {"task": task.name, "generator": generator[:MAX_TEXT], "seed": seed} | of, limit)


def export_conditions(task: Task, path: Path, *, root_seed: int = 0, events: int | None = None) -> int:
    """Write the test conditions for a foreign program: HDF5, npz or csv by the suffix. Returns how many.

    Raises:
        UsageError: the file exists or cannot be written, its suffix is unknown, or `events` are not whole conditions.
    """
    test = task.load("test", events)
    arrays: dict[str, NDArray[Any]] = {"conditions": test.conditions.numpy(), "condition_index": np.arange(len(test))}
    arrays["condition_id"] = test.condition_id.numpy()
    attributes: dict[str, Any] = {
        "task": task.name,
        "task_version": task.version,
        "split": "test",
        "root_seed": root_seed,
        "repeats": task.repeats,
        "condition_names": list(task.condition_names),
        "condition_units": list(task.condition_units),
        "sample_shape": list(task.shape),
        "sample_unit": task.unit,
    }
    if path.suffix == ".csv":
        with new_file(path) as scratch:
            _write_csv(scratch, arrays, attributes)
    else:
        _write(path, arrays, attributes)
    return len(test)


def _check_count(path: Path, task: Task, shape: tuple[int, ...]) -> int:
    """How many samples the header announces, if memory may be taken for them."""
    count = shape[0]
    if count > task.test_events:
        what = f"{path} holds more samples than {task.name} has test events"
        fix = (
            "Answer each row of `simbench conditions export` once, and write further repetitions to files of their "
            "own; `simbench score --chunk 2000` takes any number of events, as one sample."
        )
        raise DataError(what, got=str(count), expected=f"at most {task.test_events}", fix=fix)
    check_shape(path, task, shape)
    return count


def shape_of(path: Path, task: Task, source: Source) -> tuple[int, ...]:
    """The shape of the samples, of which there is one at least. Raises DataError."""
    shape, expected = found_as(source, "samples")[1], f"(N, {', '.join(map(str, task.shape))})"
    if shape is None:
        raise DataError(f"{path} holds no `samples`", expected=f"an array {expected}")
    if not shape or not shape[0]:
        raise DataError(f"{path} holds no samples", got=f"`samples` of shape {shape}", expected=expected)
    return shape


def check_shape(path: Path, task: Task, shape: tuple[int, ...]) -> None:
    """Refuse samples that a header announces in another shape than the task's. Raises GeneratorError, with its hint."""
    if shape[1:] != task.shape:
        small = tuple(min(size, 10**6) for size in shape[:8])
        task.check_samples(torch.empty(small, device="meta"), shape[0], path.name)


def check_made_for(path: Path, task: Task, source: Source) -> None:
    """Refuse a file that says that it was made for another task. Raises DataError."""
    made_for = text_of(source.scalar("task"))
    if made_for is not None and made_for != task.name:
        what = f"{path} was made for another task"
        raise DataError(what, got=made_for, expected=task.name, fix=f"Score it with --task {made_for}.")


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """The values; what float32 cannot hold becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def _read_answers(path: Path, task: Task, source: Source, count: int) -> dict[str, NDArray[Any]]:
    """What the file says of the conditions that it answers: `condition_index`, or else `conditions`, or nothing."""
    name = answers_key(path, task, source, count)
    return {name: source.read(found_as(source, name)[0])} if name else {}


def answers_key(path: Path, task: Task, source: Source, count: int) -> str:
    """Under which name a file says what it answers: `condition_index`, or else `conditions`; empty: it does not.

    Raises DataError where that has the wrong shape.
    """
    width = len(task.condition_names)
    allowed: dict[str, list[tuple[int, ...]]] = {"condition_index": [(count,)], "conditions": [(count, width)]}
    if set(task.condition_units) == {"one-hot"}:
        allowed["conditions"].append((count,))
    for name, shapes in allowed.items():
        key, shape = found_as(source, name)
        if shape is not None:
            if shape not in shapes:
                raise DataError(f"{path}: `{key}` has the wrong shape", got=str(shape), expected=str(shapes[0]))
            return name
    if task.condition_names:
        what = f"{path} does not say which conditions it answers"
        fix = "Copy `condition_index` from the file of `simbench conditions export`."
        raise DataError(what, expected="`condition_index` (N,), or `conditions` (N, C)", fix=fix)
    return ""


def found_as(source: Source, name: str) -> tuple[str, tuple[int, ...] | None]:
    """What an array is called in a file, and its shape; None where it is not there, by its other name neither."""
    for key in (name, ALIASES.get(name, name)):
        if (shape := source.shape(key)) is not None:
            return key, shape
    return name, None


def _rows(path: Path, task: Task, answers: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.int64]:
    """The test row that each sample answers."""
    if "condition_index" in answers:
        index = answers["condition_index"]
        if index.dtype.kind not in "iu":
            raise DataError(f"{path}: `condition_index` holds {index.dtype}", expected="integers")
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= task.test_events:
            got = str(low if low < 0 else high)
            expected = f"0 to {task.test_events - 1}"
            raise DataError(f"{path}: `condition_index` names no test row", got=got, expected=expected)
        return index.astype(np.int64)
    if "conditions" in answers:
        given, wanted = answers["conditions"], task.load("test").conditions.numpy()
        return _match_rows(path, given, wanted if given.ndim == 2 else wanted.argmax(1))
    return np.arange(count)


def _match_rows(path: Path, given: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """For each given condition the next test row, in order, with the same float32 values."""
    keys_given, keys_wanted = (
        [row.tobytes() for row in as_float32(values) + np.float32(0)] for values in (given, wanted)
    )
    rows: dict[bytes, list[int]] = defaultdict(list)
    for row, key in enumerate(keys_wanted):
        rows[key].append(row)
    available = {key: iter(found) for key, found in rows.items()}
    index = np.empty(len(keys_given), np.int64)
    for position, key in enumerate(keys_given):
        if key not in available:
            what = f"{path}: row {position} of `conditions` is no test condition"
            fix = "Use the values of `simbench conditions export` unchanged (float32), or store `condition_index`."
            raise DataError(what, got=np.array2string(given[position], threshold=10)[:120], fix=fix)
        answered = next(available[key], None)
        if answered is None:
            what = f"{path} answers a condition too often"
            got = f"more than {len(rows[key])} samples for that of row {position}"
            fix = "Write further repetitions to files of their own."
            raise DataError(what, got=got, expected=f"at most {len(rows[key])}", fix=fix)
        index[position] = answered
    return index


def _check_equal(path: Path, task: Task, ascending: NDArray[np.int64]) -> None:
    """Refuse rows that are answered twice, and conditions that are answered more often than others."""
    twice = ascending[1:][np.diff(ascending) == 0]
    if len(twice):
        what = f"{path}: `condition_index` names rows more than once"
        got = f"{len(twice)} repetitions, the first of row {twice[0]}"
        fix = "Keep one sample per row; write further repetitions to files of their own."
        raise DataError(what, got=got, expected="each test row at most once", fix=fix)
    conditions, counts = np.unique(ascending // task.repeats, return_counts=True)
    if counts.min() < counts.max():
        few, many = (int(conditions[at]) * task.repeats for at in (counts.argmin(), counts.argmax()))
        raise DataError(
            f"{path} answers its conditions unequally",
            got=f"{counts.min()} samples for rows {few} to {few + task.repeats - 1}, {counts.max()} for rows {many} to "
            f"{many + task.repeats - 1}",
            expected="equally many repeats of each condition",
            fix="Leave conditions out, or generate the missing rows.",
        )


def text_of(value: Any) -> str | None:
    """A stranger's text, short and printable; None where it is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not value:
        return None
    return "".join(character if character.isprintable() else "?" for character in value[:MAX_TEXT])


def integer_of(value: Any) -> int | None:
    """A stranger's integer; None where it is none."""
    return int(value) if isinstance(value, (int, np.integer)) else None


def seconds_of(path: Path, source: Source) -> float | None:
    """The `seconds_per_event` of a file; None where it says nothing. Raises DataError where that is no time."""
    value = source.scalar("seconds_per_event")
    if value is None:
        return None
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if not is_number or not math.isfinite(value) or value <= 0:
        what = f"{path}: `seconds_per_event` is no time"
        raise DataError(what, got=repr(value)[:80], expected="a positive number", fix="Leave it out where not known.")
    return float(value)


def _write(
    path: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any], limit: float = math.inf
) -> None:
    writers: dict[str, Callable[[Path, Mapping[str, NDArray[Any]], Mapping[str, Any]], None]]
    writers = {".npz": _write_npz, **dict.fromkeys(HDF5_SUFFIXES, partial(_write_hdf5, limit=limit))}
    if path.suffix not in writers:
        what = f"{path}: unknown kind of file"
        raise UsageError(what, got=repr(path.suffix), expected=f"one of {', '.join(writers)}")
    with new_file(path) as scratch:
        writers[path.suffix](scratch, arrays, attributes)


def _write_hdf5(
    path: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any], limit: float = math.inf
) -> None:
    """Row by row of chunks, so that what grows beyond `limit` bytes is not first compressed to its end."""
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        for key, values in arrays.items():
            dataset = file.create_dataset(key, values.shape, values.dtype, compression="gzip", shuffle=True)
            rows = dataset.chunks[0]
            for start in range(0, len(values), rows):
                dataset[start : start + rows] = values[start : start + rows]
                if (size := dataset.id.get_storage_size()) > limit:
                    what = f"{path} would be larger than it may be"
                    raise TooLargeError(what, got=f"{size} bytes of {key}", expected=f"at most {limit:.0f}")


def _write_npz(path: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    scalars = {key: np.asarray(value) for key, value in attributes.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays, **scalars)


def _write_csv(path: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for key, value in attributes.items():
            file.write(f"# {key}: {', '.join(map(str, value)) if isinstance(value, list) else value}\n")
        writer = csv.writer(file)
        writer.writerow(["condition_index", "condition_id", *attributes["condition_names"]])
        columns = (arrays[key] for key in ("condition_index", "condition_id", "conditions"))
        for index, condition_id, row in zip(*columns, strict=True):
            writer.writerow([index, condition_id, *(f"{value:.9g}" for value in row)])
