"""The entropic transport solver: closed forms, proofs of convergence, hard cases, and the training loss."""

import importlib
import math
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.base import Comparison
from simbench.metrics.entropic import entropic_ot
from simbench.metrics.transport import exact_ot, exact_ot_metric, sinkhorn, sinkhorn_loss, sinkhorn_metric, subset_rows

solver, module = (importlib.import_module(f"simbench.metrics.{name}") for name in ("entropic", "transport"))


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_pair(generated: Tensor, reference: Tensor) -> Comparison:
    """Events whose features are the samples themselves."""
    unit = torch.arange(len(generated))
    sides = [
        Events(samples, torch.zeros(len(unit), 0), unit, unit, derivations={"features": lambda values: values})
        for samples in (generated, reference)
    ]
    return Comparison(*sides)


def reference_value(x: Tensor, y: Tensor, eps: float, steps: int = 1500) -> float:
    """Plain log-domain Sinkhorn, run long."""
    cost = torch.cdist(x, y).square() / 2
    g = torch.zeros(len(y), dtype=torch.float64)
    for _ in range(steps):
        f = -eps * (torch.logsumexp((g - cost) / eps, 1) - math.log(len(y)))
        g = -eps * (torch.logsumexp((f.unsqueeze(1) - cost) / eps, 0) - math.log(len(x)))
    return float(f.mean() + g.mean())


def reference_divergence(x: Tensor, y: Tensor, eps: float) -> float:
    return reference_value(x, y, eps) - (reference_value(x, x, eps, 200) + reference_value(y, y, eps, 200)) / 2


class TestClosedForms:
    def test_two_diracs(self):
        assert sinkhorn(torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 2.0]])) == pytest.approx(4.5)
        assert sinkhorn(torch.zeros(5, 3), torch.tensor([[1.0, 2.0, 2.0]]).expand(9, 3)) == pytest.approx(4.5, rel=1e-6)

    @pytest.mark.parametrize("blur", [0.05, 0.5, 5.0])
    def test_translation(self, blur):
        """Translating a set by t costs 1/2 |t|^2 at any blur."""
        x = normal(150, 10, 0)
        assert sinkhorn(x + 0.3, x, blur) == pytest.approx(0.45, rel=1e-5)

    def test_large_blur_is_half_the_squared_distance_of_the_means(self):
        x, y = normal(100, 5, 0), 2 * normal(80, 5, 1) + 1
        assert sinkhorn(x, y, 1000.0) == pytest.approx(float((x.mean(0) - y.mean(0)).square().sum() / 2), rel=1e-3)

    def test_small_blur_is_exact_transport(self):
        x, y = normal(200, 20, 0), normal(200, 20, 1) + 0.1
        assert sinkhorn(x, y, 0.005) == pytest.approx(exact_ot(x, y), rel=1e-6)

    def test_two_by_two(self):
        """Two points each, unit cost between unlike ones: plan (p, 1/2 - p) with p / (1/2 - p) = exp(c / eps)."""
        x = torch.tensor([[0.0], [1.0]])
        eps = 0.3
        p = 0.5 / (1 + math.exp(-0.5 / eps))
        entropy = 2 * (p * math.log(4 * p) + (0.5 - p) * math.log(4 * (0.5 - p)))
        expected = 2 * (0.5 - p) * 0.5 + eps * entropy
        assert entropic_ot(x, x.flip(0) + 0.0, eps**0.5).value == pytest.approx(expected, rel=1e-6)

    def test_one_dimension(self):
        x, y = normal(50, 1, 0), normal(50, 1, 1)
        assert exact_ot(x, y) == pytest.approx(float((x.sort(0).values - y.sort(0).values).square().mean() / 2))


class TestConvergence:
    @pytest.mark.parametrize("blur", [0.5, 1.0, 5.0])
    @pytest.mark.parametrize(("n", "m"), [(40, 40), (40, 31)])
    def test_equal_to_a_long_plain_run(self, blur, n, m):
        x, y = normal(n, 5, 0), 1.2 * normal(m, 5, 1) + 0.2
        assert sinkhorn(x, y, blur) == pytest.approx(reference_divergence(x, y, blur**2), rel=2e-5)

    @pytest.mark.parametrize("blur", [0.05, 0.5, 5.0])
    def test_marginals_and_gap(self, blur):
        x, y = normal(400, 84, 0), normal(400, 84, 1) * 0.9
        solution = entropic_ot(x, y, blur)
        cost = torch.cdist(x, y).square() / 2
        f, g = torch.from_numpy(solution.f), torch.from_numpy(solution.g)
        plan = ((f.unsqueeze(1) + g - cost) / blur**2).exp() / 400**2
        assert float((plan.sum(1) * 400 - 1).abs().max()) < 1e-4
        assert float((plan.sum(0) * 400 - 1).abs().mean()) < 1e-5
        assert solution.marginal_error <= 1e-6
        assert 0 <= solution.gap < 1e-5 * solution.value
        assert solution.value <= exact_ot(x, y) + blur**2 * math.log(400) + solution.gap

    HARD: ClassVar[dict[str, Callable[[], tuple[Tensor, Tensor]]]] = {
        "half of the events empty": lambda: (torch.cat([torch.zeros(90, 84), normal(110, 84, 0)]), normal(200, 84, 1)),
        "collapsed to one event": lambda: (torch.full((200, 84), 0.3), normal(200, 84, 1)),
        "eight copies of each": lambda: (normal(25, 84, 0).repeat_interleave(8, 0), normal(200, 84, 1)),
        "sparse counts": lambda: (normal(200, 6, 0).abs().round(), normal(200, 6, 1).abs().round()),
        "unequal numbers": lambda: (normal(70, 84, 0), normal(200, 84, 1)),
        "heavy tails": lambda: (
            normal(200, 5, 0) / normal(200, 1, 2).abs(),
            normal(200, 5, 1) / normal(200, 1, 3).abs(),
        ),
        "huge": lambda: (100 * normal(150, 84, 0), 100 * normal(150, 84, 1)),
        "far from the origin": lambda: (normal(150, 84, 0) + 1e3, normal(150, 84, 1) + 1e3),
    }

    @pytest.mark.parametrize("case", HARD)
    def test_hard_cases_converge(self, case):
        x, y = self.HARD[case]()
        solution = entropic_ot(x, y)
        assert solution.marginal_error < 1e-5
        assert sinkhorn(x, y) == pytest.approx(exact_ot(x, y), rel=2e-2 if case == "sparse counts" else 1e-3)

    def test_dense_in_single_precision(self, monkeypatch):
        """The path of more than 2000 events."""
        x, y = normal(150, 8, 0), normal(150, 8, 1)
        before = [sinkhorn(x, y, blur) for blur in (0.05, 0.5, 3.0)]
        monkeypatch.setattr(solver, "FLOAT64_SIZE", 10)
        monkeypatch.setattr(solver, "SPARSE", -1.0)
        assert [sinkhorn(x, y, blur) for blur in (0.05, 0.5, 3.0)] == pytest.approx(before, rel=1e-4)

    @pytest.mark.parametrize("blur", [0, -1.0, math.inf, math.nan])
    def test_bad_blur(self, blur):
        with pytest.raises(UsageError, match="blur"):
            sinkhorn(torch.zeros(3, 2), torch.zeros(3, 2), blur)


class TestLoss:
    @pytest.mark.parametrize("blur", [0.1, 0.5, 2.0])
    def test_value_and_gradient_by_finite_differences(self, blur):
        x, y = normal(40, 4, 0).requires_grad_(), (normal(30, 4, 1) * 0.7).requires_grad_()
        loss = sinkhorn_loss(x, y, blur)
        assert float(loss.detach()) == pytest.approx(sinkhorn(x, y, blur), rel=1e-9)
        loss.backward()
        for index, (values, other) in enumerate(((x, y), (y, x))):
            direction, h = normal(len(values), 4, 2 + index), 1e-3
            sides = [values.detach() + sign * h * direction for sign in (1, -1)]
            pairs = [(side, other.detach()) if index == 0 else (other.detach(), side) for side in sides]
            slope = (sinkhorn(*pairs[0], blur) - sinkhorn(*pairs[1], blur)) / (2 * h)
            assert values.grad is not None
            assert float((values.grad * direction).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-5)

    def test_dtype_and_device_are_kept(self):
        x = normal(20, 3, 0).float().requires_grad_()
        loss = sinkhorn_loss(x, normal(20, 3, 1).float())
        loss.backward()
        assert loss.dtype == torch.float32
        assert x.grad is not None
        assert x.grad.dtype == torch.float32

    def test_descent_reaches_the_target(self):
        x, y = normal(60, 2, 0) * 3 + 5, normal(60, 2, 1)
        start = sinkhorn(x, y)
        for _ in range(5):
            x = x.detach().requires_grad_()
            sinkhorn_loss(x, y).backward()
            assert x.grad is not None
            x = x.detach() - 0.8 * len(x) * x.grad
        assert sinkhorn(x, y) < 1e-2 * start


class TestMetrics:
    def test_subsets_are_whole_units(self):
        unit = torch.arange(4000) // 8
        subsets = subset_rows(unit, 1000)
        assert len(subsets) == 4
        assert len(torch.cat(subsets).unique()) == 4000
        assert all(len(unit[rows].unique()) == 125 for rows in subsets)
        assert [len(rows) for rows in subset_rows(unit[:900], 1000)] == [900]

    def test_mean_and_spread_over_subsets(self, monkeypatch):
        monkeypatch.setattr(module, "subset_rows", lambda unit_id: subset_rows(unit_id, 50))
        pair = make_pair(normal(210, 3, 0), normal(210, 3, 1))
        x, y = pair.derived("features")
        for metric, function in ((sinkhorn_metric, sinkhorn), (exact_ot_metric, exact_ot)):
            values = torch.tensor([function(x[rows], y[rows]) for rows in subset_rows(pair.generated.unit_id, 50)])
            estimate = metric(pair)
            assert len(values) == 4
            assert estimate.value == pytest.approx(float(values.mean()), rel=1e-5)
            assert estimate.parts["sd"] == pytest.approx(float(values.std()), rel=1e-4)
            assert estimate.stderr == pytest.approx(float(values.std()) / 2, rel=1e-4)
            assert not metric.ranks

    def test_error_of_a_single_subset(self):
        assert (sinkhorn_metric(make_pair(normal(60, 3, 0), normal(60, 3, 1))).stderr or 0) > 0
        assert exact_ot_metric(make_pair(normal(501, 3, 0), normal(501, 3, 1))).stderr is None
