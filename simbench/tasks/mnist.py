"""MNIST: the handwritten digits, conditioned on a one-hot label. Found on disk or downloaded, and verified."""

from __future__ import annotations

import functools
import gzip
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.download import Wanted, fetch
from simbench.core.errors import DataError
from simbench.core.events import Events
from simbench.core.files import candidates, check_sha256
from simbench.core.seeds import derive_seed
from simbench.features.lenet import Variant
from simbench.tasks import controls as spoilt
from simbench.tasks.base import Equivalent, Split, Task

FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""sha256 of the *decompressed* files, so that any recompression passes."""

MAX_BYTES = 64 * 2**20


def find(data_dir: Path | None) -> Path | None:
    """The first folder that holds all four files, plain or gzipped."""
    for folder in candidates("mnist", data_dir):
        if all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in FILES):
            return folder
    return None


def read_verified(folder: Path, name: str) -> bytes:
    """The decompressed bytes of one of the four files, with the right checksum. Raises DataError."""
    path = folder / name if (folder / name).is_file() else folder / f"{name}.gz"
    return _verified(path, path.name)


def _verified(path: Path, name: str) -> bytes:
    """The same of the file `name` at `path`."""
    fix = "Remove it and fetch it again."
    try:
        with gzip.open(path) if name.endswith(".gz") else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read", got=str(error), fix=fix) from error
    return check_sha256(content, FILES[name.removesuffix(".gz")], path, "the MNIST file of that name", fix)


WANTED = Wanted(
    title="the MNIST files",
    folder="mnist",
    names=tuple(f"{name}.gz" for name in FILES),
    urls=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/{name}",
        "https://storage.googleapis.com/cvdf-datasets/mnist/{name}",
    ),
    limit=MAX_BYTES,
    check=_verified,
)


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """An array from the IDX format: 0, 0, 8 (unsigned byte), dimensions; sizes as big-endian uint32; then the bytes."""
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


TEMPLATE = '''\
"""Pixels drawn from the digit's mean image. Measure it: simbench run --task {task} -g {file}:{name}"""
import torch


class {name}:
    def setup(self, task, device):  # optional; called once and not timed: load weights here
        real = task.load("train")
        mean = real.conditions.T @ real.samples.flatten(1) / real.conditions.sum(0)[:, None]
        self.mean = mean.clamp(0, 1).to(device)

    def sample(self, conditions, *, seed):  # (event, 10) one-hot digits -> (event, 1, 28, 28) in [0, 1]
        rng = torch.Generator(conditions.device).manual_seed(seed)  # draw everything from it: same seed, same events
        return torch.bernoulli(conditions @ self.mean, generator=rng).reshape(-1, 1, 28, 28)
'''


def lenet_targets(events: Events) -> dict[str, Tensor]:
    """What the LeNet-5 learns: the digit of each event."""
    return {"digit": events.condition_id}


LENET = Variant(
    task="mnist",
    shape=(1, 28, 28),
    heads=(("digit", 10),),
    logarithm=False,
    sha256="a00b3adf0be89ff8d5db30d168210358b38354a90f30c851e38ea3a46d783310",
    targets=lenet_targets,
    epochs=12,
    batch=128,
    peak_rate=3e-3,
)


def digit_dropped(events: Events, rng: torch.Generator) -> Tensor:
    """Requests for a 9 answered with other digits."""
    nine = events.condition_id == 9
    others = torch.nonzero(~nine).squeeze(1)
    samples = events.samples.clone()
    samples[nine] = events.samples[others[torch.randint(len(others), (int(nine.sum()),), generator=rng)]]
    return samples


class Mnist(Task):
    """`mnist`: 28 x 28 digits in [0, 1]; the 10 000 test labels are the conditions.

    10 000 training images with the test set's class counts are held out of *all* training: they are `validation` and
    `floor` at once.
    """

    name = "mnist"
    version = "1.0"
    summary = "handwritten digits on request: 28 x 28 grey values, conditioned on the label"
    shape = (1, 28, 28)
    unit = "grey values"
    maximum = 1.0
    condition_names = tuple(f"digit {digit}" for digit in range(10))
    condition_units = ("one-hot",) * 10
    repeats = 1
    block_size = 1000
    test_events = 10_000
    smoke_events = 500
    metrics: ClassVar[tuple[str, ...]] = (
        *("lenet_fid/1", "energy_distance/1", "class_energy/1", "kid/1", "diversity_ratio/1", "label_accuracy/1"),
        *("classifier_low/2", "classifier_high/2", "memorisation/3"),
        *("precision/1", "recall/1", "density/1", "coverage/1"),
        *("sinkhorn/1", "exact_ot/1"),
    )
    primary = ("lenet_fid/1", "energy_distance/1")
    curve_metric = "lenet_fid/1"
    equivalents = (
        Equivalent("in mean and covariance", "lenet_fid/1"),
        Equivalent("in its images", "energy_distance/1"),
        Equivalent("per digit", "class_energy/1", conditions=10),
    )

    scored_sha256 = "b2e345cddfd32a9868c71cfe446a1c872e3415fb610c240b2c907cade0ffbe91"
    train_sha256 = "768cee4034c018f4ce1918baca844f48f1af33cc8dfbe7501d0e24bd39162386"
    definitions: ClassVar[dict[str, tuple[str, ...]]] = {"deja2020": ("lenet_fid/1", "sinkhorn/deja2020")}
    controls = (
        spoilt.Control("mean image per digit", ("diversity_ratio/1", "energy_distance/1"), spoilt.shrunk(1.0)),
        spoilt.Control("constant median", ("diversity_ratio/1", "energy_distance/1"), spoilt.constant_median),
        spoilt.Control("10 % of the images emptied", ("energy_distance/1",), spoilt.emptied(0.10)),
        spoilt.Control("labels shuffled", ("label_accuracy/1",), spoilt.conditions_shuffled),
        spoilt.Control("training images replayed", ("memorisation/3",), spoilt.training_replayed),
        spoilt.Control("Gaussian noise, right mean and covariance", ("energy_distance/1",), spoilt.gaussian),
        spoilt.Control("one digit dropped", ("label_accuracy/1", "energy_distance/1"), digit_dropped),
    )
    lenet = LENET
    template = TEMPLATE

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir

    @functools.cached_property
    def folder(self) -> Path:
        """Where the four files are, downloaded if they are nowhere."""
        return find(self.data_dir) or fetch(WANTED, self.data_dir)

    def find_data(self) -> str:
        """See Task."""
        if find(self.data_dir) is None:
            raise WANTED.missing(self.data_dir)
        return super().find_data()

    def load_split(self, split: Split) -> Events:
        """All digits of a split."""
        return _load_split(self.folder, split)


@functools.cache
def _read(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, labels = (
        parse_idx(read_verified(folder, f"{part}-{kind}-ubyte")) for kind in ("images-idx3", "labels-idx1")
    )
    return images, labels


def held_out_rows(train_labels: NDArray[np.uint8], test_labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Training rows held out of all training, ordered so that row i has the label of test image i."""
    rng = np.random.default_rng(derive_seed(0, "mnist", "held-out"))
    rows = np.empty(len(test_labels), np.int64)
    for digit in range(10):
        wanted = np.flatnonzero(test_labels == digit)
        rows[wanted] = rng.permutation(np.flatnonzero(train_labels == digit))[: len(wanted)]
    return rows


@functools.cache
def _load_split(folder: Path, split: str) -> Events:
    test_images, test_labels = _read(folder, "t10k")
    if split == "test":
        images, labels = test_images, test_labels
    else:
        train_images, train_labels = _read(folder, "train")
        held_out = held_out_rows(train_labels, test_labels)
        rows = np.setdiff1d(np.arange(len(train_labels)), held_out) if split == "train" else held_out
        images, labels = train_images[rows], train_labels[rows]
    from simbench.features.extractors import LeNetFeatures, LeNetLabels

    label = torch.from_numpy(labels.astype(np.int64))
    return Events(
        samples=torch.from_numpy(images.astype(np.float32) / 255).unsqueeze(1),
        conditions=torch.nn.functional.one_hot(label, 10).to(torch.float32),
        condition_id=label,
        unit_id=torch.arange(len(label)),
        strata={"label": labels.astype(str)},
        derivations={"features": LeNetFeatures(LENET), "predicted_label": LeNetLabels(LENET, "digit")},
        other_split=lambda name: _load_split(folder, name),
    )
