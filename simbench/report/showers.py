"""Shower images: single events, real beside generated, and the mean shower with the ratio of generated to real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator
from numpy.typing import NDArray

from simbench.core.events import Events
from simbench.core.text import THIN
from simbench.report.style import (
    COUNTS,
    DIFFERENCES,
    INK,
    Series,
    as_array,
    bare,
    broken,
    calm,
    comparison_grid,
    largest_reference,
    make_sheet,
    photons,
    place_image,
    plain,
    styled,
)
from simbench.tasks.base import Task

EMPTY = 0.5
"""A pixel below half a photon rounds to none: it is drawn as background."""

CAPTION = 0.16
"""Inches below each image, for the sum of its photons."""


@dataclass(frozen=True)
class Picked:
    """A condition that is shown: what to call it, and the rows that answer it."""

    label: str
    rows: NDArray[np.int64]


def pick_conditions(events: Events, task: Task) -> list[Picked]:
    """Conditions that span species and energy: three energies of the two commonest species, one of the next two.

    Conditions whose real answers are mostly empty are passed over. Works without species (then six energies) and
    without an energy.
    """
    condition = events.condition_id.numpy()
    first = np.unique(condition, return_index=True)[1]
    light = as_array(events.samples).reshape(len(events), -1).sum(1)
    lit = np.array([np.median(light[condition == condition[row]]) > 10 for row in first])
    first = first[lit] if lit.any() else first
    column = task.condition_names.index("Energy") if "Energy" in task.condition_names else None
    energy = as_array(events.conditions[:, column]) if column is not None else np.arange(len(events), dtype=np.float64)
    species = events.strata.get("species", np.full(len(events), "", dtype=np.str_))
    names, counts = np.unique(species[first], return_counts=True)
    ranked = [str(name) for name in names[np.argsort(-counts, kind="stable")] if name != "other"] or [""]
    quantiles = (0.1, 0.5, 0.9) if len(ranked) > 1 else (0.05, 0.25, 0.4, 0.6, 0.75, 0.95)
    wanted = [(name, q) for name in ranked[:2] for q in quantiles] + [(name, 0.5) for name in ranked[2:4]]
    picked: dict[int, Picked] = {}
    for name, quantile in wanted:
        rows = first[species[first] == name]
        at = int(rows[np.argmin(np.abs(energy[rows] - np.quantile(energy[rows], quantile)))])
        if column is not None:
            label = f"{plain(name, 14)}\n{photons(energy[at])} {task.condition_units[column]}".strip()
        else:
            label = f"condition {condition[at]}"
        picked.setdefault(at, Picked(label, np.flatnonzero(condition == condition[at])))
    return list(picked.values())


def _show(axes: Axes, image: NDArray[np.float64], norm: LogNorm, empty: float) -> Any:
    """An image on a logarithmic scale; pixels of `empty` or less stay blank."""
    bare(axes)
    shown = np.ma.masked_less_equal(image, empty)
    return axes.imshow(shown, norm=norm, cmap=COUNTS, interpolation="none", origin="lower")


def repeats_shown(series: int) -> int:
    """Answers to one condition that fit beside each other, for so many generators."""
    return {1: 4, 2: 3, 3: 2, 4: 2}.get(series, 1)


def shower_grid(series: Sequence[Series], picked: Sequence[Picked], unit: str) -> Figure:
    """Single events on one logarithmic scale: a row a condition, real answers left, each generator's to their right."""
    repeats = repeats_shown(len(series))
    reference = as_array(largest_reference(series).reference.samples)
    groups = [("real", INK, reference)]
    groups += [(one.label, one.colour, as_array(one.pair.generated.samples)) for one in series]
    answers = (values[one.rows[one.rows < len(values)]][:repeats] for one in picked for _, _, values in groups)
    norm = LogNorm(1, max(10.0, *(float(images.max(initial=1.0)) for images in answers)), clip=True)
    many = len(series) > 4
    cell, gap, left, right, head, foot = 0.98 if len(series) < 3 else 0.8, 0.14, 1.05, 0.15, 0.36, 0.72
    if many:
        cell, gap, head = 0.98, 0.03, 0.62
    width = left + right + len(groups) * (repeats * cell + gap) - gap
    scale = min(1.0, 11 / width)
    cell *= scale
    width, row_height = left + right + len(groups) * (repeats * cell + gap) - gap, cell + CAPTION
    height = head + foot + len(picked) * row_height
    with styled():
        figure, sheet = make_sheet(width, height)
        image: Any = None
        for column, (name, colour, values) in enumerate(groups):
            x = left + column * (repeats * cell + gap)
            centre = x + repeats * cell / 2
            heading: dict[str, Any] = {"fontsize": 8.5 if many else 10, "linespacing": 1.1}
            shown_name = broken(name, repeats * cell) if many else plain(name)
            sheet.text(
                centre, height - head / 2, shown_name, ha="center", va="center", color=colour, weight="bold", **heading
            )
            for row, condition in enumerate(picked):
                y = height - head - (row + 1) * row_height + CAPTION
                if column == 0:
                    beside: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 9, "linespacing": 1.3}
                    sheet.text(left - 0.1, y + cell / 2, condition.label, **beside)
                for index, at in enumerate(condition.rows[condition.rows < len(values)][:repeats]):
                    shown = np.ma.masked_less_equal(values[at], EMPTY)
                    corner, size = x + index * cell + 0.02, cell - 0.04
                    image = place_image(sheet, shown, corner, y + 0.02, size, norm=norm, cmap=COUNTS, origin="lower")
                    total = f"Σ{THIN}{photons(round(float(values[at].sum())))}"
                    sheet.text(corner + size / 2, y - 0.01, total, ha="center", va="top", fontsize=7)
        below = figure.add_axes((left / width, 0.42 / height, 1 - (left + right) / width, 0.11 / height))
        bar = figure.colorbar(image, cax=below, orientation="horizontal", format=FuncFormatter(photons))
        label = f"{unit} per pixel, one scale for all (empty pixels are left blank); Σ: {unit} in the event"
        bar.set_label(label, loc="center", fontsize=9)
        calm(bar)
    return figure


def mean_showers(series: Sequence[Series], unit: str) -> Figure:
    """The mean over all events: real, generated on the same logarithmic scale, and generated over real."""
    real = as_array(largest_reference(series).reference.samples).mean(0)
    means = [as_array(one.pair.generated.samples).mean(0) for one in series]
    top = max(float(image.max()) for image in (real, *means))
    low = min(max(float(np.quantile(real, 0.02)), top * 1e-4), top / 10) if top > 0 else 0.1
    norm = LogNorm(low, top or 1.0, clip=True)
    with styled():
        single, columns = len(series) == 1, len(series) + 1
        many = (min(2.1 * columns, 11), 2 * min(2.1, 10.4 / columns) + 0.55)
        figure, first, pairs = comparison_grid(series, (10, 3.55), many)
        image = _show(first, real, norm, 0.0)
        ratio: Any = None
        for (above, below), mean in zip(pairs, means, strict=True):
            _show(above, mean, norm, 0.0)
            bare(below)
            below.set_title("generated / real", loc="center", fontsize=9.5)
            quotient = np.divide(mean, real, out=np.full_like(mean, np.nan), where=(real > 0) & (mean > 0))
            masked, ratios = np.ma.masked_invalid(quotient), LogNorm(0.5, 2, clip=True)
            colours = colormaps[DIFFERENCES + "_r"]
            ratio = below.imshow(masked, norm=ratios, cmap=colours, interpolation="none", origin="lower")
        beside: dict[str, Any] = {
            "ax": [first, *(above for above, _ in pairs)],
            "shrink": 0.9,
            "aspect": 22,
            "pad": 0.015,
        }
        beside |= {"ticks": LogLocator(subs=(1, 3)), "format": FuncFormatter(photons)}
        bars = [figure.colorbar(image, label=f"mean {unit} per pixel", **beside)]
        beside |= {"ax": [below for _, below in pairs], "pad": 0.03 if single else 0.015}
        beside |= {"ticks": [0.5, 0.7, 1, 1.4, 2], "format": FuncFormatter(lambda value, _: f"{value:g}")}
        bars.append(figure.colorbar(ratio, label="ratio (clipped at 0.5 and 2)", **beside))
        for bar in bars:
            calm(bar)
    return figure
