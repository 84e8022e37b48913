"""Text and tables on a terminal. Cells are shown as they stand: a stranger's text is never read as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text


class _PipeConsole(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def stdout_console() -> Console:
    """The console for tables; it raises BrokenPipeError where the reader goes away."""
    return _PipeConsole(highlight=False)


def right(*headers: str, **how: Any) -> list[Column]:
    """Columns of numbers."""
    return [Column(header, justify="right", **how) for header in headers]


def cells(values: Iterable[Any]) -> list[Text]:
    """The cells of a row."""
    return [value if isinstance(value, Text) else Text(str(value)) for value in values]


def text_table(
    columns: Sequence[str | Column], rows: Iterable[Iterable[Any]] = (), styles: Sequence[str] = (), **how: Any
) -> Table:
    """A table without frames. `styles` are those of the rows, if they have any; `how` is as for rich's Table."""
    options: dict[str, Any] = {"box": None, "padding": (0, 2, 0, 0), "pad_edge": False} | how
    table = Table(*columns, **options)
    for index, row in enumerate(rows):
        table.add_row(*cells(row), style=styles[index] if styles else None)
    return table
