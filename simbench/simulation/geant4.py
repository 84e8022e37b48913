"""The Monte Carlo in Geant4: a program of the same protocol as zn_transport, of which transport.F is the other.

usage: python -m simbench.simulation.geant4 PRIMARIES OUTPUT SEED [zn]     (or --check)

Geometry, light and scoring are those of geometry.F and light.F; the physics is FTFP_BERT. The cuts are as near to those
of transport.F as Geant4 has them, with one difference: delta rays above 1 MeV are tracked, where GEANT 3 fluctuates the
energy loss. It needs the package geant4_pybind and the physics data of Geant4.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import geant4_pybind as g4
import numpy as np

from simbench.simulation.light import captured_photons

FIBRES = 44
PITCH, GROOVE, CORE = 1.6 * g4.mm, 0.6 * g4.mm, 0.365 * g4.mm
"""Distance of the fibres, full width of a groove, diameter of a core."""

LENGTH = 1 * g4.m
CENTRE = 113 * g4.m
"""Of the block, from the collision; the block's centre is the origin."""

WORLD = (50 * g4.cm, 50 * g4.cm, 114 * g4.m)
"""Half sizes of the vacuum around."""

CUT_EM, CUT_HADRON = 1 * g4.MeV, 10 * g4.MeV
CUTS = "1 MeV e/gamma (production and tracking), 10 MeV hadrons and muons; delta rays above 1 MeV"
LEPTONS_AND_PHOTONS = (11, -11, 22)
DATA = {
    "G4EMLOW": "G4LEDATA",
    "PhotonEvaporation": "G4LEVELGAMMADATA",
    "G4PARTICLEXS": "G4PARTICLEXSDATA",
    "G4ENSDFSTATE": "G4ENSDFSTATEDATA",
    "G4SAIDDATA": "G4SAIDXSDATA",
}
"""The data sets that FTFP_BERT reads, and the variables that can name their folders."""


class Detector(g4.G4VUserDetectorConstruction):
    """The block in vacuum. A fibre's touchable has its column (x) two levels up and its row (y) three."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter

    def Construct(self) -> Any:
        """Build the volumes; returns the world. They are kept in `placed` and `fibre`."""
        alloy, quartz, air, vacuum = materials()
        world = g4.G4LogicalVolume(g4.G4Box("HALL", *WORLD), vacuum, "HALL")
        half, side, deep = PITCH / 2, FIBRES * PITCH / 2, LENGTH / 2
        block = g4.G4LogicalVolume(g4.G4Box("ZNEU", side, side, deep), alloy, "ZNEU")
        row = g4.G4LogicalVolume(g4.G4Box("ZROW", side, half, deep), alloy, "ZROW")
        cell = g4.G4LogicalVolume(g4.G4Box("ZCEL", half, half, deep), alloy, "ZCEL")
        groove = g4.G4LogicalVolume(g4.G4Box("ZGRV", GROOVE / 2, GROOVE / 2, deep), air, "ZGRV")
        self.fibre = g4.G4LogicalVolume(g4.G4Tubs("ZFIB", 0, CORE / 2, deep, 0, 2 * math.pi), quartz, "ZFIB")
        self.volumes = [world, block, row, cell, groove, self.fibre]
        self.replicas = [
            g4.G4PVReplica("ZROW", row, block, g4.kYAxis, FIBRES, PITCH, 0),
            g4.G4PVReplica("ZCEL", cell, row, g4.kXAxis, FIBRES, PITCH, 0),
        ]
        self.placed = [
            g4.G4PVPlacement(None, g4.G4ThreeVector(), inner, inner.GetName(), outer, False, 0, False)
            for inner, outer in ((block, world), (groove, cell), (self.fibre, groove))
        ]
        self.limits = g4.G4UserLimits(sys.float_info.max, sys.float_info.max, sys.float_info.max, CUT_EM)
        for volume in self.volumes:
            volume.SetUserLimits(self.limits)
        self.world = g4.G4PVPlacement(None, g4.G4ThreeVector(), world, "HALL", None, False, 0, False)
        return self.world

    def ConstructSDandField(self) -> None:
        """Make the fibres sensitive."""
        g4.G4SDManager.GetSDMpointer().AddNewDetector(self.counter)
        self.fibre.SetSensitiveDetector(self.counter)


def materials() -> tuple[Any, Any, Any, Any]:
    """Tungsten alloy, quartz, air and vacuum, as in geometry.F."""
    nist = g4.G4NistManager.Instance()
    alloy = g4.G4Material("WALLOY", 17.6 * g4.g / g4.cm3, 3)
    for symbol, share in (("W", 0.93), ("Fe", 0.03), ("Ni", 0.04)):
        alloy.AddElement(nist.FindOrBuildElement(symbol), share)
    quartz = g4.G4Material("QUARTZ", 2.64 * g4.g / g4.cm3, 2)
    for symbol, atoms in (("Si", 1), ("O", 2)):
        quartz.AddElement(nist.FindOrBuildElement(symbol), atoms)
    return alloy, quartz, nist.FindOrBuildMaterial("G4_AIR"), nist.FindOrBuildMaterial("G4_Galactic")


class Counter(g4.G4VSensitiveDetector):
    """Counts the photons of each fibre, `photons` int32 (44, 44) [y, x]: Poisson about the mean of each step."""

    def __init__(self) -> None:
        super().__init__("ZLITE")
        self.reset(0, 0)

    def reset(self, seed: int, line: int) -> None:
        """Begin an event, whose random numbers are those of `seed` and its line in the file of particles."""
        self.photons = np.zeros((FIBRES, FIBRES), np.int32)
        self.rng = np.random.default_rng([seed, line])

    def ProcessHits(self, step: Any, history: Any) -> bool:
        """The light of a step, with velocity and direction at its end, as in light.F."""
        before, after = step.GetPreStepPoint(), step.GetPostStepPoint()
        charge = before.GetCharge()
        if charge == 0:
            return False
        density = captured_photons(after.GetBeta(), after.GetMomentumDirection().z)
        if density == 0:
            return False
        fibre = before.GetTouchable()
        x, y = fibre.GetReplicaNumber(2), fibre.GetReplicaNumber(3)
        self.photons[y, x] += self.rng.poisson(step.GetStepLength() / g4.cm * charge**2 * density)
        return True


class Source(g4.G4VUserPrimaryGeneratorAction):
    """One line of the file of particles an event."""

    def __init__(self, lines: Sequence[str], counter: Counter, seed: int) -> None:
        super().__init__()
        produce = import_module("simbench.data.zn_geant3.produce")
        self.pdg = {code: pdg for pdg, code in produce.GEANT_CODE.items()}
        self.lines, self.counter, self.seed, self.next = lines, counter, seed, 0
        self.gun = g4.G4ParticleGun(1)

    def GeneratePrimaries(self, event: Any) -> None:
        """Put the next particle into the event, and begin its random streams."""
        code, *numbers = self.lines[self.next].split()
        x, y, z, *momentum = map(float, numbers)
        self.next += 1
        self.counter.reset(self.seed, self.next)
        g4.G4Random.setTheSeed(int(self.counter.rng.integers(1, 2**31)))
        particle = g4.G4ParticleTable.GetParticleTable().FindParticle(self.pdg[int(code)])
        mass, size = particle.GetPDGMass(), math.hypot(*momentum) * g4.GeV
        self.gun.SetParticleDefinition(particle)
        self.gun.SetParticleEnergy(math.hypot(size, mass) - mass)
        self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(*momentum).unit())
        self.gun.SetParticlePosition(g4.G4ThreeVector(x * g4.cm, y * g4.cm, z * g4.cm - CENTRE))
        self.gun.GeneratePrimaryVertex(event)


class Clock(g4.G4UserEventAction):
    """CPU seconds and photons of each event, in `seconds` and `photons`."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter
        self.seconds: list[float] = []
        self.photons: list[Any] = []

    def BeginOfEventAction(self, event: Any) -> None:
        """Start."""
        self.start = time.process_time()

    def EndOfEventAction(self, event: Any) -> None:
        """Stop."""
        self.seconds.append(time.process_time() - self.start)
        self.photons.append(self.counter.photons)


class Cuts(g4.G4UserStackingAction):
    """New hadrons and muons below 10 MeV, and electrons and photons below 1 MeV, are dropped."""

    def ClassifyNewTrack(self, track: Any) -> Any:
        """Whether a track is followed."""
        pdg = track.GetDefinition().GetPDGEncoding()
        cut = CUT_EM if pdg in LEPTONS_AND_PHOTONS else CUT_HADRON
        return g4.fKill if track.GetKineticEnergy() < cut else g4.fUrgent


def full_physics() -> Any:
    """FTFP_BERT with the cuts."""
    physics = g4.FTFP_BERT()
    limits = g4.G4StepLimiterPhysics()  # G4UserSpecialCuts, too
    limits.SetApplyToAll(True)
    physics.RegisterPhysics(limits)
    # a range so short that its energy is below the table: the threshold is the table's lower edge, in every material
    g4.G4ProductionCutsTable.GetProductionCutsTable().SetEnergyRange(CUT_EM, 100 * g4.TeV)
    physics.SetDefaultCutValue(1 * g4.um)
    physics.SetCutValue(100 * g4.mm, "proton")  # recoils: 0.1 MeV per mm of this number
    energies = g4.G4EmParameters.Instance()
    energies.SetLowestElectronEnergy(CUT_EM)
    energies.SetLowestMuHadEnergy(CUT_HADRON)
    return physics


def run(primaries: Path, output: Path, seed: int, physics: Callable[[], Any]) -> None:
    """Simulate each particle of a file and write what transport.F writes. Once a process: Geant4 has one manager."""
    lines = primaries.read_text(encoding="ascii").splitlines()
    manager = g4.G4RunManager()  # Geant4 asks for this order: manager, detector, physics, actions
    counter = Counter()
    detector, processes = Detector(counter), physics()
    for needed in (detector, processes):
        manager.SetUserInitialization(needed)
    source, clock, cuts = Source(lines, counter, seed), Clock(counter), Cuts()
    for action in (source, clock, cuts):
        manager.SetUserAction(action)
    manager.Initialize()
    manager.BeamOn(len(lines))
    produce = import_module("simbench.data.zn_geant3.produce")
    events = np.zeros(len(lines), produce.record("zn"))
    events["photons"], events["seconds"] = clock.photons, clock.seconds
    events.tofile(output)


def version() -> str:
    """`Geant4 11.4.1`, of the tag in the package."""
    found = re.search(r"geant4-(\d+)-(\d+)(?:-patch-(\d+))?", g4.G4Version)
    return "Geant4 " + ".".join(str(int(part)) for part in found.groups("0")) if found else "Geant4"


def check() -> None:
    """Print version, physics, cuts and the data sets as JSON on stdout. SystemExit where data sets are missing."""
    root = Path(os.environ.get("GEANT4_DATA_DIR") or Path.home() / ".geant4_pybind")
    found = {name: Path(os.environ[variable]) for name, variable in DATA.items() if os.environ.get(variable)}
    found = {name: folder for name in DATA for folder in root.glob(f"{name}*")} | found
    missing = [name for name in DATA if name not in found or not found[name].is_dir()]
    if missing:
        raise SystemExit(f"no physics data {', '.join(missing)} in {root}")
    data = " ".join(sorted(folder.name for folder in found.values()))
    print(json.dumps({"version": version(), "physics": "FTFP_BERT", "cuts": CUTS, "data": data}))


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), full_physics)
