"""How verbs begin, work and answer: one way for all."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simbench.core.errors import UsageError, print_traceback

if TYPE_CHECKING:
    from simbench.core.progress import Progress
    from simbench.generators.contract import Check
    from simbench.tasks.base import Task

CHECK_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def command_line() -> str:
    """What the user typed, for the provenance."""
    return shlex.join(["simbench", *sys.argv[1:]])


def read_options(param: list[str] | None, task: str, data_dir: Path | None) -> tuple[dict[str, str], Task]:
    """The parameters and the task that the options name. Raises UsageError or DataError."""
    from simbench.core.parameters import parse_params
    from simbench.tasks import get_task

    return parse_params(param or []), get_task(task, data_dir)


def refuse_options(why: str, **values: Any) -> None:
    """Refuse options that do not go with what is asked for. Raises UsageError where some have a value."""
    given = [f"--{name.replace('_', '-')}" for name, value in values.items() if value not in (None, False)]
    if given:
        raise UsageError(why, got=", ".join(given), fix="Leave it out.")


@contextlib.contextmanager
def stdout_kept_for_data(wanted: bool) -> Iterator[None]:
    """Under --json: whatever user code prints goes to stderr, so that stdout holds the JSON and nothing else."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def working(json: bool) -> Iterator[Progress]:
    """The progress of a verb that runs user code."""
    from simbench.core.progress import Progress

    with stdout_kept_for_data(json), Progress() as progress:
        yield progress


def print_json(value: Any) -> None:
    """A value as JSON on stdout."""
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def answer(as_json: bool, value: Any, *lines: str) -> None:
    """What a verb has to say: a value as JSON, or lines of text."""
    if as_json:
        print_json(value)
    else:
        for line in lines:
            print(line)


def print_table(columns: Sequence[Any], rows: Iterable[Iterable[Any]], **how: Any) -> None:
    """A table on stdout, as `simbench.core.console.text_table` makes it."""
    from simbench.core.console import stdout_console, text_table

    stdout_console().print(text_table(columns, rows, **how))


def print_text(text: str, style: str = "") -> None:
    """Text on stdout, as it stands."""
    from rich.text import Text

    from simbench.core.console import stdout_console

    stdout_console().print(Text(text, style=style))


def described(checks: Sequence[Check]) -> list[dict[str, str]]:
    """Checks as JSON shows them. The tracebacks behind those that failed go to stderr where they are asked for."""
    for check in checks:
        if check.error is not None:
            print_traceback(check.error)
    return [check.as_dict() for check in checks]


def print_checks(title: str, checks: Sequence[dict[str, Any]]) -> None:
    """A table of checks, each with `name`, `status` (ok, warn, fail), `reason` and `fix`."""
    from rich.table import Column
    from rich.text import Text

    rows = [
        (
            Text(check["status"], style=CHECK_STYLES[check["status"]]),
            check["name"],
            f"{check['reason']} {'' if check['status'] == 'ok' else check['fix']}".strip(),
        )
        for check in checks
    ]
    columns = [Column(no_wrap=True), Column(no_wrap=True), Column(overflow="fold")]
    print_table(columns, rows, title=title, title_justify="left", padding=(0, 1), show_header=False)
    counts = {status: sum(check["status"] == status for check in checks) for status in CHECK_STYLES}
    summary = f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed"
    print_text(summary, "bold")
