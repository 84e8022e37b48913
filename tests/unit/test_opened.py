"""Generators that the report opens: installed ones unasked, others when told; what is left out is named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from factories import make_measurement, make_result, make_timing

from simbench.core.errors import UsageError
from simbench.metrics.base import Comparison
from simbench.report.opened import Models, chosen_models, open_entry
from simbench.report.page import ReportEntry, _coverage, write_report
from simbench.report.style import COLOURS, Series, broken, look_of
from simbench.results.comparable import comparable_groups
from simbench.results.schema import Result
from simbench.tasks.zn import ZnGeant3


def result_of(spec: str, events: int = 4000, **changes: Any) -> Result:
    result = make_result(spec.rpartition(":")[2], parameters={}, **changes)
    return result.model_copy(
        update={
            "spec": result.spec.model_copy(update={"generator": spec}),
            "task": result.task.model_copy(update={"events": events}),
            "generator": result.generator.model_copy(
                update={"parameters": {}, "given": {}, "weights_sha256": None, "source_sha256": None}
            ),
        }
    )


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opened_model.py").write_text(
        "import pathlib, torch\n"
        "pathlib.Path('ran').touch()\n"
        "def flat(conditions, *, seed):\n"
        "    return torch.ones(len(conditions), 44, 44)\n"
    )
    return "opened_model.py:flat"


def test_installed_generators_are_opened_and_draw_what_was_scored() -> None:
    entry = open_entry(result_of("memoriser"), None, ZnGeant3())
    assert entry.session is not None
    assert entry.pair is not None
    assert len(entry.pair) == 1024
    conditions = ZnGeant3().load("test").conditions
    seed = entry.session.seed("sample", 0, 1)
    assert torch.equal(entry.pair.generated.samples[256:512], entry.session.sample(conditions[256:512], seed))
    assert entry.note.startswith("1 024 events were drawn anew".replace(" ", "\u202f", 1))
    assert "its source file changed" in entry.note


def test_events_are_drawn_in_the_blocks_that_were_scored() -> None:
    result = result_of("memoriser")
    entry = open_entry(
        result.model_copy(update={"spec": result.spec.model_copy(update={"block": 300})}), None, ZnGeant3()
    )
    assert entry.session is not None
    assert entry.pair is not None
    assert len(entry.pair) == 1200
    conditions = ZnGeant3().load("test").conditions[300:600]
    seed = entry.session.seed("sample", 0, 1)
    assert torch.equal(entry.pair.generated.samples[300:600], entry.session.sample(conditions, seed))


def test_samples_at_hand_are_not_drawn_again() -> None:
    reference = ZnGeant3().load("test", 40)
    pair = Comparison(reference, reference)
    entry = open_entry(result_of("memoriser"), pair, ZnGeant3())
    assert entry.pair is pair
    assert entry.session is not None
    assert "drawn anew" not in entry.note


@pytest.mark.parametrize(("models", "ran"), [("installed", False), ("none", False), ("all", True)])
def test_code_that_a_result_names_runs_only_when_told(mine: str, models: Models, ran: bool) -> None:
    entry = open_entry(result_of(mine, 40), None, ZnGeant3(), models)
    assert Path("ran").exists() == ran
    assert (entry.session is not None) == (entry.pair is not None) == ran
    if models == "installed":
        assert entry.note.startswith("not opened: its code is not installed as a generator: got opened_model.py:flat")
    if ran:
        assert entry.pair is not None
        assert len(entry.pair) == 40


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (lambda result: result_of("samples:x.h5"), "holds samples that are made already"),
        (
            lambda result: result_of("memoriser", timing=make_timing(scored_seconds=1e6)),
            "drawing 400 events would take",
        ),
        (
            lambda result: result.model_copy(
                update={"generator": result.generator.model_copy(update={"weights_sha256": "0" * 64})}
            ),
            "its weights are no longer those of the result",
        ),
    ],
)
def test_what_cannot_be_opened_is_named_with_its_reason(changed: Any, reason: str, tmp_path: Path) -> None:
    result = changed(result_of("memoriser"))
    entry = open_entry(result, None, ZnGeant3())
    assert entry.session is None
    assert entry.pair is None
    assert reason in entry.note
    page = write_report([entry], ZnGeant3(), tmp_path / "page.html").read_text()
    assert reason in page
    assert "are not at hand" in page


def test_the_option_is_checked() -> None:
    assert chosen_models("all") == "all"
    with pytest.raises(UsageError, match="one of installed, all, none"):
        chosen_models("some")


# Many generators on one page


def test_twelve_generators_look_different() -> None:
    assert len({look_of(place) for place in range(12)}) == len(set(COLOURS)) == 12
    pair: Any = None
    dashes = [(Series("x", place, pair).colour, str(Series("x", place, pair).dash)) for place in range(24)]
    assert len(set(dashes)) == 24


@pytest.mark.parametrize("name", ["e2e_sae", "a name of many words (and=1)", "x" * 80, "", "$_{"])
def test_a_long_name_is_broken(name: str) -> None:
    lines = broken(name, 0.8).replace("\\$", "$").split("\n")
    assert len(lines) <= 3
    assert all(len(line) <= 10 for line in lines)


def test_curves_of_many_generators_are_drawn_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simbench.report.page.embed", lambda series: [])
    monkeypatch.setattr("simbench.report.page.feature_maps", lambda *_: (_ for _ in ()).throw(ValueError("not here")))
    reference = ZnGeant3().load("test", 40)
    pair = Comparison(reference.with_samples(ZnGeant3().load("floor", 40).samples), reference)
    entries = [ReportEntry(make_result(f"model{number}", warnings=["slow"]), pair) for number in range(5)]
    text = write_report(entries, ZnGeant3(), tmp_path / "page.html").read_text()
    assert "<h1>5 generators on zn-geant3</h1>" in text
    for name in ("channels", "channels-2", "response-2", "correlations-2", "mean_shower-2"):
        assert f'<figure id="{name}">' in text
    assert '<figure id="showers-2">' not in text
    assert '<figure id="dispersion-2">' not in text
    assert "Read-out channels: model3, model4" in text
    assert text.count("1 warning</summary>") == 5
    few = write_report(entries[:1], ZnGeant3(), tmp_path / "page.html").read_text()
    assert '<figure id="channels-2">' not in few
    assert "Coverage of all real events" not in few
    assert "<h1>model0 on zn-geant3</h1>" in few


def test_coverage_is_said_beside_the_feature_space() -> None:
    covered = make_measurement("coverage", 0.8, stderr=0.01, floor=0.97)
    results = [make_result("one", measurements=[covered]), make_result("other", measurements=[])]
    (group,), (alone,) = comparable_groups(results), comparable_groups(results[1:])
    assert (
        _coverage(results, group, ["one", "other"]) == "Coverage of all real events: one 0.800 ± 0.010 (floor 0.970)."
    )
    assert _coverage(results[1:], alone, ["other"]) == ""
