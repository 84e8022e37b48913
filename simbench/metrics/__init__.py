"""Every number that simbench gives, as pure functions: generated first, reference second; numpy or torch, CPU or GPU.

One module per family; `simbench.metrics.registry` knows the registered metrics by key. A metric of your own is one
function decorated with `metric`, offered through the entry-point group `simbench.metrics`.
"""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__,
    {
        "Comparison": "base",
        "Estimate": "base",
        "Metric": "base",
        "PRDC": "manifolds",
        "bootstrap_mean": "resampling",
        "bootstrapped": "resampling",
        "channel_mae": "channels",
        "channel_sums": "channels",
        "channel_wasserstein": "channels",
        "classifier_high": "classifier",
        "classifier_low": "classifier",
        "conditional_energy": "channels",
        "correlation_distance": "channels",
        "dispersion_ratio": "channels",
        "diversity_ratio": "energy",
        "empty_fraction": "channels",
        "energy_distance": "energy",
        "exact_ot": "transport",
        "fpd": "physics",
        "frechet_distance": "frechet",
        "jackknifed": "resampling",
        "kid": "kernel",
        "metric": "base",
        "physics_features": "physics",
        "prdc": "manifolds",
        "rmse": "physics",
        "separation": "physics",
        "sinkhorn": "transport",
        "sinkhorn_loss": "transport",
    },
)
