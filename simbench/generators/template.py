"""`simbench init`: ten lines that already are a generator."""

from __future__ import annotations

from pathlib import Path

from simbench.core.errors import UsageError
from simbench.core.files import write_new

CALORIMETER = '''\
"""A Poisson blob as bright as the energy. Measure it: simbench run --generator {file}:Model"""
import torch


class Model:
    def __init__(self, photons_per_gev: float = 0.7, width: float = 5.0):  # set by --param width=4
        self.photons_per_gev, self.axis = photons_per_gev, (torch.arange(44) - 21.5) / width

    def sample(self, conditions, *, seed):  # (event, 9), the first is the energy -> (event, 44, 44) photons
        rng = torch.Generator(conditions.device).manual_seed(seed)  # draw everything from it: same seed, same events
        blob = torch.softmax(-self.axis.square() / 2, 0).to(conditions.device)
        return torch.poisson(self.photons_per_gev * conditions[:, :1, None] * blob[:, None] * blob, generator=rng)
'''

DIGITS = '''\
"""Pixels drawn from the digit's mean image. Measure it: simbench run --task {task} -g {file}:Model"""
import torch


class Model:
    def setup(self, task, device):  # optional; called once and not timed: load weights here
        real = task.load("train")
        mean = real.conditions.T @ real.samples.flatten(1) / real.conditions.sum(0)[:, None]
        self.mean = mean.clamp(0, 1).to(device)

    def sample(self, conditions, *, seed):  # (event, 10) one-hot digits -> (event, 1, 28, 28) in [0, 1]
        rng = torch.Generator(conditions.device).manual_seed(seed)  # draw everything from it: same seed, same events
        return torch.bernoulli(conditions @ self.mean, generator=rng).reshape(-1, 1, 28, 28)
'''

ANY = '''\
"""Nothing but noise yet. Measure it: simbench run --task {task} --generator {file}:Model"""
import torch


class Model:
    def setup(self, task, device):  # optional; called once and not timed: load weights here
        self.shape, self.device = task.shape, device

    def sample(self, conditions, *, seed):  # (event, conditions) -> (event, *task.shape) in task.unit
        rng = torch.Generator(self.device).manual_seed(seed)  # draw everything from it: same seed, same events
        return torch.rand((len(conditions), *self.shape), generator=rng, device=self.device)
'''

TEMPLATES = {"zn-geant3": CALORIMETER, "mnist": DIGITS}


def write_scaffold(path: Path, task_name: str) -> None:
    """Write a generator to start from. Raises UsageError where the file exists, is no .py or cannot be written."""
    if path.suffix != ".py" or not path.stem.isidentifier():
        fix = f"Try {path.with_suffix('.py')}." if path.stem.isidentifier() else "Use letters, digits and _ only."
        raise UsageError(
            "a generator lives in a Python file that can be imported",
            got=str(path),
            expected="a name like mymodel.py",
            fix=fix,
        )
    if path.exists():
        raise UsageError(f"{path} exists and is never overwritten", fix="Choose another name, or move it away.")
    write_new(path, TEMPLATES.get(task_name, ANY).format(task=task_name, file=path))
