"""One look for all figures: mplhep's style at the size of a page, a palette for any colour vision, how to save them.

Figures are drawn once, in the colours of light paper. In the SVG of the report every colour of the palette becomes a
CSS variable with that colour as its fallback, so that the page can show the same figure on a dark ground.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from simbench.core.text import THIN, count, printable

if TYPE_CHECKING:
    from simbench.core.events import Events
    from simbench.generators.session import Session
    from simbench.metrics.base import Comparison
    from simbench.tasks.base import Task

INK, REAL, FAINT, PAPER = "#1b1f24", "#868c95", "#d4d8dd", "#fffffe"
"""Text and axes; the reference events; grids and frames; the ground."""

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"),
    *("#332288", "#882255", "#84b819", "#7a4b1e", "#9b5de5", "#8a8a00"),
)
"""One a generator; the first six (Okabe and Ito) are told apart with any colour vision, the others by line and marker
too."""

CLASS_COLOURS = (
    "#4e79a7",
    "#f28e2b",
    "#e15759",
    "#59b3ad",
    "#59a14f",
    "#d9b526",
    "#b07aa1",
    "#ff8fa3",
    "#9c755f",
    "#808080",
)
"""One a class of events, whatever the generator."""

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (1, 1.8)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "d", "h", "p")
VARIABLES = {INK: "ink", REAL: "real", FAINT: "faint", PAPER: "paper"}
VARIABLES |= {colour: f"g{place}" for place, colour in enumerate(COLOURS, 1)}
"""The CSS variable behind each colour of the palette."""

COUNTS = "viridis"
DIFFERENCES = "PuOr"


def look_of(place: int) -> tuple[str, str]:
    """Colour and marker of the generator at a place."""
    return COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]


@dataclass(frozen=True)
class Series:
    """The events of one generator, with the label and the place in the palette that it has throughout the report.

    `session` is the generator itself, where it can be asked for more.
    """

    label: str
    place: int
    pair: Comparison
    session: Session | None = None

    @property
    def colour(self) -> str:
        """The generator's colour on light paper."""
        return look_of(self.place)[0]

    @property
    def dash(self) -> Any:
        """The generator's line style."""
        return DASHES[(self.place + self.place // len(COLOURS)) % len(DASHES)]

    @property
    def points(self) -> dict[str, Any]:
        """The generator's marker and colour, for `errorbar`."""
        colour, marker = look_of(self.place)
        return {"fmt": marker, "color": colour}


@functools.cache
def _fonts() -> list[str]:
    """The first of mplhep's fonts that is installed, then matplotlib's own, for the glyphs that it lacks."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    wanted = [name for name in ("TeX Gyre Heros", "Liberation Sans", "Arial", "Helvetica") if name in installed]
    return [*wanted[:1], "DejaVu Sans"]


@contextmanager
def styled() -> Iterator[None]:
    """The style, for the time of a `with` block alone; figures are made and saved inside one."""
    import matplotlib.style
    import mplhep

    sizes = {"font": 10, "axes.label": 10, "axes.title": 10, "xtick.label": 9, "ytick.label": 9, "legend.font": 9.5}
    ticks = {"major.size": 5, "minor.size": 2.5, "major.pad": 4, "major.width": 0.8, "minor.width": 0.6, "color": INK}
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "legend.labelcolor")
    page = {
        **{f"{key}.size" if key == "font" else f"{key}size": size for key, size in sizes.items()},
        **{f"{axis}tick.{key}": value for axis in "xy" for key, value in ticks.items()},
        **dict.fromkeys(inked, INK),
        **{"font.family": _fonts(), "mathtext.fontset": "dejavusans", "mathtext.default": "regular"},
        **{"axes.linewidth": 0.8, "lines.linewidth": 1.6, "axes.facecolor": "none", "grid.color": FAINT},
        **{"figure.facecolor": PAPER, "savefig.facecolor": PAPER, "figure.dpi": 100, "savefig.bbox": "standard"},
        **{"svg.fonttype": "path", "svg.hashsalt": "simbench", "pdf.fonttype": 42},
    }
    with matplotlib.style.context([mplhep.style.CMS, page]):
        yield


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def plain(text: str, limit: int = 28) -> str:
    """A stranger's name as figure text: short, without mathematics, without glyphs that the font lacks."""
    short = "".join(c if ord(c) in _glyphs() else "?" for c in printable(text, limit))
    return (f" {short}" if short.startswith("_") else short).replace("$", r"\$")


def broken(text: str, width: float, lines: int = 3) -> str:
    """A name as figure text (8.5 points, bold) on up to three lines, each about `width` inches long."""
    most = max(int(width / 0.085), 4)
    parts = [plain(part, most) for part in re.findall(r"[^_\-\s(]*[_\-\s(]*", printable(text, 60)) if part]
    rows = [""]
    for part in parts:
        if rows[-1] and len(rows[-1]) + len(part) > most:
            rows.append("")
        rows[-1] += part
    return "\n".join(rows[:lines])


def make_figure(width: float, height: float, **pads: Any) -> Figure:
    """An empty figure, in inches, that makes room for its labels; a report's column is 11 wide."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(**pads))


def comparison_grid(
    series: Sequence[Series], one: tuple[float, float], many: tuple[float, float]
) -> tuple[Figure, Axes, list[tuple[Axes, Axes]]]:
    """A figure with a panel for the real events and two for each generator: for its events, and for how they differ.

    With one generator all stand in a row, and the figure has the size `one`; with more, the two stand below each other,
    and it has the size `many`.
    """
    single = len(series) == 1
    figure = make_figure(*(one if single else many))
    grid: Any = figure.subplots(1 if single else 2, 3 if single else len(series) + 1, squeeze=False)
    pairs = [(grid[0, 1], grid[0, 2])] if single else list(zip(grid[0, 1:], grid[1, 1:], strict=True))
    if not single:
        grid[1, 0].set_axis_off()
    grid[0, 0].set_title("real", loc="center", weight="bold")
    for drawn, (axes, _) in zip(series, pairs, strict=True):
        axes.set_title(plain(drawn.label, 28 if single else 18), loc="center", color=drawn.colour, weight="bold")
    return figure, grid[0, 0], pairs


def paired_panels(series: Sequence[Series]) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A figure with two square panels for each generator: side by side for one, else below each other under its name,
    four generators in a row."""
    if len(series) == 1:
        figure = make_figure(10, 4.7)
        both: Any = figure.subplots(1, 2)
        return figure, [(both[0], both[1])]
    columns = min(len(series), 4)
    bands = -(-len(series) // columns)
    width = min(3.4 * columns, 11.0)
    figure = make_figure(width, bands * (2 * width / columns + 0.3) + 0.4)
    grid: Any = figure.subplots(2 * bands, columns, squeeze=False)
    pairs = [(grid[2 * band, at], grid[2 * band + 1, at]) for band in range(bands) for at in range(columns)]
    for empty in (axes for pair in pairs[len(series) :] for axes in pair):
        empty.set_axis_off()
    for one, (above, _) in zip(series, pairs, strict=False):
        above.set_title(plain(one.label, 24), loc="center", color=one.colour, weight="bold")
    return figure, pairs[: len(series)]


def unscaled(axes: Axes) -> None:
    """A panel whose axes mean nothing: no numbers, no ticks."""
    axes.tick_params(which="both", labelbottom=False, labelleft=False, length=0)
    axes.minorticks_off()
    axes.margins(0.04)


def bare(axes: Axes, frame: str = FAINT) -> None:
    """A panel for an image: no ticks, a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.minorticks_off()
    for spine in axes.spines.values():
        spine.set_edgecolor(frame)
        spine.set_linewidth(0.6)


def calm(bar: Any) -> None:
    """A colour bar without minor ticks in the way."""
    bar.ax.minorticks_off()
    bar.ax.tick_params(size=3, labelsize=8.5)
    bar.outline.set_linewidth(0.6)


def make_sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one panel, measured in inches from the lower left corner: many small images on it cost little."""
    figure = Figure(figsize=(width, height))
    sheet = figure.add_axes((0, 0, 1, 1))
    sheet.set_axis_off()
    return figure, sheet


def place_image(sheet: Axes, image: Any, x: float, y: float, size: float, **how: Any) -> Any:
    """Draw `image` on a sheet, `size` inches wide and high with its lower left corner at (x, y), in a thin frame."""
    drawn = sheet.imshow(image, extent=(x, x + size, y, y + size), interpolation="none", aspect="auto", **how)
    sheet.add_patch(Rectangle((x, y), size, size, fill=False, edgecolor=FAINT, lw=0.6))
    sheet.set_xlim(0, sheet.figure.get_figwidth())  # type: ignore[union-attr]
    sheet.set_ylim(0, sheet.figure.get_figheight())  # type: ignore[union-attr]
    return drawn


def legend_above(
    figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int = 4, title: str | None = None
) -> None:
    """One legend for the whole figure, above it, in rows of up to `columns`."""
    where: Any = "outside upper center" if figure.get_layout_engine() else "upper center"
    look: dict[str, Any] = {"ncols": min(len(labels), columns), "frameon": False, "borderaxespad": 0.2}
    figure.legend(handles, labels, loc=where, title=title, **look)


def sample_label(first: Axes, last: Axes, task: Task, events: Events) -> None:
    """What the figure is of, above its first and last panel in a row as mplhep writes it: the task, and the sample."""
    from mplhep.label import exp_label

    conditions = len(events.condition_id.unique())
    of = f" of {count(conditions)} conditions" if conditions < len(events) else ""
    look: dict[str, Any] = {"data": True, "loc": 0, "fontsize": 10}
    name, sample = plain(f"{task.name} {task.version}"), f"{count(len(events))} events{of}"
    if first is last:
        exp_label(exp=name, text="test split", rlabel=sample, ax=first, **look)
    else:
        exp_label(exp=name, text="test split", rlabel="", ax=first, **look)
        exp_label(exp="", text="", rlabel=sample, ax=last, **look)


RATIO_RANGE = (0.0, 2.0)
"""The ratios that a panel below a histogram shows."""
REAL_BAND = "real (band: its statistical error)"
"""Of `draw_real`, in the legend."""
OUTSIDE = "ratio outside the panel"
"""Of the triangles of `draw_ratio`, in the legend."""


def ratio_panel(axes: Axes, limits: tuple[float, float], ticks: Sequence[float]) -> None:
    """A panel of ratios to real events: a line at 1, and room beyond `limits` for what lies outside of them."""
    room = 0.07 * (limits[1] - limits[0])
    axes.axhline(1, color=INK, lw=0.7)
    axes.set_ylim(limits[0] - room, limits[1] + room)
    axes.set_yticks(ticks)


def draw_ratio(
    axes: Axes, x: Any, ratio: Any, error: Any, one: Series, limits: tuple[float, float], *, ms: float, **how: Any
) -> bool:
    """Points with errors, (B,) each, NaN where there is none; those outside `limits` are triangles at the panel's edge.

    Returns whether there are any such.
    """
    low, high = limits
    inside = (ratio >= low) & (ratio <= high)
    axes.errorbar(x[inside], ratio[inside], error[inside], ms=ms, lw=0.9, capsize=0, **one.points, **how)
    for beyond, at, marker in ((ratio > high, high, "^"), (ratio < low, low, "v")):
        where = x[beyond]
        axes.plot(where, np.full(len(where), at), marker, ms=4.5, color=one.colour, **how)
    return bool(np.any((ratio > high) | (ratio < low)))


def draw_real(main: Axes, below: Axes, real: Any, error: Any, edges: Any) -> Any:
    """Real events as a filled histogram, and below it, about 1, their relative error as a band.

    (B,) counts or means with their errors (B,), in bins of `edges` (B + 1,). Returns what the legend shows.
    """
    handle = main.stairs(real, edges, fill=True, color=REAL, alpha=0.35)
    main.stairs(real, edges, color=REAL, lw=1.2)
    share = np.divide(error, real, out=np.zeros_like(error), where=real > 0)
    below.stairs(1 + share, edges, baseline=1 - share, fill=True, color=REAL, alpha=0.35)
    return handle


def histogram_grid(panels: int, series: Sequence[Series], each: float, hspace: float) -> tuple[Figure, Any, float]:
    """A figure for histograms in rows of three, each `each` inches high, with room for the legend: it, its grid, and
    its height in inches."""
    rows, legend_rows = -(-panels // 3), -(-(len(series) + 2) // 4)
    height = each * rows + 0.6 + 0.25 * legend_rows
    figure = Figure(figsize=(11, height))
    top = 1 - (0.45 + 0.25 * legend_rows) / height
    margins = {"left": 0.065, "right": 0.985, "bottom": 0.5 / height, "top": top}
    return figure, figure.add_gridspec(rows, 3, hspace=hspace, wspace=0.2, **margins), height


def legend_of_ratios(figure: Figure, handles: Sequence[Any], real: str, series: Sequence[Series], outside: str) -> None:
    """The legend of real events and each generator, and of the triangles, where `outside` says what they are."""
    names = [real, *(plain(one.label) for one in series)]
    if outside:
        handles = [*handles, Line2D([], [], ls="", marker="^", ms=4.5, color=INK)]
        names.append(outside)
    legend_above(figure, handles, names)


def photons(value: float, _position: int | None = None) -> str:
    """A tick or a count of photons, thousands apart."""
    return f"{value:,.0f}".replace(",", THIN) if abs(value) >= 1 or value == 0 else f"{value:g}"


def largest_reference(series: Sequence[Series]) -> Comparison:
    """The pair with most reference events: the one reference that all are drawn against."""
    return max((one.pair for one in series), key=len)


def as_array(tensor: Any) -> NDArray[np.float64]:
    """A tensor as float64 numpy."""
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def svg_file(figure: Figure, *, transparent: bool = False) -> str:
    """The figure as the text of an SVG file, in the colours of light paper, with or without its ground."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(
            buffer, format="svg", transparent=transparent, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _compact(buffer.getvalue())


def _compact(text: str) -> str:
    """An SVG file without what nobody sees, about half of it: comments, names of groups, indents, and of coordinates
    what is less than a hundredth of a point."""
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<(g|image)( [^>]*?)? id="[^"]*"', r"<\1\2", text)
    text = re.sub(r"\n\s*", "\n", text)
    text = re.sub(r' (?:d|x|y)="[^"]*"|translate\([^)]*\)', lambda found: _DECIMALS.sub(r"\1", found[0]), text)
    short = {name: f"{place:x}" for place, name in enumerate(dict.fromkeys(re.findall(r' id="([^"]*)"', text)))}
    return re.sub(r'( id="|href="#|url\(#)([^")]*)', lambda found: f"{found[1]}i{short.get(found[2], found[2])}", text)


_DECIMALS = re.compile(r"(\.\d\d)\d+")


def to_svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an `<svg>` element for a page, themed by CSS variables, with ids that start with `name`."""
    return svg_element(svg_file(figure, transparent=True), name, title)


def svg_element(text: str, name: str, title: str) -> str:
    """The text of an SVG file as an element for a page, as `to_svg`."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    found = re.search(r'^<svg[^>]*? width="([0-9.]+)pt"', text)
    width = float(found[1]) / 72 * 96 if found else 960.0
    size = f"width:100%;max-width:{width:.0f}px;min-width:{SMALLEST * width:.0f}px"
    opening = f'<svg role="img" aria-label="{escape(title)}" style="{size}"'
    text = re.sub(r'<svg( [^>]*?)? width="[^"]*"', lambda found: opening + (found[1] or ""), text, count=1)
    text = re.sub(r'^(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, variable in VARIABLES.items():
        text = text.replace(f": {colour}", f": var(--{variable}, {colour})")
    return text


SMALLEST = 0.68
"""A page draws a figure no smaller than this share of its size."""

PHONE = 340
"""CSS pixels that a page has on a narrow phone."""


def narrowest(figure: Figure) -> int:
    """CSS pixels below which a figure is not drawn smaller, but scrolled: its print would be too small."""
    return round(SMALLEST * 96 * figure.get_figwidth())


def save_figure(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as pdf, png or svg, for a talk or a paper; the bytes do not say when."""
    if kind == "svg":
        path.write_text(svg_file(figure), encoding="utf-8")
        return
    with styled():
        figure.savefig(path, dpi=200, format=kind, metadata={"CreationDate": None} if kind == "pdf" else None)
