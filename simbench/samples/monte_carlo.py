"""Files of Monte Carlo events with what each of them cost: what `simbench simulate` writes.

    photons         uint16 (N, *shape of the task); `samples` is another name of it, for `simbench score`
    conditions      float64 (N, 9) in task units
    pdg             int32 (N,)
    condition_id    int32 (N,), equal where events share a particle
    mc_seconds      float32 (N,), the CPU seconds of each event

The attributes are those of MonteCarloFileRecord: what was simulated, how, where, and what an event costs on average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, ValidationError

from simbench.core.containers import Source, opened
from simbench.core.errors import DataError, UsageError
from simbench.core.files import new_file
from simbench.results.schema import Count, MonteCarloRecord, Short, first_error
from simbench.tasks.base import MonteCarlo, Task

MAX_BYTES = 2**32
"""The largest file that is read."""

SIMULATE = "Pass a file that `simbench simulate` wrote."
ROUNDING = 1e-4
"""The largest relative difference of a stored mean and the mean of what is stored in single precision."""


class MonteCarloFileRecord(MonteCarloRecord):
    """The attributes of a file.

    `threads`: of one event. `workers`: how many events were simulated side by side ("1, 2": the number was changed on
    the way). `particles`: the split whose conditions were simulated, or `chromo`. `request`: JSON of all that
    determines the events; the same command goes on with a file of the same request.
    """

    seconds_per_event: Annotated[FiniteFloat, Field(gt=0)]
    workers: Short
    task: Short
    task_version: Short
    particles: Short
    events: Count
    seed: Count
    request: Annotated[str, Field(max_length=10_000)]
    simbench: Short
    created: Short
    command: Annotated[str, Field(max_length=10_000)]


@dataclass(frozen=True)
class MonteCarloFile:
    """A live Monte Carlo cost, for a speed-up.

    Attributes:
        monte_carlo: as a task records it; `seconds_per_event` is the mean over the events of the file.
        seconds: (N,) float64, the CPU seconds of each event.
        condition_id: (N,) int64, the test condition of each event; None where some are no test conditions of the task.
        whole: whether every test condition has equally many events: only then is the mean that of the test split, which
            a speed-up is defined by.
        record: all that the file says.
    """

    monte_carlo: MonteCarlo
    seconds: NDArray[np.float64]
    condition_id: NDArray[np.int64] | None
    whole: bool
    record: MonteCarloFileRecord


@dataclass(frozen=True)
class MonteCarloEvents:
    """A block of N events, as they stand in a file."""

    photons: NDArray[np.uint16]
    conditions: NDArray[np.float64]
    pdg: NDArray[np.int32]
    condition_id: NDArray[np.int32]
    mc_seconds: NDArray[np.float32]


def write_monte_carlo(path: Path, blocks: Iterable[MonteCarloEvents], record: MonteCarloFileRecord) -> None:
    """Write a file, block by block, `record.events` events in all. Raises UsageError where it exists or cannot be."""
    with new_file(path) as scratch, h5py.File(scratch, "w") as file:
        start = 0
        for block in blocks:
            for key, values in vars(block).items():
                if key not in file:
                    shape = (record.events, *values.shape[1:])
                    chunks = (min(250, record.events), *values.shape[1:])
                    file.create_dataset(key, shape, values.dtype, chunks=chunks, compression="gzip", shuffle=True)
                file[key][start : start + len(values)] = values
            start += len(block.pdg)
        file["samples"] = file["photons"]
        file.attrs.update(record.model_dump() | {"generator": record.engine})


def read_record(path: Path, task: Task) -> MonteCarloFile:
    """The cost of the Monte Carlo that a file of `simbench simulate` measured, trusting nothing in it.

    Raises:
        UsageError: `path` is a bare number: a speed-up is quoted against events that somebody made.
        DataError: the file is missing, damaged, of another task, or holds no record; or its record does not agree with
            its events.
    """
    _check_kind(path)
    with opened(path, MAX_BYTES) as source:
        record = _record(path, source)
        if record.task != task.name:
            what = f"{path} was simulated for another task"
            raise DataError(what, got=record.task, expected=task.name, fix=SIMULATE)
        width = len(task.condition_names)
        for key, shape in {"mc_seconds": (record.events,), "conditions": (record.events, width)}.items():
            if source.shape(key) != shape or record.events == 0:
                what = f"{path}: `{key}` has the wrong shape"
                raise DataError(what, got=str(source.shape(key)), expected=str(shape), fix=SIMULATE)
        seconds = source.read("mc_seconds").astype(np.float64)
        conditions = source.read("conditions")
    mean = float(seconds.mean())
    if not (
        np.isfinite(seconds).all()
        and seconds.min() >= 0
        and math.isclose(mean, record.seconds_per_event, rel_tol=ROUNDING)
    ):
        what = f"{path}: the seconds of its events do not give its seconds_per_event"
        raise DataError(what, got=f"a mean of {mean:g}", expected=f"{record.seconds_per_event:g}", fix=SIMULATE)
    condition_id, whole = _test_conditions(conditions, task)
    monte_carlo = MonteCarlo(**{name: getattr(record, name) for name in MonteCarloRecord.model_fields})
    return MonteCarloFile(monte_carlo, seconds, condition_id, whole, record)


def read_request(path: Path) -> str:
    """The request of a file, JSON. Raises DataError as `read_record`."""
    _check_kind(path)
    with opened(path, MAX_BYTES) as source:
        return _record(path, source).request


def _check_kind(path: Path) -> None:
    """Refuse what is no HDF5 file."""
    if not path.exists():
        try:
            float(str(path))
        except ValueError:
            raise DataError(f"there is no file {path}", fix=SIMULATE) from None
        what = f"{path} is a number, not a measurement: a speed-up needs a Monte Carlo that was run"
        raise UsageError(what, expected="a file", fix=SIMULATE)
    if path.is_dir() or not h5py.is_hdf5(path):
        got = "a folder" if path.is_dir() else "no HDF5"
        raise DataError(f"{path} is no file of Monte Carlo events", got=got, fix=SIMULATE)


def _record(path: Path, source: Source) -> MonteCarloFileRecord:
    """The record in a file's attributes. Raises DataError."""
    values = {name: _plain(source.scalar(name)) for name in MonteCarloFileRecord.model_fields}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        what = f"{path} holds no record of a Monte Carlo"
        raise DataError(what, got=f"no attribute {missing[0]!r}", expected=", ".join(values), fix=SIMULATE)
    try:
        return MonteCarloFileRecord.model_validate(values)
    except ValidationError as error:
        where, found = first_error(error)
        raise DataError(f"{path}: the attribute {where!r} is wrong", **found, fix=SIMULATE) from error


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def _test_conditions(conditions: NDArray[Any], task: Task) -> tuple[NDArray[np.int64] | None, bool]:
    """The test condition of each event (None: not all are), and whether all of them are there equally often."""
    test = task.load("test")
    known = {_key(row): int(name) for row, name in zip(test.conditions.numpy(), test.condition_id, strict=True)}
    found = [known.get(_key(row)) for row in conditions]
    if None in found:
        return None, False
    condition_id = np.array(found, np.int64)
    counts = np.unique(condition_id, return_counts=True)[1]
    return condition_id, len(counts) == len(known) and bool(counts.min() == counts.max())


def _key(row: NDArray[Any]) -> bytes:
    """A condition as single precision has it, without a negative zero."""
    return (row.astype(np.float32) + np.float32(0)).tobytes()
