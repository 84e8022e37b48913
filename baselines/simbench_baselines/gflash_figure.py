"""What in `gflash` depends on energy, drawn against energy; and its radial profile, which does not."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simbench_baselines.gflash_constants import Constants
from simbench_baselines.gflash_showers import (
    hadronic_share,
    longitudinal_profile,
    pion_share,
    radial_profile,
    shower_depth,
)

DRAWS = 2000
"""Showers behind each band of 16 to 84 %."""


def draw_constants(constants: Constants, path: Path) -> None:
    """Write the figure as SVG."""
    energy = torch.logspace(1, np.log10(7000), 40)
    many = energy[:, None].expand(-1, DRAWS)
    rng = torch.Generator().manual_seed(0)
    alpha, beta = longitudinal_profile(many, rng)
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.subplots(2, 3).flat
    band(axes[0], energy, ((alpha - 1) / beta).numpy(), "depth of the maximum T\nradiation lengths", "electromagnetic")
    band(axes[1], energy, alpha.numpy(), r"shape $\alpha$ of the Gamma profile", "electromagnetic")
    band(axes[2], energy, pion_share(many, constants).numpy(), r"$\pi^0$ share of the lost energy", "leading hadron")
    band(axes[3], energy, hadronic_share(many, constants, rng).numpy(), "hadronic share", "secondary cascade")
    for name, momentum in (("secondary", constants.transverse_momentum), ("leading", constants.leading_momentum)):
        axes[4].loglog(energy, 1000 * momentum / energy, label=f"{name} hadron")
    axes[4].set_ylabel("deflection, mrad")
    maximum = axes[4].twinx()
    maximum.plot(energy, shower_depth(energy), "k:", label="shower depth, cm (right)")
    maximum.set_ylim(0, 8)
    axes[4].plot([], [], "k:", label="shower depth, cm (right)")
    axes[4].legend(fontsize=7)
    for axis in (*axes[:4], axes[4]):
        axis.set_xlabel("energy, GeV")
    radial(axes[5], constants)
    with mpl.rc_context({"svg.hashsalt": "gflash", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def band(axis: Axes, energy: torch.Tensor, values: NDArray[np.float32], label: str, title: str) -> None:
    """Median and 16 to 84 % of values (energies, draws)."""
    low, middle, high = np.quantile(values, [0.16, 0.5, 0.84], axis=1)
    axis.fill_between(energy, low, high, alpha=0.3, lw=0)
    axis.semilogx(energy, middle)
    axis.set_ylabel(label)
    axis.set_title(title, fontsize=9)


def radial(axis: Axes, constants: Constants) -> None:
    """Light per area across an electromagnetic shower at three depths, at all energies."""
    distance = torch.logspace(-1, 1.6, 80)
    for tau in (0.5, 1.0, 1.5):
        weights, widths = radial_profile(torch.tensor([tau]), 3, constants)
        density = weights / (2 * torch.pi * widths.square()) * (-(distance[:, None] ** 2) / (2 * widths.square())).exp()
        axis.loglog(distance, density.sum(1), label=rf"$\tau$ = {tau:g}")
    axis.set(ylim=(1e-6, 1), xlabel="distance from the axis, mm", ylabel="energy share per mm²")
    axis.set_title("electromagnetic, at every energy", fontsize=9)
    axis.legend(fontsize=7)
