"""Symmetries of the data that a model may train on, where it says so."""

from __future__ import annotations

import torch
from torch import Tensor

from simbench.core.errors import UsageError

AXES = {"x": ("Vx", "Px"), "y": ("Vy", "Py")}
"""The conditions that belong to each transverse axis of the calorimeter."""


def mirror_exchange(
    samples: Tensor, conditions: Tensor, names: tuple[str, ...], *, together: bool = False
) -> tuple[Tensor, Tensor]:
    """One of the eight symmetries of a square calorimeter for each event: mirror x, mirror y, exchange x and y.

    The block is symmetric, its odd-even channels are not: so events are transformed as images, never as channel sums.

    Args:
        samples: (B, S, S), indexed [event, y, x].
        conditions: (B, C) in task units.
        names: the C names, `task.condition_names`; holds Vx, Vy, Px, Py.
        together: events of the same conditions are transformed alike, so that they go on having the same conditions.

    Returns:
        The transformed events and their conditions, in the same order, by torch's global random numbers.
    """
    if samples.dim() != 3 or samples.shape[1] != samples.shape[2]:
        what = "mirror and exchange need square events"
        raise UsageError(what, got=str(tuple(samples.shape)), expected="(events, S, S)")
    columns = {axis: [names.index(name) for name in members] for axis, members in AXES.items()}
    coins = torch.randint(2, (3, len(samples)), device=samples.device, dtype=torch.bool)
    if together:
        coins = coins[:, torch.unique(conditions, dim=0, return_inverse=True)[1]]
    samples, conditions = samples.clone(), conditions.clone()
    for coin, axis, dimension in ((coins[0], "x", 2), (coins[1], "y", 1)):
        samples = torch.where(coin[:, None, None], samples.flip(dimension), samples)
        for column in columns[axis]:
            conditions[:, column] = torch.where(coin, -conditions[:, column], conditions[:, column])
    samples = torch.where(coins[2][:, None, None], samples.transpose(1, 2), samples)
    exchanged = conditions.clone()
    exchanged[:, columns["x"] + columns["y"]] = conditions[:, columns["y"] + columns["x"]]
    return samples, torch.where(coins[2][:, None], exchanged, conditions)
