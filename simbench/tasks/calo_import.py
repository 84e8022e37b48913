"""Files of showers are read once, in a process of its own, and kept as plain arrays in the order of the splits.

The HDF5 library can crash on a damaged file, and an array of showers can be larger than memory: the process that reads
it takes it in blocks, and what it leaves behind is mapped, not loaded. This module needs no torch.

Two layouts are known by what a file holds:

    CaloChallenge   `showers` (N, voxels) and `incident_energies` (N, 1), MeV
    showerdata      `showers` (N,), of each a list of points (x [mm], y [mm], layer, energy [GeV], ...), `shape` (3,)
                    and `energies` (N, 1), GeV: the points are summed in the voxels of the binning
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from simbench.core.containers import DAMAGED, Hdf5Source
from simbench.core.errors import DataError
from simbench.core.files import file_sha256
from simbench.core.seeds import derive_seed
from simbench.metrics.binning import Binning, Layer

Rows = NDArray[np.int64]

SHOWERS, ENERGIES = "showers", "incident_energies"
POINTS, POINT_ENERGIES, POINT_SHAPE = "showers", "energies", "shape"
MEV_PER_GEV = 1000.0
BLOCK_BYTES = 64 * 2**20
LARGEST_BLOCK = 256 * 2**20
"""Bytes that are read at once; of whole chunks of the file up to the latter."""
POINT_BLOCK = 100
"""Showers of points that are read at once."""
MOST_POINTS = 10_000_000
"""Numbers of points of one shower."""
MOST_EVENTS = 50_000_000
VALIDATION = 0.1
"""Share of the training files that is held out for validation."""
BASE_SECONDS, BYTES_PER_SECOND = 300.0, 2e6
"""A file that is read more slowly than this is given up."""
CHILD = "from simbench.tasks.calo_import import child; child()"


def pairs(energies: NDArray[np.float64], *, discrete: bool) -> Rows:
    """The test events and the floor's: (2, M) rows, column by column two independent events of (nearly) one energy.

    Events are sorted by energy and taken two by two; which of the two is tested against, and the order of the pairs, is
    left to chance with a fixed seed. Where energies are `discrete` both events of a pair have the same, and the odd
    event of an energy is left out; else the energies are as near as neighbours are.
    """
    order = np.argsort(energies, kind="stable")
    if discrete:
        _, counts = np.unique(energies, return_counts=True)
        place = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.arange(0)
        order = order[place < np.repeat(counts - counts % 2, counts)]
    rng = np.random.default_rng(derive_seed(0, "calo", "pairs"))
    two = rng.permuted(order[: len(order) - len(order) % 2].reshape(-1, 2), axis=1)
    return np.ascontiguousarray(rng.permutation(two).T)


def held_out(events: int) -> tuple[Rows, Rows]:
    """The rows of the training files to train on, and those held out for validation: a tenth, at random."""
    mixed = np.random.default_rng(derive_seed(0, "calo", "validation")).permutation(events)
    count = max(int(events * VALIDATION), min(events, 1))
    return np.sort(mixed[count:]), np.sort(mixed[:count])


def split_rows(energies: NDArray[np.float64], kind: str, *, discrete: bool) -> tuple[Rows, Rows]:
    """The rows of the two splits of the files of a kind: `test` has the floor beside it, `train` the validation."""
    if kind == "train":
        return held_out(len(energies))
    test, floor = pairs(energies, discrete=discrete)
    return test, floor


class ShowerFile:
    """An open file of showers: how many, their energies, blocks of them."""

    def __init__(self, path: Path, file: Any, binning: Binning) -> None:
        self.path, self.file, self.binning = path, file, binning
        self.source = Hdf5Source(path, file)
        self.points = POINT_SHAPE in file and ENERGIES not in file
        key = POINT_ENERGIES if self.points else ENERGIES
        shape = self.source.shape(key)
        if shape is None or SHOWERS not in file:
            missing = [name for name in (SHOWERS, key) if name not in file]
            raise DataError(
                f"{path} is no file of showers",
                got=f"no {' and no '.join(map(repr, missing))}",
                expected=f"'{SHOWERS}' (N, {binning.voxels}) and '{ENERGIES}' (N, 1) in MeV, as the CaloChallenge has "
                f"them, or the layout of the package showerdata",
                fix="Take the file as it was published.",
            )
        self.events = shape[0] if shape else 0
        showers = self._points_shape() if self.points else self.source.shape(SHOWERS) or ()
        wanted = (self.events,) if self.points else (self.events, binning.voxels)
        if shape not in ((self.events,), (self.events, 1)) or not 0 < self.events <= MOST_EVENTS:
            raise DataError(f"{path}: {key!r} is not one energy for each event", got=str(shape), expected="(N, 1)")
        if len(showers) == 2 and showers[0] == self.events and showers != wanted:
            what = f"{path} does not belong to the binning: its events have another number of voxels"
            raise DataError(what, got=f"{showers[1]}", expected=f"{binning.voxels}", fix="Check both file names.")
        if showers != wanted:
            raise DataError(f"{path}: {SHOWERS!r} has the wrong shape", got=str(showers), expected=str(wanted))
        self.scale = MEV_PER_GEV if self.points else 1.0
        self.key = key

    def _points_shape(self) -> tuple[int, ...]:
        link, dataset = self.file.get(SHOWERS, getlink=True), self.file[SHOWERS]
        kind = h5py.check_vlen_dtype(dataset.dtype) if isinstance(dataset, h5py.Dataset) else None
        if not isinstance(link, h5py.HardLink) or kind is None or np.dtype(kind).kind != "f" or dataset.external:
            raise DataError(f"{self.path}: {SHOWERS!r} holds no lists of points", expected="lists of float32")
        width = self.source.shape(POINT_SHAPE)
        self.width = int(self.file[POINT_SHAPE][-1]) if width == (3,) else 0
        if self.width not in (4, 5):
            raise DataError(f"{self.path}: {POINT_SHAPE!r} is wrong", got=str(width), expected="(N, points, 4 or 5)")
        return tuple(dataset.shape)

    def energies(self) -> NDArray[np.float64]:
        """The incident energies [MeV], (N,). Raises DataError."""
        values = self.source.read(self.key).astype(np.float64).reshape(-1) * self.scale
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(wrong):
            got = f"{values[wrong[0]]:g} in event {wrong[0]}, {len(wrong)} such events"
            raise DataError(f"{self.path}: {self.key!r} holds what is no energy", got=got, expected="above 0")
        return values

    def blocks(self, maximum: float) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All showers: the first row of a block, and the block (n, voxels) in MeV. Raises DataError."""
        dataset = self.file[SHOWERS]
        if self.points:
            size = POINT_BLOCK
        else:
            row = self.binning.voxels * dataset.dtype.itemsize
            size = max(BLOCK_BYTES // row, 1)
            if dataset.chunks:  # whole chunks, so that none is unpacked twice
                whole = max(size // dataset.chunks[0], 1) * dataset.chunks[0]
                size = whole if whole * row <= LARGEST_BLOCK else size
        for start in range(0, self.events, size):
            values = dataset[start : start + size]
            block = self._voxels(values, start) if self.points else values
            low, high = float(block.min()), float(block.max())
            if not (low >= 0 and high <= maximum):
                raise self._wrong(block, start, maximum)
            yield start, block.astype(np.float32)

    def _wrong(self, block: NDArray[Any], start: int, maximum: float) -> DataError:
        if not np.isfinite(block).all():
            row = start + int(np.flatnonzero(~np.isfinite(block).all(1))[0])
            return DataError(
                f"{self.path} holds NaN or infinite energies", got=f"some in event {row}", expected="finite numbers"
            )
        low, high = block.min(1), block.max(1)
        at = int(np.flatnonzero((low < 0) | (high > maximum))[0])
        if low[at] < 0:
            what, got = f"{self.path} holds negative energies", f"{low[at]:.4g} MeV in event {start + at}"
            return DataError(what, got=got, expected="0 or more")
        what, got = f"{self.path} holds too large energies", f"{high[at]:.4g} MeV in event {start + at}"
        return DataError(what, got=got, expected=f"at most {maximum:g} MeV in a voxel", fix="Is it in MeV?")

    def _voxels(self, showers: Sequence[NDArray[Any]], start: int) -> NDArray[np.float64]:
        """Points summed in voxels. Those beyond the last ring of a layer are lost; a layer that is not there is
        refused."""
        block = np.zeros((len(showers), self.binning.voxels))
        for place, values in enumerate(showers):
            if len(values) % self.width or len(values) > MOST_POINTS:
                got, expected = f"{len(values)} numbers in event {start + place}", f"a multiple of {self.width}"
                raise DataError(f"{self.path} holds broken points", got=got, expected=expected)
            points = values.astype(np.float64).reshape(-1, self.width)
            if not np.isfinite(points).all():
                got = f"some in event {start + place}"
                raise DataError(f"{self.path} holds NaN or infinite points", got=got, expected="finite numbers")
            points = points[points[:, 3] != 0]  # padding
            layer = np.floor(points[:, 2].clip(-1, 10**6) + 0.1).astype(np.int64)
            voxel = self.binning.voxel_of(points[:, 0], points[:, 1], layer)
            if (voxel == -2).any():
                known = [one.number for one in self.binning.layers]
                got = f"a point in layer {layer[voxel == -2][0]} in event {start + place}"
                expected = f"layers {known[0]} to {known[-1]}, those of the binning"
                raise DataError(f"{self.path} does not belong to the binning", got=got, expected=expected)
            inside = voxel >= 0
            np.add.at(block[place], voxel[inside], points[inside, 3] * self.scale)
        return block


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            raise DataError(f"{path} is no HDF5 file", fix="Take the file as it was published.")
    return h5py.File(path, "r")


def _each(paths: Sequence[Path], binning: Binning) -> Iterator[ShowerFile]:
    """Each file in turn, open. Raises DataError."""
    for path in paths:
        try:
            with _opened(path) as file:
                yield ShowerFile(path, file, binning)
        except DAMAGED as error:
            reason = " ".join(str(error).split())[:200]
            got, fix = f"{type(error).__name__}: {reason}", "It may be truncated: fetch it again."
            raise DataError(f"{path} cannot be read", got=got, fix=fix) from error


def survey(paths: Sequence[Path], binning: Binning, kind: str, *, discrete: bool) -> dict[str, Any]:
    """What is to be known of files without reading their showers: checksums, and events of the two splits."""
    energies = np.concatenate([file.energies() for file in _each(paths, binning)])
    rows = split_rows(energies, kind, discrete=discrete)
    return {"sha256": [file_sha256(path) for path in paths], "events": [len(part) for part in rows]}


def import_showers(
    paths: Sequence[Path], binning: Binning, kind: str, target: Path, told: Path, maximum: float, *, discrete: bool
) -> None:
    """Write the showers of the two splits, one split after the other, as `target`, an npy of float32 (events, voxels).

    The incident energies [MeV] become `told`, an npy of float64 (events,). Memory does not grow with the files. Raises
    DataError.
    """
    energies = np.concatenate([file.energies() for file in _each(paths, binning)])
    rows = np.concatenate(split_rows(energies, kind, discrete=discrete))
    place = np.full(len(energies), -1, np.int64)
    place[rows] = np.arange(len(rows))
    with told.open("wb") as out:
        np.save(out, energies[rows], allow_pickle=False)
    width = 4 * binning.voxels
    with target.open("wb") as out:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), binning.voxels)}
        np.lib.format.write_array_header_1_0(out, header)
        base, first = out.tell(), 0
        os.ftruncate(out.fileno(), base + len(rows) * width)
        for file in _each(paths, binning):
            for start, block in file.blocks(maximum):
                at = place[first + start : first + start + len(block)]
                _write_rows(out, block, at, base, width)
            first += file.events


def _write_rows(out: BinaryIO, block: NDArray[np.float32], at: Rows, base: int, width: int) -> None:
    """Each row of a block to its place; where that is -1, nowhere."""
    little = np.ascontiguousarray(block, "<f4")
    for row in np.flatnonzero(at >= 0):
        out.seek(base + int(at[row]) * width)
        out.write(little[row].data)


# The process that reads


def in_child(do: str, paths: Sequence[Path], binning: Binning, **arguments: Any) -> Any:
    """The answer of `survey` or `import_showers`, called in a process of its own.

    Raises:
        DataError: as the function, or that process died or did not end.
    """
    layers = [[layer.number, list(layer.r_edges), layer.slices] for layer in binning.layers]
    asked = {"do": do, "paths": [str(path) for path in paths], "layers": layers, "arguments": arguments}
    seconds = BASE_SECONDS + sum(path.stat().st_size for path in paths) / BYTES_PER_SECOND
    names = ", ".join(path.name for path in paths)
    try:
        command = [sys.executable, "-P", "-c", CHILD]
        done = subprocess.run(command, input=json.dumps(asked).encode(), capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{names}: reading does not end", got=f"no end after {seconds:.0f} s") from error
    if done.returncode < 0:
        what, got = f"{names}: the HDF5 library does not survive it", f"signal {-done.returncode}"
        raise DataError(what, got=got, fix="Fetch the file again.")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        got = " ".join(done.stderr.decode("utf-8", "replace").split())[-300:]
        raise DataError(f"{names} cannot be read", got=got) from None
    if "error" in answer:
        raise DataError(**answer["error"])
    return answer["found"]


def child() -> None:
    """Do what standard input asks, and answer on standard output."""
    asked = json.load(sys.stdin)
    binning = Binning(tuple(Layer(number, tuple(edges), slices) for number, edges, slices in asked["layers"]))
    paths, arguments = [Path(path) for path in asked["paths"]], dict(asked["arguments"])
    try:
        if asked["do"] == "survey":
            found: Any = survey(paths, binning, **arguments)
        else:
            target, told = (Path(arguments.pop(name)) for name in ("target", "told"))
            import_showers(paths, binning, target=target, told=told, **arguments)
            found = None
        answer = {"found": found}
    except DataError as error:
        parts = {"what": error.what, "got": error.got, "expected": error.expected, "fix": error.fix}
        answer = {"error": parts}
    except OSError as error:
        answer = {"error": {"what": "the imported showers cannot be written", "got": error.strerror or str(error)}}
    json.dump(answer, sys.stdout)
