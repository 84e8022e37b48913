"""The read-out channels, real against generated: histograms and correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray
from scipy.stats import rankdata

from simbench.core.events import Events
from simbench.core.text import number
from simbench.metrics.physics import separation_power
from simbench.report.style import (
    COUNTS,
    DIFFERENCES,
    FAINT,
    INK,
    RATIO_RANGE,
    REAL_BAND,
    Series,
    as_array,
    bare,
    calm,
    draw_ratio,
    draw_real,
    histogram_grid,
    largest_reference,
    legend_of_ratios,
    make_figure,
    photons,
    plain,
    ratio_panel,
    sample_label,
    styled,
)
from simbench.tasks.base import Task

Array = NDArray[np.float64]
BINS = 32
LINE = 0.15
"""Inches that a line of small print takes in a panel."""


def channel_photons(events: Events) -> Array:
    """Photons in each channel: (N, C)."""
    return as_array(events.derived("channels"))


def _histogram(values: Array, edges: Array) -> Array:
    """Events per bin; what lies beyond the last edge is counted in the last bin."""
    return np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], edges[0])), edges)[0].astype(np.float64)


def chi_square(first: Array, second: Array) -> tuple[float, int]:
    """Chi-square of two histograms of counts, (B,) and (B,), being of one shape, and its degrees of freedom.

    sum_b (sqrt(M/N) n_b - sqrt(N/M) m_b)^2 / (n_b + m_b)

    over the bins that are not empty in both, N and M events in all; one degree fewer than bins. The events count as
    independent.
    """
    filled = (first + second) > 0
    n, m = first[filled], second[filled]
    scale = np.sqrt(second.sum() / first.sum())
    return float(np.sum((scale * n - m / scale) ** 2 / (n + m))), max(int(filled.sum()) - 1, 0)


def agreement(made: Array, real: Array) -> str:
    """Chi-square and separation of two histograms, as a panel shows them: `χ² 28/31, sep. 0.012`."""
    value, degrees = chi_square(made, real)
    shares = (torch.as_tensor(counts / counts.sum()) for counts in (made, real))
    return f"χ² {number(value, 2)}/{degrees}, sep. {number(float(separation_power(*shares)), 2)}"


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


def channel_histograms(series: Sequence[Series], task: Task, other: Events | None) -> Figure:
    """The photon sum and each channel, events a bin, with the ratio to the real events.

    Errors are statistical, the square root of the count. Bins are equally wide in the square root of the photons; the
    first is the empty channel and little more, the last holds the overflow. Each panel says chi-square and separation
    of its histograms, and, where there are `other` real events, those of real against real.
    """
    events = largest_reference(series).reference
    reference, again = channel_photons(events), None if other is None else channel_photons(other)
    columns = [("photon sum", None)] + [(f"channel {index + 1}", index) for index in range(reference.shape[1])]

    def column_of(values: Array, column: int | None) -> Array:
        return values.sum(1) if column is None else values[:, column]

    with styled():
        figure, outer, height = histogram_grid(len(columns), series, 3.5, 0.14)
        handles: list[Any] = []
        outside, panels = False, []
        for place, (name, column) in enumerate(columns):
            inner = outer[place // 3, place % 3].subgridspec(2, 1, height_ratios=[3, 1.15], hspace=0)
            main = figure.add_subplot(inner[0])
            below = figure.add_subplot(inner[1], sharex=main)
            panels.append(main)
            real = column_of(reference, column)
            edges = np.linspace(0, np.sqrt(max(float(np.quantile(real, 0.998)) * 1.05, 1.0)), BINS + 1) ** 2
            centres, counts = ((np.sqrt(edges[1:]) + np.sqrt(edges[:-1])) / 2) ** 2, _histogram(real, edges)
            drawn, highest = [draw_real(main, below, counts, np.sqrt(counts), edges)], float(counts.max())
            texts = (
                []
                if again is None
                else [(f"real–real: {agreement(_histogram(column_of(again, column), edges), counts)}", INK)]
            )
            for one in series:
                made_of = column_of(channel_photons(one.pair.generated), column)
                unscaled = _histogram(made_of, edges)
                scale, good = len(real) / len(made_of), counts > 0
                made, error = unscaled * scale, np.sqrt(unscaled) * scale
                drawn.append(main.stairs(made, edges, color=one.colour, lw=1.5, ls=one.dash))
                main.errorbar(centres, made, error, fmt="none", ecolor=one.colour, elinewidth=0.8)
                ratio = centres[good], made[good] / counts[good], error[good] / counts[good]
                outside |= draw_ratio(below, *ratio, one, RATIO_RANGE, ms=2.6)
                highest = max(highest, float(made.max()))
                name_of = "" if len(series) == 1 else f"{plain(one.label, 16)}: "
                texts.append((f"{name_of}{agreement(unscaled, counts)}", one.colour))
            handles = handles or drawn
            main.set_yscale("log")
            used = (0.28 + LINE * len(texts)) / (main.get_position().height * height)
            main.set_ylim(0.7, highest * (highest / 0.7) ** (used / (1 - used)) * 1.2)
            main.yaxis.set_major_formatter(FuncFormatter(photons))
            look: dict[str, Any] = {
                "ha": "right",
                "va": "top",
                "xycoords": "axes fraction",
                "textcoords": "offset points",
            }
            main.annotate(name, (0.97, 1), (0, -6), weight="bold", **look)
            for line, (text, colour) in enumerate(texts):
                main.annotate(text, (0.97, 1), (0, -21 - 72 * LINE * line), color=colour, fontsize=8, **look)
            main.tick_params(labelbottom=False)
            ratio_panel(below, RATIO_RANGE, [0.5, 1, 1.5])
            _root_axis(below, float(edges[-1]))
            if place % 3 == 0:
                main.set_ylabel("events / bin")
                below.set_ylabel("gen. / real", loc="center", fontsize=9)
            if place >= len(columns) - 3:
                below.set_xlabel(f"{task.unit} (square-root axis)")
        sample_label(panels[0], panels[min(2, len(panels) - 1)], task, events)
        legend_of_ratios(figure, handles, REAL_BAND, series, f"ratio above {RATIO_RANGE[1]:g}" if outside else "")
    return figure


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


def _signed(value: float, _position: int | None = None) -> str:
    return f"{value:.2g}".replace("-", "−") if abs(value) > 1e-9 else "0"


def correlations(series: Sequence[Series], other: Events | None) -> Figure:
    """Rank correlations between the channels: above real and generated, below what each differs from the real ones by,
    with its Frobenius norm. Below the real ones: how far `other` real events are from them, which is chance."""
    real = rank_correlations(channel_photons(largest_reference(series).reference))
    made = [rank_correlations(channel_photons(one.pair.generated)) for one in series]
    again = None if other is None else rank_correlations(channel_photons(other)) - real
    differences = [again, *(matrix - real for matrix in made)]
    low = float(np.nanmin([np.nanmin(matrix, initial=1.0) for matrix in (real, *made)]))
    low = np.floor(10 * min(low, 0.9)) / 10
    reach = max(0.05, *(float(np.nanmax(np.abs(matrix), initial=0.0)) for matrix in differences if matrix is not None))
    with styled():
        small, columns = len(series) > 3, len(series) + 1
        panel = min(3.0, 10.2 / columns)
        figure = make_figure(panel * columns + 0.8, 2 * panel + 0.3)
        grid: Any = figure.subplots(2, columns, squeeze=False)
        titles = ["real", *(plain(one.label, 18) for one in series)]
        for axes, matrix, title, colour in zip(
            grid[0], [real, *made], titles, [INK, *(one.colour for one in series)], strict=True
        ):
            above = _matrix(axes, matrix, (low, 1), COUNTS, ".2f", small)
            axes.set_title(title, loc="center", color=colour, weight="bold")
        for axes, difference, title in zip(grid[1], differences, titles, strict=True):
            if difference is None:
                axes.set_axis_off()
                continue
            below = _matrix(axes, difference, (-reach, reach), DIFFERENCES + "_r", "+.2f", small)
            norm = number(float(np.sqrt(np.nansum(difference**2))), 2)
            name = "other real" if title == "real" else "generated"
            text = f"− real (norm {norm})" if small else f"{name} − real (norm {norm})"
            axes.set_title(text, loc="center", fontsize=8.5 if small else 9.5)
        look: dict[str, Any]
        for row, image, label in ((0, above, "rank correlation"), (1, below, "difference from real")):
            look = {"label": label, "aspect": 22, "pad": 0.015, "format": FuncFormatter(_signed)}
            bar = figure.colorbar(image, ax=list(grid[row]), **look)
            calm(bar)
    return figure
