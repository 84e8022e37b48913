"""Every metric against the strength of every defect: the figure that shows why one number is never enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from simbench.core.files import replace_text
from simbench.metrics.direction import Direction
from simbench.report.style import COLOURS, legend_above, make_figure, save_figure, styled
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
            Line2D([], [], mfc="white", label="not flagged", **point),
            Patch(color=BAND, alpha=0.25, lw=0, label="floor ± 2 sd"),
        ]
        legend_above(figure, handles, [str(handle.get_label()) for handle in handles], title=title)
    return figure


def _draw_curve(axis: Axes, response: Response, key: str) -> None:
    measured = [result.measurements[key] for result in response.results]
    together = zip(response.strengths, measured, response.results, strict=True)
    points = [(strength, m, key in result.flags) for strength, m, result in together if m.value is not None]
    first = measured[0]
    unit = f" [{first.unit}]" if first.unit else ""
    axis.set_title(f"{metric_label(first)}{unit} {Direction.of(first).arrow}", fontsize=9, loc="center")
    axis.tick_params(labelsize=7)
    if not points:
        axis.text(0.5, 0.5, "no value", transform=axis.transAxes, ha="center", va="center")
        return
    for strength, m, flagged in points:
        assert m.value is not None
        look: dict[str, Any] = {"color": LINE, "marker": "o", "ms": 4, "lw": 1, "mfc": LINE if flagged else "white"}
        axis.errorbar(strength, m.value, yerr=m.stderr, **look)
    axis.plot([s for s, _, _ in points], [m.value or 0.0 for _, m, _ in points], color=LINE, lw=1)
    floor, sd = points[0][1].floor, points[0][1].floor_sd or 0.0
    if floor is not None:
        axis.axhspan(floor - 2 * sd, floor + 2 * sd, color=BAND, alpha=0.25, lw=0)


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


def write_curves(responses: Sequence[Response], task: Task, folder: Path) -> list[Path]:
    """The figures (SVG) and the table (Markdown) of a task, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    events = next(iter(responses[0].results[0].measurements.values())).n
    written = []
    for response in responses:
        path = folder / f"{task.name}-{response.defect}.svg"
        save_figure(curve_figure(response, task), path, "svg")
        written.append(path)
    table = folder / f"{task.name}.md"
    replace_text(table, curve_table(responses, task, events))
    return [*written, table]
