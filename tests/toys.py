"""A task small enough to read: 4 x 4 photon counts, two conditions, twelve test events (six conditions twice)."""

from __future__ import annotations

import torch

from simbench.core.events import Events
from simbench.tasks.base import Split, Task


class ToyTask(Task):
    name = "toy"
    version = "1.0"
    summary = "a toy"
    shape = (4, 4)
    unit = "photons"
    maximum = 1000.0
    condition_names = ("Energy", "charge")
    condition_units = ("GeV", "e")
    repeats = 2
    block_size = 5
    test_events = 12
    smoke_events = 4
    metrics = ()
    primary = ()

    def load_split(self, split: Split) -> Events:
        condition_id = torch.arange(6).repeat_interleave(2)
        conditions = torch.stack([condition_id / 7 + 0.1, condition_id % 2], 1).to(torch.float32)
        samples = conditions[:, :1, None] * torch.ones(12, 4, 4)
        return Events(samples=samples, conditions=conditions, condition_id=condition_id, unit_id=condition_id)


class ToyDigits(ToyTask):
    """One-hot labels that do not repeat side by side: 0 1 2 0 1 2 ..."""

    name = "toy-digits"
    shape = (1, 2, 2)
    maximum = 1.0
    condition_names = ("digit 0", "digit 1", "digit 2")
    condition_units = ("one-hot",) * 3
    repeats = 1

    def load_split(self, split: Split) -> Events:
        label = torch.arange(12) % 3
        conditions = torch.nn.functional.one_hot(label, 3).to(torch.float32)
        return Events(
            samples=torch.zeros(12, 1, 2, 2), conditions=conditions, condition_id=label, unit_id=torch.arange(12)
        )


class ToyNoise(ToyTask):
    """No conditions at all."""

    name = "toy-noise"
    condition_names = ()
    condition_units = ()
    repeats = 1

    def load_split(self, split: Split) -> Events:
        none = torch.zeros(12, 0)
        return Events(
            samples=torch.ones(12, 4, 4), conditions=none, condition_id=torch.arange(12), unit_id=torch.arange(12)
        )
