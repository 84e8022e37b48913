"""Every metric against the strength of every defect: the figure that shows why one number is never enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from simbench.core.files import replace_text
from simbench.metrics.direction import Direction
from simbench.report.style import COLOURS, PAPER, legend_above, make_figure, save_figure, styled
from simbench.results.words import metric_label
from simbench.selftest.run import ALPHA, Response
from simbench.tasks.base import Task

HARMLESS = {"scale": 1.0, "emptied": 0.0, "shrunk": 0.0}
LINE, BAND = COLOURS[0], COLOURS[2]
AXIS = {
    "scale": "factor on all photons",
    "emptied": "share of events emptied",
    "shrunk": "shrunk towards the condition's mean",
}
"""What the strength of each defect is; none has a unit."""
COLUMNS = 4


def curve_figure(response: Response, task: Task) -> Figure:
    """One panel a metric, with its label and unit: value and error against the strength, the floor as a band, points
    that are flagged filled."""
    keys = list(response.results[0].measurements)
    with styled():
        rows = -(-len(keys) // COLUMNS)
        figure = make_figure(3.1 * COLUMNS, 2.2 * rows + 0.9)
        axes = figure.subplots(rows, COLUMNS, squeeze=False)
        for axis in axes.flat[len(keys) :]:
            axis.set_visible(False)
        for place, (axis, key) in enumerate(zip(axes.flat, keys, strict=False)):
            _draw_curve(axis, response, key)
            if place + COLUMNS >= len(keys):
                axis.set_xlabel(AXIS[response.defect], fontsize=8.5)
        title = f"{task.name} {task.version}: {AXIS[response.defect]}"
        point: dict[str, Any] = {"color": LINE, "marker": "o", "ms": 4, "lw": 1}
        handles = [
            Line2D([], [], mfc=LINE, label=f"flagged (family error {ALPHA:.0%}, Holm)", **point),
            Line2D([], [], mfc=PAPER, label="not flagged", **point),
            Patch(color=BAND, alpha=0.25, lw=0, label="floor ± 2 sd"),
        ]
        legend_above(figure, handles, [str(handle.get_label()) for handle in handles], title=title)
    return figure


def _draw_curve(axis: Axes, response: Response, key: str) -> None:
    measured = [result.measurements[key] for result in response.results]
    first = measured[0]
    unit = f" [{first.unit}]" if first.unit else ""
    axis.set_title(f"{metric_label(first)}{unit} {Direction.of(first).arrow}", fontsize=9, loc="center")
    values, errors = [m.value for m in measured], [m.stderr for m in measured]
    flagged = [key in result.flags for result in response.results]
    draw_curve(axis, response.strengths, values, errors, flagged, first.floor, first.floor_sd)


def draw_curve(
    axis: Axes,
    strengths: Sequence[float],
    values: Sequence[float | None],
    errors: Sequence[float | None],
    flagged: Sequence[bool],
    floor: float | None,
    floor_sd: float | None,
) -> None:
    """A metric's values against the strength of a defect, each with its error, filled where it is flagged; the floor as
    a band."""
    found = [point for point in zip(strengths, values, errors, flagged, strict=True) if point[1] is not None]
    axis.tick_params(labelsize=7)
    axis.minorticks_off()
    if not found:
        axis.text(0.5, 0.5, "no value", transform=axis.transAxes, ha="center", va="center")
        return
    axis.plot([point[0] for point in found], [point[1] or 0.0 for point in found], color=LINE, lw=1)
    for face in (LINE, PAPER):
        some = [point for point in found if (face == LINE) == point[3]]
        x, y, yerr = ([point[column] or 0.0 for point in some] for column in range(3))
        axis.errorbar(x, y, yerr=yerr, fmt="o", color=LINE, ms=4, elinewidth=1, mfc=face)
    if floor is not None:
        spread = 2 * (floor_sd or 0.0)
        axis.axhspan(floor - spread, floor + spread, color=BAND, alpha=0.25, lw=0)


def metric_figure(curves: dict[str, Any], key: str) -> Figure:
    """One metric against every defect: a panel for each. `curves` is what `curve_values` gave."""
    with styled():
        figure = make_figure(2.9 * len(curves["defects"]), 2.4)
        axes = figure.subplots(1, len(curves["defects"]), squeeze=False)
        for axis, (defect, measured) in zip(axes.flat, curves["defects"].items(), strict=True):
            draw_curve(axis, measured["strengths"], **measured["metrics"][key])
            axis.set_xlabel(AXIS[defect], fontsize=8.5)
    return figure


def curve_table(responses: Sequence[Response], task: Task, events: int) -> str:
    """The smallest defect that each metric detects, as Markdown."""
    lines = [
        f"# How much must be wrong before a metric notices? {task.name}, N = {events}",
        "",
        "The smallest strength from which on the metric is flagged at every strength measured "
        f"(family error {ALPHA:.0%}, Holm over all metrics); — : never. On `scale` the less sensitive side counts.",
        "",
        "| metric | " + " | ".join(f"{r.defect} ({AXIS[r.defect]})" for r in responses) + " |",
        "|---|" + "---:|" * len(responses),
    ]
    for key, measured in responses[0].results[0].measurements.items():
        cells = []
        for response in responses:
            found = response.smallest_detected(key, HARMLESS[response.defect])
            cells.append("—" if found is None else f"{found:g}")
        lines.append(f"| {metric_label(measured)} (`{key}`) | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def curve_values(responses: Sequence[Response], task: Task, events: int) -> dict[str, Any]:
    """What the figures show, as data: of each defect its strengths, and of each metric the list of its values, errors
    and flags at them, with its floor."""
    defects: dict[str, Any] = {}
    for response in responses:
        curves = {}
        for key, first in response.results[0].measurements.items():
            measured = [result.measurements[key] for result in response.results]
            curves[key] = {
                "values": [_short(m.value) for m in measured],
                "errors": [_short(m.stderr) for m in measured],
                "flagged": [key in result.flags for result in response.results],
                "floor": _short(first.floor),
                "floor_sd": _short(first.floor_sd),
            }
        defects[response.defect] = {"strengths": list(response.strengths), "metrics": curves}
    return {"task": task.name, "version": task.version, "events": events, "alpha": ALPHA, "defects": defects}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def write_curves(responses: Sequence[Response], task: Task, folder: Path) -> list[Path]:
    """The figures (SVG), their values (JSON) and the table (Markdown) of a task, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    events = next(iter(responses[0].results[0].measurements.values())).n
    written = []
    for response in responses:
        path = folder / f"{task.name}-{response.defect}.svg"
        save_figure(curve_figure(response, task), path, "svg")
        written.append(path)
    table, values = folder / f"{task.name}.md", folder / f"{task.name}.json"
    replace_text(table, curve_table(responses, task, events))
    replace_text(values, json.dumps(curve_values(responses, task, events), indent=None) + "\n")
    return [*written, table, values]
