"""Training by two processes: the same losses, scores and weights as by one, for every shipped model."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import shared_training
import torch
from shared_training import MODELS, Showers, train_all, train_one
from torch import Tensor, nn

from simbench.core.errors import UsageError
from simbench.training.launch import ProcessEndedError, together
from simbench.training.loop import _make_shared
from simbench.training.processes import Group, drawn, in_group, own, whole
from simbench.training.weights import load_weights
from simbench_baselines.vae import VAE

COMMAND = [sys.executable, shared_training.__file__]
BIAS_WITHOUT_GRADIENT = ("e2e_sae", "sae_ldm")
"""Models whose codes are standardised with gradient: see `shared_training`. Adam turns rounding errors of 1e-17 in a
gradient that is 0 into steps of 1e-17 / 1e-8 of the learning rate, for its epsilon is 1e-8."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process leaves, and what two leave."""
    folder = tmp_path_factory.mktemp("shared")
    one, two = folder / "one", folder / "two"
    train_all(one)
    with together(2, "cpu", [*COMMAND, str(two)]) as device:
        assert device == "cpu"
        train_all(two)
    return one, two


def curve(folder: Path) -> list[dict[str, float]]:
    with (folder / "curve.csv").open() as file:
        return [
            {name: float(text) for name, text in row.items() if text and name != "seconds"}
            for row in csv.DictReader(file)
        ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MODELS)
def test_two_processes_train_as_one_does(folders: tuple[Path, Path], name: str) -> None:
    """Rounding of float64 alone: sums of 16 events are taken in another order."""
    tolerance = 1e-4 if name.startswith(BIAS_WITHOUT_GRADIENT) else 1e-12
    one, two = (folder / name for folder in folders)
    first, second = curve(one), curve(two)
    assert len(first) == len(second) == 2
    for here, there in zip(first, second, strict=True):
        assert here == pytest.approx(there, rel=tolerance, abs=tolerance)
    (state, of_one), (other, of_two) = (load_weights(folder / "weights.safetensors") for folder in (one, two))
    for key, values in state.items():
        assert torch.allclose(values.double(), other[key].double(), rtol=tolerance, atol=tolerance), key
    assert of_one["steps"] == of_two["steps"]
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())


def test_another_number_of_processes_goes_on_with_a_training(folders: tuple[Path, Path]) -> None:
    """What two processes have finished is finished for one."""
    _, two = folders
    before = (two / "vae" / "weights.safetensors").read_bytes()
    train_one("vae", two / "vae")
    assert (two / "vae" / "weights.safetensors").read_bytes() == before


def test_rows_of_all_processes_are_shared_out_and_put_together() -> None:
    batch = torch.arange(24.0).view(12, 2)  # the batch of 6 rows, twice
    rows = []
    for rank in range(3):
        with in_group(Group(3, rank)):
            rows.append(own(batch, 2))
            torch.manual_seed(5)
            assert torch.equal(drawn(lambda n: torch.rand(n, 4), 4, 2), own(_all_random(), 2))
    assert [part[:, 0].tolist() for part in rows] == [[0, 2, 12, 14], [4, 6, 16, 18], [8, 10, 20, 22]]
    assert whole(batch) is batch
    assert own(batch) is batch


def _all_random() -> Tensor:
    torch.manual_seed(5)
    return torch.rand(12, 4)


class Stranger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 144))

    def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        return {"square": (self.net(conditions.float()).view(-1, 12, 12) - samples.float()).square().mean()}

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        with torch.no_grad():
            out: Tensor = self.net(conditions.float()).view(-1, 12, 12)
            return out


def test_what_cannot_share_a_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="no `shared_batches = True`"):
        _make_shared(Stranger(), "cpu")
    promising = Stranger()
    promising.shared_batches = True  # type: ignore[assignment]
    with pytest.raises(UsageError, match="only GPUs can share: got device cpu"):
        _make_shared(promising, "cpu")
    _make_shared(promising, "cuda:0")
    assert type(promising.net[1]) is nn.SyncBatchNorm
    model = VAE()
    model.build(Showers())
    _make_shared(model, "cpu")  # the preset has none


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="each process takes a GPU of its own"), together(2, "cuda:1", COMMAND):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="too few GPUs: got 0, expected 2"), together(2, "cuda", COMMAND):
        pass
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="not what was launched: got --devices 2, expected 3"), together(2, "cpu", []):
        pass


@pytest.mark.timeout(600)
def test_a_process_that_ends_too_early_is_named() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no room for it')"]
    said = r"process 2 of 2 has ended.*exit code 1, no room for it"
    with pytest.raises(ProcessEndedError, match=said), together(2, "cpu", command):
        pass


MODULE = """
from dataclasses import replace
import shared_training
from simbench_baselines.vae import VAE

class Showers(shared_training.Showers):
    metrics = primary = ("energy_distance/1",)
    def load_split(self, split):
        events = super().load_split(split)
        return replace(events, samples=events.samples.float(), conditions=events.conditions.float())
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_command_alone_with_devices_and_under_torchrun(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    path = os.pathsep.join([str(Path(shared_training.__file__).parent), os.environ.get("PYTHONPATH", "")])
    words = ["-m", "simbench", "train", "mine.py:VAE", "--task", "mine.py:Showers", "--steps", "3", "--device", "cpu"]
    words += ["--param", "batch_size=16", "--param", "validate_every=1", "--param", "validation_events=16"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, command in {"one": words, "devices": [*words, "--devices", "2"], "torchrun": [*torchrun, *words]}.items():
        done = subprocess.run(
            [sys.executable, *command, "--out", name],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("The weights are in") == 1
        assert "Warning" not in done.stderr or name == "torchrun"
    rows = {name: curve(tmp_path / name) for name in ("one", "devices", "torchrun")}
    for name in ("devices", "torchrun"):
        for here, there in zip(rows["one"], rows[name], strict=True):
            assert here == pytest.approx(there, rel=1e-4)  # float32
    odd = [word.replace("batch_size=16", "batch_size=15") for word in words]
    refused = subprocess.run(
        [sys.executable, *odd, "--devices", "2", "--out", "odd"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "cannot share the batch: got 15 events for 2 processes" in refused.stderr
    assert "Try --param batch_size=14." in refused.stderr
