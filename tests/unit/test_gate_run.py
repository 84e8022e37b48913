"""Running a generator for its gate, for real: made golden, gated, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simbench.core.errors import DataError, UsageError
from simbench.core.progress import Progress
from simbench.gates.golden import GoldenEntry, checksum, read_golden, update_golden
from simbench.gates.quality import gate, report
from simbench.gates.run import Request, run_for_gate
from simbench.generators.resolve import resolve_again
from simbench.results.comparable import generator_changes
from simbench.tasks.zn import ZnGeant3

QUIET = Progress(quiet=True)
MODEL = '''
import torch

class Blob:
    """Poisson photons."""

    def __init__(self, rate: float = 2000.0, label: str | None = None):
        self.rate = rate

    def sample(self, conditions, *, seed):
        rng = torch.Generator().manual_seed(seed)
        mean = (conditions[:, :1, None] / self.rate).clamp(0.01, 5).expand(-1, 44, 44)
        return torch.poisson(mean, generator=rng)
'''


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GoldenEntry:
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1", "conditional_energy/1", "channel_mae/1"))
    request = Request(
        generator="model.py:Blob", params={"rate": "1500"}, task="zn-geant3", events=80, seed=3, repetitions=10
    )
    return update_golden(tmp_path / "zn.golden.json", run_for_gate(request, None, progress=QUIET), "first").current


def test_the_golden_generator_runs_again_as_it_was(entry: GoldenEntry) -> None:
    result = run_for_gate(Request(), entry, progress=QUIET)
    assert result.generator.parameters == {"rate": 1500.0, "label": None}
    assert (result.task.events, result.spec.root_seed) == (80, 3)
    assert [m.key for m in result.measurements] == ["channel_wasserstein/1", "conditional_energy/1"]
    assert [m.value for m in result.measurements] == [value.per_repetition[0] for value in entry.values]
    assert not gate(result, entry).failed()
    assert ZnGeant3.metrics[-1] == "channel_mae/1"


def test_the_golden_generator_runs_again_in_its_blocks(entry: GoldenEntry) -> None:
    small = entry.model_copy(update={"spec": entry.spec.model_copy(update={"block": 32})})
    result = run_for_gate(Request(), small, progress=QUIET)
    assert result.spec.block == 32
    assert [m.value for m in result.measurements] != [value.per_repetition[0] for value in entry.values]


def test_a_worse_generator_is_found(entry: GoldenEntry) -> None:
    result = run_for_gate(
        Request(generator="model.py:Blob", params={"rate": "1000"}, seed=7, repetitions=2), entry, progress=QUIET
    )
    assert gate(result, entry).failed()


def test_what_cannot_be_compared_is_refused_before_anything_is_run(
    entry: GoldenEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="another number of events"):
        run_for_gate(Request(events=160, generator="never:Loaded"), entry, progress=QUIET)
    with pytest.raises(DataError, match="another task"):
        run_for_gate(Request(task="mnist", generator="never:Loaded"), entry, progress=QUIET)
    with pytest.raises(UsageError, match="no generator is named"):
        run_for_gate(Request(), None, progress=QUIET)
    older = entry.model_copy(update={"values": [entry.values[0].model_copy(update={"version": "0"})]})
    with pytest.raises(DataError, match="channel_wasserstein is of another version"):
        run_for_gate(Request(generator="never:Loaded"), older, progress=QUIET)


LOADED = """
    @property
    def effective_parameters(self):
        return {"rate": 1400.0, "layers": 5}
"""


def test_what_a_generator_says_of_itself_is_recorded_and_not_passed_to_it_again(
    entry: GoldenEntry, tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_text(MODEL + LOADED)
    request = Request(
        generator="model.py:Blob", params={"rate": "1500"}, task="zn-geant3", events=80, seed=3, repetitions=10
    )
    result = run_for_gate(request, None, progress=QUIET)
    assert result.generator.parameters == {"rate": 1400.0, "label": None, "layers": 5}
    assert result.generator.given == {"rate": 1500.0}
    loaded = update_golden(tmp_path / "loaded.golden.json", result, "first").current
    again = run_for_gate(Request(), loaded, progress=QUIET)
    assert again.generator == result.generator
    assert not gate(again, loaded).failed()
    assert entry.generator.given == {"rate": 1500.0}


def test_a_golden_file_that_is_older_than_a_field_is_read(entry: GoldenEntry, tmp_path: Path) -> None:
    path = tmp_path / "zn.golden.json"
    data = json.loads(path.read_text())
    del data["current"]["spec"]["metrics"]
    data["sha256"] = checksum(json.dumps(data))
    path.write_text(json.dumps(data))
    assert read_golden(path).current == entry


def test_a_default_that_changed_is_run_and_told(entry: GoldenEntry, tmp_path: Path) -> None:
    """Only what the user gave is given again: else a changed default would pass on the old one."""
    (tmp_path / "model.py").write_text(MODEL)
    request = Request(generator="model.py:Blob", task="zn-geant3", events=80, seed=3, repetitions=10)
    plain = update_golden(tmp_path / "plain.golden.json", run_for_gate(request, None, progress=QUIET), "first").current
    assert plain.generator.given == {}
    assert gate(run_for_gate(Request(), plain, progress=QUIET), plain).notes == []
    (tmp_path / "model.py").write_text(MODEL.replace("2000.0", "1000.0"))
    outcome = gate(run_for_gate(Request(), plain, progress=QUIET), plain)
    assert outcome.failed()
    assert outcome.notes == [
        "Since the golden values were made, the default of rate changed from 2000.0 to 1000.0; its source file changed."
    ]
    assert outcome.notes[0] in report(outcome).notes


def test_the_weights_that_changed_are_told(entry: GoldenEntry) -> None:
    now = entry.generator.model_copy(update={"weights_sha256": "ab", "parameters": {"rate": 1400.0, "label": None}})
    assert generator_changes(entry.generator, now) == [
        "the parameter rate changed from 1500.0 to 1400.0",
        "its weights changed",
    ]


def test_a_parameter_that_is_gone_is_refused(entry: GoldenEntry, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL.replace("rate: float", "speed: float").replace("= rate", "= speed"))
    with pytest.raises(DataError, match="can no longer be constructed"):
        resolve_again(entry.spec.generator, entry.generator)
    (tmp_path / "model.py").write_text(MODEL.replace("rate: float", "rate: str"))
    with pytest.raises(DataError, match="no longer has the parameters"):
        resolve_again(entry.spec.generator, entry.generator)


def test_the_metrics_that_were_chosen_are_gated(entry: GoldenEntry, tmp_path: Path) -> None:
    chosen = entry.model_copy(
        update={"spec": entry.spec.model_copy(update={"metrics": ["correlation_distance/1", "channel_mae/1"]})}
    )
    result = run_for_gate(Request(), chosen, progress=QUIET)
    assert [m.key for m in result.measurements] == ["correlation_distance/1", "channel_mae/1"]
