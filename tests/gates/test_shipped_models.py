"""The shipped weights still score what they scored: every golden file here is gated, at its own seed and number of events.

Made and renewed by maintainers alone, with the reason (docs/ci.md): simbench gate --generator vae --task zn-geant3 --smoke
--repetitions 20 --golden tests/gates/zn-geant3-vae.golden.json --update --reason "..."
"""

from __future__ import annotations

from pathlib import Path

import pytest

from simbench.gate_run import Request, run_for_gate
from simbench.gates import gate, report
from simbench.golden import read_golden
from simbench.progress import Progress
from simbench.tasks.files import candidates

FILES = sorted(Path(__file__).parent.glob("*.golden.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_model(path: Path) -> None:
    entry = read_golden(path).current
    assert path.name == f"{entry.task.name}-{entry.generator.name}.golden.json"
    if entry.task.name != "zn-geant3" and not any(folder.is_dir() for folder in candidates(entry.task.name, None)):
        pytest.skip(f"the data of {entry.task.name} are not on this machine")
    outcome = gate(run_for_gate(Request(), entry, progress=Progress(quiet=True)), entry)
    assert not outcome.failed(), "\n".join(case.message for case in report(outcome).cases if case.outcome == "fail")
