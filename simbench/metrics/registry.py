"""The metrics by key: simbench's own, and those that packages offer through the entry-point group `simbench.metrics`.

A new metric is one decorated function in a module of this folder, a line here, and its key in the tasks that show it.
"""

from __future__ import annotations

import functools

from simbench.core.errors import UsageError
from simbench.core.plugins import did_you_mean, entry_points, load_entry_point
from simbench.metrics.base import Metric
from simbench.metrics.channels import (
    channel_mae_metric,
    channel_wasserstein_metric,
    conditional_energy_metric,
    conditional_wasserstein_metric,
    correlation_distance_metric,
    dispersion_ratio_metric,
    empty_fraction_metric,
)
from simbench.metrics.classifier import classifier_auc_metric
from simbench.metrics.energy import diversity_ratio_metric, energy_distance_metric
from simbench.metrics.frechet import inception_fid_metric, lenet_fid_metric
from simbench.metrics.kernel import kid_metric
from simbench.metrics.labels import label_accuracy_metric
from simbench.metrics.manifolds import (
    coverage_metric,
    coverage_ties_metric,
    density_metric,
    precision_metric,
    recall_metric,
)
from simbench.metrics.memorisation import memorisation_metric
from simbench.metrics.physics import fpd_metric, kpd_metric, rmse_metric, separation_metric
from simbench.metrics.published import ON_VARIANTS, channel_mae_wojnar2025, rmse_wojnar2024, sinkhorn_deja2020
from simbench.metrics.transport import exact_ot_metric, sinkhorn_metric

SHIPPED = (
    channel_wasserstein_metric,
    channel_mae_metric,
    conditional_energy_metric,
    conditional_wasserstein_metric,
    dispersion_ratio_metric,
    empty_fraction_metric,
    correlation_distance_metric,
    separation_metric,
    fpd_metric,
    kpd_metric,
    rmse_metric,
    lenet_fid_metric,
    inception_fid_metric,
    kid_metric,
    energy_distance_metric,
    diversity_ratio_metric,
    sinkhorn_metric,
    exact_ot_metric,
    precision_metric,
    recall_metric,
    density_metric,
    coverage_metric,
    coverage_ties_metric,
    classifier_auc_metric,
    label_accuracy_metric,
    memorisation_metric,
    sinkhorn_deja2020,
    rmse_wojnar2024,
    channel_mae_wojnar2025,
    *ON_VARIANTS,
)


@functools.cache
def metrics() -> dict[str, Metric]:
    """Every known metric, by key."""
    known = {metric.key: metric for metric in SHIPPED}
    for point in entry_points("simbench.metrics").values():
        offered = load_entry_point(point)
        if not isinstance(offered, Metric):
            raise UsageError(
                f"the registered metric {point.name!r} ({point.value}) is not one",
                got=type(offered).__name__,
                expected="a function decorated with simbench.metrics.base.metric",
            )
        known[offered.key] = offered
    return known


def get_metric(key: str) -> Metric:
    """The metric of that key. Raises UsageError where there is none."""
    known = metrics()
    if key not in known:
        raise UsageError(
            "unknown metric", got=repr(key), expected=f"one of {', '.join(known)}", fix=did_you_mean(key, known)
        )
    return known[key]
