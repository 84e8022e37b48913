"""Showers in layers of voxels: mean energy in each layer, histograms of high-level features, the mean shower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from simbench.core.events import Events
from simbench.metrics.arrays import chunks
from simbench.metrics.showers import VOXEL_EDGES, features_of, histogram_by_group, logarithmic_edges
from simbench.report.channels import LINE, agreement
from simbench.report.style import (
    COUNTS,
    INK,
    OUTSIDE,
    RATIO_RANGE,
    REAL_BAND,
    Series,
    as_array,
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
MOST_LAYERS = 5
"""Layers in which the mean shower is drawn: those with most energy."""
BINS = 32
LABELS = {
    "layers": "energy [MeV]",
    "centre_eta": "centre in η [mm]",
    "width_eta": "width in η [mm]",
    "centre_r": "centre in r [mm]",
    "width_r": "width in r [mm]",
    "sparsity": "share of empty voxels",
}
"""The features of one layer that have a panel."""


def _layer_energies(events: Events) -> Array:
    """Energy in each layer, (N, layers) MeV."""
    return as_array(events.derived("high_level")[:, features_of(events).places("layers")])


def layer_profile(series: Sequence[Series], task: Task) -> Figure:
    """The mean energy in each layer with its standard error, and below generated over real."""
    events = largest_reference(series).reference
    numbers = [layer.number for layer in features_of(events).binning.layers]
    edges = np.arange(len(numbers) + 1) - 0.5
    centres = (edges[1:] + edges[:-1]) / 2
    real, real_error = _mean(_layer_energies(events))
    with styled():
        figure = make_figure(10, 5)
        grid: Any = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1.15], "hspace": 0})
        main, below = grid
        handles = [draw_real(main, below, real, real_error, edges)]
        outside = False
        for one in series:
            made, error = _mean(_layer_energies(one.pair.generated))
            handles.append(main.stairs(made, edges, color=one.colour, lw=1.5, ls=one.dash))
            good = real > 0
            ratio = centres[good], made[good] / real[good], error[good] / real[good]
            outside |= draw_ratio(below, *ratio, one, RATIO_RANGE, ms=3.2)
        main.set_yscale("log")
        main.yaxis.set_major_formatter(FuncFormatter(photons))
        main.set_ylabel("mean energy [MeV]")
        ratio_panel(below, RATIO_RANGE, [0.5, 1, 1.5])
        below.set_ylabel("gen. / real", loc="center", fontsize=9)
        below.set_xlabel("layer")
        step = -(-len(numbers) // 20)
        below.set_xticks(range(0, len(numbers), step), [str(number) for number in numbers[::step]])
        below.minorticks_off()
        sample_label(main, main, task, events)
        legend_of_ratios(figure, handles, REAL_BAND, series, OUTSIDE if outside else "")
    return figure


def _mean(values: Array) -> tuple[Array, Array]:
    """Mean and standard error of each column."""
    return values.mean(0), values.std(0) / np.sqrt(max(len(values) - 1, 1))


@dataclass(frozen=True)
class _Panel:
    """A histogram: what is counted, the edges of its bins, real counts and those of each generator; `logarithmic`:
    bins are equally wide in the logarithm."""

    label: str
    edges: Array
    real: Array
    made: list[Array]
    logarithmic: bool


def _counted(values: Array, edges: Array) -> Array:
    counts: Array = histogram_by_group(values, edges, np.zeros(len(values), np.int64), 1)[0]
    return counts


def _voxels(events: Events, edges: Array) -> Array:
    counts = np.zeros(len(edges) - 1)
    for rows in chunks(len(events), events.samples.shape[1]):
        energies = as_array(events.samples[rows])
        counts += _counted(energies[energies >= edges[0]], edges)
    return counts


def _panels(series: Sequence[Series]) -> tuple[list[_Panel], int]:
    """The panels, and the layer that those of one layer are of: with most energy among those divided in alpha."""
    reference = largest_reference(series).reference
    features = features_of(reference)
    layers = features.binning.layers
    divided = [place for place, layer in enumerate(layers) if layer.slices > 1] or list(range(len(layers)))
    brightest = max(divided, key=lambda place: float(_layer_energies(reference)[:, place].mean()))
    number = layers[brightest].number

    def values(events: Events, family: str) -> Array:
        found = [p for p in features.places(family) if features.columns[p].layer in (None, number)]
        column = as_array(events.derived("high_level")[:, found[0]])
        return column / as_array(events.conditions[:, 0]) if family == "total" else column

    panels = []
    sets = [reference, *(one.pair.generated for one in series)]
    for family, label in {"total": "energy over that of the particle", **LABELS}.items():
        if not any(features.columns[p].layer in (None, number) for p in features.places(family)):
            continue
        real, *made = (values(events, family) for events in sets)
        edges = _edges(real, features.threshold if family == "layers" else None)
        counts = _counted(real, edges), [_counted(one, edges) for one in made]
        panels.append(_Panel(label, edges, *counts, family == "layers"))
    highest = np.array([float(reference.samples.max())])
    found = logarithmic_edges(highest, features.threshold, VOXEL_EDGES)
    if found is not None:
        real, *made = (_voxels(events, found) for events in sets)
        panels.append(_Panel("energy of a voxel [MeV]", found, real, made, True))
    return panels, number


def _edges(real: Array, threshold: float | None) -> Array:
    """Bins that hold all but the outermost real values; in the logarithm from a threshold on, if one is given."""
    if threshold is not None:
        found = logarithmic_edges(real, threshold, BINS + 1)
        return np.array([threshold, 10 * threshold]) if found is None else found
    low, high = np.quantile(real, [0.002, 0.998])
    room = 0.1 * max(high - low, 1e-6 * max(abs(high), 1.0))
    return np.linspace(low - room, high + room, BINS + 1)


def feature_histograms(series: Sequence[Series], task: Task) -> tuple[Figure, str]:
    """Histograms of high-level features with the ratio to the real ones, and a sentence that says of which layer."""
    panels, number = _panels(series)
    events = largest_reference(series).reference
    with styled():
        figure, outer, height = histogram_grid(len(panels), series, 3.7, 0.3)
        handles: list[Any] = []
        outside, mains = False, []
        for place, panel in enumerate(panels):
            inner = outer[place // 3, place % 3].subgridspec(2, 1, height_ratios=[3, 1.15], hspace=0)
            main = figure.add_subplot(inner[0])
            below = figure.add_subplot(inner[1], sharex=main)
            mains.append(main)
            middle = np.sqrt(panel.edges[1:] * panel.edges[:-1]) if panel.logarithmic else None
            centres = (panel.edges[1:] + panel.edges[:-1]) / 2 if middle is None else middle
            drawn = [draw_real(main, below, panel.real, np.sqrt(panel.real), panel.edges)]
            highest, texts = float(panel.real.max()), []
            for one, counts in zip(series, panel.made, strict=True):
                scale, good = len(events) / len(one.pair), panel.real > 0
                made, spread = counts * scale, np.sqrt(counts) * scale
                drawn.append(main.stairs(made, panel.edges, color=one.colour, lw=1.5, ls=one.dash))
                ratio = centres[good], made[good] / panel.real[good], spread[good] / panel.real[good]
                outside |= draw_ratio(below, *ratio, one, RATIO_RANGE, ms=2.6)
                highest = max(highest, float(made.max()))
                if counts.sum() > 0 and panel.real.sum() > 0:
                    of = "" if len(series) == 1 else f"{plain(one.label, 16)}: "
                    texts.append((f"{of}{agreement(counts, panel.real)}", one.colour))
            handles = handles or drawn
            main.set_yscale("log")
            used = (0.14 + LINE * len(texts)) / (main.get_position().height * height)
            main.set_ylim(0.7, highest * (highest / 0.7) ** (used / (1 - used)) * 1.2)
            main.yaxis.set_major_formatter(FuncFormatter(photons))
            look: dict[str, Any] = {"ha": "right", "va": "top", "xycoords": "axes fraction", "fontsize": 8}
            for line, (text, colour) in enumerate(texts):
                main.annotate(
                    text, (0.97, 1), (0, -6 - 72 * LINE * line), color=colour, textcoords="offset points", **look
                )
            main.tick_params(labelbottom=False)
            if panel.logarithmic:
                below.set_xscale("log")
            below.set_xlim(panel.edges[0], panel.edges[-1])
            ratio_panel(below, RATIO_RANGE, [0.5, 1, 1.5])
            below.set_xlabel(panel.label)
            if place % 3 == 0:
                main.set_ylabel("events / bin")
                below.set_ylabel("gen. / real", loc="center", fontsize=9)
        sample_label(mains[0], mains[min(2, len(mains) - 1)], task, events)
        legend_of_ratios(figure, handles, REAL_BAND, series, OUTSIDE if outside else "")
    return figure, f"What is of one layer is of layer {number}."


def mean_layers(series: Sequence[Series]) -> tuple[Figure, str]:
    """The mean shower in the layers with most energy: a row for the real events and one for each generator.

    Rings are drawn equally wide. The sentence says how many layers are left out.
    """
    reference = largest_reference(series).reference
    slices = features_of(reference).binning.slices()
    energies = _layer_energies(reference).mean(0)
    shown = np.sort(np.argsort(-energies, kind="stable")[:MOST_LAYERS])
    rows = [("real", INK, _mean_shower(reference))]
    rows += [(plain(one.label, 18), one.colour, _mean_shower(one.pair.generated)) for one in series]
    top = max(float(shower.max()) for *_, shower in rows)
    norm = LogNorm(max(top * 1e-5, 1e-12), top or 1.0, clip=True)
    with styled():
        figure = make_figure(2.1 * len(shown) + 0.9, 2.1 * len(rows) + 0.3)
        how: dict[str, Any] = {"squeeze": False, "subplot_kw": {"projection": "polar"}}
        grid: Any = figure.subplots(len(rows), len(shown), **how)
        image: Any = None
        for row, (name, colour, shower) in enumerate(rows):
            for column, place in enumerate(shown):
                layer, where = slices[place]
                axes = grid[row, column]
                values = shower[where].reshape(layer.slices, layer.rings)
                finer = -(-72 // layer.slices)  # a slice is a polygon: enough corners make it round
                values = np.ma.masked_less_equal(values.repeat(finer, 0).T, 0)
                angle = np.linspace(-np.pi, np.pi, layer.slices * finer + 1)
                mesh: dict[str, Any] = {"norm": norm, "cmap": COUNTS, "rasterized": True}
                image = axes.pcolormesh(angle, np.arange(layer.rings + 1), values, **mesh)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(False)
                axes.spines["polar"].set_linewidth(0.6)
                if row == 0:
                    axes.set_title(f"layer {layer.number}", loc="center", fontsize=9.5)
                if column == 0:
                    axes.set_ylabel(name, color=colour, weight="bold", loc="center", labelpad=14)
        bar = figure.colorbar(image, ax=grid, label="mean energy per voxel [MeV]", shrink=0.9, aspect=22, pad=0.02)
        calm(bar)
    left_out = len(slices) - len(shown)
    return figure, f"{left_out} layers with less energy are left out." if left_out else ""


def _mean_shower(events: Events) -> Array:
    """(voxels,) MeV."""
    total = np.zeros(events.samples.shape[1])
    for rows in chunks(len(events), len(total)):
        total += as_array(events.samples[rows]).sum(0)
    return total / len(events)
