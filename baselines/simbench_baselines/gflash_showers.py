"""Parametrised showers: where in the block a particle begins to shower, and the energy spots that it leaves.

Lengths along the beam are in cm from the face, across it in mm; energies in GeV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simbench.tasks.base import Fibres
from simbench_baselines.gflash_constants import Constants

RADIATION_LENGTH = 0.3976
"""Of the tungsten alloy, in cm: 93 % W, 3 % Fe, 4 % Ni at 17.6 g/cm3."""

QUARTZ_RADIATION_LENGTH, QUARTZ_INTERACTION_LENGTH = 10.25, 37.0
"""In cm: 27.05 and 97.8 g/cm2 at 2.64 g/cm3."""

CRITICAL_ENERGY = 0.0085
"""GeV, of the alloy."""

CHARGE_NUMBER = 71.0
"""Mean atomic number of the alloy, Z of GFLASH's formulas."""

DENSITY = 1 - (0.6 / 1.6) ** 2
"""Share of the block's section that is metal: showers are longer in it than in the bare alloy by 1 over this."""

MARCH = 100
"""Points of the straight flight through the block at which its material is looked up."""

SLICES, WIDTHS = 6, 3
"""Depths of an electromagnetic shower, each with the same share of its energy, and Gaussians that stand there for one
term 2 r R^2 / (r^2 + R^2)^2 of GFLASH's radial profile."""

PART_SLICES, PART_WIDTHS, PART_SHAPE = 3, 2, 6.5
"""The same for the many electromagnetic parts of a hadron's shower, and the alpha of their Gamma profile there."""

GENERATIONS, SECONDARIES, PIONS = 2, 3, 3
"""Interactions of the leading hadron that are followed; secondary cascades and pi0 from each."""


@dataclass(frozen=True)
class Spots:
    """Round Gaussian spots of energy in the block, K for each of P particles: (P, K) each.

    Attributes:
        energy: in GeV, as deposited.
        brightness: light per energy, over that of electromagnetic energy.
        x, y: the centre, in mm from the beam.
        width: sigma on each axis, in mm.
    """

    energy: Tensor
    brightness: Tensor
    x: Tensor
    y: Tensor
    width: Tensor


@dataclass(frozen=True)
class Start:
    """Where particles begin to shower: (P,) each.

    Attributes:
        depth: of the first interaction in cm; infinite where the particle leaves the block first.
        beside: it entered the face beside the metal, in a groove or a fibre.
        in_quartz: the first interaction is in a fibre.
        in_fibre: way in quartz after the first interaction, up to the wall, in cm.
        wall: depth at which the straight flight meets metal, from the first interaction on; the end where it does not.
    """

    depth: Tensor
    beside: Tensor
    in_quartz: Tensor
    in_fibre: Tensor
    wall: Tensor


def normal(like: Tensor, *shape: int, rng: torch.Generator) -> Tensor:
    """Standard normal numbers, (*like.shape, *shape)."""
    return torch.randn((*like.shape, *shape), generator=rng, device=like.device, dtype=like.dtype)


def exponential(like: Tensor, *shape: int, rng: torch.Generator) -> Tensor:
    """Exponential numbers of mean 1, (*like.shape, *shape)."""
    drawn = torch.empty((*like.shape, *shape), device=like.device, dtype=like.dtype)
    return drawn.exponential_(generator=rng)


def materials(impact: Tensor, slope: Tensor, depth: Tensor, geometry: Fibres) -> tuple[Tensor, Tensor]:
    """Whether a straight flight is in metal, and in quartz, at each depth: (P, 2) m, (P, 2), (D,) m -> (P, D) each."""
    place = (impact[:, None] + slope[:, None] * depth[:, None]) / geometry.pitch + (geometry.number - 1) / 2
    away = (place - place.round()).abs() * geometry.pitch
    return away.amax(2) >= geometry.groove, away.square().sum(2) < geometry.core**2


def first_interaction(
    impact: Tensor, slope: Tensor, lengths: tuple[Tensor, Tensor], geometry: Fibres, rng: torch.Generator
) -> Start:
    """Draw where a particle first interacts on its straight flight through metal, quartz and air.

    Args:
        impact, slope: (P, 2), on the face in m, and slope.
        lengths: mean free paths in metal and in quartz in cm, (P,) each.
        geometry: the calorimeter.
        rng: where it is drawn from.
    """
    step = 100 * geometry.depth / MARCH
    depth = (torch.arange(MARCH, device=impact.device) + 0.5) * geometry.depth / MARCH
    metal, quartz = materials(impact, slope, depth.to(impact.dtype), geometry)
    passed = step * (metal / lengths[0][:, None] + quartz / lengths[1][:, None])
    total = passed.cumsum(1)
    wanted = exponential(lengths[0], rng=rng)[:, None]
    index = torch.searchsorted(total, wanted).clamp(max=MARCH - 1)
    before = total.gather(1, index) - passed.gather(1, index)
    part = ((wanted - before) / passed.gather(1, index).clamp(min=1e-9)).clamp(0, 1)
    found = ((index + part) * step)[:, 0]
    leaves = wanted[:, 0] > total[:, -1]
    end = 100 * depth + step / 2
    onwards = metal & (end >= found[:, None])
    wall = torch.where(onwards, end, 100 * geometry.depth).amin(1).maximum(found)
    in_fibre = step * (quartz & (end >= found[:, None]) & (end <= wall[:, None])).sum(1)
    return Start(found.masked_fill(leaves, torch.inf), ~metal[:, 0], quartz.gather(1, index)[:, 0], in_fibre, wall)


def released(
    start: Start, grazing: float, quartz: float, constants: Constants, end: float, rng: torch.Generator
) -> Tensor:
    """Share of a shower's energy that goes over into the metal before the end; the rest flies out along the fibres.

    A shower that skims a groove's wall enters the metal on an exponential way, of mean `grazing` cm, from the wall on;
    one that begins in a fibre leaves it on a way of Gamma's distribution, of mean `quartz` cm; way in the air beside
    the fibre counts in part. The means fluctuate by exp(spread x normal). (P,)
    """
    shape = constants.release_shape
    longer = (constants.release_spread * normal(start.wall, rng=rng)).exp()
    from_wall = 1 - (-(end - start.wall) / (grazing * longer)).exp()
    in_air = (start.wall - start.depth - start.in_fibre).clamp(min=0)
    way = (start.in_fibre + constants.air_share * in_air) * shape / (quartz * longer)
    inside = torch.special.gammainc(torch.full_like(way, shape), way)
    share = torch.where(start.in_quartz, inside + (1 - inside) * from_wall, from_wall)
    return torch.where(start.beside, share, torch.ones_like(share))


def gamma_quantiles(shape: Tensor, count: int) -> Tensor:
    """The middles of `count` equal shares of a Gamma distribution (Wilson and Hilferty): (P,) alpha -> (P, count)."""
    share = (torch.arange(count, device=shape.device, dtype=shape.dtype) + 0.5) / count
    deviate = torch.special.ndtri(share)
    root = 1 - 1 / (9 * shape[:, None]) + deviate / (3 * shape[:, None].sqrt())
    quantiles: Tensor = shape[:, None] * root.clamp(min=0.05).pow(3)
    return quantiles


def term_widths(radius: Tensor, count: int) -> Tensor:
    """Widths of the equal Gaussians that stand for R^2 / (pi (r^2 + R^2)^2): (...) -> (..., count).

    That density is a mixture of Gaussians with sigma^2 = R^2 / (2 u), u exponential; u takes the middles of equal
    shares.
    """
    share = (torch.arange(count, device=radius.device, dtype=radius.dtype) + 0.5) / count
    return radius[..., None] / (-2 * (-share).log1p()).sqrt()


def radial_profile(tau: Tensor, count: int, constants: Constants) -> tuple[Tensor, Tensor]:
    """The Gaussians of an electromagnetic shower at depth tau (1 is its maximum), `count` for each term: (...) ->
    weights and widths in mm, (..., 2 count) each; the weights sum to 1."""
    core = (constants.core_radius + constants.core_growth * tau).clamp(min=0.2)
    tail = constants.tail_radius * (constants.tail_growth * tau).clamp(max=6).exp()
    rise = (constants.core_peak - tau) / constants.core_decline
    share = (constants.core_weight * (rise - rise.exp()).exp()).clamp(0, 1)[..., None].expand(*tau.shape, count)
    widths = torch.cat([term_widths(core, count), term_widths(tail, count)], -1)
    return torch.cat([share, 1 - share], -1) / count, widths


def mean_profile(energy: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha, and the depth T of the maximum in radiation lengths, of the mean Gamma profile of electromagnetic showers
    of (...) GeV in a homogeneous medium."""
    log_y = (energy / CRITICAL_ENERGY).clamp(min=20).log()
    return 0.21 + (0.492 + 2.38 / CHARGE_NUMBER) * log_y, log_y - 0.858


def longitudinal_profile(energy: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Alpha and beta (per radiation length) of single showers: ln T and ln alpha are normal and correlated. (P,) GeV ->
    (P,) each."""
    mean_alpha, mean_maximum = mean_profile(energy)
    log_y = mean_maximum + 0.858
    spread_t, spread_alpha = 1 / (-1.4 + 1.26 * log_y), 1 / (-0.58 + 0.86 * log_y)
    together, apart = ((1 + 0.705 - 0.023 * log_y) / 2).sqrt(), ((1 - 0.705 + 0.023 * log_y) / 2).sqrt()
    one, other = normal(energy, 2, rng=rng).unbind(-1)
    maximum = mean_maximum * (spread_t * (together * one + apart * other)).exp()
    alpha = (mean_alpha * (spread_alpha * (together * one - apart * other)).exp()).clamp(min=1.2)
    return alpha, (alpha - 1) / maximum


def electromagnetic_spots(
    energy: Tensor,
    depth: Tensor,
    impact: Tensor,
    slope: Tensor,
    geometry: Fibres,
    constants: Constants,
    rng: torch.Generator,
) -> Spots:
    """Showers of photons and electrons that begin at `depth`: (P,) GeV, (P,) cm, (P, 2) mm, (P, 2) -> P x K spots."""
    alpha, beta = longitudinal_profile(energy, rng)
    length = RADIATION_LENGTH / DENSITY
    left = ((100 * geometry.depth - depth) / length).clamp(min=0)
    contained = torch.special.gammainc(alpha, beta * left)
    share = (SLICES * contained[:, None] - torch.arange(SLICES, device=energy.device)).clamp(0, 1) / SLICES
    reached = gamma_quantiles(alpha, SLICES)
    weights, widths = radial_profile(reached / (alpha - 1)[:, None], WIDTHS, constants)
    place = depth.clamp(max=100 * geometry.depth)[:, None] + length * reached / beta[:, None]
    centre = impact[:, None] + 10 * slope[:, None] * place[..., None]
    spots = ((energy[:, None] * share)[..., None] * weights).flatten(1)
    x, y = (axis[..., None].expand_as(weights).flatten(1) for axis in centre.unbind(-1))
    return Spots(spots, torch.ones_like(spots), x, y, widths.flatten(1))


@dataclass(frozen=True)
class Cascades:
    """The parts of hadronic showers, C for each of P: energies in GeV, electromagnetic and hadronic; where they begin,
    in cm; how far they are off the axis, in mm. (P, C) each, `off` (P, C, 2)."""

    electromagnetic: Tensor
    hadronic: Tensor
    depth: Tensor
    off: Tensor


def hadronic_share(energy: Tensor, constants: Constants, rng: torch.Generator) -> Tensor:
    """Share of a secondary cascade that stays hadronic, (E/E0)^(m-1) (Groom), with its fluctuation."""
    mean = (energy / constants.cascade_energy).clamp(min=1.05) ** (constants.cascade_power - 1)
    return (mean.clamp(max=0.999).logit() + constants.cascade_spread * normal(energy, rng=rng)).sigmoid()


def pion_share(energy: Tensor, constants: Constants) -> Tensor:
    """Share of the energy that a leading hadron of (...) GeV loses which goes into pi0."""
    return (constants.pion_share + constants.pion_share_slope * (energy / 1000).clamp(min=1e-3).log()).sigmoid()


def cascades(energy: Tensor, depth: Tensor, length: Tensor, constants: Constants, rng: torch.Generator) -> Cascades:
    """Break hadrons of (P,) GeV that first interact at (P,) cm, with (P,) cm between interactions, into cascades.

    At each interaction the leading hadron loses a share of its energy, part of it to pi0, which shower on the spot, the
    rest to secondaries, which fly on to interact off the axis; energy is conserved.
    """
    leading, axis = energy, torch.zeros_like(depth)[:, None].expand(-1, 2)
    parts: list[Cascades] = []
    for _ in range(GENERATIONS):
        lost = leading / (1 + math.exp(-constants.inelasticity))
        pions = lost * pion_share(leading, constants)
        pion = _shared(pions, PIONS, constants, rng)
        off = axis[:, None] + _deflected(pion, shower_depth(pion), constants, rng)
        parts.append(Cascades(pion, torch.zeros_like(pion), depth[:, None].expand_as(pion), off))
        parts.append(_secondaries(_shared(lost - pions, SECONDARIES, constants, rng), depth, axis, constants, rng))
        leading, way = leading - lost, length * exponential(length, rng=rng)
        angle = constants.leading_momentum * normal(leading, 2, rng=rng) / leading.clamp(min=1)[:, None]
        depth, axis = depth + way, axis + 10 * way[:, None] * angle
    parts.append(_secondaries(leading[:, None], depth - way, axis, constants, rng))  # from the last interaction on
    return Cascades(*(torch.cat([getattr(part, name) for part in parts], 1) for name in Cascades.__dataclass_fields__))


def shower_depth(energy: Tensor) -> Tensor:
    """Depth of an electromagnetic shower's maximum in the block, in cm, of showers of (...) GeV."""
    return RADIATION_LENGTH / DENSITY * mean_profile(energy)[1]


def _shared(energy: Tensor, count: int, constants: Constants, rng: torch.Generator) -> Tensor:
    """(P,) GeV shared out to `count` particles: (P, count)."""
    return energy[:, None] * (constants.sharing * normal(energy, count, rng=rng)).softmax(1)


def _deflected(energy: Tensor, way: Tensor, constants: Constants, rng: torch.Generator) -> Tensor:
    """How far, in mm, transverse momentum takes particles of (P, S) GeV off the axis in (P, S) cm: (P, S, 2)."""
    angle = constants.transverse_momentum * normal(energy, 2, rng=rng) / energy.clamp(min=1)[..., None]
    return 10 * way[..., None] * angle.clamp(-1, 1)


def _secondaries(energy: Tensor, depth: Tensor, axis: Tensor, constants: Constants, rng: torch.Generator) -> Cascades:
    """The cascades of secondaries of (P, S) GeV from an interaction at (P,) cm, (P, 2) mm."""
    way = constants.secondary_length * exponential(energy, rng=rng)
    off = axis[:, None] + _deflected(energy, way + shower_depth(energy), constants, rng)
    hadronic = energy * hadronic_share(energy, constants, rng)
    return Cascades(energy - hadronic, hadronic, depth[:, None] + way, off)


def hadronic_spots(
    energy: Tensor,
    depth: Tensor,
    length: Tensor,
    impact: Tensor,
    slope: Tensor,
    geometry: Fibres,
    constants: Constants,
    rng: torch.Generator,
) -> Spots:
    """Showers of hadrons of (P,) GeV that first interact at `depth`, again after `length` cm; impact in mm, slope."""
    parts = cascades(energy, depth, length, constants, rng)
    end = 100 * geometry.depth
    left = (end - parts.depth).clamp(min=0)
    centre = impact[:, None] + 10 * slope[:, None] * parts.depth.clamp(max=end)[..., None] + parts.off
    bright = _electromagnetic_parts(parts.electromagnetic, left, centre, constants)
    shape = torch.full_like(left, constants.hadron_shape)
    deposited = parts.hadronic * torch.special.gammainc(shape, left / constants.hadron_scale)
    core = (constants.hadron_core_weight + constants.hadron_core_spread * normal(energy, rng=rng)).sigmoid()
    soft = _hadronic_part(deposited, core, centre, constants)
    return Spots(*(torch.cat([getattr(bright, name), getattr(soft, name)], 1) for name in Spots.__dataclass_fields__))


def _electromagnetic_parts(energy: Tensor, left: Tensor, centre: Tensor, constants: Constants) -> Spots:
    """Electromagnetic cascades (P, C) that begin `left` cm before the end: P x K spots."""
    alpha, maximum = mean_profile(energy)
    inside = torch.special.gammainc(alpha, (alpha - 1) / maximum * left * DENSITY / RADIATION_LENGTH)
    tau = gamma_quantiles(energy.new_tensor([PART_SHAPE]), PART_SLICES)[0] / (PART_SHAPE - 1)
    weights, widths = (part.flatten() for part in radial_profile(tau, PART_WIDTHS, constants))
    spots = ((energy * inside)[..., None] * weights / PART_SLICES).flatten(1)
    x, y = (axis[..., None].expand(-1, -1, len(weights)).flatten(1) for axis in centre.unbind(-1))
    return Spots(spots, torch.ones_like(spots), x, y, widths.expand(*energy.shape, len(widths)).flatten(1))


def _hadronic_part(deposited: Tensor, core: Tensor, centre: Tensor, constants: Constants) -> Spots:
    """The hadronic energy of the cascades (P, C) together, around its centre of gravity, with a share `core` (P,) in
    the inner radius: P x K spots."""
    total = deposited.sum(1, keepdim=True)
    middle = (deposited[..., None] * centre).sum(1) / total.clamp(min=1e-6)
    radii = torch.tensor([constants.hadron_core_radius, constants.hadron_tail_radius], device=core.device)
    widths = term_widths(radii.to(core.dtype), WIDTHS).flatten().expand(len(core), -1)
    spots = total * torch.stack([core, 1 - core], 1).repeat_interleave(WIDTHS, 1) / WIDTHS
    x, y = (axis[:, None].expand_as(spots) for axis in middle.unbind(-1))
    return Spots(spots, torch.full_like(spots, constants.hadron_light), x, y, widths)
