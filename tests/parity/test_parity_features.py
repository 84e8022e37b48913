"""The feature metrics against torch-fidelity, prdc, geomloss and POT, on the same features."""

import contextlib
import io
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from simbench.metrics.frechet import frechet_distance
from simbench.metrics.kernel import kid
from simbench.metrics.manifolds import prdc
from simbench.metrics.transport import exact_ot, sinkhorn, sinkhorn_loss

with warnings.catch_warnings():  # the peers' own deprecations, not ours
    warnings.simplefilter("ignore")
    from geomloss import SamplesLoss
    from prdc import compute_prdc
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

BLURS = [0.05, 0.5, 5.0]


def features(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Correlated, skewed, non-negative features, as after a ReLU."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99)) / d**0.5
    return torch.relu(torch.randn(n, d, generator=rng) @ mix * scale + 0.5 + shift)


def geomloss_divergence(x: Tensor, y: Tensor, blur: float, scaling: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=scaling, backend="tensorized")
        return float(loss(x.double(), y.double()))


@pytest.mark.parametrize(("n", "m", "d"), [(300, 300, 20), (1000, 700, 84)])
def test_frechet_equals_torch_fidelity(n: int, m: int, d: int) -> None:
    x, y = features(n, d, 0, 1.1), features(m, d, 1)
    peer = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False)
    assert frechet_distance(x, y) == pytest.approx(peer["frechet_inception_distance"], rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(100, 5), (400, 84)])
def test_kid_equals_torch_fidelity(n: int, d: int) -> None:
    x, y = features(n, d, 0, 1.1), features(n, d, 1)
    peer = kid_features_to_metric(x.double(), y.double(), kid_subsets=1, kid_subset_size=n, verbose=False)
    assert kid(x, y, subset_size=n) == pytest.approx(peer["kernel_inception_distance_mean"], rel=1e-9)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize(("n", "m", "d"), [(300, 300, 84), (700, 400, 3), (500, 500, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_manifolds_equal_prdc(n: int, m: int, d: int, k: int, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, dtype=dtype, generator=rng) * 0.95 + 0.02
    y = torch.randn(m, d, dtype=dtype, generator=rng)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = compute_prdc(y.numpy(), x.numpy(), k)
    ours = prdc(x, y, k)
    counts = (n, m, n * k, m)
    for name, count in zip(ours._fields, counts, strict=True):
        assert round(getattr(ours, name) * count) == round(float(peer[name]) * count), name


@pytest.mark.parametrize("blur", BLURS)
def test_sinkhorn_equals_geomloss_at_slow_cooling(blur: float) -> None:
    x, y = features(150, 84, 0, 1.2), features(150, 84, 1)
    assert sinkhorn(x, y, blur) == pytest.approx(geomloss_divergence(x, y, blur, 0.99), rel=1e-3)


@pytest.mark.parametrize("d", [2, 84])
def test_geomloss_approaches_sinkhorn_as_it_cools_more_slowly(d: int) -> None:
    """At blur 0.05 geomloss is 1.5e-3 off in two dimensions even at scaling .99; slower cooling brings it nearer."""
    x, y = features(60, d, 0, 1.2), features(60, d, 1)
    ours = sinkhorn(x, y)
    errors = [abs(geomloss_divergence(x, y, 0.05, scaling) / ours - 1) for scaling in (0.5, 0.8, 0.95, 0.99)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 2e-3


@pytest.mark.parametrize("blur", [2.0, 5.0])
def test_loss_gradient_equals_geomloss(blur: float) -> None:
    """Where geomloss converges; at small blur its plan does not, and finite differences are the judge (unit tests)."""
    x, y = features(64, 10, 0, 1.2).double().requires_grad_(), features(48, 10, 1).double().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.98, backend="tensorized")(x, y)
    theirs = torch.autograd.grad(peer, (x, y))
    loss = sinkhorn_loss(x, y, blur)
    assert float(loss.detach()) == pytest.approx(float(peer.detach()), rel=1e-3)
    for ours, other in zip(torch.autograd.grad(loss, (x, y)), theirs, strict=True):
        assert float((ours - other).norm() / other.norm()) < 2e-2


@pytest.mark.parametrize(("n", "m"), [(200, 200), (150, 90)])
def test_exact_transport_equals_pot_and_scipy(n: int, m: int) -> None:
    import ot
    from scipy.optimize import linear_sum_assignment

    x, y = features(n, 84, 0, 1.2).double(), features(m, 84, 1).double()
    cost = (torch.cdist(x, y).square() / 2).numpy()
    assert exact_ot(x, y) == pytest.approx(float(ot.emd2([], [], cost)), rel=1e-9)
    if n == m:
        rows, columns = linear_sum_assignment(cost)
        assert exact_ot(x, y) == pytest.approx(float(np.mean(cost[rows, columns])), rel=1e-9)


@pytest.mark.parametrize("blur", [1.0, 5.0])
def test_entropic_transport_equals_pot(blur: float) -> None:
    import ot

    from simbench.metrics.entropic import entropic_ot

    x, y = features(80, 20, 0, 1.2).double(), features(60, 20, 1).double()
    cost = (torch.cdist(x, y).square() / 2).numpy()
    plan = ot.sinkhorn([], [], cost, blur**2, method="sinkhorn_log", numItermax=20_000, stopThr=1e-12)
    expected = (plan * cost).sum() + blur**2 * (plan * np.log(plan * plan.size)).sum()
    assert entropic_ot(x, y, blur).value == pytest.approx(expected, rel=1e-6)
