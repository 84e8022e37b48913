"""The light of a fibre: by hand, against a photon by photon simulation, and against light.F."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from simbench.simulation.light import captured_photons
from simbench.tasks.zn import data_file

DRIVER = """
      PROGRAM DRIVER
      REAL BETA, CAX
   10 READ (*, *, END=90) BETA, CAX
      WRITE (*, *) ZYIELD(BETA, CAX)
      GO TO 10
   90 END
"""


def test_by_hand_at_the_cherenkov_angle() -> None:
    """beta 1 along the cone: 545.84 photons per cm and unit sin², sin² .530867; a share .06614 of the azimuth."""
    assert captured_photons(1.0, 1 / 1.46) == pytest.approx(19.165, abs=2e-3)


def test_no_light_below_the_threshold_along_and_across_the_fibre() -> None:
    assert captured_photons(1 / 1.46 - 1e-9, 0.7) == 0
    assert captured_photons(0.0, 0.7) == 0
    assert captured_photons(1.0, 1.0) == 0  # the cone is at 46.8 degrees, the acceptance at 8.7
    assert captured_photons(1.0, -1 / 1.46) == 0  # the light goes to the other end


def test_a_slow_particle_along_the_fibre_gives_all_its_light() -> None:
    beta = 1 / (1.46 * math.cos(math.radians(5)))  # a cone of 5 degrees lies within the acceptance
    emitted = 2 * math.pi / 137.036 * (1 / 350e-7 - 1 / 600e-7) * math.sin(math.radians(5)) ** 2
    assert captured_photons(beta, 1.0) == pytest.approx(emitted)


@pytest.mark.parametrize(("beta", "degrees"), [(1.0, 45.0), (1.0, 40.0), (0.9, 38.0), (0.72, 12.0)])
def test_the_share_of_the_azimuth_is_that_of_single_photons(beta: float, degrees: float) -> None:
    rng = np.random.default_rng(1)
    phi, angle = rng.uniform(0, 2 * np.pi, 400_000), math.radians(degrees)
    cone = math.acos(1 / (1.46 * beta))
    along = np.cos(cone) * np.cos(angle) + np.sin(cone) * np.sin(angle) * np.cos(phi)
    share = float((along >= math.sqrt(1 - (0.22 / 1.46) ** 2)).mean())
    emitted = 2 * math.pi / 137.036 * (1 / 350e-7 - 1 / 600e-7) * math.sin(cone) ** 2
    error = math.sqrt(share * (1 - share) / len(phi))
    assert 0.02 < share < 0.98
    assert captured_photons(beta, math.cos(angle)) / emitted == pytest.approx(share, abs=4 * error)


@pytest.mark.skipif(shutil.which("gfortran") is None, reason="needs gfortran")
def test_it_is_the_formula_of_light_f(tmp_path: Path) -> None:
    source = (data_file().with_name("zn_geant3") / "light.F").read_text()
    function = source[source.index("      REAL FUNCTION ZYIELD") :]
    (tmp_path / "driver.F").write_text(DRIVER + function)
    compiler = ["gfortran", "-ffixed-line-length-none", "-o", "driver", "driver.F"]
    subprocess.run(compiler, cwd=tmp_path, check=True)
    rng = np.random.default_rng(2)
    points = np.column_stack([rng.uniform(0.65, 1, 4000), rng.uniform(-0.2, 1, 4000)]).astype(np.float32)
    lines = "".join(f"{beta:.9g} {cosine:.9g}\n" for beta, cosine in points)
    done = subprocess.run([tmp_path / "driver"], input=lines, capture_output=True, text=True, check=True)
    fortran = np.array(done.stdout.split(), float)
    ours = np.array([captured_photons(float(beta), float(cosine)) for beta, cosine in points])
    assert 0.1 < (ours > 0).mean() < 0.9
    np.testing.assert_allclose(ours, fortran, rtol=2e-3, atol=0.05)  # single precision, and acos near its ends
