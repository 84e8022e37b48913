"""The response to energy: mean and width of the photon sum, real against generated, for all and for each species."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from simbench.core.events import Events
from simbench.core.text import count
from simbench.report.channels import Array, channel_photons
from simbench.report.style import (
    OUTSIDE,
    REAL,
    Series,
    as_array,
    draw_ratio,
    largest_reference,
    legend_of_ratios,
    photons,
    plain,
    ratio_panel,
    sample_label,
    styled,
)
from simbench.tasks.base import Task


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


MOST_PANELS, EVENTS_PER_BIN = 6, 20
"""Kinds of particles that have a panel; and the fewest events that a bin of energy has, up to ten bins."""

MEAN_RANGE, WIDTH_RANGE = (0.5, 1.5), (0.0, 2.0)


def _kinds(events: Events) -> list[str]:
    """`all` and the species, the commonest first, `other` last."""
    names, counts = np.unique(events.strata.get("species", np.array([], np.str_)), return_counts=True)
    order = sorted(range(len(names)), key=lambda at: (names[at] == "other", -counts[at]))
    return ["all", *(str(names[at]) for at in order[: MOST_PANELS - 1])]


def _of_kind(events: Events, column: int, kind: str) -> tuple[Array, Array]:
    """Energy and photon sum of the events of a kind."""
    chosen = np.ones(len(events), bool) if kind == "all" else events.strata["species"] == kind
    return as_array(events.conditions[:, column])[chosen], channel_photons(events).sum(1)[chosen]


def energy_response(series: Sequence[Series], task: Task) -> Figure:
    """Photon sum against energy, for all events and for each species: mean (points) and 16-84 % of the events.

    The latter is a band for real events and thin lines for generated ones. Points stand at the mean energy of the real
    events in their bin, whose width the horizontal bar of the real mean shows; those of several generators stand beside
    each other, a few points of print apart. Below, generated over real: the mean, and the relative width (sd over mean)
    of the photon sum, in the same bins.
    """
    events = largest_reference(series).reference
    column = task.condition_names.index("Energy")
    kinds = _kinds(events)
    columns = min(len(kinds), 3)
    rows = -(-len(kinds) // columns)
    with styled():
        legend_rows = -(-(len(series) + 2) // 4)
        above, each = 0.45 + 0.25 * legend_rows, 5.0
        height = above + each * rows
        figure = Figure(figsize=(11, height))
        outer = figure.add_gridspec(
            rows,
            columns,
            hspace=0.55 / each,
            wspace=0.16,
            left=0.07,
            right=0.985,
            bottom=0.5 / height,
            top=1 - above / height,
        )
        handles: list[Any] = []
        outside, mains = False, []
        for place, kind in enumerate(kinds):
            inner = outer[place // columns, place % columns].subgridspec(3, 1, height_ratios=[3, 1.15, 1.15], hspace=0)
            main = figure.add_subplot(inner[0])
            below, widths = (figure.add_subplot(inner[row], sharex=main) for row in (1, 2))
            mains.append(main)
            energy, light = _of_kind(events, column, kind)
            bins = min(max(len(energy) // EVENTS_PER_BIN, 1), 10)
            edges = np.unique(np.quantile(energy, np.linspace(0, 1, bins + 1)))
            if len(edges) < 2:
                edges = np.array([edges[0] * 0.9, edges[0] * 1.1])
            centres = _mean_energy(energy, edges)
            mean, error, low, high = _profile(energy, light, edges)
            band = main.stairs(high, edges, baseline=low, fill=True, color=REAL, alpha=0.3, lw=0)
            reach = [centres - edges[:-1], edges[1:] - centres]
            points = main.errorbar(centres, mean, error, reach, fmt="none", elinewidth=1.6, color=REAL)
            share = np.divide(error, mean, out=np.full_like(mean, np.nan), where=mean > 0)
            width, width_error = _resolution(energy, light, edges)
            for panel, spread in ((below, share), (widths, width_error)):
                panel.stairs(1 + spread, edges, baseline=1 - spread, fill=True, color=REAL, alpha=0.3, lw=0)
            drawn: list[Any] = [(band, points)]
            for at, one in enumerate(series):
                mine = *_of_kind(one.pair.generated, column, kind), edges
                made, made_error, made_low, made_high = _profile(*mine)
                made_width, made_width_error = _resolution(*mine)
                shift = 2.5 * (at - (len(series) - 1) / 2) / 72
                aside: dict[str, Any] = {
                    "transform": main.transData + ScaledTranslation(shift, 0, figure.dpi_scale_trans)
                }
                drawn.append(main.errorbar(centres, made, made_error, ms=3.6, **one.points, **aside))
                for edge in (made_low, made_high):
                    main.stairs(edge, edges, baseline=None, color=one.colour, lw=1, ls=one.dash)
                for panel, value, spread, limits in (
                    (below, made / mean, made_error / mean, MEAN_RANGE),
                    (widths, made_width / width, made_width / width * made_width_error, WIDTH_RANGE),
                ):
                    aside["transform"] = panel.transData + ScaledTranslation(shift, 0, figure.dpi_scale_trans)
                    outside |= draw_ratio(panel, centres, value, spread, one, limits, ms=3.6, **aside)
            handles = handles or drawn
            text = f"{plain(kind)}\n{count(len(energy))} events"
            main.text(0.05, 0.94, text, transform=main.transAxes, ha="left", va="top", weight="bold")
            main.set_ylim(0, 1.12 * float(np.nanmax([*high, *mean], initial=1.0)))
            main.set_xlim(0, edges[-1] * 1.04)
            main.yaxis.set_major_formatter(FuncFormatter(photons))
            for panel, limits, ticks in ((below, MEAN_RANGE, [0.75, 1, 1.25]), (widths, WIDTH_RANGE, [0.5, 1, 1.5])):
                ratio_panel(panel, limits, ticks)
            for panel in (main, below):
                panel.tick_params(labelbottom=False)
            widths.xaxis.set_major_locator(MaxNLocator(5))
            widths.xaxis.set_major_formatter(FuncFormatter(photons))
            if place >= len(kinds) - columns:
                widths.set_xlabel(f"energy [{task.condition_units[column]}]")
            if place % columns == 0:
                main.set_ylabel(f"photon sum [{task.unit}]")
                below.set_ylabel("mean,\ngen. / real", loc="center", fontsize=9)
                widths.set_ylabel("width,\ngen. / real", loc="center", fontsize=9)
        sample_label(mains[0], mains[columns - 1], task, events)
        legend_of_ratios(figure, handles, "real (mean, 16–84 % band)", series, OUTSIDE if outside else "")
    return figure


def _mean_energy(energy: Array, edges: Array) -> Array:
    """Mean energy of the events in each bin; its middle where there are none."""
    at = np.clip(np.searchsorted(edges, energy, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(at, minlength=len(edges) - 1)
    sums = np.bincount(at, energy, minlength=len(edges) - 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), (edges[1:] + edges[:-1]) / 2)
