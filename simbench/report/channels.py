"""The read-out channels, real against generated: histograms, response to energy, spread of repeats, correlations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.stats import f as f_distribution
from scipy.stats import rankdata

from simbench.core.events import Events
from simbench.core.text import number
from simbench.report.style import (
    COUNTS,
    DIFFERENCES,
    FAINT,
    INK,
    REAL,
    Series,
    as_array,
    bare,
    comparison_grid,
    largest_reference,
    legend_above,
    make_figure,
    photons,
    plain,
    styled,
)

Array = NDArray[np.float64]
BINS = 32
RATIO_RANGE = (0.0, 2.0)


def _channels(events: Events) -> Array:
    return as_array(events.derived("channels"))


def _histogram(values: Array, edges: Array) -> Array:
    """Events per bin; what lies beyond the last edge is counted in the last bin."""
    return np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], edges[0])), edges)[0].astype(np.float64)


def _draw_ratio(axes: Axes, centres: Array, ratio: Array, error: Array, one: Series) -> None:
    """Points with errors; those outside the panel as triangles at its edge."""
    low, high = RATIO_RANGE
    inside = (ratio >= low) & (ratio <= high)
    axes.errorbar(centres[inside], ratio[inside], error[inside], ms=2.6, lw=0.9, capsize=0, **one.points)
    above = centres[ratio > high]
    axes.plot(above, np.full(len(above), high - 0.1), "^", ms=4.5, color=one.colour, clip_on=False)


def _root_axis(axes: Axes, high: float) -> None:
    """A square-root axis from 0, on which a Poisson spread is equally wide everywhere, with a few round ticks."""
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xlim(0, high)
    ticks: list[float] = []
    for tick in (f * 10.0**power for power in range(6, -2, -1) for f in (5, 2, 1)):
        at = np.sqrt(tick / high)
        if 0.16 < at <= 1 and (not ticks or np.sqrt(ticks[-1] / high) - at > 0.16):
            ticks.append(tick)
    axes.set_xticks([0.0, *ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(photons))


def channel_histograms(series: Sequence[Series], unit: str) -> Figure:
    """The photon sum and each channel, events a bin, with the ratio to the real events.

    Errors are statistical, the square root of the count. Bins are equally wide in the square root of the photons; the
    first is the empty channel and little more, the last holds the overflow.
    """
    reference = _channels(largest_reference(series).reference)
    columns = [("photon sum", None)] + [(f"channel {index + 1}", index) for index in range(reference.shape[1])]
    with styled():
        rows, legend_rows = -(-len(columns) // 3), -(-(len(series) + 1) // 4)
        height = 3.3 * rows + 0.3 + 0.25 * legend_rows
        figure = Figure(figsize=(11, height))
        top = 1 - (0.15 + 0.25 * legend_rows) / height
        margins = {"left": 0.065, "right": 0.985, "bottom": 0.5 / height, "top": top}
        outer = figure.add_gridspec(rows, 3, hspace=0.14, wspace=0.2, **margins)
        handles: list[Any] = []
        for place, (name, column) in enumerate(columns):
            inner = outer[place // 3, place % 3].subgridspec(2, 1, height_ratios=[3, 1.15], hspace=0)
            main = figure.add_subplot(inner[0])
            below = figure.add_subplot(inner[1], sharex=main)
            real = reference.sum(1) if column is None else reference[:, column]
            edges = np.linspace(0, np.sqrt(max(float(np.quantile(real, 0.998)) * 1.05, 1.0)), BINS + 1) ** 2
            centres, counts = ((np.sqrt(edges[1:]) + np.sqrt(edges[:-1])) / 2) ** 2, _histogram(real, edges)
            shape = main.stairs(counts, edges, fill=True, color=REAL, alpha=0.35)
            main.stairs(counts, edges, color=REAL, lw=1.2)
            error = np.sqrt(counts)
            share = np.divide(error, counts, out=np.zeros_like(error), where=counts > 0)
            below.stairs(1 + share, edges, baseline=1 - share, fill=True, color=REAL, alpha=0.35)
            drawn = [shape]
            highest = float(counts.max())
            for one in series:
                sums = _channels(one.pair.generated)
                unscaled = _histogram(sums.sum(1) if column is None else sums[:, column], edges)
                scale, good = len(real) / len(sums), counts > 0
                made, error = unscaled * scale, np.sqrt(unscaled) * scale
                drawn.append(main.stairs(made, edges, color=one.colour, lw=1.5, ls=one.dash))
                main.errorbar(centres, made, error, fmt="none", ecolor=one.colour, elinewidth=0.8)
                _draw_ratio(below, centres[good], made[good] / counts[good], error[good] / counts[good], one)
                highest = max(highest, float(made.max()))
            handles = handles or drawn
            main.set_yscale("log")
            main.set_ylim(0.7, highest * 3)
            main.yaxis.set_major_formatter(FuncFormatter(photons))
            main.text(0.96, 0.94, name, transform=main.transAxes, ha="right", va="top", weight="bold")
            main.tick_params(labelbottom=False)
            below.axhline(1, color=INK, lw=0.7)
            below.set_ylim(*RATIO_RANGE)
            below.set_yticks([0.5, 1, 1.5])
            _root_axis(below, float(edges[-1]))
            if place % 3 == 0:
                main.set_ylabel("events / bin")
                below.set_ylabel("gen. / real", loc="center", fontsize=9)
            if place >= len(columns) - 3:
                below.set_xlabel(f"{unit} (square-root axis)")
        legend_above(figure, handles, ["real (band: its statistical error)", *(plain(one.label) for one in series)])
    return figure


def _profile(energy: Array, light: Array, edges: Array) -> tuple[Array, Array, Array, Array]:
    """Mean, its standard error, and the 16th and 84th percentile of `light` in each energy bin; NaN below 5 events."""
    rows = np.full((4, len(edges) - 1), np.nan)
    at = np.clip(np.searchsorted(edges, energy, side="right") - 1, 0, len(edges) - 2)
    for index in range(len(edges) - 1):
        values = light[at == index]
        if len(values) >= 5:
            error = values.std(ddof=1) / np.sqrt(len(values))
            rows[:, index] = (values.mean(), error, *np.quantile(values, [0.16, 0.84]))
    return rows[0], rows[1], rows[2], rows[3]


def _resolution(energy: Array, light: Array, edges: Array) -> tuple[Array, Array]:
    """Relative width (sd over mean) of light over energy in each energy bin, and its relative error; NaN as in
    `_profile`."""
    rows = np.full((2, len(edges) - 1), np.nan)
    at = np.clip(np.searchsorted(edges, energy, side="right") - 1, 0, len(edges) - 2)
    for index in range(len(edges) - 1):
        values = (light / energy)[at == index]
        if len(values) >= 5 and values.std() > 0:
            kurtosis = np.mean((values - values.mean()) ** 4) / values.var() ** 2
            rows[:, index] = values.std(ddof=1) / values.mean(), np.sqrt((kurtosis - 1) / (4 * len(values)))
    return rows[0], rows[1]


def energy_response(series: Sequence[Series], energy_column: int, energy_unit: str, unit: str) -> Figure:
    """Photon sum against energy, for all and for the two commonest species: mean (points) and 16-84 % of the events.

    The latter is a band for real events and thin lines for generated ones.

    Below, generated over real: the mean, and the relative width (sd over mean) of the photon sum, in the same bins.
    """
    pair = largest_reference(series)
    names, counts = np.unique(pair.reference.strata.get("species", np.array([], np.str_)), return_counts=True)
    species = [str(name) for name in names[np.argsort(-counts, kind="stable")] if name != "other"][:2]
    with styled():
        legend_rows = -(-(len(series) + 1) // 4)
        height = 5.1 + 0.25 * legend_rows
        figure = Figure(figsize=(11, height))
        spaces = {"height_ratios": [3, 1.15, 1.15], "hspace": 0, "wspace": 0.06, "left": 0.07, "right": 0.985}
        spaces |= {"bottom": 0.5 / height, "top": 1 - (0.15 + 0.25 * legend_rows) / height}
        shape: dict[str, Any] = {"nrows": 3, "ncols": 1 + len(species), "gridspec_kw": spaces}
        grid: Any = figure.subplots(**shape, sharex="col", sharey="row", squeeze=False)
        handles: list[Any] = []
        for column, name in enumerate(["all", *species]):
            main, below, widths = grid[:, column]
            energy = as_array(pair.reference.conditions[:, energy_column])
            chosen = np.ones(len(energy), bool) if name == "all" else pair.reference.strata["species"] == name
            edges = np.unique(np.quantile(energy[chosen], np.linspace(0, 1, 11)))
            if len(edges) < 2:
                edges = np.array([edges[0] * 0.9, edges[0] * 1.1])
            centres, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
            mean, error, low, high = _profile(energy[chosen], _channels(pair.reference).sum(1)[chosen], edges)
            good = mean > 0
            band = main.fill_between(centres, low, high, color=REAL, alpha=0.3, lw=0)
            points = main.errorbar(centres, mean, error, fmt="o", ms=4.5, color=REAL)
            share = np.divide(error, mean, out=np.full_like(mean, np.nan), where=good)
            below.fill_between(centres, 1 - share, 1 + share, color=REAL, alpha=0.3, lw=0)
            real_width = _resolution(energy[chosen], _channels(pair.reference).sum(1)[chosen], edges)
            widths.fill_between(centres, 1 - real_width[1], 1 + real_width[1], color=REAL, alpha=0.3, lw=0)
            drawn: list[Any] = [(band, points)]
            for place, one in enumerate(series):
                events = one.pair.generated
                mine = np.ones(len(events), bool) if name == "all" else events.strata["species"] == name
                here = as_array(events.conditions[:, energy_column])[mine], _channels(events).sum(1)[mine], edges
                made, made_width = _profile(*here), _resolution(*here)
                shift = centres + width * 0.12 * (place + 1) / len(series)
                drawn.append(main.errorbar(shift, made[0], made[1], ms=3.6, **one.points))
                for edge in made[2:]:
                    main.plot(centres, edge, color=one.colour, lw=1, ls=one.dash)
                ratio = made_width[0] / real_width[0]
                for panel, at, value, spread in (
                    (below, shift[good], made[0][good] / mean[good], made[1][good] / mean[good]),
                    (widths, shift, ratio, ratio * made_width[1]),
                ):
                    panel.errorbar(at, value, spread, ms=3.6, lw=0.9, **one.points)
            handles = handles or drawn
            main.text(0.05, 0.94, plain(name), transform=main.transAxes, ha="left", va="top", weight="bold")
            for panel in (below, widths):
                panel.axhline(1, color=INK, lw=0.7)
            widths.set_xlabel(f"energy [{energy_unit}]")
            widths.xaxis.set_major_locator(MaxNLocator(5))
            widths.xaxis.set_major_formatter(FuncFormatter(photons))
            widths.set_xlim(0, edges[-1] * 1.02)
        grid[0, 0].set_ylim(bottom=0)
        grid[0, 0].yaxis.set_major_formatter(FuncFormatter(photons))
        for row, limits, ticks in ((1, (0.5, 1.5), [0.75, 1, 1.25]), (2, (0, 2), [0.5, 1, 1.5])):
            grid[row, 0].set_ylim(*limits)
            grid[row, 0].set_yticks(ticks)
        grid[0, 0].set_ylabel(f"photon sum [{unit}]")
        grid[1, 0].set_ylabel("mean,\ngen. / real", loc="center", fontsize=9)
        grid[2, 0].set_ylabel("width,\ngen. / real", loc="center", fontsize=9)
        legend_above(figure, handles, ["real (mean, 16–84 % band)", *(plain(one.label) for one in series)])
    return figure


def _sd_by_condition(events: Events) -> Array:
    """Standard deviation of the photon sum of each condition, unbiased in the variance; NaN where it has one event."""
    light = _channels(events).sum(1)
    _, at = np.unique(events.condition_id.numpy(), return_inverse=True)
    n = np.bincount(at).astype(np.float64)
    mean = np.bincount(at, light) / n
    squares = np.bincount(at, (light - mean[at]) ** 2)
    return np.sqrt(np.divide(squares, n - 1, out=np.full_like(n, np.nan), where=n > 1))


def dispersion(series: Sequence[Series], unit: str) -> Figure:
    """Spread of the repeats: for each condition the standard deviation of the photon sum, generated against real.

    Rings are medians in bins. The last panel shows the distribution of their ratio, beside what repeats of equal,
    Gaussian spread would give.
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
            axes.set_xlabel(f"sd of real repeats [{unit}]")
            if place % columns == 0:
                axes.set_ylabel(f"sd of generated repeats [{unit}]")
        _draw_spread_ratios(figure.add_subplot(grid[rows - 1, len(series) % columns :]), series, pairs)
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
    both = np.isfinite(real) & np.isfinite(made) & (real > low)
    edges = np.unique(np.quantile(real[both], np.linspace(0, 1, 9))) if both.any() else np.array([])
    for first, last in itertools.pairwise(edges):
        inside = both & (real >= first) & (real <= last)
        if inside.any():
            median = max(float(np.median(made[inside])), low * 1.12)
            axes.plot(np.median(real[inside]), median, "o", ms=6, mfc="none", mec=INK, mew=1.3)
    axes.xaxis.set_major_formatter(FuncFormatter(photons))
    axes.yaxis.set_major_formatter(FuncFormatter(photons))


def _draw_spread_ratios(axes: Axes, series: Sequence[Series], pairs: Sequence[tuple[Array, Array]]) -> None:
    """Histograms of log2(sd generated / sd real), beside that of equal Gaussian spreads, the root of an F variable."""
    edges = np.linspace(-4, 4, 41)
    events = largest_reference(series).reference
    repeats = max(int(np.median(np.unique(events.condition_id.numpy(), return_counts=True)[1])), 2)
    squares = f_distribution(repeats - 1, repeats - 1).cdf(4.0**edges)
    expected = np.diff(squares)
    axes.stairs(expected, edges, fill=True, color=REAL, alpha=0.35, label="equal spread (Gaussian)")
    for one, (real, made) in zip(series, pairs, strict=True):
        good = np.isfinite(real) & np.isfinite(made) & (real > 0)
        ratio = np.log2(np.maximum(made[good] / real[good], 2.0 ** (edges[0] + 1e-6)))
        share = _histogram(ratio, edges) / max(int(good.sum()), 1)
        axes.stairs(share, edges, color=one.colour, lw=1.5, ls=one.dash, label=plain(one.label, 20))
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, float(expected.max()) * (1.5 + 0.1 * len(series)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([-4, -2, -1, 0, 1, 2, 4], ["≤1/16", "1/4", "1/2", "1", "2", "4", "16"])
    axes.set_xlabel("sd generated / sd real, by condition")
    axes.set_ylabel("share of conditions")
    axes.legend(loc="upper left", frameon=False, fontsize=8.5)


def rank_correlations(channels: Array) -> Array:
    """Spearman's rank correlation between columns, (N, C) -> (C, C); NaN with a column that does not vary."""
    ranks = rankdata(channels, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.corrcoef(ranks, rowvar=False))


def _matrix(axes: Axes, values: Array, limits: tuple[float, float], colours: str, digits: str, small: bool) -> Any:
    """A matrix with its numbers written in; `small` for many beside each other."""
    size = len(values)
    names = [f"ch{index + 1}" for index in range(size)]
    bare(axes)
    masked = np.ma.masked_invalid(values)
    image = axes.imshow(masked, vmin=limits[0], vmax=limits[1], cmap=colours, interpolation="none")
    shades = image.to_rgba(masked)
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5 if small else 8.5}
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = shades[row, column] if np.isfinite(value) else (1.0, 1.0, 1.0, 1.0)
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        text = format(value, digits) if np.isfinite(value) else "–"
        text = "0" if not text.strip("+-0.") else text.replace("-", "−")
        shown = text.replace("0.", ".") if small else text
        axes.text(column, row, shown, color="white" if dark else "black", **look)
    axes.set_xticks(range(size), names, fontsize=7 if small else 8.5)
    axes.set_yticks(range(size), names, fontsize=7 if small else 8.5)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_edgecolor(FAINT)
    return image


def correlations(series: Sequence[Series]) -> Figure:
    """Rank correlations between the channels: real, generated, and their difference with its Frobenius norm."""
    real = rank_correlations(_channels(largest_reference(series).reference))
    made = [rank_correlations(_channels(one.pair.generated)) for one in series]
    differences = [matrix - real for matrix in made]
    low = float(np.nanmin([np.nanmin(matrix, initial=1.0) for matrix in (real, *made)]))
    low = np.floor(10 * min(low, 0.9)) / 10
    reach = max(0.05, *(float(np.nanmax(np.abs(matrix), initial=0.0)) for matrix in differences))
    with styled():
        single, small = len(series) == 1, len(series) > 3
        panel = min(2.3, 11 / (len(series) + 1))
        figure, first, pairs = comparison_grid(series, (10, 3.5), (panel * (len(series) + 1), 2 * panel + 0.3))
        _matrix(first, real, (low, 1), COUNTS, ".2f", small)
        for (above, below), matrix, difference in zip(pairs, made, differences, strict=True):
            _matrix(above, matrix, (low, 1), COUNTS, ".2f", small)
            _matrix(below, difference, (-reach, reach), DIFFERENCES + "_r", "+.2f", small)
            norm = number(float(np.sqrt(np.nansum(difference**2))), 2)
            title = f"generated − real (norm {norm})" if single else f"− real (norm {norm})"
            below.set_title(title, loc="center", fontsize=8.5 if small else 9.5)
    return figure
