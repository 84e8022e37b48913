"""Metrics as particular papers defined them, so that a printed number can be reproduced or contradicted. They report
and never rank.

A task's `definitions` say which metrics each paper's numbers are: `simbench run --definitions wojnar2024`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from simbench.metrics.base import Comparison, Estimate, Metric, metric
from simbench.metrics.channels import CHANNEL_VARIANTS, channel_masks, channel_sums, mae_estimate, wasserstein_estimate
from simbench.metrics.physics import root_mean, squared_errors
from simbench.metrics.resampling import bootstrap_mean
from simbench.metrics.transport import sinkhorn


@metric("sinkhorn/deja2020", ranks=False)
def sinkhorn_deja2020(pair: Comparison) -> Estimate:
    """Sinkhorn divergence, all events at once, blur 0.05: our reading of the founding paper, with 0 at the truth."""
    generated, reference = pair.derived("features")
    return Estimate(sinkhorn(generated, reference, blur=0.05), None, len(pair))


@metric("rmse/wojnar2024", unit="photons", ranks=False)
def rmse_wojnar2024(pair: Comparison) -> Estimate:
    """Root of the mean over events of the *sum* of squared pixel differences: sqrt(H W) = 44 times `rmse/1`."""
    return root_mean(squared_errors(pair), pair.generated.unit_id)


@metric("channel_mae/wojnar2025", unit="photons", ranks=False)
def channel_mae_wojnar2025(pair: Comparison) -> Estimate:
    """`channel_mae/1` divided by the number of channels once more."""
    generated, reference = pair.derived("channels")
    return bootstrap_mean((generated - reference).abs().mean(1) / generated.shape[1], pair.generated.unit_id)


def _on_variant(name: str, variant: str, estimate: Callable[[Tensor, Tensor, Tensor], Estimate]) -> Metric:
    """`name/1` on other channels; the variant is its version."""

    def of_pair(pair: Comparison) -> Estimate:
        generated, reference = (channel_sums(events.samples, variant) for events in (pair.generated, pair.reference))
        return estimate(generated, reference, pair.generated.unit_id)

    of_pair.__doc__ = f"`{name}/1` on the `{variant}` channels."
    return metric(f"{name}/{variant}", unit="photons", ranks=False, of=channel_masks)(of_pair)


ON_VARIANTS = tuple(
    _on_variant(name, variant, estimate)
    for variant in CHANNEL_VARIANTS[1:]
    for name, estimate in (("channel_wasserstein", wasserstein_estimate), ("channel_mae", mae_estimate))
)
"""The channel metrics on the other read-outs."""
