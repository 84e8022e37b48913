"""Energy response and resolution: closed forms, what chance does, and the error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.base import Comparison, Estimate
from simbench.metrics.registry import get_metric
from simbench.metrics.response import energy_resolution_metric, energy_response_metric, relative_width
from simbench.tasks import get_task

CONDITIONS, REPEATS = 160, 8


def make_pair(generated: Tensor, real: Tensor, energy: Tensor, repeats: int = REPEATS) -> Comparison:
    """Events whose light is one channel; the last quarter of the conditions are neutrons."""
    unit = torch.arange(len(energy)) // repeats
    species = np.where(unit.numpy() < 0.75 * len(energy) / repeats, "photon", "neutron")

    def events(light: Tensor) -> Events:
        return Events(
            light[:, None],
            energy[:, None].float(),
            unit,
            unit,
            {"species": species},
            {"channels": lambda values: values},
        )

    return Comparison(events(generated), events(real))


def light(energy: Tensor, rng: torch.Generator, width: float = 0.1) -> Tensor:
    """1 photon a GeV with a relative width, and a part that all answers to one particle share."""
    shared = torch.randn(len(energy) // REPEATS, generator=rng).repeat_interleave(REPEATS)
    return energy * (1 + 0.05 * shared + width * torch.randn(len(energy), generator=rng))


def energies(rng: torch.Generator) -> Tensor:
    return (torch.rand(CONDITIONS, generator=rng) * 4 + 2).exp().repeat_interleave(REPEATS)


def test_a_scale_is_read_as_itself_and_leaves_the_resolution_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    energy = energies(rng)
    real = light(energy, rng)
    pair = make_pair(1.2 * real, real, energy)
    assert energy_response_metric(pair).value == pytest.approx(0.2, abs=1e-3)
    assert energy_resolution_metric(pair).value == pytest.approx(0, abs=1e-3)
    assert energy_response_metric(pair).parts["photon 1"] == pytest.approx(1.2, abs=1e-6)
    assert len(energy_response_metric(pair).parts) == 5 + 4  # 120 photons; 40 neutrons in bins of 10 or more


def test_a_wider_answer_is_read_by_the_resolution_alone() -> None:
    rng = torch.Generator().manual_seed(1)
    energy = energies(rng)
    pair = make_pair(energy * 0 + light(energy, rng, 0.3), light(energy, rng, 0.1), energy)
    width = (0.3**2 + 0.05**2) ** 0.5 / (0.1**2 + 0.05**2) ** 0.5 - 1
    assert energy_resolution_metric(pair).value == pytest.approx(width, rel=0.1)
    assert energy_response_metric(pair).value < 0.03
    assert set(energy_resolution_metric(pair).strata) == {"species=neutron", "species=photon"}


def test_relative_width_is_sd_over_mean() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    moments = torch.tensor(4.0, dtype=torch.float64), values.sum(), values.square().sum()
    assert float(relative_width(*moments)) == pytest.approx(float(values.std() / values.mean()))
    assert float(relative_width(*(0 * moment + (index == 0) for index, moment in enumerate(moments)))) == 0


@pytest.mark.parametrize("metric", [energy_response_metric, energy_resolution_metric])
@pytest.mark.parametrize("defect", [0.0, 0.15])
def test_the_error_covers_new_draws_and_chance_scores_nothing(metric, defect: float) -> None:  # type: ignore[no-untyped-def]
    found: list[Estimate] = []
    for seed in range(60):
        rng = torch.Generator().manual_seed(seed)
        energy = energies(rng)
        generated = light(energy, rng, 0.1 + defect * (metric is energy_resolution_metric))
        found.append(metric(make_pair((1 + defect) * generated, light(energy, rng), energy)))
    values = np.array([one.value for one in found])
    errors = np.array([one.stderr for one in found])
    held = float((np.abs(values - values.mean()) < 1.96 * errors).mean())
    assert 0.87 <= held <= 1
    if defect:
        assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.35)
    else:
        assert np.mean(values == 0) > 0.3
        assert values.mean() < errors.mean()


def test_an_empty_answer_is_wholly_wrong_and_too_few_particles_are_refused() -> None:
    rng = torch.Generator().manual_seed(2)
    energy = energies(rng)
    real = light(energy, rng)
    pair = make_pair(0 * real, real, energy)
    assert energy_response_metric(pair).value == pytest.approx(1)
    assert energy_resolution_metric(pair).value == pytest.approx(1)
    few = make_pair(real[:32], real[:32], energy[:32])
    with pytest.raises(UsageError, match="5 conditions or more"):
        energy_response_metric(few)


def test_real_showers_score_as_chance_and_scaled_ones_their_scale() -> None:
    task = get_task("zn-geant3")
    floor, test = task.load("floor"), task.load("test")
    clean = get_metric("energy_response/1")(Comparison(floor, test, stratify=False))
    scaled = get_metric("energy_response/1")(Comparison(floor.with_samples(floor.samples * 0.83), test, stratify=False))
    assert clean.value < 2 * (clean.stderr or 0)
    assert scaled.value == pytest.approx(0.17, abs=0.02)
