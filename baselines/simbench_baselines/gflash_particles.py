"""The particles that meet the face of the calorimeter: what flies there, what decays on the way, and what misses.

Masses, lifetimes and branching fractions are those of the Particle Data Group (2024); nothing here is fitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simbench.tasks.base import Fibres
from simbench_baselines.flight import impact_on_face


@dataclass(frozen=True)
class Kind:
    """A species: mass in MeV; c tau in m, infinite where it counts as stable; decays as (fraction, two daughters)."""

    mass: float
    charge: int
    electromagnetic: bool = False
    meson: bool = False
    c_tau: float = math.inf
    decays: tuple[tuple[float, str, str], ...] = ()


KINDS = {
    "photon": Kind(0.0, 0, electromagnetic=True),
    "electron": Kind(0.511, 1, electromagnetic=True),
    "pion": Kind(139.57, 1, meson=True),
    "kaon": Kind(493.677, 1, meson=True),
    "K0": Kind(497.611, 0, meson=True),
    "proton": Kind(938.272, 1),
    "neutron": Kind(939.565, 0),
    "Lambda": Kind(1115.683, 0, c_tau=0.0789, decays=((0.641, "proton", "pion"), (0.359, "neutron", "pi0"))),
    "Sigma+": Kind(1189.37, 1, c_tau=0.02404, decays=((0.516, "proton", "pi0"), (0.484, "neutron", "pion"))),
    "Sigma-": Kind(1197.45, -1, c_tau=0.04434, decays=((1.0, "neutron", "pion"),)),
    "Xi0": Kind(1314.86, 0, c_tau=0.0871, decays=((1.0, "Lambda", "pi0"),)),
    "pi0": Kind(134.977, 0, c_tau=0.0, decays=((1.0, "photon", "photon"),)),
    "K0S": Kind(497.611, 0, meson=True, c_tau=0.02684, decays=((0.692, "pion", "pion"), (0.308, "pi0", "pi0"))),
}
"""Antiparticles are as their particles are. Charged kaons and K0L count as stable: at 1 TeV one in 70 would decay."""

NAMES = tuple(KINDS)
ASKED = ("photon", "electron", "pion", "kaon", "K0", "proton", "neutron", "Lambda", "Sigma+", "Sigma-", "Xi0")
"""What conditions can name; K0 is K0L or K0S, which have one mass and charge."""


SHORT_LIVED = 0.0186 / (0.0186 + 0.0215)
"""Share of K0S among neutral kaons: the species mix of the data (simbench/data/zn_geant3/primaries.py)."""


@dataclass(frozen=True)
class Particles:
    """Particles on straight flights, each at the point where it would meet the face.

    Attributes:
        event: (P,) int64, the row of the conditions that each belongs to.
        kind: (P,) int64, index into `NAMES`.
        energy: (P,) in GeV.
        impact, slope: (P, 2), the point on the face in m and the slope of the flight, x and y.
        way: (P,) from where it was made to the face, in m.
    """

    event: Tensor
    kind: Tensor
    energy: Tensor
    impact: Tensor
    slope: Tensor
    way: Tensor

    def take(self, rows: Tensor) -> Particles:
        """Some of the particles, by index or mask."""
        return Particles(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def of(self, trait: str) -> Tensor:
        """A number that belongs to the species, e.g. its mass in MeV, for each particle: (P,) float64."""
        values = [float(getattr(kind, trait)) for kind in KINDS.values()]
        return torch.tensor(values, dtype=torch.float64, device=self.kind.device)[self.kind]


def kinds_of(mass: Tensor, charge: Tensor) -> Tensor:
    """The species of the nearest mass in MeV, and of the same charge where two masses are alike: (B,) int64."""
    asked = torch.tensor([KINDS[name].mass for name in ASKED], device=mass.device)
    sign = torch.tensor([float(KINDS[name].charge) for name in ASKED], device=mass.device)
    apart = (mass[:, None] - asked).abs()
    neutral = (sign == 0) != (charge[:, None].round() == 0)
    nearest = (apart + 3.0 * neutral).argmin(1)
    return torch.tensor([NAMES.index(name) for name in ASKED], device=mass.device)[nearest]


def particles_at_face(conditions: Tensor, names: tuple[str, ...], geometry: Fibres, rng: torch.Generator) -> Particles:
    """The particles that enter the block: the one asked for, or what it decays into; none where all of them miss.

    Args:
        conditions: (B, C) in task units.
        names: the C names, `task.condition_names`.
        geometry: the calorimeter.
        rng: where the decays are drawn from.
    """
    rows = conditions.double()
    impact, slope, way = impact_on_face(rows, names, geometry)
    kind = kinds_of(conditions[:, names.index("mass")], conditions[:, names.index("charge")])
    event = torch.arange(len(rows), device=rows.device)
    kaon = kind == NAMES.index("K0")
    coin = torch.rand(len(rows), generator=rng, device=rows.device) < SHORT_LIVED
    kind = torch.where(kaon & coin, NAMES.index("K0S"), kind)
    flying = Particles(event, kind, rows[:, names.index("Energy")].clamp(min=0), impact, slope, way)
    arrived, flying = _decayed(flying, rng)
    generations = [arrived]
    while len(flying.event):
        arrived, flying = _decayed(flying, rng)
        generations.append(arrived)
    columns = [torch.cat([getattr(part, field) for part in generations]) for field in Particles.__dataclass_fields__]
    found = Particles(*columns)
    half = geometry.number * geometry.pitch / 2
    return found.take((found.impact.abs() < half).all(1) & (found.way > 0))


def _decayed(flying: Particles, rng: torch.Generator) -> tuple[Particles, Particles]:
    """Those that reach the face, and the daughters of the others."""
    mass, c_tau = flying.of("mass") / 1000, flying.of("c_tau")
    lifetimes = torch.empty_like(mass).exponential_(generator=rng)
    momentum = (flying.energy.square() - mass.square()).clamp(min=0).sqrt()
    flown = torch.where(c_tau.isinf(), c_tau, lifetimes * c_tau * momentum / mass.clamp(min=1e-9))
    decays = flown < flying.way
    if not bool(decays.any()):
        return flying, flying.take(decays)
    return flying.take(~decays), _daughters(flying.take(decays), flown[decays], rng)


def _daughters(parents: Particles, flown: Tensor, rng: torch.Generator) -> Particles:
    """Two-body decays after a way along the beam of `flown` m: (P,) -> both daughters, (2 P,)."""
    device = flown.device
    first, second = torch.zeros_like(parents.kind), torch.zeros_like(parents.kind)
    coin = torch.rand(len(flown), generator=rng, device=device, dtype=torch.float64)
    for name, species in KINDS.items():
        below = 0.0
        for fraction, one, other in species.decays:
            chosen = (parents.kind == NAMES.index(name)) & (coin >= below)
            first[chosen], second[chosen] = NAMES.index(one), NAMES.index(other)
            below += fraction
    mass = parents.of("mass") / 1000
    table = torch.tensor([species.mass / 1000 for species in KINDS.values()], dtype=torch.float64, device=device)
    difference = table[first].square() - table[second].square()
    at_rest = (mass.square() + difference) / (2 * mass), (mass.square() - difference) / (2 * mass)
    momentum = (at_rest[0].square() - table[first].square()).clamp(min=0).sqrt()
    cosine = 2 * torch.rand(len(flown), generator=rng, device=device, dtype=torch.float64) - 1
    azimuth = 2 * math.pi * torch.rand(len(flown), generator=rng, device=device, dtype=torch.float64)
    sine = (1 - cosine.square()).sqrt()
    direction = torch.stack([sine * azimuth.cos(), sine * azimuth.sin(), cosine], 1) * momentum[:, None]
    flight = torch.cat([parents.slope, torch.ones_like(flown)[:, None]], 1)
    flight = flight / flight.norm(dim=1, keepdim=True)
    gamma = parents.energy / mass
    boost = (gamma.square() - 1).clamp(min=0).sqrt()
    vertex = parents.impact - parents.slope * (parents.way - flown)[:, None]
    left = parents.way - flown
    born = []
    for kind, rest, sign in ((first, at_rest[0], 1), (second, at_rest[1], -1)):
        own = sign * direction
        along = (own * flight).sum(1)
        moving = own + ((gamma - 1) * along + boost * rest)[:, None] * flight
        energy = gamma * rest + boost * along
        forward = moving[:, 2] > 0
        slope = moving[:, :2] / moving[:, 2:].abs().clamp(min=1e-9)
        impact = vertex + slope * left[:, None]
        born.append(Particles(parents.event, kind, energy, impact, slope, torch.where(forward, left, -left)))
    columns = [torch.cat([getattr(part, field) for part in born]) for field in Particles.__dataclass_fields__]
    return Particles(*columns)
