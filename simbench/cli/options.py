"""Options that several verbs share, and how verbs print."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

TaskOption = Annotated[
    str, typer.Option("--task", "-t", metavar="NAME", help="What to generate; `simbench tasks` lists them.")
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="KEY=VALUE", help="A constructor argument of the generator; repeatable."),
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, metavar="N", help="The root seed that all others are derived from.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout; progress stays on stderr.")]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Where data that simbench does not ship are looked for first."),
]

CHECK_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def command_line() -> str:
    """What the user typed, for the provenance."""
    return shlex.join(["simbench", *sys.argv[1:]])


def print_json(value: Any) -> None:
    """A value as JSON on stdout."""
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


@contextlib.contextmanager
def stdout_kept_for_data(wanted: bool) -> Iterator[None]:
    """Under --json: whatever user code prints goes to stderr, so that stdout holds the JSON and nothing else."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def stdout_console() -> Console:
    """The console for tables."""
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return PipeConsole(highlight=False)


def print_checks(title: str, checks: list[dict[str, Any]]) -> None:
    """A table of checks, each with `name`, `status` (ok, warn, fail), `reason` and `fix`."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        sentence = (
            check["reason"] if check["status"] == "ok" or not check["fix"] else f"{check['reason']} {check['fix']}"
        )
        table.add_row(Text(check["status"], style=CHECK_STYLES[check["status"]]), Text(check["name"]), Text(sentence))
    console = stdout_console()
    console.print(table)
    counts = {status: sum(check["status"] == status for check in checks) for status in CHECK_STYLES}
    console.print(Text(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed", style="bold"))
