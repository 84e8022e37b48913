"""What a gate tells a CI system and the people who read its logs: a table, JUnit XML, GitHub annotations and a Markdown
summary.

Names in it come from strangers: every writer escapes for its own format, and control characters go everywhere.
"""

from __future__ import annotations

import html
import os
import re
import secrets
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from simbench.core.errors import UsageError
from simbench.core.files import replace_text
from simbench.core.text import printable

if TYPE_CHECKING:
    from rich.console import Console

Outcome = Literal["pass", "fail", "warn", "skip", "error"]
STYLES: dict[Outcome, str] = {"pass": "", "fail": "bold red", "warn": "bold yellow", "skip": "dim", "error": "bold red"}
LONGEST = 2000
"""Characters of a message that are kept."""


@dataclass(frozen=True)
class Case:
    """One thing that was tested. "warn" passes and asks for attention; "error" could not be tested."""

    name: str
    outcome: Outcome
    message: str = ""


@dataclass(frozen=True)
class Report:
    """A table with one row for each case, and one line that sums it up. No columns and rows: nothing was measured."""

    suite: str
    title: str
    cases: list[Case]
    verdict: str
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def of_error(suite: str, title: str, error: Exception) -> Report:
    """The report of a gate that could not be run."""
    sentence = f"{type(error).__name__}: {error}"
    return Report(suite, title, [Case(title, "error", sentence)], sentence)


def print_report(report: Report, console: Console) -> None:
    """The table on a terminal."""
    from rich.table import Column
    from rich.text import Text

    from simbench.core.console import right, text_table

    console.print(Text(report.title, style="bold"))
    if report.rows:
        first, *inner, last = report.columns
        ends = [Column(name, overflow="fold") for name in (first, last)]
        columns = [ends[0], *right(*inner, overflow="fold", no_wrap=True), ends[1]]
        styles = [STYLES[case.outcome] for case in report.cases]
        console.print(text_table(columns, report.rows, styles, padding=(0, 1, 0, 0)))
    for note in report.notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    console.print(Text(report.verdict, style="bold"))


def junit(report: Report, seconds: float = 0.0) -> str:
    """The report as JUnit XML, as Jenkins, GitLab and GitHub's actions read it."""
    outcomes = [case.outcome for case in report.cases]
    counts = {
        "tests": str(len(outcomes)),
        "failures": str(outcomes.count("fail")),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skip")),
        "time": f"{seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": report.suite} | counts)
    for case in report.cases:
        attributes = {"classname": report.suite, "name": printable(case.name), "time": "0.000"}
        element = ElementTree.SubElement(suite, "testcase", attributes)
        message = printable(case.message, LONGEST)
        tags: dict[Outcome, str] = {"fail": "failure", "error": "error", "skip": "skipped"}
        if case.outcome in tags:
            ElementTree.SubElement(element, tags[case.outcome], {"message": message}).text = (
                None if case.outcome == "skip" else message
            )
        elif message:
            ElementTree.SubElement(element, "system-out").text = message
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def github_commands(report: Report) -> list[str]:
    """GitHub workflow commands: `::error` for what fails, `::warning` for what asks for attention."""
    commands: dict[Outcome, str] = {"fail": "error", "error": "error", "warn": "warning", "skip": "warning"}
    return [
        f"::{commands[case.outcome]} "
        f"title={_property(f'{report.suite}: {printable(case.name)}')}::{_data(printable(case.message, LONGEST))}"
        for case in report.cases
        if case.outcome in commands
    ]


def _data(text: str) -> str:
    """Text of a workflow command, escaped as the runner unescapes it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property of a workflow command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


@contextmanager
def commands_stopped(console: Console) -> Iterator[None]:
    """GitHub's runner reads no workflow commands meanwhile: a line of a table may begin with a stranger's `::`."""
    token = secrets.token_hex(16)
    console.print(f"::stop-commands::{token}", markup=False, soft_wrap=True)
    try:
        yield
    finally:
        console.print(f"::{token}::", markup=False, soft_wrap=True)


def markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    lines = [f"### {_inline(report.title)}", "", f"**{_inline(report.verdict)}**", ""]
    if report.rows:
        lines += ["| " + " | ".join(_inline(cell) for cell in row) + " |" for row in (report.columns, *report.rows)]
        lines.insert(5, "|" + " --- |" * len(report.columns))
        lines.append("")
    lines += [f"- {_inline(note)}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _inline(text: str) -> str:
    """Text that Markdown shows as it is: no markup, HTML, link or mention."""
    plain = re.sub(r"([\\`*_{}\[\]()#+!|~@:-])", r"\\\1", printable(text, LONGEST))
    return html.escape(plain, quote=False)


def append_step_summary(report: Report) -> None:
    """Add the report to the summary page of the GitHub job, if this is one. Raises UsageError."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(markdown(report))
    except OSError as error:
        raise UsageError(
            "$GITHUB_STEP_SUMMARY cannot be written", got=error.strerror or str(error), fix="Unset it."
        ) from error


def publish(report: Report, console: Console | None, *, github: bool, junit_path: Path | None, seconds: float) -> None:
    """Print the report (with no `console`, leave that out) and write what was asked for beside it."""
    if junit_path is not None:
        replace_text(junit_path, junit(report, seconds))
    if console is not None and github:
        with commands_stopped(console):
            print_report(report, console)
        for line in github_commands(report):
            console.print(line, markup=False, soft_wrap=True)
    elif console is not None:
        print_report(report, console)
    if github:
        append_step_summary(report)
