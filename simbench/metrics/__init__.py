"""Every number that simbench gives, as pure functions: generated first, reference second; numpy or torch, CPU or GPU.

One module per family; `simbench.metrics.registry` knows the registered metrics by key. A metric of your own is one function decorated with
`metric`, offered through the entry-point group `simbench.metrics`.
"""

from simbench.metrics.base import Comparison, Estimate, Metric, metric
from simbench.metrics.channels import (
    channel_mae,
    channel_sums,
    channel_wasserstein,
    conditional_energy,
    correlation_distance,
    dispersion_ratio,
    empty_fraction,
)
from simbench.metrics.classifier import classifier_auc
from simbench.metrics.energy import diversity_ratio, energy_distance
from simbench.metrics.entropic import sinkhorn, sinkhorn_loss
from simbench.metrics.frechet import frechet_distance
from simbench.metrics.kernel import kid
from simbench.metrics.manifolds import PRDC, prdc
from simbench.metrics.physics import fpd, physics_features, rmse, separation
from simbench.metrics.resampling import bootstrap_mean, bootstrapped, jackknifed
from simbench.metrics.transport import exact_ot

__all__ = [
    "PRDC", "Comparison", "Estimate", "Metric", "bootstrap_mean", "bootstrapped", "channel_mae", "channel_sums", "channel_wasserstein",
    "classifier_auc", "conditional_energy", "correlation_distance", "dispersion_ratio", "diversity_ratio", "empty_fraction",
    "energy_distance", "exact_ot", "fpd", "frechet_distance", "jackknifed", "kid", "metric", "physics_features", "prdc", "rmse", "separation",
    "sinkhorn", "sinkhorn_loss",
]  # fmt: skip
