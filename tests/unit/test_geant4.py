"""The geometry, the light and the loop of the Geant4 engine, as far as they go without its physics data."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from simbench.simulation.light import captured_photons
from simbench.tasks.zn import ZnGeant3

pytestmark = pytest.mark.skipif(find_spec("geant4_pybind") is None, reason="needs geant4_pybind")

SETUP = """
import json, math, sys
import geant4_pybind as g4
from simbench.simulation import geant4
"""

NAVIGATE = """
def fibre_lengths(start, direction):
    detector = geant4.Detector(geant4.Counter())
    world = detector.Construct()
    g4.G4GeometryManager.GetInstance().CloseGeometry(True, False)
    navigator = g4.G4Navigator()
    navigator.SetWorldVolume(world)
    position, direction = g4.G4ThreeVector(*start), g4.G4ThreeVector(*direction).unit()
    volume, lengths = navigator.LocateGlobalPointAndSetup(position, direction, False, False), {}
    while volume is not None:
        step = navigator.ComputeStep(position, direction, 1e9, 0.0)
        if volume.GetName() == "ZFIB":
            fibre = navigator.CreateTouchableHistory()
            name = f"{fibre.GetReplicaNumber(2)},{fibre.GetReplicaNumber(3)}"
            lengths[name] = lengths.get(name, 0.0) + step
        position = position + direction * step
        navigator.SetGeometricallyLimitedStep()
        volume = navigator.LocateGlobalPointAndSetup(position, direction, True, False)
    g4.G4GeometryManager.GetInstance().OpenGeometry()
    return lengths
"""


def answer(code: str, folder: Path, **environment: str) -> Any:
    """What a process of its own prints last, as JSON: Geant4 has one geometry a process, and aborts on errors."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "ENSDFSTATE.dat").touch()  # a table of no nuclides: none is met here
    where = {"GEANT4_DATA_DIR": str(folder), "G4ENSDFSTATEDATA": str(folder / "data")}
    done = subprocess.run(
        [sys.executable, "-c", SETUP + code],
        env={**os.environ, **where, **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_no_volume_overlaps_another(tmp_path: Path) -> None:
    code = """
detector = geant4.Detector(geant4.Counter())
detector.Construct()
placed = {volume.GetName(): volume.CheckOverlaps(10_000, 0.0, False) for volume in detector.placed}
print(json.dumps(placed))
"""
    assert answer(code, tmp_path) == {"ZNEU": False, "ZGRV": False, "ZFIB": False}


def test_a_volume_that_is_too_large_is_found_by_the_check_of_overlaps(tmp_path: Path) -> None:
    code = """
geant4.GROOVE = 1.7 * g4.mm
detector = geant4.Detector(geant4.Counter())
detector.Construct()
print(json.dumps({volume.GetName(): volume.CheckOverlaps(10_000, 0.0, False) for volume in detector.placed}))
"""
    assert answer(code, tmp_path)["ZGRV"]


def test_the_sizes_are_those_of_the_task(tmp_path: Path) -> None:
    names = ("FIBRES", "PITCH", "CORE", "GROOVE", "LENGTH", "CENTRE")
    code = f"print(json.dumps([getattr(geant4, name) for name in {names!r}]))"
    fibres = ZnGeant3.fibres
    assert fibres is not None
    mm = [fibres.pitch, 2 * fibres.core, 2 * fibres.groove, fibres.depth, fibres.face + fibres.depth / 2]
    assert answer(code, tmp_path) == pytest.approx([fibres.number, *(1000 * value for value in mm)])


def test_the_alloy_has_the_density_and_the_parts_of_geometry_f(tmp_path: Path) -> None:
    code = """
alloy, quartz, *_ = geant4.materials()
print(json.dumps([alloy.GetDensity() / (g4.g / g4.cm3), list(alloy.GetFractionVector()),
    quartz.GetDensity() / (g4.g / g4.cm3), list(quartz.GetFractionVector())]))
"""
    density, parts, quartz, silica = answer(code, tmp_path)
    assert density == pytest.approx(17.6)
    assert parts == pytest.approx([0.93, 0.03, 0.04])
    assert quartz == pytest.approx(2.64)
    assert silica == pytest.approx([28.0855 / 60.0843, 2 * 15.9994 / 60.0843], rel=1e-4)


@pytest.mark.parametrize(("degrees", "offset"), [(30.0, 0.05), (60.0, -0.1), (85.0, 0.0)])
def test_a_straight_track_across_a_row_has_the_chords_of_44_cylinders(
    tmp_path: Path, degrees: float, offset: float
) -> None:
    """A track in the plane y = 0.8 mm + offset, at an angle to the fibres of row 22: 2 sqrt(r² - offset²) / sin."""
    angle = math.radians(degrees)
    code = f"""{NAVIGATE}
print(json.dumps(fibre_lengths((-50.0, {0.8 + offset}, -100.0), ({math.sin(angle)}, 0.0, {math.cos(angle)}))))
"""
    lengths = answer(code, tmp_path)
    chord = 2 * math.sqrt(0.1825**2 - offset**2) / math.sin(angle)
    assert set(lengths) == {f"{x},22" for x in range(44)}
    assert list(lengths.values()) == pytest.approx([chord] * 44, rel=1e-6)


def test_a_track_along_a_fibre_has_its_length_and_one_in_a_groove_or_alloy_none(tmp_path: Path) -> None:
    code = f"""{NAVIGATE}
print(json.dumps([fibre_lengths((x, -32.8, -1000.0), (0.0, 0.0, 1.0)) for x in (-34.4, -34.15, -34.0)]))
"""
    assert answer(code, tmp_path) == [{"0,1": pytest.approx(1000.0)}, {}, {}]


def test_straight_muons_give_the_light_of_their_chords(tmp_path: Path) -> None:
    """The whole loop, with a physics list that has no processes: 200 muons cross the 44 fibres of row 22 at 45°."""
    code = """
import pathlib
import numpy as np
from simbench.data.zn_geant3 import produce

class Straight(g4.G4VModularPhysicsList):
    def ConstructParticle(self):
        g4.G4MuonMinus.Definition(), g4.G4Gamma.Definition(), g4.G4Geantino.Definition(), g4.G4Proton.Definition()

produce.GEANT_CODE[13] = 6
line = f"6 -5 0.085 {11300 - 20} {1000 * math.sqrt(.5)} 0 {1000 * math.sqrt(.5)}\\n"
pathlib.Path("in.txt").write_text(200 * line)
geant4.run(pathlib.Path("in.txt"), pathlib.Path("out.bin"), 5, Straight)
events = np.fromfile("out.bin", produce.record("zn"))
photons = events["photons"]
print(json.dumps([photons.sum((0, 2)).tolist(), photons[:, 22].sum(0).tolist(), events["seconds"].tolist(),
    len(np.unique(photons.sum((1, 2))))]))
"""
    rows, columns, seconds, different = answer(code, tmp_path)
    chord = 2 * math.sqrt(0.01825**2 - 0.005**2) / math.sqrt(0.5)  # cm
    expected = 200 * 44 * chord * captured_photons(1.0, math.sqrt(0.5))
    assert [y for y, count in enumerate(rows) if count] == [22]
    assert rows[22] == pytest.approx(expected, abs=4 * math.sqrt(expected))
    spread = sum((count - expected / 44) ** 2 / (expected / 44) for count in columns)
    assert 44 - 4 * math.sqrt(88) < spread < 44 + 4 * math.sqrt(88)  # chi squared
    assert len(seconds) == 200
    assert min(seconds) > 0
    assert different > 10


def test_the_full_physics_takes_all_cuts(tmp_path: Path) -> None:
    """As far as it can be built without data."""
    code = """
manager = g4.G4RunManager()
physics = geant4.full_physics()
energies, table = g4.G4EmParameters.Instance(), g4.G4ProductionCutsTable.GetProductionCutsTable()
print(json.dumps([energies.LowestElectronEnergy() / g4.MeV, energies.LowestMuHadEnergy() / g4.MeV,
    table.GetLowEdgeEnergy() / g4.MeV, physics.GetDefaultCutValue() / g4.um]))
sys.stdout.flush()
import os
os._exit(0)
"""
    names = ("G4LEDATA", "G4LEVELGAMMADATA", "G4PARTICLEXSDATA", "G4SAIDXSDATA")
    assert answer(code, tmp_path, **dict.fromkeys(names, str(tmp_path))) == pytest.approx([1.0, 10.0, 1.0, 1.0])


def test_the_check_names_the_data_that_are_missing_and_those_that_are_there(tmp_path: Path) -> None:
    code = """
try:
    geant4.check()
except SystemExit as stop:
    print(json.dumps(str(stop)))
"""
    names = ("G4EMLOW8.8", "PhotonEvaporation6.1.2", "G4PARTICLEXS4.2", "G4SAIDDATA2.0")
    for name in names[:3]:
        (tmp_path / name).mkdir()
    assert answer(code, tmp_path) == f"no physics data G4SAIDDATA in {tmp_path}"
    (tmp_path / names[3]).mkdir()
    found = answer(code, tmp_path)
    assert found["version"].startswith("Geant4 11.")
    assert found["data"].split() == sorted([*names, "data"])  # that of the nuclides is named by its variable
