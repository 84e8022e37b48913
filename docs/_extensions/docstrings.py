"""Docstrings of simbench, plain text with formulas, as reStructuredText: what would be read as markup is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import dedent, indent
from typing import Any

SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes):$")
DEFINES = re.compile(r"[\w^]+(\([\w, ]*\))?\s+= ")
CODE = re.compile(r"(`[^`]+`)")


def as_rst(lines: Sequence[str]) -> list[str]:
    """A docstring's lines, without their common indent, as reStructuredText.

    Formulas and indented paragraphs become literal blocks, words in backticks code; the sections `Args:`, `Returns:`
    and so on are left to napoleon.
    """
    found: list[str] = []
    section = False
    for paragraph in _paragraphs(lines):
        section = bool(SECTION.match(paragraph[0])) or (section and paragraph[0].startswith(" "))
        if section:
            found += _escaped(paragraph)
        elif all(line.startswith(" ") for line in paragraph):
            found += _literal(paragraph)
        else:
            formulas = _leading_formulas(paragraph)
            found += _literal(paragraph[:formulas]) if formulas else []
            found += _escaped(_with_room(paragraph[formulas:]))
        found.append("")
    return found


def _paragraphs(lines: Sequence[str]) -> Iterator[list[str]]:
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line.rstrip())
        elif paragraph:
            yield paragraph
            paragraph = []


def _leading_formulas(paragraph: Sequence[str]) -> int:
    """How many of the first lines are formulas: `S(x, y) = ...`, or a whole paragraph that is no sentence."""
    if not re.search(r"[.:;!?]$", paragraph[-1]) and not re.match(r"[A-Z][a-z]+ |`|- ", paragraph[0]):
        return len(paragraph)
    defined = 0
    while defined < len(paragraph) and DEFINES.match(paragraph[defined]):
        defined += 1
    return defined


def _with_room(lines: Sequence[str]) -> list[str]:
    """The lines with an empty one where a list begins or ends beside a sentence."""
    found: list[str] = []
    listed = False
    for line in lines:
        if not line.startswith(("- ", " ")) if listed else line.startswith("- "):
            found.append("")
            listed = not listed
        found.append(line)
    return found


def _literal(lines: Sequence[str]) -> list[str]:
    return ["::", "", *indent(dedent("\n".join(lines)), "    ").split("\n"), ""]


def _escaped(lines: Sequence[str]) -> list[str]:
    """Text as text, words in backticks as code, on one line or more."""
    parts = CODE.split("\n".join(lines))
    return "".join(f"`{part}`" if CODE.fullmatch(part) else _plain(part) for part in parts).split("\n")


def _plain(text: str) -> str:
    text = re.sub(r"([\\*|`])", r"\\\1", text).replace("::", r":\:")
    return re.sub(r"(?<=\w)_(?!\w)", r"\_", text)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rst(lines)


def setup(app: Any) -> dict[str, bool]:
    """Rewrite docstrings before napoleon does, whose priority is 500."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
