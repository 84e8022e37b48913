"""ALICE's files of Zero Degree Calorimeter events, as its groups use them: two npz files, or a table and images in
text.

Files of strangers: no pickle is loaded, and sizes are looked at before memory is taken.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from simbench.core.containers import opened
from simbench.core.errors import DataError
from simbench.core.files import candidates
from simbench.core.text import printable

RESPONSES, PARTICLES = "data_nonrandom_responses.npz", "data_nonrandom_particles.npz"
KEY = "arr_0"
"""The array in each npz file."""
HEADER = ("Detector", "Pdg", "Energy", "Vx", "Vy", "Vz", "Px", "Py", "Pz", "PhotonSum")
"""The first line of the table that `Extract.C` writes."""
CONDITIONS = 9
MAX_BYTES = 8 * 2**30
"""The largest array, and the largest text file of images."""
MAX_TABLE_BYTES = 2**30
CHUNK = 1000
"""Images that are converted at once."""
LONGEST_NUMBER = 32
"""Bytes of a number in the text of an image, with what parts it from the next."""


@dataclass(frozen=True)
class Detector:
    """What its files are called and hold: `images` the file of text, `names` how the table's first column begins."""

    task: str
    shape: tuple[int, int]
    images: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Recorded:
    """All events of the files, in their order.

    Attributes:
        photons: (N, H, W) uint16.
        conditions: (N, 9) float64: Energy [GeV], Vx, Vy, Vz [m], Px, Py, Pz [GeV], mass [MeV], charge [e].
        pdg: (N,) int32; None where the files do not say what the particles are.
    """

    photons: NDArray[np.uint16]
    conditions: NDArray[np.float64]
    pdg: NDArray[np.int32] | None


def find(detector: Detector, data_dir: Path | None) -> Path:
    """The folder with the events of a detector. Raises DataError."""
    folders = candidates(detector.task, data_dir)
    for folder in folders:
        if (folder / RESPONSES).is_file() and (folder / PARTICLES).is_file():
            return folder
        if (folder / detector.images).is_file() and any(folder.glob("*.csv")):
            return folder
    for folder in folders:
        for pickled in sorted([*folder.glob("*.pkl"), *folder.glob("*.pickle")]):
            raise _pickled(pickled)
    height, width = detector.shape
    raise DataError(
        f"the files of {detector.task} are missing (searched {', '.join(map(str, folders))})",
        expected=f"{RESPONSES}, key {KEY} (N, {height}, {width}), beside {PARTICLES}, key {KEY} (N, 9) or (N, 10); or "
        f"{detector.images} beside the table of Extract.C, a .csv file",
        fix="ALICE's simulation is not public: put your copy there, pass --data-dir FOLDER, or set SIMBENCH_DATA.",
    )


def _pickled(path: Path) -> DataError:
    lines = (
        f'import numpy, pandas; load = pandas.read_pickle\nnumpy.savez("NAME.npz", numpy.asarray(load("{path.name}")))'
    )
    return DataError(
        f"{path} is a pickle: reading one may run any code that is in it",
        expected=f"{RESPONSES} and {PARTICLES}",
        fix=f"If you trust it, convert it in Python, with the name of one of the two:\n{lines}",
    )


@functools.lru_cache(maxsize=1)
def read(folder: Path, detector: Detector) -> Recorded:
    """The events in a folder, from npz where it has both files. Raises DataError."""
    npz = (folder / RESPONSES).is_file() and (folder / PARTICLES).is_file()
    found = _read_npz(folder, detector) if npz else _read_text(folder, detector)
    wrong = np.flatnonzero(~np.isfinite(found.conditions).all(1) | ~(found.conditions[:, 0] > 0))
    if len(wrong):
        got = f"{len(wrong)} of {len(found.conditions)} particles, the first in row {wrong[0]}"
        raise DataError(
            f"{folder} holds particles that cannot be", got=got, expected="finite numbers, an energy above 0"
        )
    return found


def _read_npz(folder: Path, detector: Detector) -> Recorded:
    particles = _array(folder / PARTICLES, [(CONDITIONS,), (CONDITIONS + 1,)]).astype(np.float64)
    values = _array(folder / RESPONSES, [detector.shape])
    if len(values) != len(particles):
        what = f"{folder / RESPONSES} and {PARTICLES} do not belong together"
        raise DataError(what, got=f"{len(values)} images and {len(particles)} particles", expected="as many of each")
    photons = np.empty(values.shape, np.uint16)
    for start in range(0, len(values), CHUNK):
        photons[start : start + CHUNK] = _counts(values[start : start + CHUNK], f"{folder / RESPONSES}", start)
    pdg = particles[:, CONDITIONS] if particles.shape[1] > CONDITIONS else None
    if pdg is not None and not (np.abs(pdg) < 2**31).all():
        raise DataError(f"{folder / PARTICLES}: the last column holds no PDG codes", expected="whole numbers")
    return Recorded(photons, particles[:, :CONDITIONS], None if pdg is None else pdg.astype(np.int32))


def _array(path: Path, shapes: list[tuple[int, ...]]) -> NDArray[Any]:
    """The array of an npz file, once its header has shown one of these shapes of an event."""
    with opened(path, MAX_BYTES) as source:
        found = source.shape(KEY)
        if found is None or not found or found[0] == 0 or found[1:] not in shapes:
            wanted = " or ".join(f"(N, {', '.join(map(str, shape))})" for shape in shapes)
            got = f"no array {KEY!r}" if found is None else f"{KEY!r} of shape {found}"
            raise DataError(f"{path} holds other data", got=got, expected=f"{KEY!r} of shape {wanted}")
        return source.read(KEY)


def _counts(values: NDArray[Any], where: str, first: int) -> NDArray[np.uint16]:
    """Images as counts: (n, H, W) of any numbers -> uint16. Raises DataError, with the row from `first` on."""
    with np.errstate(invalid="ignore"):
        counts = values.astype(np.uint16)
    wrong = np.flatnonzero((counts != values).any((1, 2)))
    if len(wrong):
        what = f"{where}: image {first + wrong[0]} holds what are no photons"
        raise DataError(what, expected="whole numbers from 0 to 65535, before any logarithm")
    return counts


def _read_text(folder: Path, detector: Detector) -> Recorded:
    table, rows = _read_table(folder, detector)
    pdg = np.array([int(row[0]) for row in rows], np.int32)
    values = np.array([row[1:] for row in rows])
    photons = _read_images(folder / detector.images, detector.shape, len(rows))
    differ = np.flatnonzero(photons.sum((1, 2), dtype=np.int64) != values[:, -1])
    if len(differ):
        at = differ[0]
        what = f"{folder / detector.images} and {table.name} do not belong together: image {at} has another PhotonSum"
        raise DataError(what, got=f"{photons[at].sum(dtype=np.int64)} photons", expected=f"{values[at, -1]:g}")
    return Recorded(photons, np.column_stack([values[:, :-1], _mass_and_charge(pdg)]), pdg)


def _read_table(folder: Path, detector: Detector) -> tuple[Path, list[list[float]]]:
    """The table of `Extract.C`, and of each particle of the detector the columns from Pdg on."""
    found = []
    for path in sorted(folder.glob("*.csv")):
        with path.open("rb") as file:
            first = file.readline(1000).decode("utf-8", "replace")
        if tuple(name.strip() for name in first.split(",")) == HEADER:
            found.append(path)
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        what = f"{folder} holds {detector.images}, but not one table beside it"
        raise DataError(what, got=got, expected=f"one .csv file with the first line {','.join(HEADER)}")
    path = found[0]
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(
            f"{path} is too large", got=f"{path.stat().st_size} bytes", expected=f"at most {MAX_TABLE_BYTES}"
        )
    with path.open(encoding="utf-8", errors="replace", newline="") as text:
        rows = list(_numbers(path, text))
    names = {name for name, _ in rows}
    mine = {name for name in names if name.lower().startswith(detector.names)} if len(names) > 1 else names
    if not mine:
        got, expected = printable(", ".join(sorted(names)), 100), f"{' or '.join(detector.names)}, and particles"
        raise DataError(f"{path} has no rows of the detector", got=got, expected=expected)
    return path, [values for name, values in rows if name in mine]


def _numbers(path: Path, text: IO[str]) -> Iterator[tuple[str, list[float]]]:
    """Of each row of the table the detector and the numbers. Raises DataError."""
    lines = csv.reader(text)
    try:
        next(lines)
        for row in lines:
            if not row:
                continue
            values = [float(value) for value in row[1:]]
            if len(row) != len(HEADER) or not abs(values[0]) < 2**31:
                raise ValueError(f"{len(row)} values")
            yield row[0].strip(), values
    except (ValueError, csv.Error) as error:
        what = f"{path} line {lines.line_num} is no row of the table"
        raise DataError(what, got=printable(str(error), 100), expected=",".join(HEADER)) from error


def _mass_and_charge(pdg: NDArray[np.int32]) -> NDArray[np.float64]:
    """Mass [MeV] and charge [e] of each particle, (N, 2), of the Particle Data Group. Raises DataError."""
    from particle import InvalidParticle, Particle, ParticleNotFound

    codes, which = np.unique(pdg, return_inverse=True)
    values = np.empty((len(codes), 2))
    for row, code in enumerate(codes.tolist()):
        try:
            known = Particle.from_pdgid(code)
        except (InvalidParticle, ParticleNotFound) as error:
            raise DataError(f"the PDG code {code} is of no known particle") from error
        values[row] = known.mass or 0.0, known.charge
    return values[which]


def _read_images(path: Path, shape: tuple[int, int], count: int) -> NDArray[np.uint16]:
    """`count` images of text, one row of an image a line; empty lines do not count. Raises DataError."""
    height, width = shape
    size, least = path.stat().st_size, 2 * count * height * width - 1
    if not least <= size <= MAX_BYTES:
        expected = f"{least} to {MAX_BYTES} for {count} images of {height} x {width}"
        raise DataError(f"{path} does not belong to the table beside it", got=f"{size} bytes", expected=expected)
    photons = np.empty((count, height, width), np.uint16)
    with path.open("rb") as file:
        lines = (line for line in iter(lambda: file.readline(width * LONGEST_NUMBER), b"") if line.strip())
        for start in range(0, count, CHUNK):
            images = min(CHUNK, count - start)
            numbers = _rows(path, islice(lines, images * height), width, start * height)
            if len(numbers) < images * height:
                got = f"{start * height + len(numbers)} rows"
                raise DataError(f"{path} ends early", got=got, expected=f"{count * height}, for {count} particles")
            photons[start : start + images] = _counts(numbers.reshape(images, height, width), str(path), start)
        if next(lines, None) is not None:
            raise DataError(f"{path} goes on after the last particle", expected=f"{count} images of {height} lines")
    return photons


def _rows(path: Path, lines: Iterable[bytes], width: int, first: int) -> NDArray[np.float64]:
    """Lines of numbers, (n, width). Raises DataError, with the number of the row from `first` on."""
    rows = [line.split() for line in lines]
    for number, row in enumerate(rows, first + 1):
        if len(row) != width:
            raise DataError(
                f"{path}: row {number} is no row of an image", got=f"{len(row)} numbers", expected=f"{width}"
            )
    try:
        return np.array(rows, "S").astype(np.float64).reshape(len(rows), width)
    except ValueError as error:
        what = f"{path}: rows {first + 1} to {first + len(rows)} hold what is no number"
        raise DataError(what, got=printable(str(error), 100)) from error
