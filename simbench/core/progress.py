"""Progress on stderr: bars on a terminal, plain lines in a log, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


Advance = Callable[..., None]
"""Called as a step goes on, with the number of units that are done, or without for one."""


class Progress:
    """The progress of a run.

    >>> with Progress(quiet=True) as progress, progress.step("sampling", 4000) as advance:
    ...     advance(256)
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bars: RichProgress | None = None

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def note(self, text: str) -> None:
        """One line, at once: a warning, or what is being done."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        elif not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """A named step of `total` units (None: not known)."""
        if self._bars is not None:
            task = self._bars.add_task(name, total=total)
            bars = self._bars
            try:
                yield lambda amount=1, /: bars.advance(task, amount)
            finally:
                bars.remove_task(task)
            return
        start = last = time.monotonic()
        done = 0

        def advance(amount: int = 1, /) -> None:
            nonlocal done, last
            done += amount
            if time.monotonic() - last > SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                self.note(f"{name}: {done}/{total}" if total else f"{name}: {done}")

        yield advance
        self.note(f"{name}: {time.monotonic() - start:.1f} s")

    def each(self, name: str, things: Iterable[T], total: int | None = None) -> Iterator[T]:
        """The things of a step, one by one, each reported when it is there."""
        with self.step(name, total) as advance:
            for thing in things:
                yield thing
                advance(1)
