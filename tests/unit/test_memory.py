from __future__ import annotations

from pathlib import Path

import pytest

from simbench.core.errors import GeneratorError
from simbench.evaluation import memory
from simbench.evaluation.memory import MemoryLimit, memory_limit, search
from simbench.generators.resolve import resolve
from simbench.results.schema import GeneratorRecord
from simbench.tasks import get_task

HUNGRY = """
import torch

class Hungry:
    def sample(self, conditions, *, seed):
        if len(conditions) > {breaks}:
            raise ValueError("broken")
        torch.ones(len(conditions), {megabytes} * 2**18)
        return torch.zeros(len(conditions), 44, 44)
"""


def record(name: str) -> GeneratorRecord:
    nothing = {
        "version": None,
        "weights_sha256": None,
        "source_sha256": None,
        "deterministic": None,
        "stochastic": None,
    }
    return GeneratorRecord(name=name, parameters={}, given={}, **nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("room", [3, 999, 1000, 54_321])
def test_the_search_ends_close_to_the_limit(room: int) -> None:
    found: list[MemoryLimit] = []
    search(lambda size: size <= room, found.append)
    assert found[-1].failed is not None
    assert found[-1].batch <= room < found[-1].failed <= max(1.05 * found[-1].batch + 1, 4)


def test_a_search_without_an_end_says_at_least() -> None:
    found: list[MemoryLimit] = []
    search(lambda size: True, found.append)
    assert found[-1].failed is None
    assert found[-1].batch > 2**22
    assert "at least" in str(found[-1])


def test_a_generator_that_takes_all_memory_is_stopped_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY.format(breaks=10**9, megabytes=1))
    spec = f"{tmp_path / 'hungry.py'}:Hungry"
    monkeypatch.setattr(memory, "SHARE", 2 * 2**30 / memory.psutil.virtual_memory().available)
    found = memory_limit(resolve(spec, {}).set_up(get_task("zn-geant3")), record("Hungry"))
    assert 1000 < found.batch < 2048
    assert found.failed is not None


def test_another_failure_than_memory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY.format(breaks=1500, megabytes=0))
    spec = f"{tmp_path / 'hungry.py'}:Hungry"
    with pytest.raises(GeneratorError, match="Hungry"):
        memory_limit(resolve(spec, {}).set_up(get_task("zn-geant3")), record("Hungry"))
