"""The calorimeter's channel metrics: closed forms, laws, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.base import Comparison
from simbench.metrics.channels import (
    channel_mae,
    channel_masks,
    channel_sums,
    channel_wasserstein,
    conditional_energy,
    dispersion_ratio,
    empty_fraction,
    wasserstein_1d,
)
from simbench.metrics.registry import get_metric
from simbench.tasks import get_task


def poisson(rate: float, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.poisson(torch.full(shape, float(rate)), generator=torch.Generator().manual_seed(seed)).double()


def test_the_masks_cover_every_pixel_once_with_the_sizes_of_the_read_out() -> None:
    masks = channel_masks(44, 44)
    assert masks.sum(0).tolist() == [242, 242, 242, 242, 968]
    assert bool((masks.sum(1) == 1).all())


@pytest.mark.parametrize(
    ("row", "column", "channel"),
    [
        (0, 0, 0),
        (21, 21, 0),
        (0, 22, 1),
        (21, 43, 1),
        (22, 0, 2),
        (43, 21, 2),
        (22, 22, 3),
        (43, 43, 3),
        (0, 1, 4),
        (43, 0, 4),
    ],
)
def test_each_pixel_feeds_the_channel_of_its_quadrant_and_parity(row: int, column: int, channel: int) -> None:
    image = torch.zeros(1, 44, 44)
    image[0, row, column] = 7
    assert channel_sums(image)[0].tolist() == [7.0 if index == channel else 0.0 for index in range(5)]


def test_the_photon_sum_is_the_sum_of_the_channels() -> None:
    images = poisson(3, (5, 44, 44))
    assert torch.equal(channel_sums(images).sum(1), images.sum((1, 2)))


def test_unsigned_counts_do_not_wrap() -> None:
    low, high = np.zeros((3, 44, 44), np.uint16), np.ones((3, 44, 44), np.uint16)
    assert channel_mae(low, high) == channel_wasserstein(low, high) == pytest.approx((4 * 242 + 968) / 5)


@given(shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_wasserstein_of_a_translation_and_of_a_scaling(shift: float, scale: float) -> None:
    x = torch.rand(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert channel_wasserstein(x + shift, x) == pytest.approx(abs(shift), abs=1e-9)
    assert channel_wasserstein(x * scale, torch.zeros_like(x)) == pytest.approx(float(x.mean()) * scale)


def test_wasserstein_laws() -> None:
    x, y = poisson(4, (30, 5), 1), poisson(6, (50, 5), 2)
    assert channel_wasserstein(x, x) == 0
    assert channel_wasserstein(x, y) == pytest.approx(channel_wasserstein(y, x))
    assert channel_wasserstein(x[torch.randperm(30)], y) == pytest.approx(channel_wasserstein(x, y))
    assert channel_wasserstein(torch.cat([x, x]), y) == pytest.approx(channel_wasserstein(x, y))


def test_wasserstein_of_two_diracs_needs_one_event_each() -> None:
    assert wasserstein_1d(torch.tensor([[3.0]]).double(), torch.tensor([[10.0]]).double()).tolist() == [7.0]


def brute_conditional_energy(x: torch.Tensor, y: torch.Tensor, condition: torch.Tensor) -> float:
    values = []
    for c in condition.unique():
        a, b = x[condition == c].sqrt(), y[condition == c].sqrt()
        off = lambda z: torch.cdist(z, z).sum() / (len(z) * (len(z) - 1))  # noqa: E731
        values.append(2 * torch.cdist(a, b).mean() - off(a) - off(b))
    return float(torch.stack(values).mean())


def test_conditional_energy_equals_its_definition_at_unequal_repeats() -> None:
    condition = torch.tensor([5, 5, 9, 9, 9, 2, 2, 2, 2, 5])
    x, y = poisson(4, (10, 5), 1), poisson(5, (10, 5), 2)
    assert conditional_energy(x, y, condition) == pytest.approx(brute_conditional_energy(x, y, condition), abs=1e-6)
    order = torch.randperm(10)
    assert conditional_energy(x[order], y[order], condition[order]) == pytest.approx(
        conditional_energy(x, y, condition)
    )


def test_conditional_energy_averages_to_zero_at_the_truth_and_is_positive_off_it() -> None:
    condition = torch.arange(4000) // 4
    scores = [
        conditional_energy(poisson(20, (4000, 5), s), poisson(20, (4000, 5), s + 100), condition) for s in range(20)
    ]
    assert abs(np.mean(scores)) < 4 * np.std(scores, ddof=1) / np.sqrt(20)
    assert conditional_energy(poisson(24, (4000, 5), 1), poisson(20, (4000, 5), 2), condition) > 10 * np.std(scores)


def test_conditional_energy_sees_shuffled_conditions_that_the_wasserstein_distance_cannot() -> None:
    condition = torch.arange(400) // 4
    rate = (1 + condition % 10)[:, None].expand(-1, 5).float() * 10
    real, good = (torch.poisson(rate, generator=torch.Generator().manual_seed(seed)).double() for seed in (1, 2))
    wrong = good.roll(4, 0)
    assert channel_wasserstein(wrong, real) == pytest.approx(channel_wasserstein(good, real))
    assert conditional_energy(wrong, real, condition) > 1 > abs(conditional_energy(good, real, condition))


def test_dispersion_of_a_collapsed_and_of_a_widened_model() -> None:
    condition = torch.arange(80) // 8
    real = poisson(200, (80, 5))
    mean = torch.stack([real[condition == c].mean(0) for c in range(10)])[condition]
    assert dispersion_ratio(real, real, condition) == pytest.approx(1)
    assert dispersion_ratio(mean, real, condition) == pytest.approx(0, abs=1e-9)
    root = real.sqrt()
    centre = torch.stack([root[condition == c].mean(0) for c in range(10)])[condition]
    assert dispersion_ratio((centre + 1.5 * (root - centre)).square(), real, condition) == pytest.approx(1.5)


def test_every_condition_counts_alike_in_the_dispersion() -> None:
    """23 of 500 conditions that vary 100 times more: collapsing the other 477 must not go unseen, nor those 23 be
    all."""
    condition = torch.arange(4000) // 8
    wide = condition < 23
    spread = torch.where(wide, 100.0, 1.0)[:, None]
    rng = torch.Generator().manual_seed(0)
    real, generated = (
        (1000 + spread * torch.randn(4000, 5, generator=rng, dtype=torch.float64)).square() for _ in range(2)
    )
    still = torch.full_like(real, 1000.0**2)
    assert dispersion_ratio(generated, real, condition) == pytest.approx(1, abs=0.05)
    assert dispersion_ratio(torch.where(wide[:, None], generated, still), real, condition) < 0.1
    assert dispersion_ratio(torch.where(wide[:, None], still, generated), real, condition) > 0.9


def test_collapse_of_all_conditions_but_23_of_real_showers_reads_below_a_fifth() -> None:
    task = get_task("zn-geant3")
    floor, test = task.load("floor"), task.load("test")
    condition = test.condition_id
    sums = test.derived("channels")
    groups = [torch.nonzero(condition == c).squeeze(1) for c in condition.unique()]
    widest = sorted(groups, key=lambda rows: -float(sums[rows].log1p().var(0).mean()))[:23]
    kept = torch.cat(widest)
    collapsed = floor.derived("channels").clone()
    for rows in groups:
        collapsed[rows] = collapsed[rows].mean(0)
    collapsed[kept] = floor.derived("channels")[kept]
    assert dispersion_ratio(collapsed, sums, condition) < 0.2
    assert dispersion_ratio(floor.derived("channels"), sums, condition) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("repeats", [2, 3, 8])
def test_the_dispersion_is_1_at_the_truth_with_any_number_of_repeats(repeats: int) -> None:
    condition = torch.arange(3000 * repeats) // repeats
    rate = torch.rand(3000, 1, generator=torch.Generator().manual_seed(1)).repeat_interleave(repeats, 0) * 300
    x, y = (torch.poisson(rate.expand(-1, 5), generator=torch.Generator().manual_seed(s)) for s in (2, 3))
    assert dispersion_ratio(x, y, condition) == pytest.approx(1, abs=0.02)
    assert dispersion_ratio(rate.expand(-1, 5) + 0.5 * (x - rate), y, condition) < 0.7


def pair_of(generated: torch.Tensor, real: torch.Tensor, repeats: int) -> Comparison:
    """Events whose channels are the samples themselves."""
    unit = torch.arange(len(real)) // repeats

    def events(sums: torch.Tensor) -> Events:
        return Events(sums, torch.zeros(len(sums), 0), unit, unit, derivations={"channels": lambda values: values})

    return Comparison(events(generated), events(real))


def shifted_draws(seed: int, repeats: int) -> Comparison:
    """Real and generated sums of 100 new conditions, the generated 20 % brighter."""
    rng = torch.Generator().manual_seed(seed)
    rate = (torch.rand(100, 5, generator=rng) * 200 + 20).repeat_interleave(repeats, 0)
    return pair_of(*(torch.poisson(rate * factor, generator=rng).double() for factor in (1.2, 1.0)), repeats)


@pytest.mark.parametrize("key", ["channel_wasserstein/1", "conditional_energy/1", "dispersion_ratio/2"])
def test_the_error_is_the_spread_over_new_draws(key: str) -> None:
    found = [get_metric(key)(shifted_draws(seed, 4)) for seed in range(60)]
    spread = np.std([one.value for one in found], ddof=1)
    assert np.mean([one.stderr for one in found]) == pytest.approx(spread, rel=0.35)  # type: ignore[arg-type]


def test_empty_fraction_counts_all_zero_events() -> None:
    real = poisson(5, (20, 44, 44))
    generated = real.clone()
    generated[:5] = 0
    assert empty_fraction(generated, real) == 0.25
    assert empty_fraction(real, generated) == -0.25


@pytest.mark.parametrize("function", [channel_wasserstein, channel_mae, empty_fraction])
@pytest.mark.parametrize(
    ("generated", "message"),
    [
        (np.zeros((0, 44, 44)), "no generated events"),
        (np.full((2, 44, 44), np.nan), "NaN"),
        (np.full((2, 44, 44), np.inf), "NaN or infinite"),
        (np.zeros((2, 44, 43)), "differ in shape"),
    ],
)
def test_bad_input_is_one_clear_error(function, generated, message) -> None:  # type: ignore[no-untyped-def]
    reference = np.ones((len(generated), 44, 44))
    with pytest.raises(UsageError, match=message):
        function(generated, reference)


def test_a_single_event_a_condition_is_refused() -> None:
    for function in (conditional_energy, dispersion_ratio):
        with pytest.raises(UsageError, match="at least two events of each condition"):
            function(np.ones((3, 5)), np.ones((3, 5)), np.array([1, 1, 2]))
    with pytest.raises(UsageError, match="do not vary"):
        dispersion_ratio(np.ones((4, 5)), np.ones((4, 5)), np.array([1, 1, 2, 2]))
    with pytest.raises(UsageError, match="does not match"):
        conditional_energy(np.ones((4, 5)), np.ones((4, 5)), np.array([1, 1]))
