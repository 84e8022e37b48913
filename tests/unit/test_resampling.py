"""Bootstrap and jackknife against the closed form of the mean, whose standard error is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simbench.metrics.resampling import (
    bootstrap,
    bootstrap_counts,
    bootstrap_mean,
    finite_or_none,
    jackknife_groups,
    jackknife_sd,
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


def test_the_jackknife_error_of_a_mean_is_sd_over_root_n() -> None:
    values = torch.randn(4000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    errors = []
    for shift in range(20):
        shuffled = values[torch.randperm(4000, generator=torch.Generator().manual_seed(shift))]
        group = jackknife_groups(torch.arange(4000))
        left_out = torch.stack([shuffled[group != g].mean() for g in range(20)])
        errors.append(float(jackknife_sd(left_out)))
    assert np.mean(errors) == pytest.approx(float(values.std()) / np.sqrt(4000), rel=0.1)


def test_jackknife_groups_hold_whole_units_and_are_of_equal_size() -> None:
    unit = torch.arange(400) // 8
    group = jackknife_groups(unit)
    assert all(len(group[unit == u].unique()) == 1 for u in range(50))
    sizes = torch.bincount(group[::8], minlength=20)
    assert int(sizes.max() - sizes.min()) <= 1
    assert len(jackknife_groups(torch.arange(3)).unique()) == 3
