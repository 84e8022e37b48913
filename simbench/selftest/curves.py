"""Every metric against the strength of every defect: the figure that shows why one number is never enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from simbench.core.files import replace_text
from simbench.report.style import save_figure
from simbench.selftest.run import ALPHA, Response
from simbench.tasks.base import Task

HARMLESS = {"scale": 1.0, "emptied": 0.0, "shrunk": 0.0}
BLUE = "#0072B2"
AXIS = {"scale": "photons times", "emptied": "share of events emptied", "shrunk": "shrunk towards the condition's mean"}


def curve_figure(response: Response) -> Figure:
    """One panel a metric: value and error against the strength, its floor as a band, flagged points filled."""
    keys = list(response.results[0].measurements)
    columns = 4
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.2 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(keys) :]:
        axis.set_visible(False)
    for axis, key in zip(axes.flat, keys, strict=False):
        measured = [result.measurements[key] for result in response.results]
        together = zip(response.strengths, measured, response.results, strict=True)
        points = [(s, m, key in r.flags) for s, m, r in together if m.value is not None]
        if not points:
            continue
        for strength, m, flagged in points:
            assert m.value is not None
            style = {"color": BLUE, "marker": "o", "markersize": 4, "linewidth": 1}
            axis.errorbar(strength, m.value, yerr=m.stderr, markerfacecolor=BLUE if flagged else "white", **style)
        axis.plot([s for s, _, _ in points], [m.value or 0.0 for _, m, _ in points], color=BLUE, linewidth=1)
        floor, sd = points[0][1].floor, points[0][1].floor_sd or 0.0
        if floor is not None:
            axis.axhspan(floor - 2 * sd, floor + 2 * sd, color="#009E73", alpha=0.25, linewidth=0)
        axis.set_title(key.partition("/")[0], fontsize=9)
        axis.tick_params(labelsize=7)
    text = f"{AXIS[response.defect]}  (filled: flagged at {ALPHA:.0%} after Holm; band: floor ± 2 sd)"
    figure.supxlabel(text, fontsize=10)
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
    for key in responses[0].results[0].measurements:
        cells = []
        for response in responses:
            found = response.smallest_detected(key, HARMLESS[response.defect])
            cells.append("—" if found is None else f"{found:g}")
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_curves(responses: Sequence[Response], task: Task, folder: Path) -> list[Path]:
    """The figures (SVG) and the table (Markdown) of a task, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    events = next(iter(responses[0].results[0].measurements.values())).n
    written = []
    for response in responses:
        path = folder / f"{task.name}-{response.defect}.svg"
        save_figure(curve_figure(response), path, "svg")
        written.append(path)
    table = folder / f"{task.name}.md"
    replace_text(table, curve_table(responses, task, events))
    return [*written, table]
