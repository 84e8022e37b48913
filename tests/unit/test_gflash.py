"""gflash: where particles fly, where they begin to shower, what light they give, and the constants behind it."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import ToyTask

from simbench.core.errors import DataError, GeneratorError
from simbench.tasks.zn import ZnGeant3
from simbench_baselines.flight import impact_on_face
from simbench_baselines.gflash import GFlash, fibre_light, photons
from simbench_baselines.gflash_constants import Constants, read_constants, starting_constants, write_constants
from simbench_baselines.gflash_particles import NAMES, SHORT_LIVED, Particles, kinds_of, particles_at_face
from simbench_baselines.gflash_showers import (
    Spots,
    cascades,
    electromagnetic_spots,
    first_interaction,
    gamma_quantiles,
    materials,
    radial_profile,
)
from simbench_baselines.gflash_tuning import Fit, bounded, least_squares, ring_sums, some

TASK = ZnGeant3()
GEOMETRY = ZnGeant3.fibres
PITCH = GEOMETRY.pitch
DEVICES = ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]
MASSES = {"photon": (0.0, 0), "neutron": (939.565, 0), "Lambda": (1115.683, 0), "K0": (497.611, 0)}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generator(constants: Constants | None = None) -> GFlash:
    ready = GFlash().setup(TASK, "cpu")
    if constants is not None:
        ready.prepare(TASK, constants)
    return ready


def requests(name: str, energy: float, x: float, y: float, count: int, slope: tuple[float, float] = (0, 0)) -> Tensor:
    """`count` equal conditions of a particle that meets the face at (x, y) m."""
    mass, charge = MASSES[name]
    vertex = [x - slope[0] * GEOMETRY.face, y - slope[1] * GEOMETRY.face, 0.0]
    row = [energy, *vertex, energy * slope[0], energy * slope[1], energy, mass, charge]
    return torch.tensor([row]).expand(count, -1).contiguous()


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("device", DEVICES)
def test_shapes_and_whole_photons(count: int, device: str) -> None:
    conditions = TASK.load("validation").conditions[:count].to(device)
    samples = GFlash().setup(TASK, device).sample(conditions, seed=1)
    assert samples.shape == (count, 44, 44)
    assert samples.dtype == torch.float32
    assert samples.device.type == torch.device(device).type
    assert torch.equal(samples, samples.round())
    assert bool((samples >= 0).all())


def test_seeds() -> None:
    conditions = TASK.load("validation").conditions[:30]
    first = generator().sample(conditions, seed=3)
    assert torch.equal(first, generator().sample(conditions, seed=3))
    assert not torch.equal(first, generator().sample(conditions, seed=4))


@pytest.mark.parametrize("energy", [20.0, 3000.0])
def test_electromagnetic_spots_hold_the_energy(energy: float) -> None:
    depth = torch.tensor([0.4, 50.0, 97.0, 99.9, math.inf])
    place = torch.zeros(5, 2)
    spots = electromagnetic_spots(torch.full((5,), energy), depth, place, place, GEOMETRY, starting_constants(), rng())
    deposited = spots.energy.sum(1)
    torch.testing.assert_close(deposited[:2], torch.full((2,), energy), rtol=2e-4, atol=0)
    assert float(deposited[4]) == 0
    assert bool((deposited.diff() <= 0.01 * energy).all())  # the later, the more flies out of the end
    assert float(deposited[3]) < 0.1 * energy


def test_cascades_share_out_the_energy_and_nothing_else() -> None:
    energy = torch.linspace(50, 6000, 200)
    parts = cascades(energy, torch.full((200,), 10.0), torch.full((200,), 10.6), starting_constants(), rng())
    torch.testing.assert_close((parts.electromagnetic + parts.hadronic).sum(1), energy, rtol=1e-4, atol=0)
    assert bool((parts.electromagnetic >= 0).all())
    assert bool((parts.hadronic >= 0).all())
    assert bool((parts.depth >= 10).all())


@pytest.mark.parametrize(("name", "tolerance"), [("photon", 0.01), ("neutron", 0.3)])
def test_light_is_proportional_to_the_energy(name: str, tolerance: float) -> None:
    """Photons within the spread of 400 events; neutrons shower deeper, and more electromagnetically, at more energy."""
    low, high = (
        float(generator().sample(requests(name, energy, 0.0, 0.0, 400), seed=5).sum((1, 2)).mean())
        for energy in (500.0, 2000.0)
    )
    assert low > 100
    assert high / low == pytest.approx(4, rel=tolerance)


def test_materials_of_a_cell_by_hand() -> None:
    centre = PITCH / 2  # fibres are at +-0.8 mm, +-2.4 mm, ...
    points = torch.tensor(
        [
            [centre, centre],  # in a fibre
            [centre + 0.18e-3, centre],  # still in the quartz of 0.1825 mm
            [centre + 0.19e-3, centre],  # in the air of the groove
            [centre + 0.29e-3, centre - 0.29e-3],  # in its corner
            [centre + 0.31e-3, centre],  # in metal
            [0.0, 0.0],  # between four fibres
            [-centre - PITCH, centre + 3 * PITCH],  # in another fibre
        ]
    )
    metal, quartz = materials(points, torch.zeros_like(points), torch.zeros(1), GEOMETRY)
    assert quartz[:, 0].tolist() == [True, True, False, False, False, False, True]
    assert metal[:, 0].tolist() == [False, False, False, False, True, True, False]
    _, quartz = materials(points[:1], torch.tensor([[1e-3, 0.0]]), torch.tensor([0.0, 0.18, 0.19]), GEOMETRY)
    assert quartz[0].tolist() == [True, True, False]  # 1 mrad: 0.18 mm off after 18 cm


def test_a_spot_lights_the_fibre_it_sits_on() -> None:
    at = torch.tensor([[(5 - 21.5) * 1.6]]), torch.tensor([[(30 - 21.5) * 1.6]])
    one = torch.ones(1, 1)
    light = fibre_light(Spots(10 * one, one, *at, 0.3 * one), GEOMETRY, 1.4)[0]
    assert (light == light.max()).nonzero().tolist() == [[30, 5]]  # y = row 30, x = column 5
    width = 0.3**2 + 0.1825**2 / 4
    expected = 1.4 * 10 * 1.6**2 / (2 * math.pi * width)
    assert float(light[30, 5]) == pytest.approx(expected, rel=1e-4)
    assert float(light[30, 6]) == pytest.approx(expected * math.exp(-(1.6**2) / 2 / width), rel=1e-3)
    wide = fibre_light(Spots(10 * one, one, *at, 3 * one), GEOMETRY, 1.4)
    assert float(wide.sum()) == pytest.approx(10 * 1.4, rel=0.02)  # far wider than a cell: all of it


def test_radial_profile_is_normalised_and_its_median_is_that_of_gflash() -> None:
    constants = starting_constants()
    weights, widths = radial_profile(torch.tensor([0.5, 1.0, 2.0]), 50, constants)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    radius = constants.core_radius + constants.core_growth
    inside = 1 - (-(radius**2) / (2 * widths[1, :50].square())).exp()
    assert float(inside.mean()) == pytest.approx(0.5, abs=0.01)  # r^2 / (r^2 + R^2) at r = R


def test_gamma_quantiles_are_those_of_scipy() -> None:
    from scipy.stats import gamma

    shape = torch.tensor([3.0, 6.5, 9.0])
    got = gamma_quantiles(shape, 6)
    for row, alpha in zip(got, shape, strict=True):
        expected = torch.from_numpy(gamma.ppf((torch.arange(6) + 0.5) / 6, float(alpha)))
        torch.testing.assert_close(row.double(), expected, rtol=0.01, atol=0)


def test_a_photon_converts_after_nine_sevenths_of_a_radiation_length() -> None:
    count = 4000
    impact, slope = torch.zeros(count, 2), torch.zeros(count, 2)
    lengths = torch.full((count,), 0.511), torch.full((count,), 13.2)
    start = first_interaction(impact, slope, lengths, GEOMETRY, rng())
    assert float(start.depth.mean()) == pytest.approx(0.511, abs=4 * 0.511 / count**0.5)
    assert not bool(start.beside.any())
    fibre = torch.full((count, 2), PITCH / 2)
    start = first_interaction(fibre, slope, lengths, GEOMETRY, rng())
    assert bool(start.in_quartz.all())
    assert float(start.depth[start.depth < 100].mean()) == pytest.approx(13.2, abs=4 * 13.2 / count**0.5 + 0.1)


def test_particles_that_meet_nothing_leave_nothing() -> None:
    beside = requests("photon", 1000.0, 0.0360, 0.0, 50)  # 0.8 mm beside the block
    assert float(generator().sample(beside, seed=0).sum()) == 0
    down_a_groove = requests("neutron", 3000.0, PITCH / 2 + 0.25e-3, PITCH / 2, 50)
    assert float(generator().sample(down_a_groove, seed=0).sum()) == 0
    slanted = requests("neutron", 3000.0, PITCH / 2 + 0.25e-3, PITCH / 2, 50, slope=(3e-4, 0.0))
    assert float(generator().sample(slanted, seed=0).sum()) > 0  # reaches the wall after 17 cm


def test_a_negative_side_is_the_mirror_image() -> None:
    conditions = TASK.load("validation").conditions[:20]
    mirrored = conditions.clone()
    mirrored[:, [3, 6]] *= -1
    assert torch.equal(generator().sample(conditions, seed=2), generator().sample(mirrored, seed=2))


def test_mirror_and_exchange_in_distribution() -> None:
    row = requests("neutron", 1500.0, 3.1e-3, -6.4e-3, 600)
    image = generator().sample(row, seed=1).mean(0)
    flipped = row.clone()
    flipped[:, [1, 4]] *= -1
    exchanged = row.clone()
    exchanged[:, [1, 2, 4, 5]] = row[:, [2, 1, 5, 4]]
    for other, back in ((flipped, lambda x: x.flip(1)), (exchanged, lambda x: x.T)):
        again = back(generator().sample(other, seed=2).mean(0))
        rows = image.sum(1), again.sum(1)
        assert float((rows[0] - rows[1]).abs().sum() / rows[0].sum()) < 0.06  # 0.03 between seeds
        assert float((image - again).abs().sum() / image.sum()) < 0.12


def test_tracks_and_photons() -> None:
    counts = photons(torch.full((200, 44, 44), 1.5), 0.7, rng())
    assert float(counts.mean()) == pytest.approx(1.5, abs=4 * (1.5 * 1.7 / counts.numel()) ** 0.5)
    assert float(counts.var() / counts.mean()) == pytest.approx(1.7, rel=0.02)


def test_kinds() -> None:
    mass = torch.tensor([0.0, 939.565, 938.272, 1189.37, 1197.45, 497.611, 493.677, 139.57, 1315.0])
    charge = torch.tensor([0.0, 0.0, -1.0, 1.0, -1.0, 0.0, -1.0, -1.0, 0.0])
    names = [NAMES[kind] for kind in kinds_of(mass, charge)]
    assert names == ["photon", "neutron", "proton", "Sigma+", "Sigma-", "K0", "kaon", "pion", "Xi0"]


def flying(name: str, energy: float, count: int) -> Particles:
    return particles_at_face(requests(name, energy, 0.0, 0.0, count), TASK.condition_names, GEOMETRY, rng())


def test_decay_lengths() -> None:
    count = 4000
    found = flying("Lambda", 2000.0, count)
    whole = (found.kind == NAMES.index("Lambda")).sum() / count
    survives = math.exp(-112.5 / (0.0789 * 2000.0 / 1.115683))
    assert float(whole) == pytest.approx(survives, abs=4 * 0.5 / count**0.5)
    kaons = flying("K0", 500.0, count)
    untouched = len(kaons.event[kaons.kind == NAMES.index("K0")]) / count
    assert untouched == pytest.approx(1 - SHORT_LIVED, abs=4 * 0.5 / count**0.5 + math.exp(-112.5 / 27))


def test_decays_keep_energy_and_momentum() -> None:
    from simbench_baselines.gflash_particles import _daughters

    count = 100
    kind = torch.full((count,), NAMES.index("K0S"))
    flat = torch.zeros(count, 2, dtype=torch.float64)
    full = torch.full((count,), 800.0, dtype=torch.float64)
    parents = Particles(torch.arange(count), kind, full, flat, flat + 2e-4, torch.full_like(full, 112.5))
    born = _daughters(parents, torch.full_like(full, 30.0), rng())
    torch.testing.assert_close(born.energy[:count] + born.energy[count:], full)
    momentum = (born.energy.square() - (born.of("mass") / 1000).square()).sqrt()
    along = momentum / (1 + born.slope.square().sum(1)).sqrt()
    across = (along[:, None] * born.slope).unflatten(0, (2, count)).sum(0)
    torch.testing.assert_close(across / 800, torch.full_like(across, 2e-4), rtol=0, atol=1e-7)


def test_constants_are_few_and_named_with_a_unit() -> None:
    named = fields(Constants)
    assert len(named) <= 100
    for entry in named:
        assert entry.metadata["unit"], entry.name
        assert len(entry.metadata["text"]) > 5, entry.name
        assert entry.metadata["low"] <= entry.metadata["start"] <= entry.metadata["high"], entry.name


def test_constants_come_back(tmp_path: Path) -> None:
    path = tmp_path / "constants.json"
    write_constants(starting_constants(), path, {"task": "zn-geant3"})
    assert read_constants(path) == starting_constants()
    assert json.loads(path.read_text())["constants"]["tail_radius"]["unit"] == "mm"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "holds no constants"),
        ("[]", "holds no constants"),
        ('{"constants": {"tail_radius": {"value": 3}}}', "missing or unknown"),
        (None, "cannot be read"),
    ],
)
def test_damaged_constants(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "constants.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        GFlash(constants=str(path)).setup(TASK, "cpu")


@pytest.mark.parametrize("value", [-1.0, math.nan, "3", True, None])
def test_a_constant_out_of_bounds(tmp_path: Path, value: object) -> None:
    path = tmp_path / "constants.json"
    write_constants(starting_constants(), path, {})
    stored = json.loads(path.read_text())
    stored["constants"]["tail_radius"]["value"] = value
    path.write_text(json.dumps(stored))
    with pytest.raises(DataError, match="tail_radius"):
        read_constants(path)


def test_other_tasks_and_no_setup_are_refused() -> None:
    with pytest.raises(GeneratorError, match="fibre"):
        GFlash().setup(ToyTask(), "cpu")
    with pytest.raises(GeneratorError, match="setup"):
        GFlash().sample(torch.zeros(1, 9), seed=0)


def test_rings_around_the_impact() -> None:
    samples = torch.zeros(1, 44, 44)
    samples[0, 22, 21] = 5  # the fibre at x = -0.8 mm, y = 0.8 mm
    samples[0, 43, 0] = 2
    conditions = requests("photon", 100.0, -0.8e-3, 0.8e-3, 1)
    assert ring_sums(samples, conditions, TASK.condition_names, GEOMETRY).tolist() == [[5, 0, 0, 0, 0, 2]]


def test_least_squares_finds_the_constants_behind_the_numbers() -> None:
    start = starting_constants()
    names = ("tail_radius", "core_growth", "pion_share")
    truth = replace(start, tail_radius=5.0, core_growth=2.2, pion_share=-1.0)

    def numbers(constants: Constants) -> np.ndarray:
        radius, growth, share = (getattr(constants, name) for name in names)
        return np.array([radius * growth, radius, math.exp(share), growth + share])

    found = least_squares(lambda constants: 30 * (numbers(constants) - numbers(truth)), start, names, 12)
    for name in names:
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-3), name


def test_steps_stay_within_the_bounds() -> None:
    moved = bounded(starting_constants(), ("cascade_power",), np.array([1e6]))
    assert moved.cascade_power == next(e for e in fields(Constants) if e.name == "cascade_power").metadata["high"]


def test_noise_of_the_training_photons_is_that_of_the_shipped_constants() -> None:
    train = TASK.load("train")
    shipped = generator().constants
    assert shipped is not None
    impact, slope, _ = impact_on_face(train.conditions, TASK.condition_names, GEOMETRY)
    metal, _ = materials(impact, slope, torch.zeros(1), GEOMETRY)
    deep = (train.conditions[:, 7] < 0.5) & metal[:, 0] & (impact.abs() < 0.03).all(1)
    fit = Fit(TASK, some(train, deep, 300))
    assert fit.fano() - 1 == pytest.approx(shipped.photons_per_track, abs=0.1)


def test_repeats_of_a_photon_have_one_mean_light() -> None:
    light = generator().mean_light(requests("photon", 800.0, 0.0, 0.0, 20), rng())
    totals = light.sum((1, 2))
    assert float(totals.std() / totals.mean()) < 0.01  # GEANT's repeats differ by counting noise alone
