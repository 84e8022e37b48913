"""Quality against time: where each generator stands between the truth and the speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from simbench.core.statistics import pareto_front
from simbench.core.text import number
from simbench.report.style import INK, REAL, look_of, make_figure, plain, styled


@dataclass(frozen=True)
class Point:
    """One generator, or the Monte Carlo (`place` None), with its score.

    `core` and `best` are events per second on one CPU core and on the fastest device measured; at least one is there.
    """

    label: str
    place: int | None
    core: float | None
    best: float | None
    device: str
    value: float
    error: float | None


def quality_against_time(points: Sequence[Point], label: str, higher: bool) -> Figure:
    """A point for each generator, on one CPU core (filled) and on the fastest device (hollow), and the Monte Carlo."""
    with styled():
        figure = make_figure(8.5, 4.8)
        axes = figure.subplots()
        axes.set_xscale("log")
        at = [(point.core or point.best or 1.0, point.value) for point in points]
        front = pareto_front([(speed, -score if higher else score) for speed, score in at])
        axes.step(*zip(*(at[i] for i in front), strict=True), where="post", color=REAL, lw=1.2, ls=(0, (4, 2)))
        for point, (x, y) in zip(points, at, strict=True):
            colour, marker = (INK, "*") if point.place is None else look_of(point.place)
            size, fill = 14 if point.place is None else 8, "none" if point.core is None else colour
            axes.errorbar(x, y, point.error, fmt=marker, ms=size, color=colour, mfc=fill, capsize=0, lw=1.2)
            if point.core is not None and point.best is not None and point.best > 1.05 * point.core:
                axes.plot([point.core, point.best], [y, y], color=colour, lw=0.8, ls=":")
                axes.plot(point.best, y, marker=marker, ms=size, mfc="none", mec=colour, mew=1.4)
                look: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8.5}
                _annotate(axes, plain(point.device, 32), (point.best, y), (0, -9), color=colour, **look)
            look = {"ha": "left", "va": "bottom", "weight": "bold", "fontsize": 10}
            _annotate(axes, plain(point.label), (x, y), (7, 7), color=colour, **look)
        speeds = [speed for point in points for speed in (point.core, point.best) if speed]
        axes.set_xlim(min(speeds) / 4, max(speeds) * 8)
        _quality_axis(axes, [point.value for point in points], higher)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
        axes.set_xlabel("events per second (filled: one CPU core; hollow: fastest device measured)")
        axes.set_ylabel(plain(label, 60))
        y, side, arrow = (0.965, "top", "↗") if higher else (0.035, "bottom", "↘")
        axes.text(0.985, y, f"better {arrow}", transform=axes.transAxes, ha="right", va=side, color=REAL)
    return figure


def _annotate(axes: Any, text: str, at: tuple[float, float], shift: tuple[float, float], **look: Any) -> None:
    axes.annotate(text, at, xytext=shift, textcoords="offset points", **look)


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
