"""CelebA at 64 x 64: faces, without conditions. The user points at the official files."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from simbench.core.errors import DataError
from simbench.core.events import Events
from simbench.core.files import candidates
from simbench.features.inception import SHA256_PREFIX
from simbench.tasks.base import Equivalent, Split, Task

IMAGES = "img_align_celeba"
PARTITION = "list_eval_partition.txt"
CROP, SIZE = 140, 64
SPLIT_CODE = {"train": "0", "validation": "1", "test": "2", "floor": "1"}


class CelebA64(Task):
    """`celeba64`: the official split of CelebA, centre crop of 140 pixels, resized to 64.

    `floor` is the official validation split; `test` is cut to the same number of images, so that both have one N.
    """

    name = "celeba64"
    version = "1.0"
    summary = "faces: 3 x 64 x 64, unconditional (bring your own copy of the official files)"
    shape = (3, 64, 64)
    unit = "grey values"
    maximum = 1.0
    condition_names = ()
    condition_units = ()
    repeats = 1
    block_size = 500
    test_events = 19_867
    smoke_events = 500
    metrics: ClassVar[tuple[str, ...]] = (
        *("inception_fid/1", "kid/1", "energy_distance/1", "diversity_ratio/1"),
        *("precision/1", "recall/1", "density/1", "coverage/1"),
        *("sinkhorn/1", "exact_ot/1"),
        *("memorisation/3", "classifier_low/2"),
    )
    primary = ("inception_fid/1", "energy_distance/1")
    equivalents = (Equivalent("in its images", "energy_distance/1"),)

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir

    @functools.cached_property
    def folder(self) -> Path:
        """The folder with the partition file and the images (a folder or a zip). Raises DataError."""
        folders = candidates("celeba", self.data_dir)
        for folder in folders:
            if (folder / PARTITION).is_file() and ((folder / IMAGES).is_dir() or (folder / f"{IMAGES}.zip").is_file()):
                return folder
        what = f"the CelebA files are missing (searched {', '.join(map(str, folders))})"
        fix = "Get them from the data set's own page; pass --data-dir FOLDER, or set SIMBENCH_DATA."
        raise DataError(what, expected=f"{PARTITION} beside {IMAGES}/ or {IMAGES}.zip", fix=fix)

    def find_data(self) -> str:
        """See Task. The images are too many to be decoded for a look."""
        return f"Found in {self.folder}."

    @property
    def features_sha256(self) -> str:
        """See Task: the checksum's beginning, which the file's own name bears."""
        return SHA256_PREFIX

    @functools.cached_property
    def train_sha256(self) -> str:
        """See Task: of the image files as they are, for they are too many to be decoded for this."""
        read, digest = _reader(self.folder), hashlib.sha256()
        for name in read_partition(self.folder / PARTITION)[SPLIT_CODE["train"]]:
            digest.update(name.encode() + read(name))
        return digest.hexdigest()

    def load_split(self, split: Split) -> Events:
        """All images of a split, cropped and resized."""
        return _load_split(self.folder, split)


def read_partition(path: Path) -> dict[str, list[str]]:
    """File names by split code "0", "1", "2". Raises DataError where a line is not `name code`."""
    names: dict[str, list[str]] = {"0": [], "1": [], "2": []}
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        name, _, code = line.strip().rpartition(" ")
        if line.strip():
            if code not in names or not name or "/" in name or "\\" in name:
                what = f"{path} line {number} is not a partition line"
                raise DataError(what, got=repr(line[:60]), expected="'000001.jpg 0'")
            names[code].append(name)
    return names


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """An image file's centre crop, resized: (64, 64, 3). Raises DataError where it is no image of 140 x 140 or more."""
    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is not an image", got=type(error).__name__, fix="Fetch the files again.") from error
    width, height = image.size
    if min(width, height) < CROP:
        raise DataError(f"{name} is too small", got=f"{width} x {height}", expected=f"at least {CROP} x {CROP}")
    left, top = round((width - CROP) / 2), round((height - CROP) / 2)
    box = (left, top, left + CROP, top + CROP)
    return np.asarray(image.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _reader(folder: Path) -> Callable[[str], bytes]:
    if (folder / IMAGES).is_dir():
        return lambda name: (folder / IMAGES / name).read_bytes()
    try:
        archive = zipfile.ZipFile(folder / f"{IMAGES}.zip")
    except zipfile.BadZipFile as error:
        raise DataError(f"{folder / IMAGES}.zip is damaged", got=str(error), fix="Fetch it again.") from error
    return lambda name: archive.read(f"{IMAGES}/{name}")


@functools.lru_cache(maxsize=2)
def _load_split(folder: Path, split: str) -> Events:
    partition = read_partition(folder / PARTITION)
    names = partition[SPLIT_CODE[split]]
    if split in ("test", "floor"):
        names = names[: min(len(partition["1"]), len(partition["2"]))]
    if not names:
        raise DataError(f"{folder / PARTITION} names no image of the split {split!r}")
    read = _reader(folder)
    pixels = np.empty((len(names), SIZE, SIZE, 3), np.uint8)
    for row, name in enumerate(names):
        try:
            pixels[row] = decode(read(name), name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            what = f"the image {name} that {PARTITION} names cannot be read"
            raise DataError(what, got=type(error).__name__) from error
    from simbench.features.inception import inception

    count = len(names)
    return Events(
        samples=torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32) / 255,
        conditions=torch.zeros(count, 0),
        condition_id=torch.zeros(count, dtype=torch.int64),
        unit_id=torch.arange(count),
        derivations={"features": inception},
        other_split=lambda name: _load_split(folder, name),
    )
