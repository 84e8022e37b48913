"""Feature space in two dimensions: principal components of the real events, and t-SNE of real and generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simbench.report.style import (
    INK,
    REAL,
    Series,
    as_array,
    largest_reference,
    legend_above,
    paired_panels,
    plain,
    styled,
    unscaled,
)

Array = NDArray[np.float64]
EVENTS = 400
TOTAL = 1200
FEWEST = 150
"""Events of each set that are drawn, and of all sets together, but no fewer than the last of each: t-SNE takes seconds
for these, minutes for all."""

ITERATIONS = 500
LAYERS = 4
"""Real and generated points are drawn in turns, a quarter at a time, so that neither covers the other."""


@dataclass(frozen=True)
class Embedding:
    """Real and generated events in one plane."""

    name: str
    axes: tuple[str, str]
    real: Array
    generated: tuple[Array, ...]


def embed(series: Sequence[Series], seed: int = 0) -> list[Embedding]:
    """PCA and t-SNE of a subsample of the derived quantity `features`. Raises KeyError where the task has none."""
    rng = np.random.default_rng(seed)
    size = min(EVENTS, max(TOTAL // (len(series) + 1), FEWEST))

    def draw(values: Array) -> Array:
        return values[np.sort(rng.permutation(len(values))[:size])]

    reference = as_array(largest_reference(series).reference.derived("features"))
    sets = [draw(reference), *(draw(as_array(one.pair.generated.derived("features"))) for one in series)]
    centre = reference.mean(0)
    _, singular, axes = np.linalg.svd(reference - centre, full_matrices=False)
    shares = singular**2 / max(float((singular**2).sum()), 1e-300)
    flat = [(values - centre) @ axes[:2].T for values in sets]
    cuts = np.cumsum([len(values) for values in sets])[:-1]
    curled = np.split(tsne(np.concatenate(sets), rng.permutation(sum(map(len, sets))), seed), cuts)
    labels = (f"first principal component ({100 * shares[0]:.0f} %)", f"second ({100 * shares[1]:.0f} %)")
    return [
        Embedding("principal components", labels, flat[0], tuple(flat[1:])),
        Embedding("t-SNE", ("t-SNE 1", "t-SNE 2"), curled[0], tuple(curled[1:])),
    ]


def tsne(values: Array, order: NDArray[np.int64], seed: int) -> Array:
    """t-SNE of the rows, computed in `order`: identical events (empty ones) are then not laid out set by set.

    It runs on one thread, since more only get in each other's way.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, max((len(values) - 1) / 3, 1.0))
    with threadpool_limits(1):
        tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", max_iter=ITERATIONS, random_state=seed, n_jobs=1)
        laid_out = tsne.fit_transform(values[order].astype(np.float32))
    plane = np.empty((len(values), 2))
    plane[order] = laid_out
    return plane


def feature_maps(series: Sequence[Series], embeddings: Sequence[Embedding]) -> Figure:
    """A panel for each embedding and generator: its events over the real ones."""
    with styled():
        figure, pairs = paired_panels(series)
        handles: list[Any] = []
        for index, (one, panels) in enumerate(zip(series, pairs, strict=True)):
            for embedding, axes in zip(embeddings, panels, strict=True):
                real, made = overlaid(axes, embedding.real, embedding.generated[index], one.colour)
                handles = handles or [real]
                if len(series) == 1:
                    handles = [real, made]
                axes.set_xlabel(embedding.axes[0] if len(series) == 1 else embedding.name, loc="center")
                axes.set_ylabel(embedding.axes[1] if len(series) == 1 else "", color=INK)
        names = [plain(one.label) for one in series] if len(series) == 1 else []
        legend_above(figure, handles, ["real", *names])
    return figure


def overlaid(axes: Axes, real: Array, made: Array, colour: str) -> tuple[Any, Any]:
    """Two sets of points (N, 2) in one panel, drawn in turns; returns a handle of each."""
    real_handle: Any = None
    made_handle: Any = None
    for layer in range(LAYERS):
        real_handle, made_handle = (
            axes.plot(*values[layer::LAYERS].T, "o", ms=3.2, mew=0, alpha=0.6, color=shade)[0]
            for values, shade in ((real, REAL), (made, colour))
        )
    unscaled(axes)
    return real_handle, made_handle
