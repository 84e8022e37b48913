"""The datasets of the CaloChallenge 2022: showers in voxels, one condition, the energy of the particle.

They are public and large: the user fetches the files and points at them, see docs/calo.md.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from simbench.core.errors import DataError
from simbench.core.events import Events
from simbench.metrics.binning import Binning
from simbench.tasks import controls as spoilt
from simbench.tasks.base import Split, Task, energy_quintiles
from simbench.tasks.calo_files import Dataset, Files, find, read_binning

PLACES: Mapping[Split, tuple[str, bool]] = {
    "train": ("train", False),
    "validation": ("train", True),
    "test": ("test", False),
    "floor": ("test", True),
}
"""Of each split the files that it comes from, and whether it is the second of the two that are made from them."""

SEPARATIONS = (
    *("separation_total/1", "separation_layers/1", "separation_centre_eta/1", "separation_centre_phi/1"),
    *("separation_width_eta/1", "separation_width_phi/1", "separation_voxels/1"),
)
"""Those that the challenge's evaluation prints for every dataset."""
BY_ENERGY = "separation_total_by_energy/1"
MORE = (
    *("separation_centre_r/1", "separation_width_r/1", "separation_sparsity/1", "fpd/1", "kpd/1"),
    *("classifier_voxels/1", "classifier_high/2"),
)
ATLAS_THRESHOLD, PAR04_THRESHOLD = 1.0, 0.5e-3 / 0.033
"""The energy [MeV] below which the challenge's evaluation takes a voxel for empty."""

TEMPLATE = '''\
"""The mean shower, as bright as the energy. Measure it: simbench run --task {task} -g {file}:{name}"""
import torch


class {name}:
    def setup(self, task, device):  # optional; called once and not timed: load weights here
        real = task.load("train")
        self.mean = (real.samples[:2000] / real.conditions[:2000]).mean(0).to(device)

    def sample(self, conditions, *, seed):  # (event, 1) MeV -> (event, voxels) MeV
        rng = torch.Generator(conditions.device).manual_seed(seed)  # draw everything from it: same seed, same events
        spread = torch.rand((len(conditions), *self.mean.shape), generator=rng, device=conditions.device)
        return conditions * self.mean * 2 * spread
'''


class CaloTask(Task):
    """What the datasets have in common.

    `train` and `validation` come from the challenge's files to train on, a tenth of them held out at random. `test` and
    `floor` come from those it evaluates with: events of the same energy, or of neighbouring energies where no two are
    equal, are dealt to the one and to the other (`calo_import.pairs`). A row of the floor answers the energy of the
    test event in that row.
    """

    version = "1.0"
    unit = "MeV"
    maximum = 1e7
    condition_names = ("Energy",)
    condition_units = ("MeV",)
    repeats = 1
    block_size = 250
    metrics: ClassVar[tuple[str, ...]] = (*SEPARATIONS, *MORE)
    primary = ("separation_total/1", "separation_layers/1")
    definitions: ClassVar[Mapping[str, tuple[str, ...]]] = {"calochallenge2022": SEPARATIONS}
    controls = (
        spoilt.Control("energies x 0.8", ("separation_total/1",), spoilt.scaled(0.8)),
        spoilt.Control("half of the events emptied", ("separation_sparsity/1",), spoilt.emptied(0.5)),
        spoilt.Control("conditions shuffled", ("separation_total/1",), spoilt.conditions_shuffled),
        spoilt.Control("constant median", ("separation_width_r/1",), spoilt.constant_median),
    )
    template = TEMPLATE
    dataset: ClassVar[Dataset]
    voxels: ClassVar[int]
    threshold: ClassVar[float]
    atlas: ClassVar[bool]

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir
        self._splits: dict[Split, Events] = {}
        self._kinds: dict[str, Files] = {}

    @functools.cached_property
    def folder(self) -> Path:
        """Where the files are. Raises DataError."""
        return find(self.dataset, self.data_dir)

    @functools.cached_property
    def binning(self) -> Binning:
        """The voxels, as the binning file has them. Raises DataError."""
        return read_binning(self.folder / self.dataset.binning, self.dataset.particle)

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """See Task: the voxels of the binning file; where there is none, of the challenge's."""
        try:
            return (self.binning.voxels,)
        except DataError:
            return (self.voxels,)

    @functools.cached_property
    def test_events(self) -> int:
        """See Task."""
        return self._files("test").events(second=False)

    @functools.cached_property
    def scored_sha256(self) -> str:
        """See Task: of the test files and the binning."""
        return hashlib.sha256(f"{self._files('test').sha256} {self.binning.layers}".encode()).hexdigest()

    @functools.cached_property
    def train_sha256(self) -> str:
        """See Task: of the training files."""
        return self._files("train").sha256

    def find_data(self) -> str:
        """See Task. The showers are too many to be read for a look."""
        return f"Found in {self.folder}: {self.binning.voxels} voxels in {len(self.binning.layers)} layers."

    def load_split(self, split: Split) -> Events:
        """All events of a split, their showers mapped from the disk. Raises DataError, UsageError."""
        if split not in self._splits:
            self._splits[split] = self._events(split)
        return self._splits[split]

    def _files(self, kind: str) -> Files:
        if kind not in self._kinds:
            self._kinds[kind] = Files(self.dataset, self.folder, self.binning, kind)
        return self._kinds[kind]

    def _events(self, split: Split) -> Events:
        from simbench.metrics.showers import ATLAS, PAR04, ClassifierFeatures, HighLevelFeatures

        kind, second = PLACES[split]
        files = self._files(kind)
        if files.events(second) == 0:
            names = ", ".join(path.name for path in files.paths)
            raise DataError(f"{self.name}: {names} hold too few events for the split {split!r}", expected="2 or more")
        showers, energies = files.load(second, self.maximum)
        if split == "floor":  # they answer what the test events answer, see `calo_import.pairs`
            energies = self._files("test").load(second=False, maximum=self.maximum)[1]
        edges = np.quantile(energies.numpy(), [0.2, 0.4, 0.6, 0.8])
        rows = torch.arange(len(energies))
        known = energies.unique(return_inverse=True)[1] if self.dataset.discrete else rows
        narrow = self.dataset.particle == "photon"
        features = HighLevelFeatures(self.binning, self.threshold, ATLAS if self.atlas else PAR04, narrow)
        return Events(
            samples=showers,
            conditions=energies.float()[:, None],
            condition_id=known,
            unit_id=rows,
            strata={"energy": energy_quintiles(energies.numpy(), edges)},
            derivations={"high_level": features, "physics": ClassifierFeatures(features)},
            other_split=lambda name: self.load_split(name),  # type: ignore[arg-type]
        )


def _dataset_1(particle: str, files: str) -> Dataset:
    name = f"dataset_1_{files}"
    return Dataset(
        task=f"calo-1-{files}",
        binning=f"binning_{name}.xml",
        train=(f"{name}_1.hdf5",),
        test=(f"{name}_2.hdf5",),
        particle=particle,
        discrete=True,
        doi="10.5281/zenodo.8099322",
    )


class CaloPhotons(CaloTask):
    """`calo-1-photons`: dataset 1 with photons, 15 energies from 256 MeV to 4 TeV."""

    name = "calo-1-photons"
    summary = "CaloChallenge dataset 1, photons in ATLAS: 368 voxels in 5 layers (bring the files)"
    metrics: ClassVar[tuple[str, ...]] = (*SEPARATIONS, BY_ENERGY, *MORE)
    definitions: ClassVar[Mapping[str, tuple[str, ...]]] = {"calochallenge2022": (*SEPARATIONS, BY_ENERGY)}
    dataset = _dataset_1("photon", "photons")
    voxels, threshold, atlas = 368, ATLAS_THRESHOLD, True


class CaloPions(CaloTask):
    """`calo-1-pions`: dataset 1 with charged pions, 15 energies from 256 MeV to 4 TeV."""

    name = "calo-1-pions"
    summary = "CaloChallenge dataset 1, charged pions in ATLAS: 533 voxels in 7 layers (bring the files)"
    metrics: ClassVar[tuple[str, ...]] = (*SEPARATIONS, BY_ENERGY, *MORE)
    definitions: ClassVar[Mapping[str, tuple[str, ...]]] = {"calochallenge2022": (*SEPARATIONS, BY_ENERGY)}
    dataset = _dataset_1("pion", "pions")
    voxels, threshold, atlas = 533, ATLAS_THRESHOLD, True


class Calo2(CaloTask):
    """`calo-2`: dataset 2, electrons from 1 GeV to 1 TeV."""

    name = "calo-2"
    summary = "CaloChallenge dataset 2, electrons: 6480 voxels in 45 layers (bring the files)"
    dataset = Dataset(
        task="calo-2",
        binning="binning_dataset_2.xml",
        train=("dataset_2_1.hdf5",),
        test=("dataset_2_2.hdf5",),
        particle="electron",
        discrete=False,
        doi="10.5281/zenodo.6366270",
    )
    voxels, threshold, atlas = 6480, PAR04_THRESHOLD, False


class Calo3(CaloTask):
    """`calo-3`: dataset 3, electrons from 1 GeV to 1 TeV, in finer voxels."""

    name = "calo-3"
    summary = "CaloChallenge dataset 3, electrons: 40 500 voxels in 45 layers (bring the files)"
    dataset = Dataset(
        task="calo-3",
        binning="binning_dataset_3.xml",
        train=("dataset_3_1.hdf5", "dataset_3_2.hdf5"),
        test=("dataset_3_3.hdf5", "dataset_3_4.hdf5"),
        particle="electron",
        discrete=False,
        doi="10.5281/zenodo.6366323",
    )
    voxels, threshold, atlas = 40_500, PAR04_THRESHOLD, False
