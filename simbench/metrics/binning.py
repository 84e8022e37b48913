"""The voxels of a calorimeter in cylindrical coordinates: layers, rings in each layer, slices in angle in each ring."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """One layer: `number` in the detector, edges of its rings [mm], slices in the angle alpha.

    Its voxels are stored slice by slice, and within a slice from the axis outwards.
    """

    number: int
    r_edges: tuple[float, ...]
    slices: int

    @property
    def rings(self) -> int:
        """Voxels of a slice."""
        return len(self.r_edges) - 1

    @property
    def voxels(self) -> int:
        """Voxels of the layer."""
        return self.rings * self.slices

    @functools.cached_property
    def radii(self) -> Array:
        """The middle of each voxel in r [mm], (voxels,)."""
        edges = np.array(self.r_edges)
        return np.tile(edges[:-1] + (edges[1:] - edges[:-1]) / 2, self.slices)

    @functools.cached_property
    def angles(self) -> Array:
        """The middle of each voxel in alpha, from -pi to pi, (voxels,)."""
        edges = np.linspace(-np.pi, np.pi, self.slices + 1)
        return np.repeat(edges[:-1] + (edges[1:] - edges[:-1]) / 2, self.rings)

    @functools.cached_property
    def plane(self) -> tuple[Array, Array]:
        """The middle of each voxel in the plane of the layer [mm], along eta and along phi: (voxels,) each."""
        return self.radii * np.cos(self.angles), self.radii * np.sin(self.angles)


@dataclass(frozen=True)
class Binning:
    """The layers that have voxels, in the order in which an event holds them."""

    layers: tuple[Layer, ...]

    @functools.cached_property
    def starts(self) -> tuple[int, ...]:
        """The first voxel of each layer, and behind the last the number of all voxels."""
        return (0, *np.cumsum([layer.voxels for layer in self.layers]).tolist())

    @property
    def voxels(self) -> int:
        """Voxels of an event."""
        return self.starts[-1]

    def slices(self) -> list[tuple[Layer, slice]]:
        """Each layer with the voxels of an event that are its own."""
        return [(layer, slice(*self.starts[place : place + 2])) for place, layer in enumerate(self.layers)]

    def voxel_of(self, x: Array, y: Array, layer: NDArray[np.int64]) -> NDArray[np.int64]:
        """The voxel of points at x, y [mm] in the layer of that number, (P,) each -> (P,).

        -1 where a point lies beyond the last ring, -2 where there is no such layer.
        """
        voxel = np.full(len(x), -2, np.int64)
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        for one, where in self.slices():
            inside = layer == one.number
            ring = np.searchsorted(one.r_edges, radius[inside], side="right") - 1
            turn = np.floor((angle[inside] + np.pi) / (2 * np.pi) * one.slices).astype(np.int64) % one.slices
            at = where.start + turn * one.rings + ring
            voxel[inside] = np.where((ring >= 0) & (ring < one.rings), at, -1)
        return voxel
