"""What it costs to run a network from a file, or a program, beside the same work done bare: `onnx:` and `cmd:`.

`python -m pytest -m slow tests/perf/test_perf_adapters.py -s` prints the figures of docs/adapters.md. Both sides take
turns, so that a busy machine disturbs them alike; medians are compared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

from simbench.generators.deployment import deploy
from simbench.generators.onnx import Onnx, onnx_session
from simbench.generators.program import Program
from simbench.generators.resolve import resolve
from simbench.tasks import get_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TURNS = 30
EVENTS = 1000

SERVED = """
import json, os, sys
sys.path.insert(0, {folder!r})
import numpy as np
from bare import events

for line in sys.stdin:
    asked = json.loads(line)
    path = os.path.join(os.path.dirname(asked["conditions"]), "events.npy")
    np.save(path, events(np.load(asked["conditions"]), asked["seed"]))
    print(path, flush=True)
"""

BARE = """
import numpy as np

def events(conditions, seed):
    rng = np.random.default_rng(seed)
    mean = conditions[:, :1, None] / 1936
    return rng.negative_binomial(2.0, 2.0 / (2.0 + mean), (len(conditions), 44, 44)).astype(np.float32)
"""


def medians(*ways: Callable[[], object]) -> list[float]:
    """Seconds of each, taken in turns after one call that is not counted."""
    seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(TURNS + 1):
        for way, taken in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            way()
            if turn:
                taken.append(time.perf_counter() - start)
    return [median(taken) for taken in seconds]


@pytest.mark.parametrize(("model", "params"), [("e2e_sae", {"head": "mse"}), ("sae_ldm", {})])
def test_onnx_costs_little_more_than_its_bare_session(model: str, params: dict[str, str], tmp_path: Path) -> None:
    task = get_task("zn-geant3")
    made = deploy(resolve(model, params), task, "generic", tmp_path / model)
    conditions = task.load("test").conditions[:EVENTS]
    generator = Onnx(tmp_path / model / "model.onnx")
    generator.setup(task, torch.device("cpu"))
    session = onnx_session(tmp_path / model / "model.onnx", torch.get_num_threads())
    noise = np.random.default_rng(0).standard_normal((EVENTS, made.latent), dtype=np.float32)
    names = [one.name for one in session.get_inputs()]
    plain = conditions.numpy()

    def bare() -> object:
        return session.run(None, dict(zip(names, (noise, plain), strict=True)))

    def drawn() -> object:
        return torch.randn((EVENTS, made.latent), generator=torch.Generator().manual_seed(1))

    whole, session_alone, noise_alone = medians(lambda: generator.sample(conditions, seed=1), bare, drawn)
    over = whole / (session_alone + noise_alone) - 1
    print(
        f"\nonnx:{model}, {EVENTS} events, {torch.get_num_threads()} threads: {whole * 1e3:.1f} ms; session "
        f"{session_alone * 1e3:.1f} ms, {made.latent} numbers of noise an event {noise_alone * 1e3:.1f} ms; {over:+.1%}"
    )
    assert over < 0.03


def test_cmd_costs_little_more_than_the_same_work_in_process(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(BARE, encoding="utf-8")
    (tmp_path / "served.py").write_text(SERVED.format(folder=str(tmp_path)), encoding="utf-8")
    task = get_task("zn-geant3")
    conditions = task.load("test").conditions[:EVENTS]
    program = Program(f"{sys.executable} {tmp_path / 'served.py'}")
    program.setup(task, torch.device("cpu"))
    namespace: dict[str, Callable[..., np.ndarray]] = {}
    exec(BARE, namespace)
    events = namespace["events"]
    assert np.array_equal(program.sample(conditions, seed=3).numpy(), events(conditions.numpy(), 3))
    served, bare = medians(lambda: program.sample(conditions, seed=3), lambda: events(conditions.numpy(), 3))
    print(f"\ncmd:, {EVENTS} events: {served * 1e3:.1f} ms, in process {bare * 1e3:.1f} ms; {served / bare - 1:+.1%}")
    assert served / bare - 1 < 0.05
