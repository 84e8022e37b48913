"""A parametrised shower: what a physicist would use instead of a network (GFLASH).

Grindhammer and Peters, hep-ex/0001020: Gamma profiles along a shower with fluctuating, correlated parameters, two terms
2 r R^2 / (r^2 + R^2)^2 across it. Grindhammer, Rudowicz and Peters, Nucl. Instrum. Meth. A 290 (1990) 469: hadrons as
an electromagnetic and a hadronic part. The constants were fitted to the training split (`gflash_tuning`); there is no
stored event, template or network. docs/models/gflash.md has the equations, and what differs from the papers and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from simbench.core.errors import GeneratorError
from simbench.tasks.base import Fibres, Task
from simbench_baselines.gflash_constants import Constants, read_constants
from simbench_baselines.gflash_particles import Particles, particles_at_face
from simbench_baselines.gflash_showers import (
    QUARTZ_INTERACTION_LENGTH,
    QUARTZ_RADIATION_LENGTH,
    RADIATION_LENGTH,
    Spots,
    electromagnetic_spots,
    first_interaction,
    hadronic_spots,
    released,
)
from simbench_baselines.trained import FOLDER

CHUNK = 256
"""Particles that are showered at once: a bound on memory."""

PHOTON_PATH = 9 / 7
"""Mean free path of a photon in radiation lengths."""

ELECTRON_PATH = 0.1
"""An electron radiates at once: the way to its first hard photon, in radiation lengths."""

MESON_PATH = 1.1
"""Interaction length of mesons over that of baryons, in tungsten (Particle Data Group)."""


class GFlash:
    """Photon counts of parametrised showers: (B, 9) conditions -> (B, 44, 44) whole photons.

    Args:
        constants: a JSON file of constants; None takes the shipped one.
    """

    model_name: ClassVar[str] = "gflash"
    version: ClassVar[str] = "1"

    def __init__(self, constants: str | None = None) -> None:
        self.constants_path = Path(constants) if constants is not None else FOLDER / "gflash-zn-geant3.json"
        self.constants: Constants | None = None

    @property
    def weights_path(self) -> Path:
        """The file of constants, whose checksum a Result records."""
        return self.constants_path

    def setup(self, task: Task, device: str) -> Self:
        """Read the constants and the geometry.

        Raises:
            GeneratorError: the task is no fibre calorimeter.
            DataError: the file of constants is missing or damaged.
        """
        if task.fibres is None or "Energy" not in task.condition_names:
            raise GeneratorError(
                "gflash only showers in the square block of tungsten and fibres that its constants are of",
                got=f"the task {task.name}",
                expected="a task that says where such fibres are, as zn-geant3 does",
                fix="Choose that task: --task zn-geant3.",
            )
        self.prepare(task, read_constants(self.constants_path))
        return self

    def prepare(self, task: Task, constants: Constants) -> None:
        """Take these constants, as a fit does."""
        assert task.fibres is not None
        self.geometry, self.names, self.constants = task.fibres, task.condition_names, constants

    @torch.no_grad()
    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """(B, 9) in task units -> (B, 44, 44) whole photons, float32."""
        if self.constants is None:
            raise GeneratorError(
                "gflash was asked for events before setup",
                got="no constants",
                expected="setup(task, device) first",
                fix="Call setup(task, device) once, as `simbench run` does.",
            )
        rng = torch.Generator(conditions.device).manual_seed(seed)
        return photons(self.mean_light(conditions, rng), self.constants.photons_per_track, rng)

    def mean_light(self, conditions: Tensor, rng: torch.Generator) -> Tensor:
        """Showers, before photons are drawn: (B, 9) -> (B, 44, 44) mean photons."""
        constants, number = self._ready, self.geometry.number
        particles = particles_at_face(conditions, self.names, self.geometry, rng)
        mean = torch.zeros(len(conditions), number, number, device=conditions.device)
        electromagnetic = particles.of("electromagnetic").bool()
        for kinds, shower in ((electromagnetic, self._electromagnetic), (~electromagnetic, self._hadronic)):
            found = kinds.nonzero()[:, 0]
            for rows in found.split(CHUNK) if len(found) else ():
                chosen = particles.take(rows)
                light = fibre_light(shower(chosen, rng), self.geometry, constants.light_yield)
                mean.index_put_((chosen.event,), light, accumulate=True)  # in a fixed order on any device
        return mean

    def _electromagnetic(self, particles: Particles, rng: torch.Generator) -> Spots:
        """Showers of photons and electrons: (P,) -> P x K spots."""
        energy, impact, slope = (part.float() for part in (particles.energy, particles.impact, particles.slope))
        constants = self._ready
        path = torch.where(particles.of("charge") == 0, PHOTON_PATH, ELECTRON_PATH).float()
        paths = path * RADIATION_LENGTH, path * QUARTZ_RADIATION_LENGTH
        start = first_interaction(impact, slope, paths, self.geometry, rng)
        end = 100 * self.geometry.depth
        lengths = constants.grazing_length, constants.quartz_length
        energy = energy * released(start, *lengths, constants, end, rng)
        return electromagnetic_spots(energy, start.depth, 1000 * impact, slope, self.geometry, constants, rng)

    def _hadronic(self, particles: Particles, rng: torch.Generator) -> Spots:
        """Showers of hadrons: (P,) -> P x K spots."""
        energy, impact, slope = (part.float() for part in (particles.energy, particles.impact, particles.slope))
        constants = self._ready
        factor = 1 + (MESON_PATH - 1) * particles.of("meson").float()
        lengths = factor * constants.interaction_length, factor * QUARTZ_INTERACTION_LENGTH
        start = first_interaction(impact, slope, lengths, self.geometry, rng)
        end = 100 * self.geometry.depth
        ways = constants.hadron_grazing_length, constants.hadron_quartz_length
        energy = energy * released(start, *ways, constants, end, rng)
        return hadronic_spots(energy, start.depth, lengths[0], 1000 * impact, slope, self.geometry, constants, rng)

    @property
    def _ready(self) -> Constants:
        assert self.constants is not None
        return self.constants


def fibre_light(spots: Spots, geometry: Fibres, light_yield: float) -> Tensor:
    """Mean photons of each fibre: P x K spots -> (P, number, number), indexed [particle, y, x].

    A spot's energy density on a fibre's core times the area of a cell, times `light_yield` in photons per GeV.
    """
    pitch, core = 1000 * geometry.pitch, 1000 * geometry.core
    fibre = (torch.arange(geometry.number, device=spots.x.device) - (geometry.number - 1) / 2) * pitch
    scale = (2 * (spots.width.square() + core**2 / 4)).rsqrt()
    columns, rows = (
        torch.exp(-((fibre - centre[..., None]) * scale[..., None]).square()) for centre in (spots.x, spots.y)
    )
    height = light_yield * pitch**2 / torch.pi * spots.energy * spots.brightness * scale.square()
    return (rows * height[..., None]).transpose(1, 2) @ columns


def photons(mean: Tensor, per_track: float, rng: torch.Generator) -> Tensor:
    """Whole photons of each fibre: a Poisson number of charged tracks, each with a Poisson number of photons (Neyman's
    type A): variance over mean is 1 + per_track."""
    tracks = torch.poisson(mean / per_track, generator=rng)
    hit = tracks > 0
    counts = torch.zeros_like(mean)
    counts[hit] = torch.poisson(tracks[hit] * per_track, generator=rng)
    return counts
