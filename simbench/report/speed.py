"""Quality against time per event: where each generator stands between the truth and the speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from simbench.core.text import number
from simbench.metrics.direction import Direction
from simbench.report.style import FAINT, INK, REAL, look_of, make_figure, plain, styled
from simbench.results.pareto import Pace, Placed, Trade

Line = tuple[tuple[float, float], tuple[float, float]]
Read = Callable[[Any], Any]
"""What a panel shows of a trade (its pace) and of a placed trade (its place)."""

PANELS: tuple[tuple[str, Read], ...] = (
    ("batch 1: one event at a time", lambda of: of.single),
    ("best batch of each", lambda of: of.best),
)


@dataclass(frozen=True)
class _Point:
    """A trade in a panel, in the figure's coordinates: seconds per event, and what the axis of quality shows."""

    trade: Trade
    pace: Pace
    front: bool
    y: float
    colour: str
    marker: str


def quality_against_time(
    trades: Sequence[Placed],
    label: str,
    direction: Direction,
    *,
    floor: float | None = None,
    colours: Sequence[int] = (),
) -> Figure:
    """Two panels, batch 1 and best batch, with a point for each generator, the Monte Carlo (a star) and the front; the
    latter alone where nothing was timed at batch 1.

    Quality is the score, named `label`; of one that has a target, its distance from that. `colours` are the places of
    the generators in the palette, if they have some already. The `floor` is a line where no Monte Carlo stands at it.
    """
    with styled():
        shown = [one for one in trades if one.trade.ranked]
        drawn = [
            panel for panel in PANELS if any(panel[1](one.trade) for one in shown if not one.trade.monte_carlo)
        ] or PANELS[1:]
        figure = make_figure(5.2 * len(drawn) - 0.4, 5.2, wspace=0.03)
        every: Any = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        looks = _looks(shown, colours)
        heights = [_height(one.trade, direction) for one in shown]
        if floor is not None and not any(one.trade.monte_carlo for one in shown):
            heights.append(direction.badness(floor) if direction.target is not None else floor)
        errors = [one.trade.error or 0.0 for one in shown] + [0.0] * (len(heights) - len(shown))
        _quality_axis(every[0], heights, errors, direction)
        lowest = every[0].get_ylim()[0]
        panels = []
        for axes, (title, read) in zip(every, drawn, strict=True):
            points = [
                _Point(one.trade, pace, read(one) == "front", max(y, lowest), *look)
                for one, look, y in zip(shown, looks, heights, strict=False)
                if (pace := read(one.trade)) is not None
            ]
            panels.append((axes, points, *_draw_panel(axes, points)))
            if len(heights) > len(shown):
                axes.axhline(heights[-1], color=REAL, lw=1.0, ls=(0, (1, 1.5)))
                at = axes.get_yaxis_transform()
                axes.annotate("floor", (0.98, heights[-1]), (0, 2), at, "offset points", ha="right", color=REAL)
            axes.set_title(title, loc="left")
            axes.set_xlabel("time per event")
        away = "" if direction.target is None else f", distance from {direction.target:g}"
        every[0].set_ylabel(plain(f"{label}{away}", 60))
        _time_axes(every, [point.pace.seconds for _, points, *_ in panels for point in points])
        figure.draw_without_rendering()  # the layout is known then
        for axes, points, names, lines in panels:
            _write(axes, names, [(point.pace.seconds, point.y) for point in points], lines)
            y, side, arrow = (0.965, "top", "↖") if direction.way == "higher" else (0.035, "bottom", "↙")
            axes.text(0.02, y, f"better {arrow}", transform=axes.transAxes, ha="left", va=side, color=REAL)
    return figure


def _looks(trades: Sequence[Placed], colours: Sequence[int]) -> list[tuple[str, str]]:
    """Colour and marker of each; those of one training share them."""
    looks: list[tuple[str, str]] = []
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for place, one in enumerate(trades):
        look = (INK, "*") if one.trade.monte_carlo else look_of(colours[place] if place < len(colours) else place)
        looks.append(first.setdefault(one.trade.weights, look) if one.trade.weights else look)
    return looks


def _height(trade: Trade, direction: Direction) -> float:
    return trade.score.badness if direction.target is not None else trade.value


def _draw_panel(axes: Axes, points: Sequence[_Point]) -> tuple[list[Name], list[Line]]:
    """The points of a panel, the front and the lines of one training; returns the names to be written, and the lines
    that they should not cover."""
    axes.set_xscale("log")
    if not points:
        axes.text(0.5, 0.5, "nothing was timed", transform=axes.transAxes, ha="center", color=REAL)
        return [], []
    line: list[tuple[float, float]] = []
    best = math.inf
    for point in sorted((p for p in points if p.front), key=lambda p: (p.pace.seconds, p.trade.score.badness)):
        if point.trade.score.badness < best:  # of those that are tied and equally fast the better one
            best = point.trade.score.badness
            line += [(point.pace.seconds, line[-1][1])] if line else []
            line.append((point.pace.seconds, point.y))
    if len(line) > 1:
        axes.plot(*zip(*line, strict=True), color=REAL, lw=1.2, ls=(0, (4, 2)), zorder=1)
    chains = _chains(points)
    for chain in chains.values():
        axes.plot([p.pace.seconds for p in chain], [p.y for p in chain], color=chain[0].colour, lw=1.2, zorder=1.5)
    names, lines = [], list(pairwise(line))
    for point in sorted(points, key=lambda p: (not p.front, p.trade.score.badness)):
        x, y, pace, colour = point.pace.seconds, point.y, point.pace, point.colour
        low, high = pace.low or x, pace.high or x
        lines.append(((low, y), (high, y)))
        bars = [[max(x - low, 0.0)], [max(high - x, 0.0)]]
        look: dict[str, Any] = {"fmt": point.marker, "ms": 13 if point.trade.monte_carlo else 6.5, "color": colour}
        look |= {"mfc": "none" if pace.gpu else colour, "capsize": 0, "lw": 1.0, "zorder": 3 if point.front else 2}
        axes.errorbar(x, y, point.trade.error, bars, **look)
        chain, label = chains.get(point.trade.weights, [point]), point.trade.label
        if len(chain) > 1 and point.trade.weights:  # what differs along a line; the name stands once, at its slow end
            label = label.removeprefix(point.trade.weights[0]).strip(" ()")
            if point is chain[0]:
                names.append(Name(plain(point.trade.weights[0]), x, y, colour, 9.0, point.front))
        names.append(Name(plain(label), x, y, colour, 9.0, point.front))
    return names, lines


def _chains(points: Sequence[_Point]) -> dict[tuple[str, str] | None, list[_Point]]:
    """The points of each training that has more than one, the slowest first."""
    found: dict[tuple[str, str] | None, list[_Point]] = {}
    for point in sorted(points, key=lambda point: -point.pace.seconds):
        if point.trade.weights is not None:
            found.setdefault(point.trade.weights, []).append(point)
    return {weights: chain for weights, chain in found.items() if len(chain) > 1}


LEFT, RIGHT = 0.32, 0.13
"""Shares of the axis of time that are left to names."""


def _time_axes(panels: Sequence[Axes], seconds: Sequence[float]) -> None:
    """The logarithmic axis of time, the same in both panels, with room for names."""
    decades = max(math.log10(max(seconds) / min(seconds)), 1.0) / (1 - LEFT - RIGHT) if seconds else 1.0
    between = FuncFormatter(lambda value, _: _tick(value) if f"{value:.0e}"[0] in "25" else "")
    for axes in panels:
        if seconds:
            axes.set_xlim(min(seconds) / 10 ** (LEFT * decades), max(seconds) * 10 ** (RIGHT * decades))
        axes.xaxis.set_major_locator(LogLocator(10, numticks=9))
        axes.xaxis.set_minor_formatter(between if decades < 3 else NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
        axes.tick_params(which="minor", top=False, right=False)
        axes.grid(True, which="major", color=FAINT, lw=0.5)


def _tick(seconds: float) -> str:
    """A round number of seconds: 10 µs, 1 ms, 200 s."""
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)) if seconds > 0.9 * s), ("ns", 1e-9))
    return f"{number(seconds / size, 1)} {unit}"


@dataclass(frozen=True)
class Name:
    """A text beside the point (x, y), in a size in points."""

    text: str
    x: float
    y: float
    colour: str
    size: float
    bold: bool


ANYWHERE = tuple(
    (x, y, side)
    for y in (-4, 5, -13, 14, -22, 23, -31, 32, -40, 41, -52, 53, -64, 65, -76, 77)
    for x, side in ((8, "left"), (-8, "right"))
)
"""Where a name may stand: an offset from its point in points of print, and which end of the text is there."""

FAR, NEAR = 14, 24
"""Points of print beyond which a thin line leads from the point to its name; and within which a name would rather stand
on a line than further away."""


def _write(axes: Axes, names: Sequence[Name], points: Sequence[tuple[float, float]], lines: Sequence[Line]) -> None:
    """Write each name where it covers no other, no point and no line, as near to its own point as can be.

    One that has no such place is left out, unless it is bold.

    The axes' limits are set.
    """
    scale = 72 / axes.figure.dpi

    def on_paper(x: float, y: float) -> tuple[float, float]:
        x, y = axes.transData.transform((x, y)) * scale
        return float(x), float(y)

    (left, bottom), (right_, top) = axes.transAxes.transform([(0, 0), (1, 1)]) * scale
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in (on_paper(*point) for point in points)]
    ends = [(*on_paper(*start), *on_paper(*end)) for start, end in lines]
    crossed = [(min(a, c) - 1, min(b, d) - 1, max(a, c) + 1, max(b, d) + 1) for a, b, c, d in ends]
    for name in names:
        x, y = on_paper(name.x, name.y)
        boxes = []
        weight = "bold" if name.bold else "normal"
        measured = axes.text(0, 0, name.text, fontsize=name.size, weight=weight)
        width = measured.get_window_extent().width * scale
        measured.remove()
        for right, up, side in ANYWHERE:
            start = x + right - width * {"left": 0, "right": 1}[side]
            boxes.append((start, y + up, start + width, y + up + 1.05 * name.size))
        inside = [
            at
            for at, box in enumerate(boxes)
            if box[0] > left + 3 and box[2] < right_ - 3 and box[1] > bottom and box[3] < top
        ]
        free = [at for at in inside if not any(_overlap(boxes[at], other) for other in taken)]
        clear = [at for at in free if not any(_overlap(boxes[at], line) for line in crossed)]
        near = [at for at in (*clear, *free) if abs(ANYWHERE[at][1]) < NEAR]
        if not free and not name.bold:
            continue  # the table has it
        at = (near or clear or free or inside or [0])[0]
        right, up, side = ANYWHERE[at]
        taken.append(boxes[at])
        look: dict[str, Any] = {"ha": side, "va": "bottom", "fontsize": name.size, "color": name.colour}
        look |= {"weight": weight, "textcoords": "offset points"}
        if abs(up + name.size / 2) > FAR:
            line = {"arrowstyle": "-", "color": name.colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
            look["arrowprops"] = line | {"relpos": (0.0 if side == "left" else 1.0, 0.0 if up > 0 else 1.0)}
        axes.annotate(name.text, (name.x, name.y), xytext=(right, up), **look)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _quality_axis(axes: Any, values: Sequence[float], errors: Sequence[float], direction: Direction) -> None:
    """A logarithmic axis where less is better and scores are positive, else a linear one; names have room.

    Error bars are within it, but for the lower end of a logarithmic one. A score of nothing or less, as a floor of
    about 0 may have, stands at the lower end of a logarithmic axis.
    """
    positive = [value for value in values if value > 0]
    ends = [value + sign * error for value, error in zip(values, errors, strict=True) for sign in (-1, 1)]
    if positive and direction.way != "higher" and 2 * len(positive) > len(values):
        low, high = min(positive), max(ends)
        axes.set_yscale("log")
        room = max((high / low) ** 0.12, 1.5)
        axes.set_ylim(low / room, high * room)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
        some = FuncFormatter(lambda value, _: number(value, 1) if f"{value:.0e}"[0] in "235" else "")
        axes.yaxis.set_minor_formatter(some if high * room**2 / low < 30 else NullFormatter())
        return
    low, high = min(ends), max(ends)
    room = max(0.15 * (high - low), 0.05 * max(abs(high), 1e-12), 1e-12)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if np.isfinite(value) else ""))
