"""Spread of the answers to one condition: is the generator as free as nature, event by event?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from simbench.core.events import Events
from simbench.core.text import count
from simbench.report.channels import Array, channel_photons
from simbench.report.style import INK, REAL, Series, largest_reference, make_figure, photons, plain, styled
from simbench.tasks.base import Task


def _sd_by_condition(events: Events) -> Array:
    """Standard deviation of the photon sum of each condition, unbiased in the variance; NaN where it has one event."""
    light = channel_photons(events).sum(1)
    _, at = np.unique(events.condition_id.numpy(), return_inverse=True)
    n = np.bincount(at).astype(np.float64)
    mean = np.bincount(at, light) / n
    squares = np.bincount(at, (light - mean[at]) ** 2)
    return np.sqrt(np.divide(squares, n - 1, out=np.full_like(n, np.nan), where=n > 1))


def dispersion(series: Sequence[Series], task: Task, other: Events | None) -> Figure:
    """Spread of the repeats: for each condition the standard deviation of the photon sum, generated against real.

    Rings are medians in bins. The last panel shows the distribution of their ratio, beside that of `other` real events
    over real ones, which is chance.
    """
    pairs = [(_sd_by_condition(one.pair.reference), _sd_by_condition(one.pair.generated)) for one in series]
    shown = np.concatenate([values[np.isfinite(values)] for pair in pairs for values in pair])
    low = max(float(np.quantile(shown[shown > 0], 0.005)) if (shown > 0).any() else 1.0, 0.5)
    high = max(float(shown.max(initial=10.0)) * 1.4, 10 * low)
    with styled():
        columns = 2 if len(series) in (1, 3) else 3
        rows = -(-(len(series) + 1) // columns)
        figure = make_figure(9.6 if columns == 2 else 11, (4.3 if columns == 2 else 3.7) * rows, w_pad=0.1)
        grid = figure.add_gridspec(rows, columns)
        for place, (one, (real, made)) in enumerate(zip(series, pairs, strict=True)):
            axes = figure.add_subplot(grid[place // columns, place % columns])
            _draw_dispersion(axes, one, real, made, (low, high))
            axes.set_title(plain(one.label), loc="center", color=one.colour, weight="bold")
            axes.set_xlabel(f"sd of real repeats [{task.unit}]")
            if place % columns == 0:
                axes.set_ylabel(f"sd of generated repeats [{task.unit}]")
        reference = largest_reference(series).reference
        chance = None if other is None else (_sd_by_condition(reference), _sd_by_condition(other))
        _draw_ratios(figure.add_subplot(grid[rows - 1, len(series) % columns :]), series, pairs, chance)
    return figure


def _draw_dispersion(axes: Axes, one: Series, real: Array, made: Array, limits: tuple[float, float]) -> None:
    low, high = limits
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.plot([low, high], [low, high], color=INK, lw=0.8)
    at_edge = made < low
    x = np.maximum(real, low)
    axes.plot(x[~at_edge], made[~at_edge], "o", ms=2.8, mew=0, alpha=0.5, color=one.colour)
    at_frame = np.full(int(at_edge.sum()), low * 1.12)
    axes.plot(x[at_edge], at_frame, "v", ms=4, mew=0, alpha=0.6, color=one.colour)
    keys = [
        Line2D([], [], ls="", marker="o", ms=3.5, mew=0, color=one.colour, label="one condition"),
        Line2D([], [], ls="", marker="o", ms=6, mfc="none", mec=INK, mew=1.3, label="median in bins"),
    ]
    if at_edge.any():
        name = f"below the frame: {count(int(at_edge.sum()))}"
        keys.append(Line2D([], [], ls="", marker="v", ms=4.5, mew=0, color=one.colour, label=name))
    axes.legend(handles=keys, loc="upper left", frameon=False, fontsize=8.5, handletextpad=0.3)
    both = np.isfinite(real) & np.isfinite(made) & (real > low)
    edges = np.unique(np.quantile(real[both], np.linspace(0, 1, 9))) if both.any() else np.array([])
    for first, last in itertools.pairwise(edges):
        inside = both & (real >= first) & (real <= last)
        if inside.any():
            median = max(float(np.median(made[inside])), low * 1.12)
            axes.plot(np.median(real[inside]), median, "o", ms=6, mfc="none", mec=INK, mew=1.3)
    axes.xaxis.set_major_formatter(FuncFormatter(photons))
    axes.yaxis.set_major_formatter(FuncFormatter(photons))


def _draw_ratios(
    axes: Axes, series: Sequence[Series], pairs: Sequence[tuple[Array, Array]], chance: tuple[Array, Array] | None
) -> None:
    """Histograms of log2(sd generated / sd real); `chance`: the same of real events against real ones."""
    edges = np.linspace(-4, 4, 41)

    def shares(real: Array, made: Array) -> Array:
        good = np.isfinite(real) & np.isfinite(made) & (real > 0)
        ratio = np.log2(np.maximum(made[good] / real[good], 2.0 ** (edges[0] + 1e-6)))
        inside = np.clip(ratio, edges[0], np.nextafter(edges[-1], edges[0]))
        return np.histogram(inside, edges)[0] / max(int(good.sum()), 1)

    highest = 0.0
    if chance is not None:
        expected = shares(*chance)
        axes.stairs(expected, edges, fill=True, color=REAL, alpha=0.35, label="real against real")
        highest = float(expected.max())
    for one, pair in zip(series, pairs, strict=True):
        share = shares(*pair)
        axes.stairs(share, edges, color=one.colour, lw=1.5, ls=one.dash, label=plain(one.label, 20))
        highest = max(highest, min(float(share.max()), 0.4))
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, max(highest, 0.01) * (1.25 + 0.1 * len(series)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([-4, -2, -1, 0, 1, 2, 4], ["≤1/16", "1/4", "1/2", "1", "2", "4", "≥16"])
    axes.set_xlabel("sd generated / sd real, by condition")
    axes.set_ylabel("share of conditions")
    axes.legend(loc="upper left", frameon=False, fontsize=8.5)
