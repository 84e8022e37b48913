"""`simbench check`: what it finds in models that keep the contract, and in those that break one clause each."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import ToyDigits, ToyNoise, ToyTask

from simbench.core.errors import UsageError
from simbench.core.text import duration
from simbench.generators.contract import Check, _Contract, check_generator
from simbench.generators.resolve import FunctionGenerator
from simbench.generators.session import Session
from simbench.tasks import get_task

MODELS = """
import random
import numpy
import torch

def noise(conditions, seed, shape=(4, 4)):
    return torch.rand(len(conditions), *shape, generator=torch.Generator().manual_seed(seed)).round()

class Good:
    def __init__(self, scale: float = 2.0): self.scale = scale
    def setup(self, task, device): self.shape = task.shape
    def sample(self, conditions, *, seed):
        first = conditions[:, 0].reshape(-1, *[1] * len(self.shape)) if conditions.shape[1] else 1
        return noise(conditions, seed, self.shape) * first

class Unseeded:
    def sample(self, conditions, *, seed): return torch.rand(len(conditions), 4, 4)

class Dropout:
    def sample(self, conditions, *, seed): return noise(conditions, seed) * (torch.rand(len(conditions), 4, 4) > 0.05)

class Untrained:
    def __init__(self): self.weight = torch.rand(4, 4) + 0.5
    def sample(self, conditions, *, seed): return noise(conditions, seed) * self.weight

class Hoards:
    def __init__(self): self.kept = []
    def sample(self, conditions, *, seed):
        self.kept.append(torch.ones(len(conditions) * 160_000))  # too large to be given memory that is free already
        return noise(conditions, seed)

class Fractions:
    def sample(self, conditions, *, seed): return noise(conditions, seed) + 0.5

class NumpySeeder:
    def sample(self, conditions, *, seed):
        numpy.random.seed(seed); random.seed(seed)
        return torch.as_tensor(numpy.random.rand(len(conditions), 4, 4))

class Mean:
    def sample(self, conditions, *, seed): return torch.ones(len(conditions), 4, 4)

class Empty:
    def sample(self, conditions, *, seed): return torch.zeros(len(conditions), 4, 4)

class InPlace:
    def sample(self, conditions, *, seed):
        conditions[:, 0] = 1
        return noise(conditions, seed)

class EvenOnly:
    def sample(self, conditions, *, seed): return noise(conditions, seed)[: len(conditions) * (len(conditions) > 1)]

class SqueezesOne:
    def sample(self, conditions, *, seed): return noise(conditions, seed).squeeze(0)

class FixedBatch:
    def sample(self, conditions, *, seed): return noise(conditions, seed).reshape(2, -1, 4, 4).flatten(0, 1)

class Negative:
    def sample(self, conditions, *, seed): return noise(conditions, seed) - 0.5

class Gradients:
    def __init__(self): self.weight = torch.ones(1, requires_grad=True)
    def sample(self, conditions, *, seed): return noise(conditions, seed) * self.weight

class Guided:
    def sample(self, conditions, *, seed):
        with torch.enable_grad():
            x = noise(conditions, seed).requires_grad_()
            return torch.autograd.grad((x ** 2).sum(), x)[0].detach()

class Training(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(1)
    def sample(self, conditions, *, seed):
        return noise(conditions, seed) * 0.01 + self.norm(conditions[:, None])[:, :, :1].abs() + 1

class Sorted:
    def sample(self, conditions, *, seed):
        return noise(conditions, seed) * 0.01 + conditions[:, 0].sort().values[:, None, None]

class BreaksInSetup:
    def setup(self, task, device): raise ValueError("no weights")
    def sample(self, conditions, *, seed): ...

class BreaksAtConstruction:
    def __init__(self): raise ValueError("broken")
    def sample(self, conditions, *, seed): ...

class Fails13:
    def sample(self, conditions, *, seed):
        if len(conditions) == 64: raise ValueError("64 are too many")
        return noise(conditions, seed)
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "contract_models.py").write_text(MODELS)
    (tmp_path / "broken.py").write_text("raise ValueError('at import')")
    state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    yield
    torch.set_rng_state(state)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)


def check(name: str, task: ToyTask | None = None, params: dict[str, str] | None = None) -> list[Check]:
    spec = name if ":" in name else f"contract_models.py:{name}"
    return list(check_generator(spec, params or {}, task or ToyTask()))


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("task", [ToyTask(), ToyDigits(), ToyNoise()])
def test_a_good_model_passes_everything(task: ToyTask) -> None:
    checks = check("Good", task, {"scale": "3"})
    assert [found.name for found in checks if found.status != "ok"] == []
    assert [found.name for found in checks] == [
        "imports",
        "constructs",
        "setup",
        "8 events",
        "1 event",
        "13 events",
        "whole photons",
        "deterministic",
        "constructed again",
        "stochastic",
        "global state",
        "conditions kept",
        "gradients",
        "inference mode",
        "evaluation mode",
        "own conditions",
        "speed",
        "memory",
    ]
    assert "scale=3.0" in checks[1].reason


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("Dropout", {"deterministic", "global state"}),
        ("Untrained", {"constructed again"}),
        ("Hoards", {"memory"}),
        ("NumpySeeder", {"global state"}),
        ("Mean", {"stochastic"}),
        ("Empty", {"stochastic", "8 events", "1 event", "13 events"}),
        ("InPlace", {"conditions kept"}),
        ("Gradients", {"gradients"}),
        ("Guided", {"inference mode"}),
        ("Training", {"evaluation mode", "gradients", "own conditions"}),
        ("Sorted", {"own conditions"}),
    ],
)
def test_each_clause_is_found_broken_and_no_other(name: str, warned: set[str]) -> None:
    checks = check(name)
    assert {found.name for found in checks if found.status == "warn"} == warned
    assert {found.name for found in checks if found.status == "fail"} == set()
    assert all(found.fix for found in checks if found.status == "warn")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("name", "failed", "words"),
    [
        ("broken.py:Model", "imports", "ValueError: at import (broken.py:1)"),
        ("BreaksAtConstruction", "constructs", "ValueError: broken"),
        ("BreaksInSetup", "setup", "ValueError: no weights"),
        ("Negative", "8 events", "negative photons"),
        ("SqueezesOne", "1 event", "returned (4, 4)"),
        ("FixedBatch", "1 event", "RuntimeError"),
    ],
)
def test_a_broken_clause_ends_the_test_with_its_reason(name: str, failed: str, words: str) -> None:
    checks = check(name)
    assert (checks[-1].name, checks[-1].status) == (failed, "fail")
    assert words in checks[-1].reason
    assert all(found.status == "ok" for found in checks[:-1])


@pytest.mark.usefixtures("models")
def test_a_failure_after_the_first_events_does_not_hide_the_rest() -> None:
    checks = check("Fails13")
    assert {found.name for found in checks if found.status == "fail"} == {"own conditions", "speed", "memory"}


@pytest.mark.usefixtures("models")
def test_a_seed_that_is_ignored_breaks_the_contract() -> None:
    found = {found.name: found for found in check("Unseeded")}
    assert {name for name, one in found.items() if one.status == "fail"} == {"deterministic"}
    assert {name for name, one in found.items() if one.status == "warn"} == {"global state"}
    assert "as different as those of another seed" in found["deterministic"].reason
    assert "manual_seed(seed)" in found["deterministic"].fix


@pytest.mark.usefixtures("models")
def test_fractions_of_photons_are_told_where_real_events_hold_whole_ones() -> None:
    def warned(task: ToyTask) -> set[str]:
        return {found.name for found in check("Fractions", task) if found.status == "warn"}

    assert warned(ToyNoise()) == {"whole photons"}
    assert warned(ToyTask()) == set()  # its real events hold fractions


@pytest.mark.usefixtures("models")
def test_specs_that_name_nothing_are_no_failed_check() -> None:
    with pytest.raises(UsageError):
        check("NotThere")
    with pytest.raises(UsageError):
        check("Good", params={"scael": "1"})


def test_checks_speak_json() -> None:
    assert Check("a", "warn", "b.", "c.").as_dict() == {"name": "a", "status": "warn", "reason": "b.", "fix": "c."}


def test_a_fixed_cost_of_a_call_is_not_taken_for_that_of_an_event() -> None:
    now = 0.0

    def sample(conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        nonlocal now
        now += 0.5 + 1e-3 * len(conditions)
        return torch.zeros(len(conditions), 44, 44)

    task = get_task("zn-geant3")
    session = Session(FunctionGenerator(sample), task, "m")
    contract = _Contract(session, lambda: session)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simbench.generators.contract.time.perf_counter", lambda: now)
        told = str(contract.speed())
    assert f"about {duration(16 * (0.5 + 0.256))}" in told
