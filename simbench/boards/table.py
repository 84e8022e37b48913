"""The Table: rows of cells that Markdown, CSV, LaTeX and HTML all write from.

A cell has a value (what is sorted and exported), a display value (what is read), a link and a note. Its text may be a
stranger's: every writer escapes it for its own format, so that nothing in a table is markup, a formula or a command.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from markupsafe import escape

from simbench.core.text import THIN, no_formula, printable

LONGEST = 100_000
"""Characters of a cell in CSV, at most."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        display: what is read; "" is an empty cell.
        value: the number behind it, None for words.
        error: the standard error of `value`.
        link: where the cell leads, relative to the board's folder, or an https address.
        note: a few words in small print beside it.
        full: the words in full, for CSV, where `display` and `note` are cut to be read.
    """

    display: str
    value: float | None = None
    error: float | None = None
    link: str = ""
    note: str = ""
    full: str = ""

    @property
    def split(self) -> tuple[str, str]:
        """The display in two: the value, and its error where `±` stands between them."""
        if self.error is None or self.display[:1] == "(":
            return self.display, ""
        value, _, error = self.display.partition(" ± ")
        return value, error


EMPTY = Cell("")


@dataclass(frozen=True)
class Column:
    """A column: its head, its name in CSV, whether it holds words, and what it means in a sentence."""

    title: str
    key: str
    words: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Row:
    """A row. "reference" rows are yardsticks below the others, "printed" ones come from papers: neither is ranked."""

    cells: tuple[Cell, ...]
    kind: Literal["entry", "reference", "printed"] = "entry"


@dataclass(frozen=True)
class Table:
    """A table with its caption. `name` is an identifier: letters, digits and hyphens."""

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise ValueError(f"a table's name is made of letters, digits and hyphens, got {self.name!r}")
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"table {self.name}: a row has {len(row.cells)} cells for {len(self.columns)} columns")

    def select(self, keys: Sequence[str]) -> Table:
        """The table with the columns of those keys alone."""
        kept = [index for index, column in enumerate(self.columns) if column.key in keys]
        rows = tuple(Row(tuple(row.cells[index] for index in kept), row.kind) for row in self.rows)
        return Table(self.name, self.title, self.caption, tuple(self.columns[index] for index in kept), rows)

    def head(self, limit: int) -> Table:
        """The table with its first `limit` entries alone, and all rows that are no entries."""
        entries = [row for row in self.rows if row.kind == "entry"][:limit]
        rows = (*entries, *(row for row in self.rows if row.kind != "entry"))
        return Table(self.name, self.title, self.caption, self.columns, rows)


def _shown(text: str, limit: int = 500) -> str:
    """A text on one line, as `printable` makes it, with the narrow space of thousands left alone."""
    return THIN.join(printable(part, limit) for part in text.split(THIN)) if THIN in text else printable(text, limit)


def to_markdown(table: Table, base: str = "") -> str:
    """The rows as a Markdown table. Words are linked, relative links from `base` on; numbers are not, to be legible."""
    lines = [
        _markdown_row(escape_markdown(column.title) for column in table.columns),
        _markdown_row("---" if column.words else "---:" for column in table.columns),
    ]
    for row in table.rows:
        pairs = zip(row.cells, table.columns, strict=True)
        lines.append(_markdown_row(_markdown_cell(cell, column, row, base) for cell, column in pairs))
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell, column: Column, row: Row, base: str) -> str:
    text = escape_markdown(cell.display)
    if column.words and cell.link and text:
        text = f"[{text}]({cell.link if cell.link.startswith('https://') else quote(base + cell.link)})"
    if cell.note:
        text = f"{text} ({escape_markdown(cell.note)})"
    return f"*{text}*" if text and row.kind == "printed" and column.words else text


_MARKDOWN = str.maketrans({**{mark: f"\\{mark}" for mark in "\\`*_[]|~$"}, "&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it stands: no markup, no HTML, no links and no mentions of its own."""
    escaped = _shown(text).translate(_MARKDOWN).replace("://", "&#58;//").replace("www.", "www&#46;")
    return re.sub(r"@(?=\w)", "&#64;", escaped) if "@" in escaped else escaped


def to_csv(table: Table) -> str:
    """The values: numbers in full, errors in columns of their own, words so that no spreadsheet computes them."""
    errors = [any(row.cells[index].error is not None for row in table.rows) for index in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["kind"]
    for column, has_error in zip(table.columns, errors, strict=True):
        head += [column.key, f"{column.key} stderr"] if has_error else [column.key]
    writer.writerow(no_formula(text) for text in head)
    for row in table.rows:
        values: list[str] = [row.kind]
        for cell, column, has_error in zip(row.cells, table.columns, errors, strict=True):
            read = " ".join(part for part in (cell.display, f"({cell.note})" if cell.note else "") if part)
            values.append(no_formula(_shown(cell.full or read, LONGEST)) if column.words else _csv_number(cell.value))
            if has_error:
                values.append(_csv_number(cell.error))
        writer.writerow(values)
    return out.getvalue()


def _csv_number(value: float | None) -> str:
    return "" if value is None else repr(float(value)) if value % 1 else str(int(value))


def to_html(table: Table) -> str:
    """The rows as a `<tbody>` for each kind of row: numbers in full in `data-v`, for sorting. Rank 1 is marked.

    Written here and not in a template, which takes four times as long for 10 000 rows.
    """
    lines = []
    for kind in sorted({row.kind for row in table.rows}):
        lines.append("<tbody>")
        for row in table.rows:
            if row.kind == kind:
                first = " first" if table.name == "board" and row.cells[0].display == "1" else ""
                cells = (_html_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True))
                lines.append(f'<tr class="{kind}{first}">{"".join(cells)}</tr>')
        lines.append("</tbody>")
    return "\n".join(lines) + "\n"


_IN_HTML = re.compile("[&<>\"']")


def _html(text: str) -> str:
    return str(escape(text)) if _IN_HTML.search(text) else text


LONG = 16
"""Characters beyond which a cell of numbers is broken over lines, so that its column is narrow."""


def _html_cell(cell: Cell, column: Column) -> str:
    value, error = cell.split
    if column.words:
        kind = ' class="words model"' if column.key == "model" else ' class="words"'
    else:
        kind = ' class="long"' if len(value) > LONG else ""
    text = _html(value)
    if column.key == "model":
        text = text.replace("_", "_<wbr>")
    if cell.link:
        text = f'<a href="{_html(cell.link)}">{text}</a>'
    if error:
        text = f"{text} <small>± {_html(error)}</small>"
    if cell.note:
        text = f"{text} <small>{_html(cell.note)}</small>"
    number = "" if cell.value is None else f' data-v="{cell.value}"'
    return f"<td{kind}{number}>{text}</td>"


_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_NAMED = "textbackslash textasciitilde textasciicircum textless textgreater textbar textmu texteuro ldots"
_MATHS = "pm cdot times downarrow uparrow to sigma surd ge bullet"
_LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "{}$&%#_"}
    | {mark: f"{{{mark}}}" for mark in "-`'[]"}
    | {mark: f"\\{name}{{}}" for mark, name in zip("\\~^<>|µ€…", _NAMED.split(), strict=True)}
    | {mark: f"$\\{name}$" for mark, name in zip("±·×↓↑→σ√≥●", _MATHS.split(), strict=True)}
    | {mark: f"$\\{name}$" for mark, name in zip("αβγδεζηθικλμνξπρτυφχψωΓΔΘΛΞΠΣΥΦΨΩ", _GREEK.split(), strict=True)}
    | {mark: f"$^{{{digit}}}$" for mark, digit in zip("⁻⁰¹³⁴⁵⁶⁷⁸⁹", "-013456789", strict=True)}
    | {'"': "{''}", "−": "$-$", THIN: r"\,", "–": "--", "²": "$^2$"}
)
_NOT_IN_LATEX = re.compile(f"[^\\x20-\\x7e\\xa1-\\u017f{''.join(chr(code) for code in _LATEX if code > 0x7F)}]")
"""What the default fonts of LaTeX lack."""


def to_latex(table: Table, label: str) -> str:
    """A `table*` of booktabs, without units, notes and links.

    A letter that the default fonts of LaTeX lack is set without its accents or, where it is none then, as its code:
    `[U+4E2D]`. A comment says so.
    """
    spec = "".join("l" if column.words else "r" for column in table.columns)
    lines = [
        *(r"\begin{table*}", r"\centering", rf"\caption{{{_latex(table.caption)}}}"),
        *(rf"\label{{tab:{label}}}", rf"\begin{{tabular}}{{{spec}}}", r"\toprule"),
        _latex_row(column.title for column in table.columns),
        r"\midrule",
    ]
    kind = table.rows[0].kind if table.rows else "entry"
    for row in table.rows:
        if row.kind != kind:
            lines.append(r"\midrule")
            kind = row.kind
        lines.append(_latex_row(cell.display for cell in row.cells))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table*}"]
    if any(_CODE.search(line) for line in lines):
        lines.insert(0, "% [U+...] stands for a letter that the default fonts of LaTeX lack")
    return "\n".join(lines) + "\n"


def _latex_row(cells: Iterator[str]) -> str:
    return " & ".join(_latex(text) for text in cells) + r" \\"


def _latex(text: str) -> str:
    return _NOT_IN_LATEX.sub(_spelt, _shown(text)).translate(_LATEX)


_CODE = re.compile(r"\{\[\}U\+[0-9A-F]{4,6}\{\]\}")


def _spelt(match: re.Match[str]) -> str:
    """A letter that LaTeX lacks in letters that it has: without its accents, or as its code."""
    parts = unicodedata.normalize("NFKD", match[0])
    plain = "".join(part for part in parts if not unicodedata.combining(part))
    return f"[U+{ord(match[0]):04X}]" if not plain or _NOT_IN_LATEX.search(plain) else plain
