"""Containers of arrays, HDF5, npz and npy, that strangers wrote: opened so that they can do no harm.

No pickle is loaded and no link out of the file is followed; type and shape are known from the header before memory is
taken. The HDF5 library can crash, or loop for ever, on a damaged file: a process of its own reads such a file first.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from simbench.core.errors import DataError

KEYS = ("samples", "condition_index", "conditions", "mc_seconds", "showers", "incident_energies")
SCALARS = ("task", "generator", "seed", "result", "unit", "seconds_per_event")
MAX_TEXT = 200
MAX_NAMES = 50
MAX_CHUNK_BYTES = 2**30
SAFE_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
"""HDF5 filters that need no plugin: deflate, shuffle, fletcher32, szip, nbit, scale-offset, lzf."""
DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    OverflowError,
    zlib.error,
    zipfile.BadZipFile,
)
"""What h5py, zipfile and numpy raise on damaged files."""
PROBE_ROWS = 1000
"""Rows that are read at once, or as many as are stored together."""
PROBE = "import sys; from simbench.core.containers import probe; probe(sys.argv[1], int(sys.argv[2]), sys.argv[3:])"
PROBE_SECONDS, PROBE_BYTES_A_SECOND = 120.0, 2e6
"""The time that it may take: so long, and what so slow a disk adds to it."""


class Source(Protocol):
    """An open file: headers first, values on demand."""

    def names(self) -> list[str]:
        """The first MAX_NAMES keys of arrays, for an error that says what is there."""
        ...

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of an array of numbers, from its header; None where there is no such key."""
        ...

    def read(self, key: str) -> NDArray[Any]:
        """The array, after `shape` has been found acceptable."""
        ...

    def scalar(self, key: str) -> Any:
        """An attribute, or None."""
        ...


class Hdf5Source:
    """An open HDF5 file."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file

    def names(self) -> list[str]:
        """See Source: of the file and of the groups in it."""
        found: list[str] = []
        for name in self.file:
            inner = self.file[name] if isinstance(self.file.get(name, getlink=True), h5py.HardLink) else None
            found += [f"{name}/{key}" for key in inner] if isinstance(inner, h5py.Group) else [name]
            if len(found) >= MAX_NAMES:
                break
        return found[:MAX_NAMES]

    def shape(self, key: str) -> tuple[int, ...] | None:
        """See Source. Refuses links, data kept elsewhere, plugins and huge chunks."""
        here = "a data set in this very file"
        parts = [part for part in key.split("/") if part]
        for depth in range(1, len(parts) + 1):
            link = self.file.get("/".join(parts[:depth]), getlink=True)
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise DataError(f"{self.path}: {key!r} is a link", expected=here, fix="Copy the data into it.")
        dataset = self.file[key]
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise DataError(f"{self.path}: {key!r} is not an array", got=type(dataset).__name__.lower())
        if dataset.is_virtual or dataset.external:
            fix = "Copy the data into it."
            raise DataError(f"{self.path}: {key!r} keeps its data in other files", expected=here, fix=fix)
        check_numbers(self.path, key, dataset.dtype)
        creation = dataset.id.get_create_plist()
        unsafe = {creation.get_filter(position)[0] for position in range(creation.get_nfilters())} - SAFE_FILTERS
        if unsafe:
            got = f"filter {min(unsafe)}"
            raise DataError(f"{self.path}: {key!r} is compressed with a plugin", got=got, expected="gzip or lzf")
        if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
            what = f"{self.path}: {key!r} has chunks of more than a GiB"
            raise DataError(what, got=str(dataset.chunks), fix="Write smaller chunks.")
        return tuple(dataset.shape)

    def read(self, key: str) -> NDArray[Any]:
        """See Source."""
        values: NDArray[Any] = self.file[key][()]
        return values

    def rows(self, key: str, start: int, stop: int) -> NDArray[Any]:
        """Some rows of an array, after `shape` has been found acceptable."""
        values: NDArray[Any] = self.file[key][start:stop]
        return values

    def slab(self, key: str) -> int:
        """How many rows of an array are stored together: those that reading any one of them unpacks."""
        dataset = self.file[key]
        return int(dataset.chunks[0]) if dataset.chunks else 1

    def scalar(self, key: str) -> Any:
        """See Source."""
        if key not in self.file.attrs:
            return None
        if self.file.attrs.get_id(key).shape != ():
            raise DataError(f"{self.path}: the attribute {key!r} is not a single value")
        return self.file.attrs[key]


class NpzSource:
    """An open npz file; `limit` is the most bytes that an array in it may have."""

    def __init__(self, path: Path, file: zipfile.ZipFile, limit: int) -> None:
        self.path, self.file, self.limit = path, file, limit

    def names(self) -> list[str]:
        """See Source."""
        return [name.removesuffix(".npy") for name in self.file.namelist()[:MAX_NAMES]]

    def shape(self, key: str) -> tuple[int, ...] | None:
        """See Source."""
        with self._member(key) as member:
            return None if member is None else self._header(key, member)[0]

    def read(self, key: str) -> NDArray[Any]:
        """See Source."""
        with self._member(key) as member:
            if member is None:
                raise KeyError(key)
            shape, fortran, dtype = self._header(key, member)
            content = member.read(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype, math.prod(shape)).reshape(shape, order="F" if fortran else "C")

    def scalar(self, key: str) -> Any:
        """See Source."""
        with self._member(key) as member:
            if member is None:
                return None
            shape, _, dtype = self._header(key, member, text=True)
            if shape != () or dtype.itemsize > 4 * MAX_TEXT:
                raise DataError(f"{self.path}: {key!r} is not a single short value")
            return np.frombuffer(member.read(dtype.itemsize), dtype, 1)[0]

    @contextlib.contextmanager
    def _member(self, key: str) -> Iterator[IO[bytes] | None]:
        if f"{key}.npy" not in self.file.namelist():
            yield None
            return
        info = self.file.getinfo(f"{key}.npy")
        if info.file_size > self.limit:  # zipfile never unpacks more than this number, even where it lies
            got, expected = f"{info.file_size} bytes", f"at most {self.limit}"
            raise DataError(f"{self.path}: {key!r} is too large for this task", got=got, expected=expected)
        with self.file.open(info) as member:
            yield member

    def _header(self, key: str, member: IO[bytes], text: bool = False) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        shape, fortran, dtype = _npy_header(member)
        if not (text and dtype.kind in "US"):
            check_numbers(self.path, key, dtype)
        return shape, fortran, dtype


class NpySource:
    """An open npy file: `samples`, and nothing else."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file = path, file

    def names(self) -> list[str]:
        """See Source."""
        return ["samples"]

    def shape(self, key: str) -> tuple[int, ...] | None:
        """See Source."""
        if key != "samples":
            return None
        self.file.seek(0)
        shape, _, dtype = _npy_header(self.file)
        check_numbers(self.path, key, dtype)
        return shape

    def read(self, key: str) -> NDArray[Any]:
        """See Source."""
        self.file.seek(0)
        values: NDArray[Any] = np.lib.format.read_array(self.file, allow_pickle=False)
        return values

    def scalar(self, key: str) -> Any:
        """See Source."""
        return None


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return tuple(shape), fortran, dtype


@contextlib.contextmanager
def opened(path: Path, limit: int, keys: Sequence[str] = KEYS, *, survived: bool = False) -> Iterator[Source]:
    """The file, opened by its content if neither it nor what is in it exceeds `limit` bytes.

    `keys` are those that will be read. `survived`: it has been opened before, and no other process need read it first.

    Raises:
        DataError: it is missing, too large or of another kind; or reading it within the block fails.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder", expected="a file of samples", fix="Pass the .h5 or .npz file in it.")
    try:
        size = path.stat().st_size
        if size > limit:
            what = f"{path} is too large for this task"
            raise DataError(what, got=f"{size} bytes", expected=f"at most {limit}", fix="Store float32.")
        with path.open("rb") as file:
            start = file.read(8)
        if start == b"\x89HDF\r\n\x1a\n":
            if not survived:
                _survive(path, limit, keys)
            with h5py.File(path, "r") as hdf5:
                yield Hdf5Source(path, hdf5)
        elif start[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                yield NpzSource(path, archive, limit)
        elif start[:6] == b"\x93NUMPY":
            with path.open("rb") as file:
                yield NpySource(path, file)
        else:
            fix = "`simbench score --help` describes the format."
            raise DataError(f"{path} is no file of samples", got="neither HDF5 nor npz nor npy", fix=fix)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}", fix="Pass the .h5 or .npz file that your program wrote.") from error
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        fix = "It may be truncated: write it again."
        raise DataError(f"{path} cannot be read", got=f"{type(error).__name__}: {reason}", fix=fix) from error


def _survive(path: Path, limit: int, keys: Sequence[str]) -> None:
    """Let another process read the HDF5 file. Raises DataError where that process dies or does not end."""
    seconds = PROBE_SECONDS + path.stat().st_size / PROBE_BYTES_A_SECOND
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROBE, str(path), str(limit), *keys],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
        )
        ended = "" if done.returncode >= 0 else f"signal {-done.returncode}"
    except subprocess.TimeoutExpired:
        ended = f"no end after {seconds:.0f} s"
    if ended:
        raise DataError(f"{path} is damaged: the HDF5 library does not survive it", got=ended, fix="Write it again.")


def probe(path: str, limit: int, keys: Sequence[str]) -> None:
    """Read all that a caller of `opened` would read; what raises is left for that to report."""
    with contextlib.suppress(Exception), h5py.File(path, "r") as file:
        source = Hdf5Source(Path(path), file)
        for name in SCALARS:
            with contextlib.suppress(Exception):
                source.scalar(name)
        for key in keys:
            with contextlib.suppress(Exception):
                shape = source.shape(key)
                if shape is not None and 8 * math.prod(shape) <= limit:
                    step = -(-PROBE_ROWS // source.slab(key)) * source.slab(key)
                    for start in range(0, shape[0], step):
                        source.rows(key, start, start + step)


def check_numbers(path: Path, key: str, dtype: np.dtype[Any]) -> None:
    """Refuse what is not a plain array of integers or floats. Raises DataError."""
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype.subdtype is not None:
        expected = "integers or floats of at most 64 bits"
        raise DataError(f"{path}: {key!r} holds values of type {dtype}", expected=expected, fix="Store float32.")
