"""Exact optimal transport: the oracle of the entropic one in `sinkhorn`."""

from __future__ import annotations

import torch

from simbench.metrics.arrays import Array, as_features, squared_distances
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.entropic import estimate_over_subsets

MAX_ITERATIONS = 100_000_000


def exact_ot(generated: Array, reference: Array) -> float:
    """Optimal transport cost between two samples with equal weights.

    min_P sum_ij P_ij 1/2 |x_i - y_j|^2,   P >= 0, rows of P sum to 1/N, columns to 1/M

    Args:
        generated: (N, d) features.
        reference: (M, d) features.

    Returns:
        the cost in squared feature units, >= 0, lower is better: half the squared 2-Wasserstein distance of the two empirical measures.

    Estimator: biased upwards, in high dimension strongly (O(N^(-2/d))): compare only at equal N. Float64; time grows as about N^2.5, memory as N^2.

    Reference: POT's network simplex (`ot.emd2`), Bonneel et al. 2011; Flamary et al. 2021.
    """
    import ot

    x, y = as_features(generated, reference)
    x, y = x.double().cpu(), y.double().cpu()
    centre = torch.cat([x, y]).mean(0)
    cost = squared_distances(x - centre, y - centre).div_(2).numpy()
    return float(ot.emd2([], [], cost, numItermax=MAX_ITERATIONS))


@metric(
    "exact_ot/1",
    ranks=False,
    label="exact OT",
    meaning="Transport distance between generated and real features, solved exactly: the check on the Sinkhorn divergence.",
    of=exact_ot,
)
def exact_ot_metric(pair: Comparison) -> Estimate:
    """Exact optimal transport with cost 1/2|x-y|^2 on the subsets of sinkhorn/1: reported, never ranked."""
    return estimate_over_subsets(pair, exact_ot)
