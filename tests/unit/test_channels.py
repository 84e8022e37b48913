"""The calorimeter's channel metrics: closed forms, laws, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simbench.core.errors import UsageError
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
    log = real.log1p()
    centre = torch.stack([log[condition == c].mean(0) for c in range(10)])[condition]
    assert dispersion_ratio((centre + 1.5 * (log - centre)).expm1(), real, condition) == pytest.approx(1.5)


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
        with pytest.raises(UsageError, match="2 events or more"):
            function(np.ones((3, 5)), np.ones((3, 5)), np.array([1, 1, 2]))
    with pytest.raises(UsageError, match="do not vary"):
        dispersion_ratio(np.ones((4, 5)), np.ones((4, 5)), np.array([1, 1, 2, 2]))
    with pytest.raises(UsageError, match="does not match"):
        conditional_energy(np.ones((4, 5)), np.ones((4, 5)), np.array([1, 1]))
