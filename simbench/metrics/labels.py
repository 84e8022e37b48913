"""Metrics that read the label off a generated image."""

from __future__ import annotations

from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import bootstrap_mean, stratified


@metric(
    "label_accuracy/1",
    share=True,
    direction="higher",
    meaning="Share of generated digits that a pinned LeNet-5 reads as the digit asked for.",
)
@stratified
def label_accuracy_metric(pair: Comparison) -> Estimate:
    """Share of generated digits that the pinned LeNet reads as the requested label."""
    right = pair.generated.derived("predicted_label") == pair.generated.condition_id
    return bootstrap_mean(right.double(), pair.generated.unit_id)
