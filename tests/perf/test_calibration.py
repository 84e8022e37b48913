"""Do the 95 % intervals hold 95 %? On unlimited synthetic draws, where the metric's mean at that N is known, at the null and at a 10 % shift.

Run with `python -m pytest -m slow tests/perf/test_calibration.py -s`; the figures are in docs/calibration.md.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simbench.events import Events
from simbench.metrics.base import Comparison
from simbench.metrics.registry import get_metric

CONDITIONS, REPEATS, DRAWS = 100, 8, 200
METRICS = (
    "channel_wasserstein/1", "conditional_energy/1", "dispersion_ratio/1", "empty_fraction/1", "correlation_distance/1", "separation/1",
    "fpd/1", "kpd/1", "energy_distance/1", "lenet_fid/1", "kid/1", "diversity_ratio/1", "precision/1", "recall/1", "density/1", "coverage/1",
    "channel_mae/1",
)  # fmt: skip


def showers(energy: np.ndarray, rng: np.random.Generator, scale: float) -> torch.Tensor:
    """Compound-Poisson channel sums: a Poisson number of clusters, each of exponential size, split over five channels; some events are empty."""
    clusters = rng.poisson(energy * 6)
    size = np.array([rng.exponential(20, n).sum() for n in clusters]) * scale
    share = rng.dirichlet([4, 4, 4, 4, 16], len(energy))
    return torch.from_numpy(rng.poisson(size[:, None] * share).astype(np.float64))


def events(samples: torch.Tensor, condition: torch.Tensor, energy: np.ndarray) -> Events:
    def features(x: torch.Tensor) -> torch.Tensor:
        return x.log1p()

    return Events(
        samples=samples.float(),
        conditions=torch.from_numpy(energy).float()[:, None],
        condition_id=condition,
        unit_id=condition,
        derivations={"channels": lambda x: x.double(), "features": features, "physics": features},
    )


def draw(seed: int, scale: float) -> Comparison:
    """New conditions, new real and new generated showers."""
    rng = np.random.default_rng(seed)
    condition = torch.arange(CONDITIONS * REPEATS) // REPEATS
    energy = rng.lognormal(-0.5, 1, CONDITIONS).repeat(REPEATS)
    return Comparison(
        events(showers(energy, rng, scale), condition, energy),
        events(showers(energy, rng, 1.0), condition, energy),
        stratify=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scale", [1.0, 1.1])
def test_intervals_hold_what_they_promise(scale: float) -> None:
    estimates: dict[str, list[tuple[float, float]]] = {key: [] for key in METRICS}
    for seed in range(DRAWS):
        pair = draw(seed, scale)
        for key in METRICS:
            estimate = get_metric(key)(pair)
            assert estimate.stderr is not None, key
            estimates[key].append((estimate.value, estimate.stderr))
    outside = {}
    for key, found in estimates.items():
        values, errors = np.array(found).T
        coverage = float((np.abs(values - values.mean()) < 1.96 * errors).mean())
        print(
            f"| {key} | {scale:g} | {values.mean():.4g} | {values.std(ddof=1):.3g} | {errors.mean():.3g} | {coverage:.1%} |"
        )
        if not 0.90 <= coverage <= 0.99:
            outside[key] = coverage
    assert not outside
