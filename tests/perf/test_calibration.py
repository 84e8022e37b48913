"""Do the 95 % intervals hold 95 %? On unlimited synthetic draws, where the metric's mean at that N is known.

At the null and at a 10 % shift.

Run with `python -m pytest -m slow tests/perf/test_calibration.py -s`; the figures are in docs/metrics.md.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simbench.core.events import Events
from simbench.features.extractors import LeNetFeatures
from simbench.metrics.base import Comparison
from simbench.metrics.channels import channel_sums
from simbench.metrics.physics import physics_features
from simbench.metrics.registry import get_metric
from simbench.tasks.zn import LENET

CONDITIONS, REPEATS, DRAWS = 250, 8, 200
PIXELS = 44
STEPS = 1.5
"""Repeats by which a share of the 200 may lie outside 90-99 %: half its binomial error."""
METRICS = (
    "channel_wasserstein/1",
    "conditional_energy/1",
    "dispersion_ratio/2",
    "energy_response/1",
    "energy_resolution/1",
    "empty_fraction/1",
    "correlation_distance/1",
    "separation/1",
    "fpd/1",
    "kpd/1",
    "energy_distance/1",
    "lenet_fid/1",
    "kid/1",
    "diversity_ratio/1",
    "precision/1",
    "recall/1",
    "density/1",
    "coverage/1",
    "channel_mae/1",
)


def showers(energy: np.ndarray, centre: np.ndarray, rng: np.random.Generator, scale: float) -> torch.Tensor:
    """Compound-Poisson showers (N, 44, 44): a Poisson number of clusters, each with its place and an exponential size.

    Some events are empty.

    energy: (N,) sets the number of clusters; centre: (N, 2) in pixels; scale: factor on the mean number of photons.
    """
    clusters = rng.poisson(energy * 6)
    owner = np.repeat(np.arange(len(energy)), clusters)
    place = centre[owner] + rng.normal(0, 3, (len(owner), 2))
    photons = rng.poisson(rng.exponential(20, len(owner)) * scale)
    hit = np.rint(place.repeat(photons, 0) + rng.normal(0, 2, (photons.sum(), 2))).astype(int)
    inside = ((hit >= 0) & (hit < PIXELS)).all(1)
    pixel = (owner.repeat(photons) * PIXELS**2 + hit[:, 0] * PIXELS + hit[:, 1])[inside]
    image = np.bincount(pixel, minlength=len(energy) * PIXELS**2)
    return torch.from_numpy(image).float().view(-1, PIXELS, PIXELS)


def events(samples: torch.Tensor, condition: torch.Tensor, energy: np.ndarray) -> Events:
    return Events(
        samples=samples,
        conditions=torch.from_numpy(energy).float()[:, None],
        condition_id=condition,
        unit_id=condition,
        derivations={"channels": channel_sums, "features": LeNetFeatures(LENET), "physics": physics_features},
    )


def draw(seed: int, scale: float) -> Comparison:
    """New conditions, new real and new generated showers."""
    rng = np.random.default_rng(seed)
    condition = torch.arange(CONDITIONS * REPEATS) // REPEATS
    energy = np.exp(rng.uniform(np.log(0.05), np.log(3), CONDITIONS)).repeat(REPEATS)  # log-uniform, as zn-geant3's
    centre = rng.normal(21.5, 3, (CONDITIONS, 2)).repeat(REPEATS, 0)
    generated, real = (events(showers(energy, centre, rng, factor), condition, energy) for factor in (scale, 1.0))
    return Comparison(generated, real, stratify=False)


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
        found_spread = f"{values.std(ddof=1):.3g} | {errors.mean():.3g}"
        print(f"| {key} | {scale:g} | {values.mean():.4g} | {found_spread} | {coverage:.1%} |")
        if not 0.90 - STEPS / DRAWS <= coverage <= 0.99 + STEPS / DRAWS:
            outside[key] = coverage
    assert not outside
