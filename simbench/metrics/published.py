"""Metrics as particular papers defined them, so that a printed number can be reproduced or contradicted. They report
and never rank.

A task's `definitions` say which metrics each paper's numbers are: `simbench run --definitions wojnar2024`.
"""

from __future__ import annotations

from torch import Tensor

from simbench.core.events import Events
from simbench.metrics.base import Comparison, Estimate, Metric, metric
from simbench.metrics.channels import (
    CHANNEL_VARIANTS,
    WassersteinStream,
    channel_masks,
    mae_stream,
    sums_of,
    wasserstein_estimate,
)
from simbench.metrics.physics import error_stream
from simbench.metrics.resampling import bootstrap_mean
from simbench.metrics.streams import Rows, RowStream, Stream, of_pair
from simbench.metrics.transport import sinkhorn


@metric("sinkhorn/deja2020", ranks=False)
def sinkhorn_deja2020(pair: Comparison) -> Estimate:
    """Sinkhorn divergence, all events at once, blur 0.05: our reading of the founding paper, with 0 at the truth."""
    generated, reference = pair.derived("features")
    return Estimate(sinkhorn(generated, reference, blur=0.05), None, len(pair))


SUMMED = error_stream(per_pixel=False, stratified=False)


@metric("rmse/wojnar2024", unit="photons", ranks=False, stream=SUMMED)
def rmse_wojnar2024(pair: Comparison) -> Estimate:
    """Root of the mean over events of the *sum* of squared pixel differences: sqrt(H W) = 44 times `rmse/1`."""
    return of_pair(SUMMED, pair)


def _fifths(chunk: Comparison) -> Tensor:
    generated, reference = chunk.derived("channels")
    return (generated - reference).abs().mean(1, keepdim=True) / generated.shape[1]


def _fifths_estimate(rows: Rows, reference: Events) -> Estimate:
    return bootstrap_mean(rows.mean[:, 0], reference.unit_id)


FIFTHS = RowStream(_fifths, _fifths_estimate, stratified=False)


@metric("channel_mae/wojnar2025", unit="photons", ranks=False, stream=FIFTHS)
def channel_mae_wojnar2025(pair: Comparison) -> Estimate:
    """`channel_mae/1` divided by the number of channels once more."""
    return of_pair(FIFTHS, pair)


def _on_variant(name: str, variant: str) -> Metric:
    """`name/1` on other channels; the variant is its version."""
    sums = sums_of(variant)
    mae = mae_stream(sums, stratified=False)
    stream: Stream = mae if name == "channel_mae" else WassersteinStream(sums, stratified=False)

    def on_variant(pair: Comparison) -> Estimate:
        if name == "channel_mae":
            return of_pair(mae, pair)
        return wasserstein_estimate(sums(pair.generated), sums(pair.reference), pair.generated.unit_id)

    on_variant.__doc__ = f"`{name}/1` on the `{variant}` channels."
    return metric(f"{name}/{variant}", unit="photons", ranks=False, of=channel_masks, stream=stream)(on_variant)


ON_VARIANTS = tuple(
    _on_variant(name, variant) for variant in CHANNEL_VARIANTS[1:] for name in ("channel_wasserstein", "channel_mae")
)
"""The channel metrics on the other read-outs."""
