"""Fit the constants of `gflash` to the training split: `python -m simbench_baselines.gflash_tuning`.

Three steps, each with fixed random numbers so that the showers change with the constants alone:

1. electromagnetic profile, yield and noise: photons that meet metal; mean light in rings around the impact point;
2. grooves and fibres: particles that enter beside the metal; conditional energy distance of the channels;
3. hadrons: neutrons that meet metal; means of the rings, and covariances of the repeats of one condition.

Steps 1 and 3 are damped least squares (Levenberg-Marquardt, finite differences), step 2 is Nelder and Mead's simplex.
It prints the objective before and after (see `objective`), then writes the constants and docs/gflash.svg.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from simbench.core.events import Events
from simbench.core.seeds import derive_seed
from simbench.metrics.channels import channel_sums, conditional_energies
from simbench.tasks import get_task
from simbench.tasks.base import Fibres, Task
from simbench.training.validation import sample_like, validation_events, validation_score
from simbench_baselines.flight import impact_on_face
from simbench_baselines.gflash import GFlash
from simbench_baselines.gflash_constants import Constants, starting_constants, write_constants
from simbench_baselines.gflash_figure import draw_constants

Array = NDArray[np.float64]

CONSTANTS = Path(__file__).parent / "weights" / "gflash-zn-geant3.json"
FIGURE = Path(__file__).parents[2] / "docs" / "gflash.svg"

RINGS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 100.0)
"""Distances from the impact point in mm: the photons between them are compared."""

FINE_RINGS = (
    *(0.1 * ring for ring in range(3, 20)),
    *(2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 13.0, 16.0),
    20,
    25,
    30,
    40,
)
"""The same for the electromagnetic profile."""

ENERGIES = (1200.0, 2500.0, 4000.0)
"""Edges in GeV of the energy bins of the hadrons' statistics."""

PROFILE = (
    "light_yield",
    "core_radius",
    "core_growth",
    "tail_radius",
    "tail_growth",
    "core_weight",
    "core_peak",
    "core_decline",
)
GROOVES = ("grazing_length", "quartz_length", "release_shape", "air_share", "release_spread")
HADRON_GROOVES = ("hadron_grazing_length", "hadron_quartz_length")
HADRONS = (
    *("interaction_length", "inelasticity", "pion_share"),
    *("pion_share_slope", "cascade_energy", "cascade_power", "cascade_spread", "sharing", "secondary_length"),
    *("transverse_momentum", "leading_momentum", "hadron_light", "hadron_core_radius", "hadron_tail_radius"),
    *("hadron_core_weight", "hadron_core_spread", "hadron_shape", "hadron_scale"),
)


def ring_sums(
    samples: Tensor, conditions: Tensor, names: tuple[str, ...], geometry: Fibres, rings: tuple[float, ...] = RINGS
) -> Tensor:
    """Photons between the `rings` around the impact point: (B, S, S) -> (B, rings - 1) float64."""
    impact, _, _ = impact_on_face(conditions, names, geometry)
    fibre = (torch.arange(geometry.number) - (geometry.number - 1) / 2) * geometry.pitch
    across, down = fibre - impact[:, :1], fibre - impact[:, 1:]
    distance = 1000 * (across[:, None, :].square() + down[:, :, None].square()).sqrt()
    ring = torch.bucketize(distance, torch.tensor(rings), right=True)
    sums = torch.zeros(len(samples), len(rings) + 1, dtype=torch.float64)
    return sums.scatter_add_(1, ring.flatten(1), samples.double().flatten(1))[:, 1:-1]


class Fit:
    """Showers of some constants beside training events that answer the same conditions, three each."""

    def __init__(self, task: Task, events: Events) -> None:
        assert task.fibres is not None
        self.task, self.events, self.geometry = task, events, task.fibres
        self.energy = events.conditions[:, 0].double()
        self.group = torch.unique(events.condition_id, return_inverse=True)[1]
        self.repeats = len(events) // (int(self.group.max()) + 1)

    def light(self, constants: Constants) -> Tensor:
        """Mean photons of showers that answer the events' conditions: (N, S, S)."""
        generator = GFlash()
        generator.prepare(self.task, constants)
        blocks = enumerate(self.events.conditions.split(1024))
        seeds = ((derive_seed(0, "tuning", block), rows) for block, rows in blocks)
        with torch.no_grad():
            return torch.cat([generator.mean_light(rows, torch.Generator().manual_seed(s)) for s, rows in seeds])

    def rings(self, samples: Tensor, rings: tuple[float, ...]) -> Tensor:
        """See `ring_sums`."""
        return ring_sums(samples, self.events.conditions, self.task.condition_names, self.geometry, rings)

    def conditional_energy(self, constants: Constants) -> float:
        """Of the channels, at these conditions."""
        generator = GFlash()
        generator.prepare(self.task, constants)
        made, real = (
            channel_sums(events.samples).sqrt()
            for events in (sample_like(generator, self.events, 1024, "cpu"), self.events)
        )
        return float(conditional_energies(made, real, self.group, int(self.group.max()) + 1)[0].mean())

    def fano(self) -> float:
        """Variance over mean of the photons of one fibre over the repeats of a condition."""
        repeats = self.events.samples.unflatten(0, (-1, self.repeats))
        return float(repeats.var(1).mean() / repeats.mean())

    def profile(self, samples: Tensor, fano: float) -> tuple[Array, Array]:
        """Photons per GeV in each fine ring, and their error, at least 1 %; `fano` is that of `fano()`."""
        sums = self.rings(samples, FINE_RINGS).sum(0)
        relative = (1e-4 + fano / sums.clamp(min=1)).sqrt()
        value = sums / self.energy.sum()
        return value.numpy(), (value * relative).numpy()

    def moments(self, samples: Tensor, fano: float) -> tuple[Array, Array]:
        """What describes hadronic showers, in each energy bin, and its error.

        Of the photons per GeV in the rings: means; covariances over the repeats of a condition, less the noise of
        counting (`fano` times the mean); variance and third moment of their sum; spread of the centre of gravity.
        """
        shape = (-1, self.repeats)
        per_gev = (self.rings(samples, RINGS) / self.energy[:, None]).unflatten(0, shape)
        energy = self.energy.unflatten(0, shape)[:, :1]
        mean, sums = per_gev.mean(1), per_gev.sum(2)
        apart = per_gev - mean[:, None]
        covariance = torch.einsum("nri,nrj->nij", apart, apart) / (self.repeats - 1)
        covariance = covariance - torch.diag_embed(fano * mean / energy)
        upper = torch.triu_indices(mean.shape[1], mean.shape[1])
        variance = sums.var(1) - fano * sums.mean(1) / energy[:, 0]
        third = (sums - sums.mean(1, keepdim=True)).pow(3).mean(1) * 4.5  # unbiased for three repeats
        columns = [mean, sums.mean(1)[:, None], covariance[:, upper[0], upper[1]], variance[:, None], third[:, None]]
        columns.append(self._wander(samples).unflatten(0, shape).var(1).sum(1)[:, None].clamp(max=30))
        table = torch.cat(columns, 1).numpy()
        bins = np.digitize(energy[:, 0].numpy(), ENERGIES)
        parts = [table[bins == index] for index in range(len(ENERGIES) + 1)]
        value = np.concatenate([part.mean(0) for part in parts])
        errors = [np.sqrt(2 * part.var(0) / len(part) + (0.015 * part.mean(0)) ** 2) for part in parts]
        return value, np.concatenate(errors)

    def _wander(self, samples: Tensor) -> Tensor:
        """Centre of gravity less impact point, x and y, in mm: (N, 2)."""
        impact, _, _ = impact_on_face(self.events.conditions, self.task.condition_names, self.geometry)
        fibre = 1000 * (torch.arange(self.geometry.number) - (self.geometry.number - 1) / 2) * self.geometry.pitch
        total = samples.sum((1, 2)).clamp(min=1)[:, None]
        return torch.stack([samples.sum(1) @ fibre, samples.sum(2) @ fibre], 1) / total - 1000 * impact


def bounded(constants: Constants, names: tuple[str, ...], steps: Array) -> Constants:
    """Constants moved by `steps` of their unit steps (see `step_sizes`), kept within their bounds."""
    metadata = {entry.name: entry.metadata for entry in fields(Constants)}
    moved = {
        name: float(np.clip(getattr(constants, name) + step * size, metadata[name]["low"], metadata[name]["high"]))
        for name, step, size in zip(names, steps, step_sizes(names), strict=True)
    }
    return replace(constants, **moved)


def step_sizes(names: tuple[str, ...]) -> Array:
    """A step that changes showers visibly: a tenth of where the fit starts, for logits 0.25."""
    metadata = {entry.name: entry.metadata for entry in fields(Constants)}
    return np.array(
        [0.25 if metadata[name]["unit"] == "logit" else max(abs(metadata[name]["start"]) / 10, 0.02) for name in names]
    )


def least_squares(
    residuals: Callable[[Constants], Array], constants: Constants, names: tuple[str, ...], iterations: int
) -> Constants:
    """Levenberg and Marquardt's method; large residuals count less: r / sqrt(1 + |r| / 4)."""

    def at(tried: Constants) -> Array:
        raw = residuals(tried)
        return raw / np.sqrt(1 + np.abs(raw) / 4)

    now, damping = at(constants), 1.0
    for iteration in range(iterations):
        slopes = np.stack([_slope(at, now, constants, names, unit) for unit in np.eye(len(names))], 1)
        normal = slopes.T @ slopes
        weights = np.diag(np.diag(normal) + 1e-3 * np.trace(normal) / len(names))
        for _ in range(4):
            steps = np.clip(np.linalg.solve(normal + damping * weights, -slopes.T @ now), -3, 3)
            tried = bounded(constants, names, steps)
            then = at(tried)
            if (then**2).mean() < (now**2).mean():
                break
            damping *= 4
        else:
            break
        constants, now, damping = tried, then, damping / 3
        say(f"  {iteration + 1}: mean squared residual {float((now**2).mean()):.3f}")
    return constants


def _slope(
    at: Callable[[Constants], Array], now: Array, constants: Constants, names: tuple[str, ...], unit: Array
) -> Array:
    """Change of the residuals with a step along `unit`, upwards unless that is out of bounds."""
    step = 0.3 if bounded(constants, names, 0.3 * unit) != constants else -0.3
    return (at(bounded(constants, names, step * unit)) - now) / step


def simplex(fit: Fit, constants: Constants, names: tuple[str, ...], calls: int) -> Constants:
    """Nelder and Mead's method on the conditional energy."""

    def at(steps: Array) -> float:
        return fit.conditional_energy(bounded(constants, names, steps))

    corners = np.vstack([np.zeros(len(names)), 2 * np.eye(len(names))])
    found = minimize(at, corners[0], method="Nelder-Mead", options={"initial_simplex": corners, "maxfev": calls})
    say(f"  conditional energy {found.fun:.3f} after {found.nfev} calls")
    return bounded(constants, names, found.x)


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def objective(task: Task, constants: Constants, events: Events) -> dict[str, float]:
    """The validation score (conditional energy + channel Wasserstein / 10 photons) at these events' conditions."""
    generator = GFlash()
    generator.prepare(task, constants)
    return validation_score(task, sample_like(generator, events, 1024, "cpu"), events)


def some(events: Events, chosen: Tensor, conditions: int) -> Events:
    """The events of the first conditions among the `chosen` events (N,)."""
    ids = torch.unique(events.condition_id[chosen])[:conditions]
    return events.take(torch.isin(events.condition_id, ids))


def fit_constants(task: Task, constants: Constants, train: Events) -> Constants:
    """All steps, on the training split."""
    assert task.fibres is not None
    impact, _, _ = impact_on_face(train.conditions, task.condition_names, task.fibres)
    place = impact / task.fibres.pitch + (task.fibres.number - 1) / 2
    away = (place - place.round()).abs().amax(1) * task.fibres.pitch
    inner = (impact.abs() < 0.03).all(1)
    photon, neutron = ((train.conditions[:, 7] - mass).abs() < 0.5 for mass in (0, 939.565))
    metal, beside = away > task.fibres.groove + 2e-5, away < task.fibres.groove - 1e-5

    say("1. electromagnetic profile")
    fit = Fit(task, some(train, photon & metal & inner, 500))
    fano = fit.fano()
    constants = replace(constants, photons_per_track=fano - 1)
    value, error = fit.profile(fit.events.samples, fano)
    constants = least_squares(lambda c: (fit.profile(fit.light(c), fano)[0] - value) / error, constants, PROFILE, 5)
    say("2. grooves and fibres")
    constants = simplex(Fit(task, some(train, photon & beside, 600)), constants, GROOVES, 70)
    say("3. hadrons")
    hadrons = Fit(task, some(train, neutron & metal & inner, 800))
    moments, errors = hadrons.moments(hadrons.events.samples, fano)
    constants = least_squares(
        lambda c: (hadrons.moments(hadrons.light(c), 0)[0] - moments) / errors, constants, HADRONS, 7
    )
    say("4. hadrons from grooves and fibres")
    return simplex(Fit(task, some(train, neutron & beside, 300)), constants, HADRON_GROOVES, 25)


def main() -> None:
    """Fit, print the objective before and after, write the constants and their figure."""
    began = time.process_time()
    task = get_task("zn-geant3")
    train = task.load("train")
    watched = some(train, torch.ones(len(train), dtype=torch.bool), 600)
    before = starting_constants()
    fitted = fit_constants(task, before, train)
    seconds = time.process_time() - began
    validation = validation_events(task, 1500)
    for name, events in (("train", watched), ("validation", validation)):
        for when, constants in (("before", before), ("after", fitted)):
            score = objective(task, constants, events)
            print(f"{name}, {when}: " + ", ".join(f"{key} {value:.3f}" for key, value in score.items()))
    print(f"{len(asdict(fitted))} constants, {seconds:.0f} CPU seconds")
    about: dict[str, object] = {"model": "gflash", "task": task.name, "task_version": task.version}
    about["command"] = "python -m simbench_baselines.gflash_tuning"
    write_constants(fitted, CONSTANTS, about)
    draw_constants(fitted, FIGURE)


if __name__ == "__main__":
    main()
