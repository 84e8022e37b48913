"""Generators handed over as graphs: parity, what is refused, and the callers that ship with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import ToyTask

from simbench.core.errors import GeneratorError, UsageError
from simbench.generators.deployment import deploy, scaler_text
from simbench.generators.network import read_scaler
from simbench.generators.noise import GivenNoise, uniform
from simbench.generators.resolve import resolve
from simbench.metrics.channels import channel_sums
from simbench.tasks import get_task
from simbench.tasks.base import Task
from simbench_baselines.likelihoods import negative_binomial, negative_binomial_quantile

MODELS = """
import torch

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(NUMBERS + COLUMNS, PIXELS)
    @torch.inference_mode()
    def sample(self, conditions, *, seed):
        rng = torch.Generator(conditions.device).manual_seed(seed)
        noise = torch.randn(len(conditions), NUMBERS, generator=rng)
        shift = torch.rand(len(conditions), generator=rng)[:, None]
        out = self.layer(torch.cat([noise, conditions / SCALE], 1)).exp() + shift
        return out.clamp(0, 50).reshape(-1, *SHAPE)

class Poisson(Small):
    def sample(self, conditions, *, seed):
        return torch.poisson(super().sample(conditions, seed=seed))

class Branches(Small):
    def sample(self, conditions, *, seed):
        out = super().sample(conditions, seed=seed)
        return out * 2 if out.sum() > 0 else out

class Rejects(Small):
    def sample(self, conditions, *, seed):
        out = super().sample(conditions, seed=seed)
        while float(torch.randn(len(conditions), 1).max()) < 1: pass
        return out

class Shared(Small):
    def sample(self, conditions, *, seed):
        return super().sample(conditions, seed=seed) + torch.randn(1).abs()

class Numpy(Small):
    def sample(self, conditions, *, seed):
        return torch.as_tensor(super().sample(conditions, seed=seed).numpy().copy())
"""


def spec(tmp_path: Path, task: Task, name: str) -> str:
    shape, pixels, columns = task.shape, int(np.prod(task.shape)), len(task.condition_names)
    text = MODELS.replace("SHAPE", str(shape)).replace("PIXELS", str(pixels)).replace("COLUMNS", str(columns))
    path = tmp_path / "small.py"
    scale = "conditions.abs().amax(1, keepdim=True).clamp(min=1)"
    path.write_text(text.replace("NUMBERS", "3").replace("SCALE", f"({scale})"))
    return f"{path}:{name}"


def test_a_generic_deployment_runs_as_a_generator_again(tmp_path: Path) -> None:
    task = ToyTask()
    made = deploy(resolve(spec(tmp_path, task, "Small")), task, "generic", tmp_path / "out")
    assert made.latent == 4
    assert made.differing == 0
    assert json.loads((tmp_path / "out" / "deploy.json").read_text())["latent"] == 4
    conditions = task.load("test").conditions
    onnx, pt2 = (
        resolve(f"{kind}:{tmp_path / 'out' / f'model.{kind}'}").set_up(task).sample(conditions, 5)
        for kind in ("onnx", "pt2")
    )
    torch.testing.assert_close(onnx, pt2, rtol=1e-5, atol=1e-5)
    noise = torch.randn(len(conditions), 4, generator=torch.Generator().manual_seed(5))
    small = resolve(spec(tmp_path, task, "Small")).set_up(task)
    with GivenNoise(noise, len(conditions)):
        wanted = small.sample(conditions, 0)
    torch.testing.assert_close(onnx, wanted, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(wanted, small.sample(conditions, 0))  # outside, its seed counts again


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Poisson", r"draws with torch\.poisson"),
        ("Branches", "is no graph"),
        ("Rejects", "cannot be deployed"),
        ("Shared", "event by event"),
        ("Numpy", "cannot be deployed"),
    ],
)
def test_what_is_no_graph_is_refused_and_leaves_nothing(tmp_path: Path, name: str, message: str) -> None:
    task = ToyTask()
    with pytest.raises(GeneratorError, match=message):
        deploy(resolve(spec(tmp_path, task, name)), task, "generic", tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_a_folder_is_not_overwritten_and_o2_is_for_its_calorimeter(tmp_path: Path) -> None:
    task = ToyTask()
    small = resolve(spec(tmp_path, task, "Small"))
    (tmp_path / "deploy.json").touch()
    with pytest.raises(UsageError, match="never overwritten"):
        deploy(small, task, "generic", tmp_path)
    with pytest.raises(UsageError, match="profile o2"):
        deploy(small, task, "o2", tmp_path / "out")


@pytest.fixture(scope="module")
def o2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("o2")
    task = get_task("zn-geant3")
    deploy(resolve(spec(folder, task, "Small")), task, "o2", folder / "out")
    return folder


def test_o2_gives_the_log_of_photons_of_standardised_conditions(o2: Path) -> None:
    task = get_task("zn-geant3")
    network = resolve(f"onnx:{o2 / 'out' / 'model.onnx'}", {"output": "log1p"}).set_up(task)
    assert network.generator.roles == ("noise", "conditions")  # type: ignore[attr-defined]
    assert [one.name for one in network.generator.inputs] == ["noise", "conditions"]  # type: ignore[attr-defined]
    conditions = task.load("test").conditions[:50]
    train = task.load("train").conditions.double()
    means, scales = read_scaler(o2 / "out" / "model.txt", 9)
    torch.testing.assert_close(means.double(), train.mean(0), rtol=1e-5, atol=1e-12)
    varies = train.std(0) > 0
    torch.testing.assert_close(scales.double()[varies], train.std(0, correction=0)[varies], rtol=1e-5, atol=1e-12)
    small = resolve(spec(o2, task, "Small")).set_up(task)
    noise = torch.randn(50, 4, generator=torch.Generator().manual_seed(2))
    with GivenNoise(noise, 50):
        wanted = small.sample(conditions, 0)
    torch.testing.assert_close(network.sample(conditions, 2), wanted, rtol=1e-4, atol=1e-4)


def test_the_scales_stand_in_two_blocks_with_a_blank_line_after_each() -> None:
    text = scaler_text(torch.tensor([[1.0, 2.5e-8], [3.0, 4.0]]))
    assert text.split("\n") == ["#means", "1.0", repr(float(torch.tensor(2.5e-8))), "", "#scales", "3.0", "4.0", "", ""]


def particles(o2: Path, count: int) -> Path:
    path = o2 / "particles.txt"
    np.savetxt(path, get_task("zn-geant3").load("test").conditions[:count].numpy(), fmt="%.9g")
    return path


def channels_of(o2: Path, noise: Tensor) -> list[list[int]]:
    """What zn_2x2 of the deployed network's photons is, for the first test conditions."""
    task = get_task("zn-geant3")
    small = resolve(spec(o2, task, "Small")).set_up(task)
    with GivenNoise(noise, len(noise)):
        photons = small.sample(task.load("test").conditions[: len(noise)], 0)
    return [[round(value) for value in row] for row in channel_sums(photons.double()).tolist()]


def near(made: list[list[int]], wanted: list[list[int]]) -> bool:
    """Equal but for a rounding at one half."""
    return bool((np.abs(np.array(made) - np.array(wanted)) <= 1).all()) and made != [[0] * 5] * len(made)


def test_the_client_in_python_sums_the_channels_of_zn_2x2(o2: Path) -> None:
    command = [sys.executable, str(o2 / "out" / "client.py"), str(particles(o2, 6)), "--seed", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rng = np.random.default_rng(4)
    noise = torch.from_numpy(np.concatenate([rng.standard_normal((1, 4), np.float32) for _ in range(6)]))
    made = [[int(value) for value in line.split()] for line in done.stdout.splitlines()]
    assert near(made, channels_of(o2, noise))


@pytest.mark.skipif(
    shutil.which("g++") is None or "ONNXRUNTIME_DIR" not in os.environ,
    reason="needs g++ and ONNXRUNTIME_DIR, a folder with onnxruntime's include and lib",
)
def test_the_client_in_cpp_gives_what_the_one_in_python_gives(o2: Path) -> None:
    here = Path(os.environ["ONNXRUNTIME_DIR"])
    client, noise = o2 / "client", torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    np.savetxt(o2 / "noise.txt", noise.numpy(), fmt="%.9g")
    flags = [f"-I{here / 'include'}", f"-L{here / 'lib'}", f"-Wl,-rpath,{here / 'lib'}", "-lonnxruntime"]
    source = str(o2 / "out" / "client.cpp")
    subprocess.run(["g++", "-O2", "-std=c++17", "-Wall", source, "-o", str(client), *flags], check=True)
    command = [str(client), str(o2 / "out"), str(particles(o2, 6)), "0", str(o2 / "noise.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert near([[int(x) for x in line.split()] for line in done.stdout.splitlines()], channels_of(o2, noise))


def test_given_noise_answers_every_kind_of_draw() -> None:
    noise = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    with GivenNoise(noise, 4) as given:
        assert torch.equal(torch.randn(4, 2), noise[:, :2])
        assert torch.equal(torch.randn((4,)), noise[:, 2])
        assert torch.equal(torch.rand(4, 1), uniform(noise[:, 3:4]))
        assert torch.equal(torch.randn_like(torch.zeros(4, 1)), noise[:, 4:5])
        assert torch.equal(torch.zeros(4, 1).normal_(2, 3), 3 * noise[:, 5:6] + 2)
        assert torch.equal(torch.zeros(4, 1).uniform_(2, to=5), 3 * uniform(noise[:, 6:7]) + 2)
        with pytest.raises(GeneratorError, match="more random numbers"):
            torch.randn(4, 1)
    assert given.used == 8


def test_uniform_numbers_are_below_one() -> None:
    values = uniform(torch.tensor([-9.0, 0.0, 9.0]))
    assert values.tolist() == [0.0, 0.5, 1 - 2.0**-24]


@pytest.mark.parametrize(("mean", "r"), [(0.05, 0.3), (0.7, 1.5), (5.0, 3.0), (40.0, 12.0), (300.0, 20.0)])
def test_counts_by_their_quantile_have_the_distribution_of_those_drawn(mean: float, r: float) -> None:
    """Mean, standard deviation and dark share; 20 000 draws, five standard errors."""
    rng, n = torch.Generator().manual_seed(0), 20_000
    means, shapes = torch.full((n,), mean), torch.full((n,), r)
    made = negative_binomial_quantile(means, shapes, torch.randn(n, generator=rng))
    sd = (mean + mean**2 / r) ** 0.5
    assert abs(float(made.mean()) - mean) < 5 * sd / n**0.5
    assert abs(float(made.std()) / sd - 1) < 0.05
    drawn = negative_binomial(means, shapes, rng)
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    apart = (made.quantile(quantiles) - drawn.quantile(quantiles)).abs()
    assert bool((apart <= 1 + 0.06 * sd).all()), apart


def test_the_verb(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from simbench.cli.main import app

    small = spec(tmp_path, get_task("zn-geant3"), "Poisson")
    done: Any = CliRunner().invoke(app, ["deploy", small, "-o", str(tmp_path / "out")])
    assert done.exit_code == 3
    assert "torch.poisson" in done.output
