"""The 1-D Wasserstein distance against scipy's."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from simbench.metrics.channels import channel_wasserstein, wasserstein_1d


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 7), (100, 37), (2000, 3000)])
@pytest.mark.parametrize("discrete", [True, False])
def test_equal_to_scipy(n: int, m: int, discrete: bool) -> None:
    rng = np.random.default_rng(n + m)
    x, y = rng.gamma(2, 50, (n, 5)), rng.gamma(2.2, 50, (m, 5))
    if discrete:
        x, y = x.round(), y.round()
    ours = wasserstein_1d(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    peer = [wasserstein_distance(x[:, c], y[:, c]) for c in range(5)]
    np.testing.assert_allclose(ours, peer, rtol=1e-9, atol=1e-12)
    assert channel_wasserstein(x, y) == pytest.approx(np.mean(peer), rel=1e-9)
