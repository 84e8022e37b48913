"""Images: single ones in a grid and the mean of each label, real beside generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from simbench.core.events import Events
from simbench.report.style import (
    DIFFERENCES,
    INK,
    Series,
    as_array,
    bare,
    largest_reference,
    make_figure,
    make_sheet,
    place_image,
    plain,
    styled,
)

Array = NDArray[np.float64]
ROWS = 10


def picture(sample: Array) -> Array:
    """An event (C, H, W) as matplotlib draws it: (H, W) grey or (H, W, 3)."""
    return sample[0] if len(sample) == 1 else np.moveaxis(sample, 0, -1)


def label_rows(events: Events) -> list[tuple[str, NDArray[np.int64]]]:
    """The events of each label; without labels, runs of events."""
    if "label" in events.strata:
        labels = events.strata["label"]
        return [(str(label), np.flatnonzero(labels == label)) for label in np.unique(labels)[:ROWS]]
    return [("", part) for part in np.array_split(np.arange(len(events)), min(6, len(events)))]


def digit_grid(series: Sequence[Series]) -> Figure:
    """A row a label: real images at the left, each generator's to their right."""
    each = {1: 8, 2: 5, 3: 4}.get(len(series), 3)
    groups: list[tuple[str, str, Events]] = [("real", INK, largest_reference(series).reference)]
    groups += [(plain(one.label, 20), one.colour, one.pair.generated) for one in series]
    rows = label_rows(groups[0][2])
    left, head, gap, right = 0.45, 0.38, 0.16, 0.08
    cell = min(0.62, (11 - left - right - gap * (len(groups) - 1)) / (each * len(groups)))
    width, height = left + right + gap * (len(groups) - 1) + cell * each * len(groups), head + cell * len(rows) + 0.08
    with styled():
        figure, sheet = make_sheet(width, height)
        for column, (name, colour, events) in enumerate(groups):
            x = left + column * (each * cell + gap)
            sheet.text(x + each * cell / 2, height - 0.2, name, ha="center", va="center", color=colour, weight="bold")
            for row, (label, at) in enumerate(label_rows(events)[: len(rows)]):
                y = height - head - (row + 1) * cell
                if column == 0:
                    sheet.text(left - 0.12, y + cell / 2, plain(label), ha="right", va="center", weight="bold")
                for index, event in enumerate(at[:each]):
                    image = picture(as_array(events.samples[int(event)])).clip(0, 1)
                    place_image(sheet, image, x + index * cell, y, cell * 0.95, cmap="gray", vmin=0, vmax=1)
    return figure


def mean_digits(series: Sequence[Series]) -> Figure:
    """The mean image of each label, real and generated, and generated minus real."""
    reference = largest_reference(series).reference
    labels = [label for label, _ in label_rows(reference)]

    def means(events: Events) -> list[Array]:
        return [
            as_array(events.samples[at.tolist()]).mean(0)[0] if len(at) else np.zeros(events.samples.shape[2:])
            for _, at in label_rows(events)
        ]

    real = means(reference)
    rows: list[tuple[str, str, list[Array], bool]] = [("real", INK, real, False)]
    for one in series:
        made = means(one.pair.generated)
        rows.append((plain(one.label, 16), one.colour, made, False))
        rows.append(("− real", one.colour, [mine - theirs for mine, theirs in zip(made, real, strict=True)], True))
    reach = max([0.1] + [float(np.abs(image).max()) for _, _, images, signed in rows if signed for image in images])
    with styled():
        figure = make_figure(11, 0.98 * len(rows) + 0.4, wspace=0.02, hspace=0.02, w_pad=0.01, h_pad=0.01)
        grid: Any = figure.subplots(len(rows), len(labels), squeeze=False)
        shown: dict[bool, Any] = {}
        for (name, colour, images, signed), line in zip(rows, grid, strict=True):
            for axes, image in zip(line, images, strict=True):
                bare(axes)
                low, high, colours = (-reach, reach, DIFFERENCES + "_r") if signed else (0.0, 1.0, "gray")
                shown[signed] = axes.imshow(image, cmap=colours, vmin=low, vmax=high, interpolation="none")
            beside: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center", "y": 0.5}
            line[0].set_ylabel(name, color=colour, weight="bold", fontsize=9, **beside)
        for axes, label in zip(grid[0], labels, strict=True):
            axes.set_title(plain(label), loc="center", weight="bold")
        signed_ticks = FuncFormatter(lambda v, _: f"{v:+.2g}".replace("-", "−") if abs(v) > 1e-9 else "0")
        bar = figure.colorbar(shown[True], ax=grid, shrink=0.6, aspect=22, pad=0.01, format=signed_ticks)
        bar.set_label("generated − real", loc="center", fontsize=9)
        bar.ax.minorticks_off()
        bar.ax.tick_params(size=3, labelsize=8.5)
    return figure
