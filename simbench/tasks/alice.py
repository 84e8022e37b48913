"""ALICE's own simulation of its neutron and proton Zero Degree Calorimeters. Not public: the user brings the files."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from simbench.core.errors import DataError, UsageError
from simbench.core.events import Events
from simbench.tasks.alice_files import Detector, Recorded, find, read
from simbench.tasks.base import Equivalent, Split, Task, energy_quintiles
from simbench.tasks.measures import NEEDS_REPEATS
from simbench.tasks.zn import LENET, ZnGeant3, ZpGeant3, species_strata

Scheme = Literal["by_condition", "wojnar"]
Rows = NDArray[np.int64]

TEST, VALIDATION = 0.2, 0.1
"""Shares of the particles that `by_condition` tests and validates on."""
HALVES = 4
"""Where every test condition has as many events or more, one half of them is the floor."""


class AliceTask(Task):
    """What both detectors have in common.

    A particle that was simulated several times is one condition with several events, as many as there are in the files:
    `repeats` is 1, since the number differs, and metrics that compare the answers to one particle are measured where
    every test condition has enough of them. There is a floor where `by_condition` finds four events or more of each.
    """

    version = "1.0"
    unit = "photons"
    maximum = 65535.0
    condition_names = ZnGeant3.condition_names
    condition_units = ZnGeant3.condition_units
    repeats = 1
    block_size = 256
    primary = ("channel_wasserstein/1",)
    definitions: ClassVar[Mapping[str, tuple[str, ...]]] = ZnGeant3.definitions
    options: ClassVar[Mapping[str, str]] = {
        "split": "by_condition (the default): 20 % of the particles are for the test, 10 % for validation, "
        "and no split shares a particle with another. wojnar: the rows at random, 70/10/20 %, as in m-wojnar/zdc, "
        "the public code of the field.",
        "min_photons": "leave out events with fewer photons, before the split; the papers have 10, the default is 0.",
        "max_photons": "leave out events with more.",
    }
    detector: ClassVar[Detector]

    def __init__(
        self,
        data_dir: Path | None = None,
        split: Scheme = "by_condition",
        min_photons: int = 0,
        max_photons: int | None = None,
    ) -> None:
        if min_photons < 0 or (max_photons is not None and max_photons < min_photons):
            got = f"min_photons={min_photons}, max_photons={max_photons}"
            raise UsageError("the photons of an event cannot be so many", got=got, expected="0 <= min <= max")
        self.data_dir, self.scheme = data_dir, split
        self.min_photons, self.max_photons = min_photons, max_photons
        chosen = {"split": split, "min_photons": min_photons, "max_photons": max_photons}
        default = {"split": "by_condition", "min_photons": 0, "max_photons": None}
        told = ",".join(f"{key}={value}" for key, value in chosen.items() if value != default[key])
        vars(self)["name"] = f"{self.name}:{told}" if told else self.name
        self._splits: dict[Split, Events] = {}

    @functools.cached_property
    def folder(self) -> Path:
        """Where the files are. Raises DataError."""
        return find(self.detector, self.data_dir)

    def find_data(self) -> str:
        """See Task. The events are too many to be read for a look."""
        return f"Found in {self.folder}."

    @functools.cached_property
    def has_floor(self) -> bool:
        """See Task."""
        return "floor" in self._rows

    def measured(self) -> tuple[str, ...]:
        """See Task: without those that need more events of a particle than some test condition has."""
        fewest = int(np.unique(self._condition_id[self._rows["test"]], return_counts=True)[1].min())
        return tuple(key for key in self.metrics if NEEDS_REPEATS.get(key, 1) <= fewest)

    def load_split(self, split: Split) -> Events:
        """All events of a split. Raises DataError for a floor where there is none."""
        if split not in self._rows:
            what = (
                f"{self.name} has no {split}: not every test condition has {HALVES} events, independent of each other"
            )
            raise DataError(what, fix="Only the split by_condition of events that repeat has one.")
        if split not in self._splits:
            self._splits[split] = self._events(self._rows[split])
        return self._splits[split]

    @functools.cached_property
    def _recorded(self) -> Recorded:
        """The events of the files that `min_photons` and `max_photons` leave."""
        found = read(self.folder, self.detector)
        if self.min_photons == 0 and self.max_photons is None:
            return found
        photons = found.photons.sum((1, 2), dtype=np.int64)
        most = photons.max() if self.max_photons is None else self.max_photons
        kept = np.flatnonzero((photons >= self.min_photons) & (photons <= most))
        pdg = None if found.pdg is None else found.pdg[kept]
        return Recorded(found.photons[kept], found.conditions[kept], pdg)

    @functools.cached_property
    def _particles(self) -> tuple[Rows, NDArray[np.float64]]:
        """The condition of each event, (N,), numbered in the order of their keys, and those keys, (conditions,).

        A key in [0, 1) is a hash of the particle: it falls to the same split whatever other events are left out.
        """
        exact = np.ascontiguousarray(self._recorded.conditions.astype(np.float32) + np.float32(0))  # no -0
        unique, which = np.unique(exact, axis=0, return_inverse=True)
        digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in unique)
        keys = np.array([int.from_bytes(digest, "little") >> 11 for digest in digests]) / 2**53
        order = np.argsort(keys, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return rank[which.reshape(-1)], keys[order]

    @property
    def _condition_id(self) -> Rows:
        return self._particles[0]

    @functools.cached_property
    def _rows(self) -> dict[Split, Rows]:
        """The events of each split."""
        rows = self._by_row() if self.scheme == "wojnar" else self._by_condition()
        for name, found in rows.items():
            if not len(found):
                what = f"{self.name}: no events are left for the split {name!r}"
                got = f"{len(self._recorded.photons)} events in all"
                raise DataError(what, got=got, fix="Leave fewer of them out, or bring more.")
        return rows

    def _by_row(self) -> dict[Split, Rows]:
        """The rows at random, as in github.com/m-wojnar/zdc: particles stand in several splits."""
        from sklearn.model_selection import train_test_split

        rows = np.arange(len(self._recorded.photons))
        if len(rows) < 10:
            return {"test": rows[:0]}
        rest, test = train_test_split(rows, test_size=TEST, random_state=42)
        train, validation = train_test_split(rest, test_size=VALIDATION / (1 - TEST), random_state=43)
        return {"train": train, "validation": validation, "test": test}

    def _by_condition(self) -> dict[Split, Rows]:
        """Whole particles, in random order, the events of one side by side."""
        condition, keys = self._particles
        rows = np.argsort(condition, kind="stable")
        key = keys[condition[rows]]
        test, validation = key < TEST, (key >= TEST) & (key < TEST + VALIDATION)
        found: dict[Split, Rows] = {"train": rows[key >= TEST + VALIDATION], "validation": rows[validation]}
        counts = np.unique(condition[rows[test]], return_counts=True)[1]
        if not len(counts) or counts.min() < HALVES:
            return {**found, "test": rows[test]}
        place = np.concatenate([np.arange(count) for count in counts])
        whole = place < np.repeat(counts - counts % 2, counts)
        return {**found, "test": rows[test][whole & (place % 2 == 0)], "floor": rows[test][whole & (place % 2 == 1)]}

    def _events(self, rows: Rows) -> Events:
        from simbench.features.extractors import LeNetFeatures
        from simbench.metrics.channels import channel_sums
        from simbench.metrics.physics import physics_features

        recorded, condition = self._recorded, torch.from_numpy(self._condition_id[rows])
        of_test = self._rows["test"]
        particles = of_test[np.unique(self._condition_id[of_test], return_index=True)[1]]
        edges = np.quantile(recorded.conditions[particles, 0], [0.2, 0.4, 0.6, 0.8])
        strata = {"energy": energy_quintiles(recorded.conditions[rows, 0], edges)}
        if recorded.pdg is not None:
            strata = {"species": species_strata(recorded.pdg[rows], recorded.pdg[particles]), **strata}
        features = {"features": LeNetFeatures(self.lenet)} if self.lenet else {}
        return Events(
            samples=torch.from_numpy(recorded.photons[rows].astype(np.float32)),
            conditions=torch.from_numpy(recorded.conditions[rows].astype(np.float32)),
            condition_id=condition,
            unit_id=condition,
            strata=strata,
            derivations={**features, "channels": channel_sums, "physics": physics_features},
            other_split=lambda name: self.load_split(name),  # type: ignore[arg-type]
        )


class ZnAlice(AliceTask):
    """`zn-alice`: the neutron detector. Its features are those of the LeNet-5 that zn-geant3 trained."""

    name = "zn-alice"
    summary = "ALICE's own simulation of its neutron Zero Degree Calorimeter (not public: bring your own files)"
    shape = (44, 44)
    metrics = ZnGeant3.metrics
    equivalents = (
        Equivalent("in its images", "energy_distance/1"),
        Equivalent("per particle", "conditional_energy/1", conditions=1),
    )
    lenet = LENET
    template = ZnGeant3.template
    detector = Detector("zn-alice", (44, 44), "neutron_image.txt", ("neutron", "zn"))


class ZpAlice(AliceTask):
    """`zp-alice`: the proton detector. No network is pinned for its images: what needs features of one is left out."""

    name = "zp-alice"
    summary = "ALICE's own simulation of its proton Zero Degree Calorimeter (not public: bring your own files)"
    shape = (56, 30)
    metrics = ZpGeant3.metrics
    equivalents = (Equivalent("per particle", "conditional_energy/1", conditions=1),)
    detector = Detector("zp-alice", (56, 30), "proton_image.txt", ("proton", "zp"))
