"""The straight flight of a particle from its vertex to a calorimeter's face."""

from __future__ import annotations

import torch
from torch import Tensor

from simbench.tasks.base import Fibres


def impact_on_face(conditions: Tensor, names: tuple[str, ...], geometry: Fibres) -> tuple[Tensor, Tensor, Tensor]:
    """Where and how a particle would meet the face if it flew on straight.

    Args:
        conditions: (B, C) in task units.
        names: the C names, `task.condition_names`; holds Vx, Vy, Vz, Px, Py, Pz.
        geometry: where the face is.

    Returns:
        The impact point x = Vx + Px/|Pz| (z_face - sign(Pz) Vz) in m, y likewise, and the slope of the flight, x and y:
        (B, 2) each; and the way along the beam from the vertex to the face in m: (B,).
    """
    vx, vy, vz, px, py, pz = (conditions[:, names.index(name)] for name in ("Vx", "Vy", "Vz", "Px", "Py", "Pz"))
    slope = torch.stack([px, py], 1) / pz.abs().clamp(min=1e-6)[:, None]
    way = geometry.face - pz.sign() * vz
    return torch.stack([vx, vy], 1) + slope * way[:, None], slope, way
