"""Bootstrap and jackknife against the closed form of the mean, whose standard error is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.base import Comparison, Estimate
from simbench.metrics.resampling import (
    bootstrap,
    bootstrap_counts,
    bootstrap_mean,
    by_stratum,
    finite_or_none,
    jackknife_groups,
    jackknife_sd,
    jackknifed_distance,
)


def test_the_bootstrap_error_of_a_mean_is_sd_over_root_n() -> None:
    values = torch.randn(4000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    estimate = bootstrap_mean(values, torch.arange(4000))
    assert estimate.value == pytest.approx(float(values.mean()))
    assert estimate.stderr == pytest.approx(float(values.std()) / np.sqrt(4000), rel=0.15)


def test_repeats_of_one_condition_are_drawn_together() -> None:
    values = torch.randn(100, generator=torch.Generator().manual_seed(3)).double().repeat_interleave(8)
    together = bootstrap_mean(values, torch.arange(800) // 8).stderr
    apart = bootstrap_mean(values, torch.arange(800)).stderr
    assert together is not None
    assert apart is not None
    assert together / apart == pytest.approx(np.sqrt(8), rel=0.2)


def test_each_resample_draws_as_many_units_as_there_are() -> None:
    counts = torch.cat(list(bootstrap_counts(7, 120)))
    assert counts.shape == (120, 7)
    assert counts.sum(1).unique().tolist() == [7]


def test_a_single_unit_has_no_error() -> None:
    assert bootstrap_mean(torch.ones(5), torch.zeros(5)).stderr is None
    assert bool(torch.isnan(bootstrap(lambda weights: weights.sum(1), torch.zeros(5))).all())
    assert finite_or_none(float("inf")) is None


def test_the_jackknife_error_of_a_mean_is_sd_over_root_n_times_students_widening() -> None:
    values = torch.randn(4000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    errors = []
    for shift in range(20):
        shuffled = values[torch.randperm(4000, generator=torch.Generator().manual_seed(shift))]
        group = jackknife_groups(torch.arange(4000))
        left_out = torch.stack([shuffled[group != g].mean() for g in range(20)])
        errors.append(float(jackknife_sd(left_out)))
    assert np.mean(errors) == pytest.approx(2.0930 / 1.9600 * float(values.std()) / np.sqrt(4000), rel=0.1)


def test_jackknife_groups_hold_whole_units_and_are_of_equal_size() -> None:
    unit = torch.arange(400) // 8
    group = jackknife_groups(unit)
    assert all(len(group[unit == u].unique()) == 1 for u in range(50))
    sizes = torch.bincount(group[::8], minlength=20)
    assert int(sizes.max() - sizes.min()) <= 1
    assert len(jackknife_groups(torch.arange(3)).unique()) == 3


@pytest.mark.parametrize(("shift", "factor"), [(0.0, np.sqrt(2)), (1.0, 1.0)])
def test_the_error_of_a_squared_distance_is_its_spread(shift: float, factor: float) -> None:
    """|mean d|^2 of 300 events in 40 dimensions: away from 0 the jackknife finds the variance, at 0 twice it.

    A bootstrap finds three times the variance.
    """
    errors, plain, values = [], [], []
    for seed in range(60):
        d = torch.randn(300, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift

        def distance(weights: torch.Tensor, d: torch.Tensor = d) -> torch.Tensor:
            return (weights @ d / weights.sum(1, keepdim=True)).square().sum(1)

        def left_out(group: torch.Tensor, distance: Callable[[torch.Tensor], torch.Tensor] = distance) -> torch.Tensor:
            return distance((torch.arange(60).unsqueeze(1) != group).double())

        estimate = jackknifed_distance(d.mean(0).square().sum(), left_out, torch.arange(300))
        assert estimate.stderr is not None
        errors.append(estimate.stderr)
        plain.append(float(bootstrap(distance, torch.arange(300)).std()))
        values.append(estimate.value)
    spread = np.std(values, ddof=1)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(factor * spread, rel=0.2)
    if shift == 0:
        assert np.mean(plain) > 1.6 * spread


def test_a_distance_of_one_unit_has_no_error() -> None:
    estimate = jackknifed_distance(1.0, lambda group: torch.ones(1), torch.zeros(5))
    assert (estimate.stderr, estimate.replicates) == (None, None)


def test_strata_lie_beside_the_whole_and_one_that_cannot_be_answered_is_left_out() -> None:
    events = Events(
        samples=torch.arange(6.0)[:, None],
        conditions=torch.zeros(6, 0),
        condition_id=torch.arange(6),
        unit_id=torch.arange(6),
        strata={"kind": np.array(["a", "a", "a", "b", "b", "c"])},
    )

    def estimate(pair: Comparison) -> Estimate:
        if len(pair) < 2:
            raise UsageError("too few")
        return bootstrap_mean(pair.generated.samples.sum(1), pair.generated.unit_id)

    found = by_stratum(Comparison(events, events), estimate)
    assert found.value == 2.5
    assert {name: (stratum.value, stratum.n) for name, stratum in found.strata.items()} == {
        "kind=a": (1.0, 3),
        "kind=b": (3.5, 2),
    }
    assert not by_stratum(Comparison(events, events, stratify=False), estimate).strata
