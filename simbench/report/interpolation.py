"""Interpolation: what a generator answers on the straight way between two conditions, all with the same noise.

After Deja et al., arXiv:2006.06704, fig. 7. Between two one-hot labels the conditions are invalid: no event has them.
A pinned LeNet-5 says what it sees on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.events import Events
from simbench.core.text import with_error
from simbench.features.extractors import LeNetReadOut
from simbench.generators.session import Session
from simbench.report.digits import picture
from simbench.report.showers import EMPTY, Picked, pick_conditions
from simbench.report.style import COUNTS, INK, REAL, Series, as_array, make_sheet, photons, place_image, plain, styled
from simbench.tasks.base import Task

Array = NDArray[np.float64]
POINTS = 9
NOISES = 16
"""Events at each point, each with a noise that stays the same along the way; the first is shown."""

WAYS = 4


@dataclass(frozen=True)
class Way:
    """The way from one condition to another, (C,) each, and the head of the LeNet-5 that is asked along it.

    `classes` are the two ends among the classes of the head; None for the energy, which is `energies` at the ends.
    """

    start: str
    end: str
    conditions: tuple[Tensor, Tensor]
    head: str
    classes: tuple[int, int] | None = None
    energies: tuple[float, float] = (0.0, 0.0)

    def point(self, share: float) -> Tensor:
        """The condition at a share of the way, (C,)."""
        return torch.lerp(*self.conditions, share)


@dataclass(frozen=True)
class Walk:
    """The events along a way: samples (POINTS, NOISES, *shape), and the read-out of each (POINTS, NOISES, width)."""

    way: Way
    samples: Tensor
    read_out: Array


def ways(reference: Events, task: Task) -> list[Way]:
    """Up to four ways: between labels of a one-hot task; else between energies of the two commonest species, and from
    the one species to the other. None for a task without a LeNet-5."""
    if task.lenet is None:
        return []
    if set(task.condition_units) == {"one-hot"}:
        head, labels = task.lenet.heads[0][0], len(task.condition_names)
        one_hot, half = torch.eye(labels), labels // 2
        return [
            Way(str(a), str(b), (one_hot[a], one_hot[b]), head, (a, b))
            for a, b in ((at, at + half) for at in range(min(half, WAYS)))
        ]
    if "Energy" not in task.condition_names or "species" not in reference.strata:
        return []
    species: dict[str, list[Picked]] = {}
    for picked in pick_conditions(reference, task):
        species.setdefault(str(reference.strata["species"][picked.rows[0]]), []).append(picked)
    heads, energy = dict(task.lenet.heads), task.condition_names.index("Energy")
    groups = [
        (name, reference.conditions[int(picked[0].rows[0])], reference.conditions[int(picked[-1].rows[0])])
        for name, picked in list(species.items())[:2]
        if len(picked) > 1
    ]

    def named(name: str, condition: Tensor) -> str:
        return f"{name}, {photons(float(condition[energy]))} {task.condition_units[energy]}"

    found = []
    if "log_energy" in heads:
        for name, low, high in groups:
            dim = changed(high, low, task.condition_names)
            energies = (float(dim[energy]), float(high[energy]))
            found.append(Way(named(name, dim), named(name, high), (dim, high), "log_energy", energies=energies))
    if "species" in heads and len(groups) == 2:
        (one, _, start), (other, _, like) = groups
        end = changed(start, like, task.condition_names, float(start[energy]))
        targets = task.lenet.targets(reference)["species"]
        classes = [int(targets[species[name][0].rows[0]]) for name in (one, other)]
        found.append(Way(named(one, start), named(other, end), (start, end), "species", (classes[0], classes[1])))
    return found


def changed(condition: Tensor, like: Tensor, names: Sequence[str], energy: float | None = None) -> Tensor:
    """A particle with the energy (or `energy`), mass and charge of another, from the same place in the same direction.

    Energies and momenta are in GeV, masses in MeV, as in `zn-geant3`.
    """
    at = {name: place for place, name in enumerate(names)}
    new = condition.clone()
    new[at["Energy"]] = like[at["Energy"]] if energy is None else energy
    for name in ("mass", "charge"):
        if name in at:
            new[at[name]] = like[at[name]]
    momentum = [at[name] for name in ("Px", "Py", "Pz") if name in at]
    if len(momentum) == 3 and "mass" in at:
        squared = new[at["Energy"]] ** 2 - (new[at["mass"]] / 1000) ** 2
        new[momentum] *= squared.clamp(min=0).sqrt() / condition[momentum].norm().clamp(min=1e-9)
    return new


def walk(session: Session, way: Way, task: Task) -> Walk:
    """Ask a generator along a way, at every point with the same seed. Raises GeneratorError."""
    seed = session.seed("interpolation", way.start, way.end)
    samples = [session.sample(way.point(share).expand(NOISES, -1), seed) for share in np.linspace(0, 1, POINTS)]
    assert task.lenet is not None
    read_out = LeNetReadOut(task.lenet, way.head)(torch.cat(samples))
    return Walk(way, torch.stack(samples), as_array(read_out).reshape(POINTS, NOISES, -1))


def outside(walks: Sequence[Walk]) -> tuple[float, float] | None:
    """The probability of neither end, mean over the ways between classes, with its standard error over the noises."""
    between = [one for one in walks if one.way.classes is not None]
    if not between:
        return None
    neither = np.mean([1 - one.read_out[:, :, list(one.way.classes or ())].sum(2).mean(0) for one in between], axis=0)
    return float(neither.mean()), float(neither.std(ddof=1) / np.sqrt(len(neither)))


def outside_sentence(found: Sequence[tuple[Series, Sequence[Walk]]]) -> str:
    """What the LeNet-5 sees of other classes on the ways, in words; empty where no way is between classes."""
    each = [(one.label, outside(walks)) for one, walks in found]
    parts = [f"{label} {with_error(*share)}" for label, share in each if share is not None]
    return f"Probability of neither end, mean over the ways between classes: {', '.join(parts)}." if parts else ""


def interpolations(found: Sequence[tuple[Series, Sequence[Walk]]], task: Task) -> Figure:
    """A block a way, in it a row a generator: images along the way, and what the LeNet-5 reads from them."""
    energy_unit = task.condition_units[task.condition_names.index("Energy")] if "Energy" in task.condition_names else ""
    cell, left, gap, right, plot = 0.78, 1.25, 0.55, 0.12, 2.1
    head, title, foot = 0.12, 0.36, 0.62
    rows, count = len(found), len(found[0][1])
    block = title + rows * cell + 0.1
    width, height = left + POINTS * cell + gap + plot + right, head + count * block + foot
    shares = np.linspace(0, 1, POINTS)
    top = max(float(one.samples[:, 0].max()) for _, walks in found for one in walks)
    how: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
    if len(task.shape) == 2:
        how = {"cmap": COUNTS, "norm": LogNorm(1, max(10.0, top), clip=True), "origin": "lower"}
    with styled():
        figure, sheet = make_sheet(width, height)
        for place in range(count):
            way = found[0][1][place].way
            high = height - head - place * block
            reading = "LeNet-5: class" if way.classes else f"LeNet-5: energy [{energy_unit}]"
            sheet.text(left, high - title / 2, plain(f"{way.start} → {way.end}", 60), va="center", weight="bold")
            sheet.text(width - right - plot, high - title / 2, reading, va="center", fontsize=9)
            for row, (one, walks) in enumerate(found):
                y = high - title - (row + 1) * cell
                look: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 9, "weight": "bold"}
                sheet.text(left - 0.1, y + cell / 2, plain(one.label, 15), color=one.colour, **look)
                for at, sample in enumerate(walks[place].samples[:, 0]):
                    image = as_array(sample)
                    shown = np.ma.masked_less_equal(image, EMPTY) if len(task.shape) == 2 else picture(image).clip(0, 1)
                    place_image(sheet, shown, left + at * cell + 0.02, y + 0.02, cell - 0.04, **how)
                box = ((width - right - plot) / width, (y + 0.07) / height, plot / width, (cell - 0.14) / height)
                axes: Any = figure.add_axes(box)
                _read_out(axes, walks[place], one.colour, shares)
                if row < rows - 1 or place < count - 1:
                    axes.tick_params(labelbottom=False)
                else:
                    axes.set_xlabel("share of the way", loc="center", fontsize=9)
        heads = {walked.way.classes is not None for walked in found[0][1]}
        of_class, of_energy = (
            ["start", "end", "any other class"] if True in heads else ["", "", ""],
            ["energy read", "", "energy asked for"] if False in heads else ["", "", ""],
        )
        names = [" / ".join(filter(None, both)) for both in zip(of_class, of_energy, strict=True)]
        lines = [Line2D([], [], color=INK), Line2D([], [], color=INK, ls="--"), Line2D([], [], color=REAL)]
        shown_lines = [(line, name) for line, name in zip(lines, names, strict=True) if name]
        where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (left / width, 0.02), "ncols": 3}
        figure.legend(*zip(*shown_lines, strict=True), frameon=False, **where)
    return figure


def _read_out(axes: Any, walked: Walk, colour: str, shares: Array) -> None:
    """The mean over the noises: the probabilities of both ends and of the rest, or the energy beside the one asked."""
    way, mean = walked.way, walked.read_out.mean(1)
    axes.minorticks_off()
    axes.tick_params(labelsize=7.5, size=3)
    axes.set_xticks([0, 0.5, 1])
    axes.set_xlim(-0.02, 1.02)
    if way.classes is not None:
        start, end = (mean[:, at] for at in way.classes)
        axes.plot(shares, 1 - start - end, color=REAL, lw=1.2)
        axes.plot(shares, start, color=colour)
        axes.plot(shares, end, color=colour, ls="--")
        axes.set_ylim(-0.05, 1.05)
        axes.set_yticks([0, 1])
        return
    asked = np.linspace(*way.energies, len(shares))
    low, high = np.quantile(walked.read_out[:, :, 0], (0.16, 0.84), axis=1)
    axes.fill_between(shares, low, high, color=colour, alpha=0.25, lw=0)
    axes.plot(shares, asked, color=REAL, lw=1.2)
    axes.plot(shares, mean[:, 0], color=colour)
    axes.set_ylim(0, 1.35 * max(float(asked.max()), float(mean.max())))
    axes.yaxis.set_major_formatter(photons)
    axes.yaxis.set_major_locator(MaxNLocator(2))
