"""Metrics that read the label off a generated image."""

from __future__ import annotations

from torch import Tensor

from simbench.core.events import Events
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import bootstrap_mean, stratified
from simbench.metrics.streams import Rows, RowStream, of_pair


def _right(chunk: Comparison) -> Tensor:
    return (chunk.generated.derived("predicted_label") == chunk.generated.condition_id).double()[:, None]


def _share_right(rows: Rows, reference: Events) -> Estimate:
    return bootstrap_mean(rows.mean[:, 0], reference.unit_id)


RIGHT = RowStream(_right, _share_right)


@metric(
    "label_accuracy/1",
    share=True,
    direction="higher",
    meaning="Share of generated digits that a pinned LeNet-5 reads as the digit asked for.",
    stream=RIGHT,
)
@stratified
def label_accuracy_metric(pair: Comparison) -> Estimate:
    """Share of generated digits that the pinned LeNet reads as the requested label."""
    return of_pair(RIGHT, pair)
