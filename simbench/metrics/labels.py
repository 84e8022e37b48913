"""Metrics that read the label off a generated image."""

from __future__ import annotations

from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.resampling import bootstrap_mean


@metric("label_accuracy/1", direction="higher")
def label_accuracy_metric(pair: Comparison) -> Estimate:
    """Share of generated digits that the pinned LeNet reads as the requested label."""
    label = pair.generated.condition_id
    right = (pair.generated.derived("predicted_label") == label).double()
    parts = {f"digit {int(d)}": float(right[label == d].mean()) for d in label.unique()}
    return bootstrap_mean(right, pair.generated.unit_id, parts)
