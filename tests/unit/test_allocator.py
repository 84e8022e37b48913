"""Freed memory stays with the process of a session."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from simbench.core.allocator import keep_freed_memory
from simbench.generators.session import Session
from simbench.tasks import get_task

FAULTS = """
import ctypes, resource, sys
from simbench.core.allocator import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]


def faults_of_a_call():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [libc.malloc(20 * 2**20) for _ in range(4)]  # together more than malloc keeps by its own rules
    for array in arrays:
        ctypes.memset(array, 1, 20 * 2**20)
    for array in arrays:
        libc.free(array)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if sys.argv[1] == "keep":
    keep_freed_memory()
print([faults_of_a_call() for _ in range(8)][-1])
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="another C library")
def test_freed_arrays_are_not_mapped_anew() -> None:
    assert page_faults("keep") < 100 < 10_000 < page_faults("bare")


def test_a_session_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Constant:
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            return torch.zeros(len(conditions), 44, 44)

    asked = []
    monkeypatch.setattr("simbench.generators.session.keep_freed_memory", lambda: asked.append(True))
    Session(Constant(), get_task("zn-geant3"), "constant")
    assert asked
