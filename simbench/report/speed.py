"""Quality against time: where each generator stands between the truth and the speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from simbench.core.statistics import pareto_front
from simbench.core.text import number
from simbench.report.style import INK, REAL, look_of, make_figure, plain, styled


@dataclass(frozen=True)
class Point:
    """One generator, or the Monte Carlo (`place` None), with its score.

    `core` and `best` are events per second on one CPU core and on the fastest device measured; at least one is there.
    `weights` are the name and the checksum of one training: the points of one that was sampled in several ways (a
    diffusion in few and in many steps) are joined.
    """

    label: str
    place: int | None
    core: float | None
    best: float | None
    device: str
    value: float
    error: float | None
    weights: tuple[str, str] | None = None

    @property
    def x(self) -> float:
        """Where it stands: events per second on one core, else on the fastest device."""
        return self.core or self.best or 1.0


def quality_against_time(points: Sequence[Point], label: str, higher: bool) -> Figure:
    """A point for each generator, on one CPU core (filled) and on the fastest device (hollow), and the Monte Carlo."""
    with styled():
        figure = make_figure(8.5, 4.8)
        axes = figure.subplots()
        axes.set_xscale("log")
        at = [(point.x, point.value) for point in points]
        front = pareto_front([(speed, -score if higher else score) for speed, score in at])
        axes.step(*zip(*(at[i] for i in front), strict=True), where="post", color=REAL, lw=1.2, ls=(0, (4, 2)))
        names, chains = [], _chains(points)
        for chain in chains.values():
            axes.plot([p.x for p in chain], [p.value for p in chain], color=look_of(chain[0].place or 0)[0], lw=1.2)
        for point, (x, y) in zip(points, at, strict=True):
            chain = chains.get(point.weights, [point])
            colour, marker = (INK, "*") if point.place is None else look_of(chain[0].place or 0)
            size, fill = 14 if point.place is None else 8, "none" if point.core is None else colour
            axes.errorbar(x, y, point.error, fmt=marker, ms=size, color=colour, mfc=fill, capsize=0, lw=1.2)
            if point.core is not None and point.best is not None and point.best > 1.05 * point.core:
                axes.plot([point.core, point.best], [y, y], color=colour, lw=0.8, ls=":")
                axes.plot(point.best, y, marker=marker, ms=size, mfc="none", mec=colour, mew=1.4)
                names.append(Name(plain(point.device, 32), point.best, y, colour, 8.5, BELOW))
            label, height = plain(point.label), 10.0
            if len(chain) > 1 and point.weights:  # what differs along a line; the name stands once, at its slow end
                label, height = plain(point.label.removeprefix(point.weights[0]).strip(" ()")), 8.5
                if point is chain[0]:
                    names.append(Name(plain(point.weights[0]), x, y, colour, 10.0, RIGHT))
            names.append(Name(label, x, y, colour, height, RIGHT))
        speeds = [speed for point in points for speed in (point.core, point.best) if speed]
        axes.set_xlim(min(speeds) / 4, max(speeds) * 8)
        _quality_axis(axes, [point.value for point in points], higher)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
        axes.set_xlabel("events per second (filled: one CPU core; hollow: fastest device measured)")
        axes.set_ylabel(plain(label, 60))
        y, side, arrow = (0.965, "top", "↗") if higher else (0.035, "bottom", "↘")
        figure.draw_without_rendering()  # the layout is known then
        _write(axes, names)
        axes.text(0.985, y, f"better {arrow}", transform=axes.transAxes, ha="right", va=side, color=REAL)
    return figure


def _chains(points: Sequence[Point]) -> dict[tuple[str, str] | None, list[Point]]:
    """The points of each training that has more than one, the slowest first."""
    found: dict[tuple[str, str] | None, list[Point]] = {}
    for point in sorted(points, key=lambda point: point.x):
        if point.weights is not None:
            found.setdefault(point.weights, []).append(point)
    return {weights: chain for weights, chain in found.items() if len(chain) > 1}


@dataclass(frozen=True)
class Name:
    """A text beside the point (x, y), in a size in points; `sides` are tried first."""

    text: str
    x: float
    y: float
    colour: str
    size: float
    sides: tuple[tuple[int, int, str], ...]


RIGHT, BELOW = ((7, 7, "left"), (7, -15, "left")), ((0, -17, "center"),)
ANYWHERE = tuple((x, y, side) for y in (7, -15, 19, -27, 31, -39, 43, 55) for x, side in ((7, "left"), (-7, "right")))
"""Where a name may stand: an offset from its point in points of print, and which end of the text is there."""


def _write(axes: Axes, names: Sequence[Name]) -> None:
    """Write each name where it covers no other, as near to its point as can be; the limits of the axes are set."""
    scale = 72 / axes.figure.dpi

    def at_point(name: Name) -> tuple[float, float]:
        x, y = axes.transData.transform((name.x, name.y)) * scale
        return float(x), float(y)

    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in map(at_point, names)]
    for name in names:
        x, y = at_point(name)
        boxes = []
        for right, up, side in (*name.sides, *ANYWHERE):
            width = 0.62 * name.size * len(name.text)
            start = x + right - width * {"left": 0, "center": 0.5, "right": 1}[side]
            boxes.append((start, y + up, start + width, y + up + 1.1 * name.size))
        free = [at for at, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)]
        at = free[0] if free else 0
        right, up, side = (*name.sides, *ANYWHERE)[at]
        taken.append(boxes[at])
        look: dict[str, Any] = {"ha": side, "va": "bottom", "fontsize": name.size, "color": name.colour}
        look |= {"weight": "normal" if name.sides is BELOW else "bold", "textcoords": "offset points"}
        axes.annotate(name.text, (name.x, name.y), xytext=(right, up), **look)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _quality_axis(axes: Any, values: Sequence[float], higher: bool) -> None:
    """A logarithmic axis where less is better and all scores are positive, else a linear one; names have room."""
    low, high = min(values), max(values)
    if low > 0 and not higher:
        axes.set_yscale("log")
        room = max((high / low) ** 0.25, 1.6)
        axes.set_ylim(low / room, high * room)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 2)))
        some = FuncFormatter(lambda value, _: number(value, 1) if f"{value:.0e}"[0] in "235" else "")
        axes.yaxis.set_minor_formatter(some if high * room**2 / low < 30 else NullFormatter())
        return
    room = max(0.25 * (high - low), 0.05 * max(abs(high), 1e-12), 1e-12)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if np.isfinite(value) else ""))
