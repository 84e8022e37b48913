"""Frechet, kernel, energy and manifold metrics: closed forms, laws, bad input, and errors against brute force."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.base import Comparison
from simbench.metrics.energy import diversity_ratio, diversity_ratio_metric, energy_distance, energy_distance_metric
from simbench.metrics.frechet import frechet_distance, frechet_left_out, lenet_fid_metric
from simbench.metrics.kernel import kid, kid_metric
from simbench.metrics.manifolds import (
    PRDC,
    coverage_metric,
    coverage_ties_metric,
    density_metric,
    prdc,
    precision_metric,
    recall_metric,
)
from simbench.metrics.resampling import PAIR_GROUPS, jackknife_groups, jackknife_sd
from simbench.metrics.transport import exact_ot, sinkhorn

DISTANCES = [frechet_distance, kid, energy_distance, sinkhorn, exact_ot]
names = {"ids": lambda function: function.__name__}


def normal(n: int, d: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make_pair(generated: Tensor, reference: Tensor, repeats: int = 1, label: bool = False) -> Comparison:
    """Events whose features are the samples themselves; `repeats` rows share a unit."""
    unit = torch.arange(len(generated)) // repeats
    condition = torch.arange(len(generated)) % 10 if label else unit

    def events(samples: Tensor) -> Events:
        return Events(
            samples, torch.zeros(len(samples), 0), condition, unit, derivations={"features": lambda values: values}
        )

    return Comparison(events(generated), events(reference))


class TestInput:
    @pytest.mark.parametrize("function", [*DISTANCES, prdc], **names)
    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (torch.zeros(0, 3), torch.zeros(9, 3), "too few generated"),
            (torch.zeros(9, 3), torch.zeros(0, 3), "too few reference"),
            (torch.zeros(9, 3), torch.zeros(9, 4), "differ in dimension"),
            (torch.zeros(9), torch.zeros(9), "not a matrix"),
            (torch.full((9, 3), math.nan), torch.zeros(9, 3), "generated features hold NaN"),
            (torch.zeros(9, 3), torch.full((9, 3), math.inf), "reference features hold NaN"),
            (torch.zeros(9, 3, dtype=torch.complex64), torch.zeros(9, 3), "complex"),
        ],
    )
    def test_bad_input_is_refused(self, function, x, y, message):  # type: ignore[no-untyped-def]
        with pytest.raises(UsageError, match=message):
            function(x, y)

    @pytest.mark.parametrize("function", [*DISTANCES, prdc], **names)
    def test_numpy_and_torch_give_the_same(self, function):  # type: ignore[no-untyped-def]
        x, y = normal(40, 3, 0), normal(50, 3, 1)
        assert function(x.numpy(), y.numpy()) == function(x, y)
        assert function(x.double().requires_grad_(), y.double()) == pytest.approx(function(x, y), rel=1e-4, abs=1e-6)

    @pytest.mark.parametrize("function", [frechet_distance, kid, energy_distance], **names)
    def test_a_single_event_is_refused(self, function):  # type: ignore[no-untyped-def]
        with pytest.raises(UsageError, match="too few"):
            function(torch.zeros(1, 3), torch.zeros(9, 3))


class TestLaws:
    @pytest.mark.parametrize("function", DISTANCES, **names)
    def test_symmetric_and_blind_to_order(self, function):  # type: ignore[no-untyped-def]
        x, y = normal(60, 4, 0), normal(60, 4, 1) + 0.5
        value = function(x, y)
        assert function(y, x) == pytest.approx(value, rel=1e-5, abs=1e-7)
        assert function(x.flip(0), y.roll(7, 0)) == pytest.approx(value, rel=1e-5, abs=1e-7)

    @pytest.mark.parametrize("function", [frechet_distance, energy_distance, sinkhorn, exact_ot], **names)
    def test_blind_to_a_common_translation_and_rotation(self, function):  # type: ignore[no-untyped-def]
        x, y = normal(60, 4, 0, torch.float64), normal(60, 4, 1, torch.float64) + 0.5
        turn = torch.linalg.qr(normal(4, 4, 2, torch.float64)).Q
        assert function(x @ turn + 100, y @ turn + 100) == pytest.approx(function(x, y), rel=1e-5)

    @pytest.mark.parametrize("function", [frechet_distance, sinkhorn, exact_ot], **names)
    def test_zero_against_itself(self, function):  # type: ignore[no-untyped-def]
        x = normal(100, 6, 3)
        assert function(x, x) == pytest.approx(0, abs=1e-9)
        assert function(x, x.clone()[torch.randperm(100)]) == pytest.approx(0, abs=1e-4)

    @pytest.mark.parametrize(("function", "power"), [(frechet_distance, 2), (energy_distance, 1), (exact_ot, 2)])
    def test_scales(self, function, power):  # type: ignore[no-untyped-def]
        x, y = normal(80, 3, 0), normal(80, 3, 1) + 1
        assert function(10 * x, 10 * y) == pytest.approx(10**power * function(x, y), rel=1e-4)


class TestFrechet:
    def test_gaussians_in_closed_form(self):
        """Samples whose mean and covariance are exactly those of two commuting Gaussians."""
        raw = normal(500, 5, 0, torch.float64)
        raw = raw - raw.mean(0)
        white = raw @ torch.linalg.inv(torch.linalg.cholesky(raw.T @ raw / 499)).T
        a, b = torch.tensor([1.0, 2.0, 3.0, 0.5, 0.1]).double(), torch.tensor([2.0, 1.0, 3.0, 0.0, 0.4]).double()
        shift = torch.arange(5).double()
        expected = float((a - b).square().sum() + shift.square().sum())
        assert frechet_distance(white * a, white * b + shift) == pytest.approx(expected, rel=1e-10)

    def test_translation(self):
        x = normal(300, 7, 0, torch.float64)
        assert frechet_distance(x + 2, x) == pytest.approx(28, rel=1e-10)

    @pytest.mark.parametrize("n", [2, 5, 30, 31, 32, 100])
    def test_rank_deficient_is_finite_and_right(self, n):
        """Few events, dead and repeated features: the same number as without the redundant dimensions."""
        x, y = normal(n, 3, 0, torch.float64), normal(50, 3, 1, torch.float64) + 0.3
        lift = torch.linalg.qr(normal(31, 31, 2, torch.float64)).Q[:3]
        expected = frechet_distance(x, y)
        assert math.isfinite(expected)
        assert frechet_distance(x @ lift, y @ lift) == pytest.approx(expected, rel=1e-6, abs=1e-7)

    def test_constant_features(self):
        assert frechet_distance(torch.ones(9, 4), torch.zeros(9, 4)) == pytest.approx(4)

    def test_left_out_is_brute_force_deletion(self):
        x, y = normal(50, 4, 0, torch.float64) + 9, normal(50, 4, 1, torch.float64)
        group = torch.randint(7, (50,), generator=torch.Generator().manual_seed(1))
        values = frechet_left_out(x, y, group)
        for g in range(7):
            assert float(values[g]) == pytest.approx(frechet_distance(x[group != g], y[group != g]), rel=1e-9)

    def test_metric_refuses_fewer_events_than_features(self):
        with pytest.raises(UsageError, match="more events than features"):
            lenet_fid_metric(make_pair(normal(8, 8, 0), normal(8, 8, 1)))

    def test_metric_error_is_the_spread_of_fresh_draws(self):
        pairs = [make_pair(normal(400, 3, 2 * s) + 0.5, normal(400, 3, 2 * s + 1)) for s in range(60)]
        estimates = [lenet_fid_metric(pair) for pair in pairs]
        spread = np.std([estimate.value for estimate in estimates], ddof=1)
        assert np.mean([estimate.stderr for estimate in estimates]) == pytest.approx(spread, rel=0.2)


class TestKernel:
    def test_two_points_by_hand(self):
        """d = 1: k(x, x') = (x x' + 1)^3; x = (0, 1), y = (1, 2)."""
        x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
        assert kid(x, y) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)

    def test_subsets_are_disjoint_and_fixed(self):
        x, y = normal(500, 3, 0), normal(400, 3, 1)
        value = kid(x, y, subset_size=100)
        assert value == kid(x, y, subset_size=100, subsets=4)
        assert value != kid(x, y, subset_size=100, subsets=3)

    def test_mean_zero_at_the_truth(self):
        values = np.array([kid(normal(30, 3, 2 * s), normal(30, 3, 2 * s + 1)) for s in range(300)])
        assert abs(values.mean()) < 3.5 * values.std() / len(values) ** 0.5

    @pytest.mark.parametrize(("size", "subsets"), [(1, None), (10, 0)])
    def test_bad_subsets(self, size, subsets):
        with pytest.raises(UsageError, match="subsets"):
            kid(normal(20, 2, 0), normal(20, 2, 1), subset_size=size, subsets=subsets)

    def test_jackknife_is_brute_force_deletion(self):
        pair = make_pair(normal(120, 3, 0), normal(120, 3, 1) + 0.2, repeats=2)
        x, y = pair.derived("features")
        groups = jackknife_groups(pair.generated.unit_id, PAIR_GROUPS)
        left_out = torch.tensor(
            [kid(x[groups != g], y[groups != g], paired=True) for g in range(60)], dtype=torch.float64
        )
        estimate = kid_metric(pair)
        assert estimate.value == pytest.approx(kid(x, y, paired=True), rel=1e-9)
        assert estimate.stderr == pytest.approx(float(jackknife_sd(left_out)), rel=1e-6)


class TestEnergy:
    def test_diracs(self):
        assert energy_distance(torch.zeros(5, 3), torch.tensor([[3.0, 4.0, 0.0]]).expand(7, 3)) == pytest.approx(10)

    def test_brute_force_in_chunks(self, monkeypatch):
        x, y = normal(57, 5, 0, torch.float64), normal(43, 5, 1, torch.float64) + 0.1
        within = [torch.pdist(values).mean() for values in (x, y)]
        expected = float(2 * torch.cdist(x, y).mean() - sum(within))
        assert energy_distance(x, y) == pytest.approx(expected, rel=1e-9)
        chunks = "simbench.metrics.pairs.chunks"
        monkeypatch.setattr(chunks, lambda rows, _: (slice(at, min(at + 10, rows)) for at in range(0, rows, 10)))
        assert energy_distance(x, y) == pytest.approx(expected, rel=1e-9)

    def test_mean_zero_at_the_truth_for_given_conditions(self):
        """Rows share strong conditions: only the paired statistic is unbiased."""
        conditions = 3 * normal(10, 3, 0).repeat_interleave(4, 0)
        values = torch.tensor(
            [
                [
                    energy_distance(conditions + normal(40, 3, 2 * s), conditions + normal(40, 3, 2 * s + 1), paired=p)
                    for p in (True, False)
                ]
                for s in range(1, 100)
            ]
        )
        error = values.std(0) / len(values) ** 0.5
        assert abs(values[:, 0].mean()) < 3.5 * error[0]
        assert values[:, 1].mean() < -5 * error[1]

    def test_shrinking_is_seen(self):
        """What the Sinkhorn divergence rewards, the energy distance does not."""
        x, y = normal(400, 84, 0), normal(400, 84, 1)
        assert energy_distance(0.64 * x, y) > 50 * abs(energy_distance(x, y))
        assert sinkhorn(0.64 * x, y) < sinkhorn(x, y)

    def test_jackknife_is_brute_force_deletion(self):
        pair = make_pair(normal(160, 3, 0), normal(160, 3, 1) + 0.2, repeats=4)
        x, y = pair.derived("features")
        groups = jackknife_groups(pair.generated.unit_id, PAIR_GROUPS)
        left_out = torch.tensor(
            [energy_distance(x[groups != g], y[groups != g], paired=True) for g in range(int(groups.max()) + 1)]
        )
        estimate = energy_distance_metric(pair)
        assert estimate.stderr == pytest.approx(float(jackknife_sd(left_out.double())), rel=1e-4)

    def test_interval_covers(self):
        """95 % intervals hold the mean in 90-100 % of draws, at the truth and at a shift."""
        for shift in (0.0, 0.3):
            estimates = [
                energy_distance_metric(make_pair(normal(100, 3, 2 * s) + shift, normal(100, 3, 2 * s + 1)))
                for s in range(60)
            ]
            mean = 0.0 if shift == 0 else float(np.mean([e.value for e in estimates]))
            held = np.mean([abs(e.value - mean) < 1.96 * (e.stderr or 0) for e in estimates])
            assert 0.88 <= held <= 1


class TestDiversity:
    def test_by_hand(self):
        condition = torch.tensor([0, 0, 1, 1, 2])
        x = torch.tensor([[0.0], [2.0], [5.0], [5.0], [9.0]])
        y = torch.tensor([[0.0], [1.0], [7.0], [8.0], [0.0]])
        assert diversity_ratio(x, y, condition) == pytest.approx(2)

    def test_collapse_is_zero_and_scale_is_squared(self):
        y = normal(200, 5, 0)
        condition = torch.arange(200) // 8
        assert diversity_ratio(torch.zeros_like(y), y, condition) == 0
        assert diversity_ratio(3 * y + 7, y, condition) == pytest.approx(9, rel=1e-5)

    def test_bad_input(self):
        y = normal(20, 3, 0)
        with pytest.raises(UsageError, match="row-paired"):
            diversity_ratio(y[:10], y, torch.zeros(20, dtype=torch.int64))
        with pytest.raises(UsageError, match="at least two events of each condition"):
            diversity_ratio(y, y, torch.arange(20))
        with pytest.raises(UsageError, match="does not vary"):
            diversity_ratio(y, y * 0, torch.arange(20) // 2)

    @pytest.mark.parametrize("label", [True, False])
    def test_error_is_the_spread_of_fresh_draws(self, label):
        estimates = []
        for seed in range(60):
            pair = make_pair(normal(160, 3, 2 * seed), normal(160, 3, 2 * seed + 1), 8 if not label else 1, label)
            estimates.append(diversity_ratio_metric(pair))
            expected = diversity_ratio(*pair.derived("features"), pair.generated.condition_id)
            assert estimates[-1].value == pytest.approx(expected, rel=1e-12)
        spread = np.std([estimate.value for estimate in estimates], ddof=1)  # of 60 draws: itself known to 9 %
        assert np.mean([estimate.stderr for estimate in estimates]) == pytest.approx(spread, rel=0.2)
        assert abs(np.mean([estimate.value for estimate in estimates]) - 1) < 3 * spread / 60**0.5


class TestManifolds:
    def test_identical_sets(self):
        x = normal(60, 3, 0)
        assert prdc(x, x.clone()) == PRDC(1, 1, pytest.approx(prdc(x, x).density), 1)

    def test_far_apart(self):
        assert prdc(normal(60, 3, 0) + 100, normal(60, 3, 1)) == PRDC(0, 0, 0, 0)

    def test_at_the_truth(self):
        """Density 1 and coverage 1 - 2^-k in expectation."""
        values = np.array([prdc(normal(300, 3, 2 * s), normal(300, 3, 2 * s + 1)) for s in range(20)])
        error = values.std(0) / 20**0.5
        assert abs(values[:, 2].mean() - 1) < 4 * error[2]
        assert abs(values[:, 3].mean() - (1 - 2**-5)) < 4 * error[3] + 5 / 300

    def test_identical_rows_are_at_distance_zero(self):
        """Far from the origin, where |x|^2 + |y|^2 - 2 x.y rounds: seven copies have radius 0."""
        copies = (1e4 + normal(5, 20, 0)).repeat_interleave(7, 0)
        assert prdc(copies, copies) == PRDC(0, 0, 0, 0)
        assert prdc(copies, copies, inclusive=True) == PRDC(1, 1, 7 / 5, 1)

    def test_collapse(self):
        y = normal(200, 10, 0)
        scores = prdc(y[:1].expand(200, -1), y)
        assert scores.precision == 1
        assert scores.recall == 0

    def test_blind_to_chunks(self, monkeypatch):
        x, y = normal(130, 5, 0), normal(117, 5, 1)
        whole = prdc(x, y)
        monkeypatch.setattr("simbench.metrics.manifolds.ELEMENTS", 500)
        monkeypatch.setattr("simbench.metrics.manifolds.PAIRS", 7)
        assert prdc(x, y) == whole

    @pytest.mark.parametrize(("n", "k"), [(5, 5), (20, 0)])
    def test_bad_k(self, n, k):
        with pytest.raises(UsageError, match="more events than neighbours"):
            prdc(normal(n, 2, 0), normal(30, 2, 1), k)

    @pytest.mark.parametrize("ties", [False, True])
    @pytest.mark.parametrize("repeats", [1, 8])
    def test_jackknife_is_brute_force_deletion(self, ties, repeats):
        x, y = (torch.randn(160, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
        if ties:
            x, y = (torch.poisson(v.abs() / 2, generator=torch.Generator().manual_seed(2)) for v in (x, y))
        pair = make_pair(x, y, repeats)
        groups = jackknife_groups(pair.generated.unit_id)
        metrics = [precision_metric, recall_metric, density_metric, coverage_metric]
        left_out = torch.tensor([prdc(x[groups != g], y[groups != g]) for g in range(20)], dtype=torch.float64)
        for metric, value, error in zip(metrics, prdc(x, y), jackknife_sd(left_out), strict=True):
            estimate = metric(pair)
            assert estimate.value == pytest.approx(value, abs=1e-12)
            assert estimate.stderr == pytest.approx(float(error), abs=1e-12)
        closed = torch.tensor([prdc(x[groups != g], y[groups != g], inclusive=True).coverage for g in range(20)])
        assert coverage_ties_metric(pair).stderr == pytest.approx(float(jackknife_sd(closed.double())), abs=1e-7)

    def test_tied_share(self):
        y = normal(100, 3, 0)
        y[:30] = 0
        estimate = coverage_ties_metric(make_pair(torch.zeros(100, 3), y))
        assert estimate.parts["tied_share"] == pytest.approx(0.3)
        assert estimate.value >= 0.3
        assert coverage_metric(make_pair(torch.zeros(100, 3), y)).value < estimate.value
