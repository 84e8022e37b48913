"""Physics features, separation, correlations, presets: closed forms, defects seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.core.statistics import holm
from simbench.metrics.base import Comparison
from simbench.metrics.channels import (
    CHANNEL_VARIANTS,
    channel_mae,
    channel_masks,
    channel_sums,
    channel_wasserstein,
    correlation_distance,
)
from simbench.metrics.frechet import frechet_distance
from simbench.metrics.physics import PHYSICS_FEATURES, fpd, physics_features, quantile_scaled, rmse, separation
from simbench.metrics.registry import get_metric, metrics
from simbench.tasks import get_task
from simbench.tasks.zn import ZnGeant3


def feature(samples: torch.Tensor, name: str) -> float:
    return float(physics_features(samples)[0, PHYSICS_FEATURES.index(name)])


def test_features_of_one_pixel_and_of_two() -> None:
    one = torch.zeros(1, 44, 44)
    one[0, 10, 30] = 6
    expected = {
        "photon sum": 6,
        "centre x": 30,
        "centre y": 10,
        "width x": 0,
        "width y": 0,
        "largest pixel": 6,
        "occupied pixels": 1,
        "share within 3": 1,
        "share within 6": 1,
        "asymmetry left-right": 1,
        "asymmetry top-bottom": -1,
        "asymmetry diagonal": 1,
    }
    for name, value in expected.items():
        assert feature(one, name) == pytest.approx(value), name
    two = torch.zeros(1, 44, 44)
    two[0, 20, 10], two[0, 20, 20] = 1, 3
    assert feature(two, "centre x") == 17.5
    assert feature(two, "width x") == pytest.approx(np.sqrt(18.75))
    assert feature(two, "share within 3") == pytest.approx(0.75)
    assert feature(two, "share within 6") == pytest.approx(0.75)


def test_an_empty_event_has_finite_features() -> None:
    values = physics_features(torch.zeros(2, 44, 44))
    assert bool(torch.isfinite(values).all())
    assert feature(torch.zeros(1, 44, 44), "centre x") == 21.5
    assert float(values.abs().sum(1)[0]) == 43.0


def test_separation_of_equal_of_disjoint_and_of_half_overlapping_sets() -> None:
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
    assert float(separation(x, x)) == 0
    assert float(separation(x + 10, x)) == pytest.approx(
        0.49 + 0.98**2 / 1.02 / 2, abs=0.003
    )  # all in the last bin of 50
    mixed = torch.cat([x[::2], x[::2] + 10])
    p = float(separation(mixed, x))
    assert p == pytest.approx((49 * 0.01**2 / 0.03 + 0.49**2 / 0.53) / 2, abs=0.003)
    assert separation(torch.ones(10, 2), torch.ones(10, 2)).tolist() == [0, 0]


def test_fpd_is_plain_below_fifty_thousand_events_and_unbiased_from_there() -> None:
    """At the null the plain distance of N events of d features is about d(d + 3) / 2N (times the squared scale)."""
    rng = torch.Generator().manual_seed(5)
    values, plain = [], []
    for _ in range(3):
        x, y = (torch.randn(50_000, 4, generator=rng, dtype=torch.float64) for _ in range(2))
        values.append(fpd(x, y))
        plain.append(frechet_distance(*quantile_scaled(x, y)))
        assert fpd(x[:40_000], y[:40_000]) == frechet_distance(*quantile_scaled(x[:40_000], y[:40_000]))
    assert min(plain) > 5e-6
    assert abs(np.mean(values)) < 0.5 * np.mean(plain)
    x[:, 0] += 1
    shift = 1 / (2 * 1.6449)  # one sd in units of the range from the 5 % to the 95 % quantile
    assert fpd(x, y) == pytest.approx(shift**2, rel=0.05)


def test_fpd_refuses_fewer_events_than_features() -> None:
    task = get_task("zn-geant3")
    pair = Comparison(task.load("floor", 16), task.load("test", 16))
    with pytest.raises(UsageError, match="more events than features"):
        get_metric("fpd/1")(pair)


@pytest.mark.parametrize("key", [key for key in ZnGeant3.metrics if key not in ("sinkhorn/1", "exact_ot/1")])
def test_every_metric_has_its_strata(key: str) -> None:
    task = get_task("zn-geant3")
    found = get_metric(key)(Comparison(task.load("floor", 1600), task.load("test", 1600)))
    assert {"species=neutron", "species=photon"} <= set(found.strata)
    assert all(stratum.n < found.n for stratum in found.strata.values())


def test_correlation_distance_sees_permuted_channels_and_nothing_in_scaled_ones() -> None:
    rng = torch.Generator().manual_seed(0)
    common = torch.rand(500, 1, generator=rng, dtype=torch.float64)
    channels = common + 0.01 * torch.rand(500, 5, generator=rng, dtype=torch.float64)
    permuted = torch.stack([column[torch.randperm(500, generator=rng)] for column in channels.T], 1)
    assert correlation_distance(channels * 3, channels) == pytest.approx(0, abs=1e-9)
    assert correlation_distance(permuted, channels) == pytest.approx(np.sqrt(20), rel=0.05)
    assert correlation_distance(torch.ones(500, 5), channels) == pytest.approx(np.sqrt(20 + 5), rel=0.05)


def test_ranks_are_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    x, y = rng.poisson(3, (200, 5)), rng.poisson(3, (200, 5)) + rng.poisson(2, (200, 1))
    peer = np.linalg.norm(spearmanr(x).statistic - spearmanr(y).statistic)
    assert correlation_distance(x, y) == pytest.approx(peer, rel=1e-9)


def test_rmse_is_a_mean_and_wojnars_a_sum() -> None:
    pair = comparison(80)
    ours, printed = get_metric("rmse/1")(pair), get_metric("rmse/wojnar2024")(pair)
    assert printed.value == pytest.approx(44 * ours.value)
    assert ours.value == pytest.approx(rmse(pair.generated.samples, pair.reference.samples))
    mae = get_metric("channel_mae/1")(pair).value
    assert get_metric("channel_mae/wojnar2025")(pair).value == pytest.approx(mae / 5)


@pytest.mark.parametrize("variant", CHANNEL_VARIANTS)
def test_every_variant_partitions_the_pixels(variant: str) -> None:
    for height, width in ((44, 44), (56, 30)):
        masks = channel_masks(height, width, variant)
        assert bool((masks.sum(1) == 1).all())
        assert float(masks[:, 4].sum()) == height * width / 2


def test_odd_variant_counts_bottom_left_first() -> None:
    masks = channel_masks(44, 44, "zn_2x2_odd").reshape(44, 44, 5)
    assert masks[43, 0].tolist() == [1, 0, 0, 0, 0]
    assert masks[0, 1].tolist() == [0, 0, 1, 0, 0]
    assert masks[0, 0].tolist() == [0, 0, 0, 0, 1]
    assert channel_masks(56, 30, "zp_4x1").reshape(56, 30, 5)[0, 0].tolist() == [1, 0, 0, 0, 0]
    with pytest.raises(UsageError, match="unknown channel variant"):
        channel_masks(44, 44, "zn")


def comparison(events: int) -> Comparison:
    task = get_task("zn-geant3")
    return Comparison(task.load("floor", events), task.load("test", events), stratify=False)


def test_a_constant_feature_does_not_divide_by_zero() -> None:
    x = torch.ones(10, 2, dtype=torch.float64)
    scaled, reference = quantile_scaled(x * 2, x)
    assert scaled.unique().tolist() == [1]
    assert reference.unique().tolist() == [0]


def test_conditional_wasserstein_compares_four_with_four() -> None:
    """Eight answers to each of eight particles. One real answer in eight holds a photon, at another place for each
    particle: any four of the eight differ by 1/4 from the other four, and over the particles the four that are compared
    hold half of the photons."""
    unit = torch.arange(8).repeat_interleave(8)
    real = torch.eye(8, dtype=torch.float64).reshape(64, 1)
    generated = torch.full((64, 1), 10.0, dtype=torch.float64)
    pair = Comparison(
        *(
            Events(sums, torch.zeros(64, 0), unit, unit, derivations={"channels": lambda values: values})
            for sums in (generated, real)
        )
    )
    estimate = get_metric("conditional_wasserstein/1")(pair)
    assert estimate.value == pytest.approx(10 - 1 / 8)
    assert estimate.parts["real"] == pytest.approx(1 / 4)


def test_conditional_wasserstein_of_real_events_is_that_of_other_real_events() -> None:
    estimate = get_metric("conditional_wasserstein/1")(comparison(800))
    assert estimate.stderr is not None
    assert abs(estimate.value - estimate.parts["real"]) < estimate.stderr


@pytest.mark.parametrize("key", sorted(metrics()))
def test_every_metric_says_what_it_is(key: str) -> None:
    found = get_metric(key)
    assert found.key == key
    assert len(found.summary) > 30
    assert found.direction != "target" or found.target is not None


def test_presets_name_known_metrics() -> None:
    for name in ("zn-geant3", "mnist"):
        presets = get_task(name).definitions
        assert presets
        assert all(get_metric(key) for keys in presets.values() for key in keys)


def test_an_unknown_metric_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'lenet_fid/1'"):
        get_metric("lenet_fd/1")


def test_holm_against_the_textbook() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({}) == {}


@pytest.mark.parametrize("variant", CHANNEL_VARIANTS)
def test_every_variant_is_a_preset_that_scores_its_own_channels(variant: str) -> None:
    task = get_task("zn-geant3")
    pair = Comparison(task.load("floor", 80), task.load("test", 80))
    sums = [channel_sums(events.samples, variant) for events in (pair.generated, pair.reference)]
    keys = task.definitions[variant]
    values = [get_metric(key)(pair).value for key in keys]
    assert values == pytest.approx([channel_wasserstein(*sums), channel_mae(*sums)])


def test_kpd_is_the_fourth_power_kernel_on_scaled_features() -> None:
    """Against the sums over all pairs, those of one row left out."""
    rng = torch.Generator().manual_seed(8)
    x, y = torch.randn(40, 3, generator=rng).double() + 0.5, torch.randn(40, 3, generator=rng).double()
    unit = torch.arange(40)
    pair = Comparison(
        *(Events(v, torch.zeros(40, 0), unit, unit, derivations={"physics": lambda values: values}) for v in (x, y))
    )
    a, b = (side.numpy() for side in quantile_scaled(x.float().double(), y.float().double()))
    kernel = lambda u, v: (u @ v.T / 3 + 1) ** 4  # noqa: E731
    off = lambda values: (values.sum() - np.trace(values)) / (40 * 39)  # noqa: E731
    expected = off(kernel(a, a)) + off(kernel(b, b)) - 2 * off(kernel(a, b))
    assert get_metric("kpd/1")(pair).value == pytest.approx(expected, rel=1e-6)
