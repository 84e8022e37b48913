"""The open Zero Degree Calorimeters, neutron and proton: photon counts, nine conditions of the particle that enters."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.download import RELEASES, Wanted, fetch, find_file
from simbench.core.events import Events
from simbench.core.files import read_pinned
from simbench.features.lenet import Variant
from simbench.tasks import controls as spoilt
from simbench.tasks.base import Equivalent, Fibres, MonteCarlo, Split, Task, energy_quintiles

SPECIES = {
    22: "photon",
    2112: "neutron",
    2212: "proton",
    3122: "Lambda",
    130: "K0L",
    310: "K0S",
    3222: "Sigma+",
    211: "pi+",
    -211: "pi-",
    -2112: "anti-neutron",
    321: "K+",
    -2212: "anti-proton",
    -321: "K-",
    3112: "Sigma-",
    -3122: "anti-Lambda",
    3322: "Xi0",
}
"""Name of every PDG code in the data."""

MIN_STRATUM_CONDITIONS = 20
"""Species with fewer test conditions are pooled as `other`."""


def data_file(name: str = "zn_geant3") -> Path:
    """A full-simulation file that the package ships; a slim one leaves it out."""
    return Path(str(resources.files("simbench") / "data" / f"{name}.h5"))


LENET_SPECIES = ("photon", "neutron", "proton", "other")
"""Classes of the species head of the LeNet-5: the strata of the task, in the order of the logits."""

TEMPLATE = '''\
"""A Poisson blob as bright as the energy. Measure it: simbench run --generator {file}:{name}"""
import torch


class {name}:
    def __init__(self, photons_per_gev: float = 0.7, width: float = 5.0):  # set by --param width=4
        self.photons_per_gev, self.axis = photons_per_gev, (torch.arange(44) - 21.5) / width

    def sample(self, conditions, *, seed):  # (event, 9), the first is the energy -> (event, 44, 44) photons
        rng = torch.Generator(conditions.device).manual_seed(seed)  # draw everything from it: same seed, same events
        blob = torch.softmax(-self.axis.square() / 2, 0).to(conditions.device)
        return torch.poisson(self.photons_per_gev * conditions[:, :1, None] * blob[:, None] * blob, generator=rng)
'''


def lenet_targets(events: Events) -> dict[str, Tensor]:
    """What the LeNet-5 learns: the log of the energy in GeV and the index of the species of each event."""
    species = [LENET_SPECIES.index(str(name)) for name in events.strata["species"]]
    return {"log_energy": events.conditions[:, 0].double().log(), "species": torch.tensor(species)}


LENET = Variant(
    task="zn-geant3",
    shape=(44, 44),
    heads=(("log_energy", 1), ("species", len(LENET_SPECIES))),
    logarithm=True,
    sha256="6ecce11d621ecfbe911704fedd90fd05cdb29a3106c7576612d380fe6f7d9a1d",
    targets=lenet_targets,
    epochs=20,
    batch=64,
    peak_rate=2e-3,
)


def neutrons_as_photons(events: Events, rng: torch.Generator) -> Tensor:
    """Neutron requests answered with training photon showers of the nearest energy."""
    assert events.other_split is not None
    train = events.other_split("train")
    photons = train.take(torch.from_numpy(train.strata["species"] == "photon"))
    neutrons = torch.from_numpy(events.strata["species"] == "neutron")
    energy, order = photons.conditions[:, 0].sort()
    at = torch.searchsorted(energy, events.conditions[neutrons, 0].contiguous())
    shift = torch.randint(-4, 5, at.shape, generator=rng)
    samples = events.samples.clone()
    samples[neutrons] = photons.samples[order[(at + shift).clamp(0, len(energy) - 1)]]
    return samples


class Geant3Task(Task):
    """What both have in common: showers of single particles in a block of absorber and quartz fibres, GEANT 3.21.

    The files ship with simbench, but with slim packages of it; how they were made is in `simbench/data/zn_geant3`.
    """

    unit = "photons"
    maximum = 1e5
    condition_names = ("Energy", "Vx", "Vy", "Vz", "Px", "Py", "Pz", "mass", "charge")
    condition_units = ("GeV", "m", "m", "m", "GeV", "GeV", "GeV", "MeV", "e")
    repeats = 8
    block_size = 256
    smoke_events = 400
    primary = ("channel_wasserstein/1", "conditional_energy/1")
    curve_metric = "channel_wasserstein/1"
    file: ClassVar[str]
    """The name of the file, for `data_file`."""
    detector: ClassVar[str]
    """What the program zn_transport calls the detector."""
    file_sha256: ClassVar[str]
    definitions: ClassVar[dict[str, tuple[str, ...]]] = {
        "deja2020": ("channel_mae/1", "channel_wasserstein/1"),
        "wojnar2024": ("channel_wasserstein/1", "channel_mae/1", "rmse/wojnar2024"),
        "wojnar2025": ("channel_wasserstein/1", "channel_mae/wojnar2025"),
        "bedkowski2024": ("channel_wasserstein/zn_2x2_odd", "channel_mae/zn_2x2_odd"),
        "zn_2x2": ("channel_wasserstein/1", "channel_mae/1"),
        "zn_2x2_odd": ("channel_wasserstein/zn_2x2_odd", "channel_mae/zn_2x2_odd"),
        "zp_2x2": ("channel_wasserstein/zp_2x2", "channel_mae/zp_2x2"),
        "zp_4x1": ("channel_wasserstein/zp_4x1", "channel_mae/zp_4x1"),
    }
    """The papers', and the read-out variants of `metrics.channels.channel_masks`; zp_2x2 has the channels of zn_2x2."""
    controls: ClassVar[tuple[spoilt.Control, ...]] = (
        spoilt.Control("channels permuted between events", ("correlation_distance/1",), spoilt.channels_permuted),
        spoilt.Control(
            "mean response per condition", ("dispersion_ratio/2", "conditional_energy/1"), spoilt.shrunk(1.0)
        ),
        spoilt.Control("constant median", ("channel_wasserstein/1", "conditional_energy/1"), spoilt.constant_median),
        spoilt.Control("45 % of the events emptied", ("empty_fraction/1",), spoilt.emptied(0.45)),
        spoilt.Control("10 % of the events emptied", ("empty_fraction/1",), spoilt.emptied(0.10)),
        spoilt.Control("photons x 0.83", ("channel_wasserstein/1",), spoilt.scaled(0.83)),
        spoilt.Control("conditions shuffled", ("conditional_energy/1",), spoilt.conditions_shuffled),
        spoilt.Control("training events replayed", ("memorisation/3",), spoilt.training_replayed),
        spoilt.Control("Gaussian noise, right mean and covariance", ("separation/1",), spoilt.gaussian),
        spoilt.Control("pixels shuffled within each channel", ("separation/1",), spoilt.pixels_shuffled),
    )

    def __init__(self, path: Path | None = None, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir
        if path is not None:
            self.path = path

    @functools.cached_property
    def path(self) -> Path:
        """The file: the one that the package ships, else one on this machine, else a downloaded one."""
        return self._find() or fetch(self.wanted(), self.data_dir) / f"{self.file}.h5"

    @classmethod
    def wanted(cls) -> Wanted:
        """The file, and where to fetch it."""
        return Wanted(
            title=f"the data of {cls.name}",
            folder=cls.name,
            names=(f"{cls.file}.h5",),
            urls=(f"{RELEASES}/data-{cls.name}-{cls.version}/{{name}}",),
            limit=2**25,
            check=lambda path, name: cls.check_file(path),
        )

    @classmethod
    def check_file(cls, path: Path) -> None:
        """Refuse a file that is not the data set of this version. Raises DataError."""
        fix = "Install simbench again where the package ships the file; else remove it, and it is fetched again."
        read_pinned(path, cls.file_sha256, f"the data of {cls.name}", fix)

    def _find(self) -> Path | None:
        """The file on this machine, unchecked; None where it is nowhere."""
        shipped = data_file(self.file)
        return shipped if shipped.is_file() else find_file(self.wanted(), self.data_dir)

    def find_data(self) -> str:
        """See Task."""
        if "path" not in vars(self) and self._find() is None:
            raise self.wanted().missing(self.data_dir)
        return super().find_data()

    def load_split(self, split: Split) -> Events:
        """All showers of a split."""
        return _load_split(type(self), self.path, split)

    def particles(self, split: Split) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
        """The particle of each condition of a split, in the order of condition_id.

        Returns:
            conditions (condition, 9) in task units, as precise as GEANT was given them; PDG codes (condition,);
            condition_id (condition,).
        """
        _verify(type(self), self.path)
        with h5py.File(self.path, "r") as file:
            group = file[split]
            condition_id, first = np.unique(group["condition_id"][:], return_index=True)
            return group["conditions"][:][first], group["pdg"][:][first], condition_id

    @property
    def monte_carlo(self) -> MonteCarlo:
        """GEANT's own seconds, as they were recorded with the events."""
        attributes, seconds = _record(type(self), self.path)
        return MonteCarlo(
            engine=attributes["engine"],
            physics=attributes["hadronic"],
            cuts=attributes["cuts"],
            seconds_per_event=seconds,
            cpu=attributes["cpu"],
            threads=1,
            measured=attributes["mc_seconds"],
        )


class ZnGeant3(Geant3Task):
    """`zn-geant3`: GEANT 3.21 showers in an open neutron calorimeter. A benchmark, not ALICE's detector simulation."""

    name = "zn-geant3"
    version = "1.1"
    summary = (
        "showers of single particles in a neutron Zero Degree Calorimeter, GEANT 3.21 "
        "(a benchmark, not ALICE's own simulation)"
    )
    shape = (44, 44)
    fibres = Fibres(face=112.5, depth=1.0, number=44, pitch=1.6e-3, core=0.1825e-3, groove=0.3e-3)
    test_events = 4000
    metrics: ClassVar[tuple[str, ...]] = (
        *(
            "channel_wasserstein/1",
            "conditional_energy/1",
            "dispersion_ratio/2",
            "energy_response/1",
            "energy_resolution/1",
            "empty_fraction/1",
            "correlation_distance/1",
        ),
        *("separation/1", "fpd/1", "kpd/1", "classifier_low/2", "classifier_high/2", "memorisation/3"),
        *("energy_distance/1", "lenet_fid/1", "kid/1", "diversity_ratio/1"),
        *("precision/1", "recall/1", "density/1", "coverage/1", "coverage_ties/1"),
        *("sinkhorn/1", "exact_ot/1", "channel_mae/1", "conditional_wasserstein/1", "rmse/1"),
    )
    equivalents = (
        Equivalent("in its channels", "channel_wasserstein/1"),
        Equivalent("in its images", "energy_distance/1"),
        Equivalent("per particle", "conditional_energy/1", conditions=500),
    )
    controls = (
        *Geant3Task.controls,
        spoilt.Control("photons x 0.95", ("channel_wasserstein/1",), spoilt.scaled(0.95), weak=True),
        spoilt.Control("neutrons answered with photon showers", ("conditional_energy/1",), neutrons_as_photons),
    )
    lenet = LENET
    template = TEMPLATE
    file = "zn_geant3"
    detector = "zn"
    file_sha256 = "9659f0bb234e08f91c887b7f252c24c3a1fc897fa3a62a8794753ce865e9a840"
    scored_sha256 = "6902ee75abbd9fd5d34b1df2d1fa65dccadc3d45fbbac63ad0011d2370ca58a3"
    train_sha256 = "cca18383868655f38aaf54fc69f7dfa6654dfe80a2aa663d6b5447b541949c6f"


class ZpGeant3(Geant3Task):
    """`zp-geant3`: the same in an open proton calorimeter of brass, 56 x 30 fibres, mostly protons. Few events.

    The image is indexed [event, x, y]: the 56 rows follow each other along the long side. No network is pinned for it:
    what needs features of one is left out.
    """

    name = "zp-geant3"
    version = "1.0"
    summary = (
        "showers of single particles in a proton Zero Degree Calorimeter, GEANT 3.21: 2000 events "
        "(a benchmark, not ALICE's own simulation)"
    )
    shape = (56, 30)
    test_events = 400
    metrics: ClassVar[tuple[str, ...]] = (
        *("channel_wasserstein/1", "conditional_energy/1", "dispersion_ratio/2", "energy_response/1"),
        *("energy_resolution/1", "empty_fraction/1", "correlation_distance/1", "separation/1", "fpd/1", "kpd/1"),
        *("classifier_low/2", "classifier_high/2", "memorisation/3"),
        *("channel_mae/1", "conditional_wasserstein/1", "rmse/1"),
    )
    equivalents = (
        Equivalent("in its channels", "channel_wasserstein/1"),
        Equivalent("per particle", "conditional_energy/1", conditions=50),
    )
    file = "zp_geant3"
    detector = "zp"
    file_sha256 = "c307197658a0cdd82bc10df5cb1549fa9f1b4706e8b12ac6117156c0772fc564"
    scored_sha256 = "0b7761dc9a83a68837f6531117daf6f379feda97d33ef99373a11e1d0c48dca1"
    train_sha256 = "96da1e3906238cec55a78d9ae2e48b8be1be041a46fe6648ece8de08ab8faa29"


@functools.cache
def _verify(task: type[Geant3Task], path: Path) -> None:
    """Refuse a file that is not the data set of this version, once."""
    task.check_file(path)


@functools.cache
def _record(task: type[Geant3Task], path: Path) -> tuple[dict[str, str], float]:
    """The file's attributes, and the mean Monte Carlo seconds of a test event."""
    _verify(task, path)
    with h5py.File(path, "r") as file:
        attributes = {key: str(value) for key, value in file.attrs.items()}
        return attributes, float(np.mean(file["test/mc_seconds"][:], dtype=np.float64))


@functools.lru_cache(maxsize=8)
def _load_split(task: type[Geant3Task], path: Path, split: str) -> Events:
    _verify(task, path)
    with h5py.File(path, "r") as file:
        group = file[split]
        photons = group["photons"][:].astype(np.float32)
        conditions = group["conditions"][:]
        pdg = group["pdg"][:]
        condition_id = group["condition_id"][:].astype(np.int64)
        seconds = group["mc_seconds"][:].astype(np.float64)
        test_pdg, test_energy = file["test/pdg"][:: task.repeats], file["test/conditions"][:: task.repeats, 0]
    ids = torch.from_numpy(condition_id)
    from simbench.features.extractors import LeNetFeatures
    from simbench.metrics.channels import channel_sums
    from simbench.metrics.physics import physics_features

    features = {"features": LeNetFeatures(task.lenet)} if task.lenet else {}
    return Events(
        samples=torch.from_numpy(photons),
        conditions=torch.from_numpy(conditions.astype(np.float32)),
        condition_id=ids,
        unit_id=ids,
        strata={
            "species": species_strata(pdg, test_pdg),
            "energy": energy_quintiles(conditions[:, 0], np.quantile(test_energy, [0.2, 0.4, 0.6, 0.8])),
        },
        derivations={**features, "channels": channel_sums, "physics": physics_features},
        mc_seconds=torch.from_numpy(seconds),
        other_split=lambda name: _load_split(task, path, name),
    )


def species_strata(pdg: NDArray[np.int32], test_pdg: NDArray[np.int32]) -> NDArray[np.str_]:
    """The species of each event; those of fewer than 20 test conditions (`test_pdg`, one each) are `other`."""
    codes, counts = np.unique(test_pdg, return_counts=True)
    kept = {int(code) for code, count in zip(codes, counts, strict=True) if count >= MIN_STRATUM_CONDITIONS}
    return np.array([SPECIES.get(int(code), "other") if int(code) in kept else "other" for code in pdg])
