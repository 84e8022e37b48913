"""The shipped weights still score what they scored; broken ones fail.

Every golden file here is gated, at its own seed and number of events. Made and renewed by maintainers alone, with the
reason (docs/ci.md): simbench gate --generator vae --task zn-geant3 --smoke --repetitions 20
--golden tests/gates/zn-geant3-vae.golden.json --update --reason "..."
"""

from __future__ import annotations

from pathlib import Path

import pytest

from simbench.core.files import candidates
from simbench.core.progress import Progress
from simbench.gates.golden import read_golden
from simbench.gates.quality import Gate, gate, report
from simbench.gates.run import Request, run_for_gate

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.golden.json"))
FRESH_SEEDS = range(1001, 1021)
REPETITIONS = 10
"""What the gate of a shipped model runs: one repetition of 400 events does not see 5 % of the photons missing."""

BROKEN = {"Photons083": 1, "Photons095": REPETITIONS, "Emptied45": 1, "Emptied10": 1, "ChannelsPermuted": 1}
"""Each broken model with the repetitions that find it."""


def gated(path: Path, generator: str | None = None, seed: int | None = None, repetitions: int = REPETITIONS) -> Gate:
    entry = read_golden(path).current
    if entry.task.name != "zn-geant3" and not any(folder.is_dir() for folder in candidates(entry.task.name, None)):
        pytest.skip(f"the data of {entry.task.name} are not on this machine")
    request = Request(generator, seed=seed, repetitions=repetitions)
    return gate(run_for_gate(request, entry, progress=Progress(quiet=True)), entry)


def regressions(outcome: Gate) -> list[str]:
    return [case.message for case in report(outcome).cases if case.outcome == "fail"]


def test_every_shipped_model_has_golden_values() -> None:
    assert [path.name for path in FILES] == ["mnist-vae.golden.json", "zn-geant3-vae.golden.json"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_model(path: Path) -> None:
    entry = read_golden(path).current
    assert path.name == f"{entry.task.name}-{entry.generator.name}.golden.json"
    outcome = gated(path)
    assert not outcome.failed(), "\n".join(regressions(outcome))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_fails(name: str) -> None:
    outcome = gated(HERE / "zn-geant3-vae.golden.json", f"{HERE / 'broken.py'}:{name}", repetitions=BROKEN[name])
    assert outcome.failed()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_fresh_seeds_pass(path: Path) -> None:
    """The same model at 20 new seeds passes 19 times or more."""
    failed = {seed: regressions(outcome) for seed in FRESH_SEEDS if (outcome := gated(path, seed=seed)).failed()}
    print(f"\n{path.name}: {20 - len(failed)} of 20 pass {failed}")
    assert len(failed) <= 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_fails_at_any_seed(name: str) -> None:
    found = 0
    for seed in list(FRESH_SEEDS)[:10]:
        model = f"{HERE / 'broken.py'}:{name}"
        outcome = gated(HERE / "zn-geant3-vae.golden.json", model, seed=seed, repetitions=BROKEN[name])
        found += outcome.failed()
    print(f"\n{name}: {found} of 10 fail")
    assert found >= 9
