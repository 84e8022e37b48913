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
from simbench.report.style import COLOURS, INK, MARKERS, REAL, make_figure, plain, styled


@dataclass(frozen=True)
class Point:
    """One generator, or the Monte Carlo (`place` None): events per second on one CPU core and on the fastest device measured, and the score.

    `core` or `best` may be missing; at least one is there.
    """

    label: str
    place: int | None
    core: float | None
    best: float | None
    device: str
    value: float
    error: float | None


def quality_against_time(points: Sequence[Point], label: str, higher: bool) -> Figure:
    """One point a generator, on one CPU core (filled) and on the fastest device measured (hollow); the Monte Carlo at its floor."""
    with styled():
        figure = make_figure(8.5, 4.8)
        axes = figure.subplots()
        axes.set_xscale("log")
        at = [(point.core or point.best or 1.0, point.value) for point in points]
        front = pareto_front([(speed, -score if higher else score) for speed, score in at])
        axes.step(
            [at[i][0] for i in front], [at[i][1] for i in front], where="post", color=REAL, lw=1.2, ls=(0, (4, 2))
        )
        for point, (x, y) in zip(points, at, strict=True):
            colour, marker = (INK, "*") if point.place is None else (COLOURS[point.place % 6], MARKERS[point.place % 6])
            size = 14 if point.place is None else 8
            axes.errorbar(
                x,
                y,
                point.error,
                fmt=marker,
                ms=size,
                color=colour,
                mfc=colour if point.core is not None else "none",
                capsize=0,
                lw=1.2,
            )
            if point.core is not None and point.best is not None and point.best > 1.05 * point.core:
                axes.plot([point.core, point.best], [y, y], color=colour, lw=0.8, ls=":")
                axes.plot(point.best, y, marker=marker, ms=size, mfc="none", mec=colour, mew=1.4)
                axes.annotate(
                    plain(point.device, 32),
                    (point.best, y),
                    xytext=(0, -9),
                    textcoords="offset points",
                    ha="center",
                    va="top",
                    color=colour,
                    fontsize=8.5,
                )
            axes.annotate(
                plain(point.label),
                (x, y),
                xytext=(7, 7),
                textcoords="offset points",
                ha="left",
                va="bottom",
                color=colour,
                weight="bold",
                fontsize=10,
            )
        speeds = [speed for point in points for speed in (point.core, point.best) if speed]
        axes.set_xlim(min(speeds) / 4, max(speeds) * 8)
        _quality_axis(axes, [point.value for point in points], higher)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
        axes.set_xlabel("events per second (filled: one CPU core; hollow: fastest device measured)")
        axes.set_ylabel(plain(label, 60))
        corner, arrow = ((0.985, 0.965), "↗") if higher else ((0.985, 0.035), "↘")
        axes.text(
            *corner,
            f"better {arrow}",
            transform=axes.transAxes,
            ha="right",
            va="top" if higher else "bottom",
            color=REAL,
        )
    return figure


def _quality_axis(axes: Any, values: Sequence[float], higher: bool) -> None:
    """A logarithmic axis where all scores are positive, with room for the names; `higher` keeps the better end away from the frame."""
    low, high = min(values), max(values)
    if low > 0 and not higher:
        axes.set_yscale("log")
        room = max((high / low) ** 0.25, 1.6)
        axes.set_ylim(low / room, high * room)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 2)))
        if high * room**2 / low < 30:
            axes.yaxis.set_minor_formatter(
                FuncFormatter(lambda value, _: number(value, 1) if f"{value:.0e}"[0] in "235" else "")
            )
        else:
            axes.yaxis.set_minor_formatter(NullFormatter())
        return
    room = max(0.25 * (high - low), 0.05 * max(abs(high), 1e-12), 1e-12)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if np.isfinite(value) else ""))
