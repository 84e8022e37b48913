"""The CaloChallenge's files: where they are, the binning they come with, and their showers as mapped arrays.

Files of strangers: what they hold is looked at before memory is taken, and read in a process of its own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from simbench.core.errors import DataError, UsageError
from simbench.core.files import cache_dir, candidates, read_bytes, replace_text, replaced_file
from simbench.core.text import printable
from simbench.metrics.binning import Binning, Layer
from simbench.tasks.calo_import import in_child

RULE = "1"
"""The version of how files become splits; another one imports anew."""
MAX_XML_BYTES = 2**20
MAX_VOXELS = 1_000_000
NOTED_BYTES = 256 * 2**20
"""Files larger than this take a while to be imported, and that is said."""


@dataclass(frozen=True)
class Dataset:
    """Files of a dataset: their names, `particle` in the binning, whether incident energies are `discrete`."""

    task: str
    binning: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    particle: str
    discrete: bool
    doi: str


def find(dataset: Dataset, data_dir: Path | None) -> Path:
    """The folder with all files of a dataset. Raises DataError, which names those that are missing."""
    folders = candidates(dataset.task, data_dir)
    wanted = (dataset.binning, *dataset.train, *dataset.test)
    missing = {folder: [name for name in wanted if not (folder / name).is_file()] for folder in folders}
    best = min(folders, key=lambda folder: len(missing[folder]))
    if not missing[best]:
        return best
    some = len(missing[best]) < len(wanted)
    searched = f"in {best}" if some else f"searched {', '.join(map(str, folders))}"
    raise DataError(
        f"files of {dataset.task} are missing ({searched})",
        got=f"no {', no '.join(missing[best])}",
        expected=", ".join(wanted),
        fix=f"Fetch the .hdf5 files from https://doi.org/{dataset.doi} and the .xml from "
        "https://github.com/CaloChallenge/homepage (folder code), put them into one folder, and pass --data-dir FOLDER "
        "or set SIMBENCH_DATA.",
    )


def read_binning(path: Path, particle: str) -> Binning:
    """The layers of a binning file that have voxels. Raises DataError."""

    def wrong(what: str, got: object = "", expected: str = "") -> DataError:
        return DataError(f"{path}: {what}", got=printable(str(got), 100), expected=expected)

    content = read_bytes(path, MAX_XML_BYTES)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise wrong("a binning needs no definitions of its own", "a DOCTYPE or ENTITY")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise wrong("cannot be read as XML", error) from error
    found = next((bins for bins in root if bins.get("name") == particle), None)
    if found is None:
        names = ", ".join(str(bins.get("name")) for bins in root) or "none"
        raise wrong("the particle is not in it", names, f'<Bin name="{particle}">')
    layers = []
    for element in found:
        text = f"r_edges={element.get('r_edges')!r}, n_bin_alpha={element.get('n_bin_alpha')!r}"
        try:
            edges = tuple(float(edge) for edge in (element.get("r_edges") or "").split(","))
            number, slices = int(element.get("id") or ""), int(element.get("n_bin_alpha") or "")
        except ValueError as error:
            raise wrong("a layer cannot be read", text, "id, r_edges (numbers with commas), n_bin_alpha") from error
        rising = all(low < high for low, high in pairwise(edges)) and edges[0] >= 0
        if not rising or edges[-1] > 1e9 or not 1 <= slices <= MAX_VOXELS:
            raise wrong("a layer is no layer", text, "edges from 0 upwards, one slice or more")
        if len(edges) > 1:
            layers.append(Layer(number, edges, slices))
    binning = Binning(tuple(layers))
    if len({layer.number for layer in layers}) < len(layers) or not 0 < binning.voxels <= MAX_VOXELS:
        raise wrong("it is no binning", f"{len(layers)} layers, {binning.voxels} voxels", "layers, each id once")
    return binning


@dataclass(frozen=True)
class Files:
    """The files of a kind, `train` or `test`, of a dataset with its binning."""

    dataset: Dataset
    folder: Path
    binning: Binning
    kind: str

    @property
    def paths(self) -> list[Path]:
        """Where they are."""
        return [self.folder / name for name in getattr(self.dataset, self.kind)]

    @functools.cached_property
    def survey(self) -> dict[str, Any]:
        """Their checksums (`sha256`) and the events of the two splits (`events`), kept in the cache while the files
        have the same size and date. Raises DataError."""
        seen = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        kept = self._kept("survey", seen, "json")
        if kept.is_file():
            try:
                found = json.loads(read_bytes(kept))
                return {"sha256": [str(each) for each in found["sha256"]], "events": list(map(int, found["events"]))}
            except (DataError, ValueError, KeyError, TypeError):
                pass  # damaged: asked anew
        answer: dict[str, Any] = in_child("survey", self.paths, self.binning, **self._how)
        replace_text(kept, json.dumps(answer))
        return answer

    @property
    def sha256(self) -> str:
        """One checksum of all of them, and of the rule by which they become splits."""
        return hashlib.sha256(json.dumps([RULE, self.kind, self.survey["sha256"]]).encode()).hexdigest()

    def events(self, second: bool) -> int:
        """Events of the first or of the second split. Raises DataError."""
        count: int = self.survey["events"][int(second)]
        return count

    def load(self, second: bool, maximum: float) -> tuple[Tensor, Tensor]:
        """Showers (N, voxels) float32 and incident energies (N,) float64 of the first or second split [MeV].

        The showers are mapped from a file in the cache, which is made at the first call: an event takes memory when it
        is looked at. Raises DataError; UsageError where the cache has no room.
        """
        target = self._kept("showers", self.survey["sha256"], "npy")
        shape = (sum(self.survey["events"]), self.binning.voxels)
        mapped = _mapped(target, shape)
        if mapped is None:
            self._import(target, 4 * shape[0] * shape[1], maximum)
            mapped = _mapped(target, shape)
        if mapped is None:
            raise DataError(f"{target} cannot be read back", fix="Remove it and try again.")
        first = self.survey["events"][0]
        where = slice(first, None) if second else slice(0, first)
        return mapped[0][where], mapped[1][where]

    @property
    def _how(self) -> dict[str, Any]:
        return {"kind": self.kind, "discrete": self.dataset.discrete}

    def _kept(self, what: str, of: Any, suffix: str) -> Path:
        """A file in the cache, named by what it was made from."""
        layers = [[layer.number, list(layer.r_edges), layer.slices] for layer in self.binning.layers]
        made_from = json.dumps([RULE, self.kind, self.dataset.discrete, layers, of])
        digest = hashlib.sha256(made_from.encode()).hexdigest()[:16]
        return cache_dir() / "calo" / f"{self.dataset.task}-{self.kind}-{what}-{digest}.{suffix}"

    def _import(self, target: Path, size: int, maximum: float) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if size > free:
            raise UsageError(
                f"there is no room to import {', '.join(path.name for path in self.paths)}",
                got=f"{free / 1e9:.2g} GB free in {target.parent}",
                expected=f"{size / 1e9:.2g} GB",
                fix="Make room, or set XDG_CACHE_HOME to a folder on a larger disk.",
            )
        if size > NOTED_BYTES:
            names = ", ".join(path.name for path in self.paths)
            print(f"importing {names}, once ({size / 1e9:.2g} GB in {target.parent})", file=sys.stderr, flush=True)
        with ExitStack() as stack:
            told = stack.enter_context(replaced_file(_energies_beside(target)))
            scratch = stack.enter_context(replaced_file(target))
            given = {"target": str(scratch), "told": str(told), "maximum": maximum}
            in_child("import_showers", self.paths, self.binning, **self._how, **given)


def _energies_beside(target: Path) -> Path:
    """Where the incident energies of imported showers are."""
    return target.with_name(f"{target.stem}-energies.npy")


def _mapped(target: Path, shape: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
    """Showers and energies that were imported; None where they are not there, or not whole."""
    if not (target.is_file() and _energies_beside(target).is_file()):
        return None
    try:
        showers = np.load(target, mmap_mode="c", allow_pickle=False)  # nobody's writing reaches the file
        energies = np.load(_energies_beside(target), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if (showers.shape, showers.dtype, energies.shape) != (shape, np.dtype("<f4"), shape[:1]):
        return None
    return torch.from_numpy(showers), torch.from_numpy(energies)
