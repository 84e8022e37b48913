"""The gate: how often it cries wolf, what it finds, and what it refuses to compare."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest
import scipy.stats
from factories import make_measurement, make_result
from gate_results import METRICS, run, with_first
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import DataError, NothingMeasuredError, UsageError
from simbench.core.statistics import holm
from simbench.gates.golden import GoldenEntry, GoldenValue, read_golden, update_golden
from simbench.gates.quality import FAMILY_ERROR, POWER, as_dict, gate, judge, limits, report
from simbench.results.schema import write_result
from simbench.tasks import get_task

DIRECTIONS = (("lower", None), ("higher", None), ("target", 1.0), ("target", 5.0))


def value(numbers: object, direction: str = "lower", target: float | None = None, name: str = "m") -> GoldenValue:
    return GoldenValue.model_construct(
        metric=name,
        version="1",
        unit="",
        direction=direction,
        target=target,
        stderr=None,
        per_repetition=[float(x) for x in numbers],  # type: ignore[attr-defined]
    )


@pytest.fixture
def entry(tmp_path: Path) -> GoldenEntry:
    return update_golden(tmp_path / "x.golden.json", run(20, seed=1), "first").current


def failing(outcome: object) -> set[str]:
    return {check.golden.metric for check in outcome.having("regression", "missing")}  # type: ignore[attr-defined]


def test_an_unchanged_generator_fails_in_about_one_run_of_a_hundred() -> None:
    rng = np.random.default_rng(5)
    runs, alarms, alerts = 3000, 0, 0
    for _ in range(runs):
        golden = {}
        for index in range(12):
            direction, target = DIRECTIONS[index % 4]
            golden[f"m{index}"] = value(rng.normal(1, 1, 10), direction, target)
        checks = judge(golden, {key: [x] for key, x in zip(golden, rng.normal(1, 1, 12).tolist(), strict=True)})
        alarms += any(check.status == "regression" for check in checks.values())
        alerts += any(check.status == "improved" for check in checks.values())
    assert 0.005 < alarms / runs < 0.013
    assert 0.003 < alerts / runs < 0.013


@pytest.mark.parametrize(("direction", "target"), [("lower", None), ("higher", None), ("target", -20.0)])
@pytest.mark.parametrize("repetitions", [1, 4])
def test_the_smallest_defect_is_found_as_often_as_printed(
    direction: str, target: float | None, repetitions: int
) -> None:
    rng = np.random.default_rng(6)
    exact = (np.arange(10) - 4.5) / stdev(range(10))  # standard deviation 1, as the true one below
    family, runs, found = 6, 2000, 0
    smallest = limits(value(exact, direction, target), repetitions, family)[1]
    sign = -1 if direction == "higher" else 1
    others = {f"n{index}": value(exact) for index in range(family - 1)}
    for _ in range(runs):
        golden = others | {"m": value(rng.normal(0, 1, 10), direction, target)}
        measured = {key: [0.0] for key in others} | {"m": rng.normal(sign * smallest, 1, repetitions).tolist()}
        found += judge(golden, measured)["m"].status == "regression"
    assert POWER - 0.02 < found / runs < POWER + 0.02


def test_one_metric_is_judged_by_the_t_prediction_interval_of_scipy() -> None:
    numbers = [9.1, 8.7, 9.3, 9.0, 8.8, 9.2, 9.4, 8.9, 9.1, 9.0, 9.2]
    measured = [9.4, 9.6, 9.5]
    check = judge({"m": value(numbers)}, {"m": measured})["m"]
    scale = np.std(numbers, ddof=1) * np.sqrt(1 / 3 + 1 / 11)
    t = scipy.stats.t(10)
    assert check.p == pytest.approx(t.sf((np.mean(measured) - np.mean(numbers)) / scale), rel=1e-9)
    assert check.tolerance == pytest.approx(t.isf(FAMILY_ERROR) * scale, rel=1e-9)
    assert check.smallest is not None
    assert scipy.stats.nct.sf(t.isf(FAMILY_ERROR), 10, check.smallest / scale) == pytest.approx(POWER, abs=1e-6)


def test_the_tolerance_of_a_family_is_that_of_the_first_step_of_holm() -> None:
    golden = {f"m{index}": value(np.random.default_rng(index).normal(0, 1, 10)) for index in range(5)}
    tolerance = limits(golden["m0"], 1, 5)[0]
    for factor, status in ((0.999, "pass"), (1.001, "regression")):
        measured = {key: [each.mean] for key, each in golden.items()} | {"m0": [golden["m0"].mean + factor * tolerance]}
        assert judge(golden, measured)["m0"].status == status


def test_holm() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {
        "a": pytest.approx(0.03),
        "c": pytest.approx(0.06),
        "b": pytest.approx(0.06),
    }


@pytest.mark.parametrize(
    ("direction", "target", "measured", "status"),
    [
        ("lower", None, 20, "regression"),
        ("lower", None, 0, "improved"),
        ("higher", None, 0, "regression"),
        ("higher", None, 20, "improved"),
        ("target", 15.0, 0, "regression"),
        ("target", 15.0, 15, "improved"),
        ("target", 15.0, 40, "regression"),
        ("target", 15.0, 20, "pass"),
        ("target", 10.0, 0, "regression"),
        ("target", 10.0, 20, "regression"),
        ("target", 5.0, 20, "regression"),
        ("target", 5.0, 5, "improved"),
    ],
)
def test_worse_is_where_the_direction_says(direction: str, target: float | None, measured: float, status: str) -> None:
    golden = value(np.linspace(9.5, 10.5, 10), direction, target)
    assert judge({"m": golden}, {"m": [float(measured)]})["m"].status == status


def test_a_score_without_spread_has_that_of_its_arithmetic_or_of_its_events() -> None:
    still = value([5.0] * 10)
    assert judge({"m": still}, {"m": [5.00001]})["m"].status == "pass"
    assert judge({"m": still}, {"m": [5.01]})["m"].status == "regression"
    zero = value([0.0] * 10, "target", 0.0)
    assert judge({"m": zero}, {"m": [0.0]})["m"].status == "pass"
    assert judge({"m": zero}, {"m": [0.0025]})["m"].status == "regression"
    rare = zero.model_copy(update={"stderr": 0.002})
    assert judge({"m": rare}, {"m": [0.0025]})["m"].status == "pass"


def test_what_is_worse_is_named_and_what_only_reports_is_not_gated(entry: GoldenEntry) -> None:
    assert {each.metric for each in entry.values} == set(METRICS)
    assert not gate(run(seed=2), entry).failed()
    for name, shift in (("channel_wasserstein", 12), ("precision", -12), ("diversity_ratio", -12)):
        outcome = gate(run(seed=2, shifts={name: shift}), entry)
        assert failing(outcome) == {name}
        assert outcome.exit_code() == 1
        assert f"worse: {name}/1" in report(outcome).verdict


def test_a_large_improvement_passes_with_a_warning_and_fails_if_strict(entry: GoldenEntry) -> None:
    outcome = gate(run(seed=2, shifts={"channel_wasserstein": -12}), entry)
    assert [check.status for check in outcome.checks] == ["improved", "pass", "pass"]
    assert (outcome.exit_code(), outcome.exit_code(strict=True)) == (0, 1)
    assert report(outcome).cases[0].outcome == "warn"
    assert "--update" in report(outcome).cases[0].message
    assert report(outcome, strict=True).cases[0].outcome == "fail"


def test_a_metric_that_failed_is_a_regression_and_one_left_out_is_told(entry: GoldenEntry) -> None:
    failed = gate(with_first(run(), status="failed", value=None, per_repetition=[], error="no luck"), entry)
    assert failing(failed) == {"channel_wasserstein"}
    assert "no luck" in report(failed).cases[0].message
    gone = run()
    assert failing(gate(gone.model_copy(update={"measurements": gone.measurements[1:]}), entry)) == {
        "channel_wasserstein"
    }
    skipped = gate(
        with_first(run(), status="skipped", value=None, per_repetition=[], error="left out by --fast"), entry
    )
    assert (skipped.exit_code(), skipped.exit_code(strict=True)) == (0, 1)
    assert "skipped: channel_wasserstein/1" in report(skipped).verdict


def test_nothing_measured_is_never_green(entry: GoldenEntry) -> None:
    result = run()
    empty = [
        m.model_copy(update={"status": "failed", "value": None, "per_repetition": [], "error": "x"})
        for m in result.measurements
    ]
    for measurements in (empty, [], [make_measurement("another", 1.0)]):
        with pytest.raises(NothingMeasuredError, match="compared nothing"):
            gate(result.model_copy(update={"measurements": measurements}), entry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.model_copy(update={"task": r.task.model_copy(update={"name": "mnist"})}), "another task"),
        (
            lambda r: r.model_copy(update={"task": r.task.model_copy(update={"features_sha256": "f" * 64})}),
            "another feature network",
        ),
        (
            lambda r: r.model_copy(update={"task": r.task.model_copy(update={"scored_sha256": "f" * 64})}),
            "another data set",
        ),
        (
            lambda r: r.model_copy(update={"task": r.task.model_copy(update={"events": 400})}),
            "another number of events",
        ),
        (
            lambda r: r.model_copy(update={"spec": r.spec.model_copy(update={"definitions": "deja2020"})}),
            "another definitions",
        ),
        (lambda r: with_first(r, version="2"), "channel_wasserstein is of another version"),
        (lambda r: with_first(r, direction="higher"), "another definition"),
        (lambda r: with_first(r, ranks=False), "reported only"),
        (lambda r: with_first(r, per_repetition=[]), "no repetitions"),
    ],
)
def test_golden_values_of_something_else_are_refused(entry: GoldenEntry, change, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        gate(change(run()), entry)


def test_other_generators_parameters_and_new_metrics_are_noted(entry: GoldenEntry) -> None:
    other = make_result(
        name="dcgan", measurements=[*run().measurements, make_measurement("recall", 0.5, direction="higher")]
    )
    notes = gate(other, entry).notes
    assert "another generator" in notes[0]
    assert "recall/1" in notes[1]
    changed = make_result(measurements=run().measurements, parameters={"steps": 5})
    assert "the parameter steps changed from none to 5" in gate(changed, entry).notes[0]


def test_the_printed_numbers_are_those_of_the_checks(entry: GoldenEntry) -> None:
    outcome = gate(run(seed=2), entry)
    shown = report(outcome)
    assert len(shown.rows) == len(shown.cases) == 3
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    assert [row[2][0] for row in shown.rows] == ["≤", "≥", "1"]
    assert (
        json.loads(json.dumps(as_dict(outcome), allow_nan=False))["checks"][0]["smallest_defect"]
        == outcome.checks[0].smallest
    )


# --- the golden file --------------------------------------------------------------------------------------------------


def test_an_update_keeps_what_was_golden_before(tmp_path: Path) -> None:
    path = tmp_path / "zn.golden.json"
    first = update_golden(path, run(10, seed=1), "first values")
    second = update_golden(path, run(12, seed=2), "  longer training ")
    read = read_golden(path)
    assert read == second
    assert read.history == [first.current]
    assert (read.current.reason, read.history[0].reason) == ("longer training", "first values")
    assert read.history[0].values[0].per_repetition == run(10, seed=1).measurements[0].per_repetition
    assert len(update_golden(path, run(10, seed=3), "again").history) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["zn.golden.json"]


def test_golden_values_need_a_reason_repetitions_and_scores(tmp_path: Path) -> None:
    path = tmp_path / "zn.golden.json"
    with pytest.raises(UsageError, match="for a reason"):
        update_golden(path, run(10), " ")
    with pytest.raises(UsageError, match="9 repetitions, expected at least 10"):
        update_golden(path, run(9), "x")
    with pytest.raises(UsageError, match="failed and would never be gated"):
        update_golden(path, with_first(run(10), status="failed", value=None, per_repetition=[]), "x")
    with pytest.raises(NothingMeasuredError):
        update_golden(path, run(10).model_copy(update={"measurements": []}), "x")
    assert not path.exists()
    update_golden(path, run(10), "x")
    other = run(10)
    with pytest.raises(DataError, match="got dcgan on zn-geant3, expected vae on zn-geant3"):
        update_golden(
            path, other.model_copy(update={"generator": other.generator.model_copy(update={"name": "dcgan"})}), "x"
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["current"]["values"][0]["per_repetition"].__setitem__(0, 99.0), "edited by hand"),
        (lambda d: d["current"].update(reason="better"), "edited by hand"),
        (lambda d: d["current"].update(tolerance=5), "tolerance' is wrong"),
        (lambda d: d["current"]["values"][0].update(per_repetition=[1.0, 2.0]), "per_repetition' is wrong"),
        (lambda d: d["current"]["values"][0].update(target=1.0), "target belongs"),
        (lambda d: d["current"]["values"].append(d["current"]["values"][0]), "there twice"),
        (lambda d: d.update(schema="simbench.golden/9"), "schema' is wrong"),
        (lambda d: d.update(history=[]) or d.pop("sha256"), "sha256' is wrong"),
    ],
)
def test_a_golden_file_edited_by_hand_is_refused(tmp_path: Path, change, message) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.golden.json"
    update_golden(path, run(10), "first")
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=message):
        read_golden(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00"])
def test_what_is_no_golden_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.golden.json").write_text(text)
    with pytest.raises(DataError, match="no golden file"):
        read_golden(tmp_path / "x.golden.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_golden(tmp_path / "none.golden.json")


def test_a_file_with_other_white_space_is_the_same_golden_file(tmp_path: Path) -> None:
    path = tmp_path / "x.golden.json"
    golden = update_golden(path, run(10), "first")
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert read_golden(path) == golden


# --- the command line -------------------------------------------------------------------------------------------------


def invoke(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def test_exit_codes(tmp_path: Path) -> None:
    golden = tmp_path / "zn.golden.json"
    made = write_result(run(10, seed=1), tmp_path / "a")
    same = write_result(run(seed=2), tmp_path / "b")
    worse = write_result(run(seed=2, shifts={"precision": -20}), tmp_path / "c")
    better = write_result(run(seed=2, shifts={"precision": 20}), tmp_path / "d")
    other = write_result(make_result(task="mnist"), tmp_path / "e")
    empty = write_result(run().model_copy(update={"measurements": []}), tmp_path / "f")
    assert invoke("gate", made, "--golden", golden)[0] == 4
    assert invoke("gate", made, "--golden", golden, "--update")[0] == 2
    assert invoke("gate", made, "--golden", golden, "--reason", "x")[0] == 2
    assert invoke("gate", made)[0] == 2
    assert invoke("gate", made, "--golden", golden, "--smoke")[0] == 2
    assert invoke("gate", made, "--golden", golden, "--update", "--reason", "first")[0] == 0
    assert invoke("gate", same, "--golden", golden)[0] == 0
    code, text = invoke("gate", worse, "--golden", golden)
    assert (code, "worse: precision/1" in text) == (1, True)
    code, text = invoke("gate", better, "--golden", golden)
    assert (code, "better than golden" in text) == (0, True)
    assert invoke("gate", better, "--golden", golden, "--strict")[0] == 1
    assert invoke("gate", other, "--golden", golden)[0] == 4
    assert invoke("gate", empty, "--golden", golden)[0] == 5
    real = run(10, task=get_task("zn-geant3").record(get_task("zn-geant3").load("test")))
    update_golden(tmp_path / "real.golden.json", real, "of these very data")
    assert invoke("gate", "--golden", tmp_path / "real.golden.json", "--generator", "nosuch")[0] == 2
    assert invoke("gate", "--golden", golden, "--task", "mnist", "-g", "nosuch")[0] == 4


def test_json_is_all_that_is_printed_and_an_error_is_in_the_junit_file_too(tmp_path: Path) -> None:
    golden = tmp_path / "zn.golden.json"
    update_golden(golden, run(10, seed=1), "first")
    same = write_result(run(seed=2), tmp_path / "b")
    done = CliRunner().invoke(app, ["gate", str(same), "--golden", str(golden), "--json"])
    assert json.loads(done.stdout)["passed"] is True
    empty = write_result(run().model_copy(update={"measurements": []}), tmp_path / "f")
    assert invoke("gate", empty, "--golden", golden, "--junit", tmp_path / "junit.xml")[0] == 5
    assert 'errors="1"' in (tmp_path / "junit.xml").read_text()
