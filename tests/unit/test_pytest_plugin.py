"""The pytest plugin: silent without its option, one test for each golden value with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from gate_results import METRICS, run, with_first

from simbench.core.errors import GeneratorError
from simbench.gates import run as gate_run
from simbench.gates.golden import update_golden
from simbench.results.schema import Result

pytest_plugins = ["pytester"]
ARGUMENTS = ("-p", "simbench.gates.pytest_plugin", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    update_golden(pytester.path / "zn-vae.golden.json", run(20, seed=1), "first")
    return pytester.path


def runs(monkeypatch: pytest.MonkeyPatch, answer: Result | Exception) -> list[object]:
    """Let the plugin's run of the generator give `answer`; returns the requests it gets."""
    asked: list[object] = []

    def fake(request: object, *arguments: object, **options: object) -> Result:
        asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(gate_run, "run_for_gate", fake)
    return asked


def test_without_the_option_nothing_is_collected_or_imported(project: Path, pytester: pytest.Pytester) -> None:
    assert pytester.runpytest_inprocess(*ARGUMENTS).ret == pytest.ExitCode.NO_TESTS_COLLECTED
    code = (
        "import sys, simbench.gates.pytest_plugin\n"
        "print([m for m in ('torch', 'pydantic', 'numpy', 'simbench.gates.golden') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_one_test_for_each_value_and_one_run_for_all(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = runs(monkeypatch, run(seed=2, shifts={"precision": -20}))
    done = pytester.runpytest_inprocess(*ARGUMENTS, "--simbench", "-v", "--simbench-repetitions", "2")
    done.assert_outcomes(passed=len(METRICS) - 1, failed=1)
    done.stdout.fnmatch_lines(["*zn-vae.golden.json::precision/1 FAILED*", "*precision/1: golden 0.*worse by*"])
    assert "Traceback" not in done.stdout.str()
    assert [request.repetitions for request in asked] == [2]  # type: ignore[attr-defined]


def test_an_improvement_warns_and_a_metric_left_out_is_skipped(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(seed=2, shifts={"precision": 20})
    runs(monkeypatch, with_first(result, status="skipped", value=None, per_repetition=[], error="slow"))
    done = pytester.runpytest_inprocess(*ARGUMENTS, "--simbench")
    done.assert_outcomes(passed=2, skipped=1, warnings=1)


def test_a_generator_that_cannot_be_run_fails_every_test(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = runs(monkeypatch, GeneratorError("no weights"))
    done = pytester.runpytest_inprocess(*ARGUMENTS, "--simbench")
    done.assert_outcomes(failed=len(METRICS))
    assert len(asked) == 1
    done.stdout.fnmatch_lines(["no weights."])


def test_a_file_edited_by_hand_is_an_error(project: Path, pytester: pytest.Pytester) -> None:
    path = project / "zn-vae.golden.json"
    path.write_text(path.read_text().replace("first", "second"))
    done = pytester.runpytest_inprocess(*ARGUMENTS, "--simbench")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*edited by hand*"])
