"""Metrics as particular papers defined them, so that a printed number can be reproduced or contradicted. They report and never rank.

`PRESETS` says which metrics each paper's numbers are; `simbench run --definitions wojnar2024` scores with them.
"""

from __future__ import annotations

from torch import Tensor

from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.channels import channel_sums, wasserstein_1d, weighted_wasserstein
from simbench.metrics.entropic import sinkhorn
from simbench.metrics.resampling import bootstrap_mean, bootstrapped

PRESETS: dict[str, dict[str, tuple[str, ...]]] = {
    "deja2020": {
        "mnist": ("lenet_fid/1", "sinkhorn/deja2020"),
        "zn-geant3": ("channel_mae/1", "channel_wasserstein/1"),
    },
    "wojnar2024": {"zn-geant3": ("channel_wasserstein/1", "channel_mae/1", "rmse/wojnar2024")},
    "wojnar2025": {"zn-geant3": ("channel_wasserstein/1", "channel_mae/wojnar2025")},
    "bedkowski2024": {"zn-geant3": ("channel_wasserstein/bedkowski2024", "channel_mae/bedkowski2024")},
}
"""Metric keys of each preset, by task."""


@metric("sinkhorn/deja2020", ranks=False)
def sinkhorn_deja2020(pair: Comparison) -> Estimate:
    """Sinkhorn divergence, all events against all, blur 0.05: our reading of the founding paper, whose 0 for original data fits it."""
    generated, reference = pair.derived("features")
    return Estimate(sinkhorn(generated, reference, blur=0.05), None, len(pair))


@metric("rmse/wojnar2024", unit="photons", ranks=False)
def rmse_wojnar2024(pair: Comparison) -> Estimate:
    """Root of the mean over events of the *sum* of squared pixel differences: sqrt(H W) = 44 times `rmse/1`."""
    squared = (pair.generated.samples.double() - pair.reference.samples.double()).square().flatten(1).sum(1)

    def root(weights: Tensor) -> Tensor:
        return (weights @ squared / weights.sum(1)).sqrt()

    return bootstrapped(squared.mean().sqrt(), root, pair.generated.unit_id)


@metric("channel_mae/wojnar2025", unit="photons", ranks=False)
def channel_mae_wojnar2025(pair: Comparison) -> Estimate:
    """`channel_mae/1` divided by the number of channels once more."""
    generated, reference = pair.derived("channels")
    return bootstrap_mean((generated - reference).abs().mean(1) / generated.shape[1], pair.generated.unit_id)


@metric("channel_wasserstein/bedkowski2024", unit="photons", ranks=False)
def channel_wasserstein_bedkowski2024(pair: Comparison) -> Estimate:
    """`channel_wasserstein/1` on the `zn_2x2_odd` channels."""
    generated, reference = (channel_sums(events.samples, "zn_2x2_odd") for events in (pair.generated, pair.reference))
    distance = weighted_wasserstein(generated, reference)
    value = wasserstein_1d(generated, reference).mean()
    return bootstrapped(value, lambda weights: distance(weights, weights).mean(1), pair.generated.unit_id)


@metric("channel_mae/bedkowski2024", unit="photons", ranks=False)
def channel_mae_bedkowski2024(pair: Comparison) -> Estimate:
    """`channel_mae/1` on the `zn_2x2_odd` channels."""
    generated, reference = (channel_sums(events.samples, "zn_2x2_odd") for events in (pair.generated, pair.reference))
    return bootstrap_mean((generated - reference).abs().mean(1), pair.generated.unit_id)
