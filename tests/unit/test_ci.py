"""What CI systems read: valid JUnit, and annotations that a hostile name cannot forge."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from rich.console import Console

from simbench.core.errors import UsageError
from simbench.gates.ci import Case, Report, github_commands, junit, markdown, of_error, publish

HOSTILE = "x\n::error file=a,line=1::gotcha\r\n<img src=x onerror=alert(1)>|`$(id)`%0A::set-output\x1b[31m\x00\ud800"


def make_report(name: str = "vae on zn: precision/1") -> Report:
    cases = [
        Case(name, "fail", f"{name} is worse, 5 %"),
        Case("a", "pass", "fine"),
        Case("b", "warn", "better"),
        Case("c", "skip", "left out"),
        Case("d", "error", "broke"),
    ]
    return Report(
        "simbench gate",
        f"title {name}",
        cases,
        f"FAILED: {name}",
        ("metric", "value"),
        [(case.name, "1") for case in cases],
        [f"note {name}"],
    )


def test_junit_has_the_elements_and_counts_that_readers_ask_for() -> None:
    root = ElementTree.fromstring(junit(make_report(), 1.5).encode())
    assert root.tag == "testsuites"
    (suite,) = root
    for element in (root, suite):
        assert {key: element.get(key) for key in ("tests", "failures", "errors", "skipped", "time")} == {
            "tests": "5",
            "failures": "1",
            "errors": "1",
            "skipped": "1",
            "time": "1.500",
        }
    assert [case.tag for case in suite] == ["testcase"] * 5
    assert all(case.get("name") and case.get("classname") and case.get("time") for case in suite)
    assert [[child.tag for child in case] for case in suite] == [
        ["failure"],
        ["system-out"],
        ["system-out"],
        ["skipped"],
        ["error"],
    ]
    assert suite[0][0].get("message") == "vae on zn: precision/1 is worse, 5 %"


def test_junit_of_hostile_names_is_valid_xml() -> None:
    root = ElementTree.fromstring(junit(make_report(HOSTILE)).encode())
    assert "\x1b" not in "".join(root.itertext())
    assert "<img" in (root[0][0].get("name") or "")


def test_annotations_escape_what_the_runner_unescapes() -> None:
    lines = github_commands(make_report("vae: a,b%\n::error::x"))
    assert (
        lines[0]
        == "::error title=simbench gate%3A vae%3A a%2Cb%25 %3A%3Aerror%3A%3Ax::vae: a,b%25 ::error::x is worse, 5 %25"
    )
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::warning", "::error"]
    assert all(len(line.splitlines()) == 1 for line in github_commands(make_report(HOSTILE)))


def test_commands_are_stopped_while_the_table_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    stream = io.StringIO()
    publish(make_report("::error::forged"), Console(file=stream, width=40), github=True, junit_path=None, seconds=0)
    lines = [line.strip() for line in stream.getvalue().splitlines()]
    token = lines[0].removeprefix("::stop-commands::")
    assert len(token) == 32
    end = lines.index(f"::{token}::")
    assert all(line.startswith(("::error title=", "::warning title=")) for line in lines[end + 1 :])
    assert any(line.startswith("::error::forged") for line in lines[1:end])  # a narrow table does put it there


def test_the_step_summary_is_appended_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    publish(make_report(), None, github=True, junit_path=tmp_path / "deep" / "junit.xml", seconds=0)
    publish(make_report(), None, github=False, junit_path=None, seconds=0)
    assert path.read_text() == "before\n" + markdown(make_report())
    assert (tmp_path / "deep" / "junit.xml").exists()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    with pytest.raises(UsageError, match="GITHUB_STEP_SUMMARY"):
        publish(make_report(), None, github=True, junit_path=None, seconds=0)


def test_markdown_shows_names_and_renders_none() -> None:
    text = markdown(make_report(HOSTILE))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 7
    assert rows[1] == "| --- | --- |"
    assert all(line.replace("\\|", "").count("|") == 3 for line in rows)
    assert "<img" not in text
    assert "\\`" in text
    assert "```" not in text


def test_an_error_has_a_report_of_its_own() -> None:
    report = of_error("simbench gate", "x.golden.json", UsageError("no luck"))
    assert [case.outcome for case in report.cases] == ["error"]
    assert github_commands(report) == ["::error title=simbench gate%3A x.golden.json::UsageError: no luck."]
    assert markdown(report).count("no luck") == 1
