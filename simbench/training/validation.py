"""The score on the validation split that training watches: cheap, and a perfect model is best."""

from __future__ import annotations

import torch
from torch import Tensor

from simbench.core.errors import DataError
from simbench.core.events import Events
from simbench.core.seeds import derive_seed
from simbench.metrics.channels import conditional_energies, wasserstein_1d
from simbench.tasks.base import Task

PHOTONS_PER_ROOT = 10.0
"""Photons of channel_wasserstein that weigh as much as 1 of conditional_energy. On zn-geant3 that makes the two alike
in size for a decent model (about 1.5 and 15 photons), so that early stopping sees both."""

LARGEST_GROUP = 1000
"""Events of one condition that are compared with each other, at most: a bound on memory."""


def validation_events(task: Task, most: int) -> Events:
    """About `most` events of the validation split, whole units spread evenly over the split."""
    events = task.load("validation")
    if len(events) <= most:
        return events
    units = torch.unique(events.unit_id)
    wanted = max(1, round(most * len(units) / len(events)))
    chosen = units[torch.linspace(0, len(units) - 1, wanted).round().long()]
    return events.take(torch.isin(events.unit_id, chosen))


def sample_like(model: object, events: Events, block_size: int, device: str) -> Events:
    """The model's answers to the conditions of `events`, in blocks, with seeds that never change."""
    made: list[Tensor] = []
    for block, conditions in enumerate(torch.split(events.conditions.to(device), block_size)):
        samples = model.sample(conditions, seed=derive_seed(0, "validation", block))  # type: ignore[attr-defined]
        made.append(torch.as_tensor(samples).detach().cpu().to(torch.float32))
    return events.with_samples(torch.cat(made))


def validation_score(task: Task, generated: Events, reference: Events) -> dict[str, float]:
    """The terms of the score, by name, and their weighted sum as `score`: lower is better.

    - a calorimeter (a task that is scored by conditional_energy): conditional_energy + channel_wasserstein / 10
      photons;
    - other tasks: the energy distance of the pinned features within each condition, averaged over conditions (of
      flattened events where the task has no features or their weights are not there; over all events where conditions
      do not repeat).
    """
    if "conditional_energy/1" in task.metrics:
        x, y = generated.derived("channels"), reference.derived("channels")
        terms = {
            "conditional_energy": _grouped_energy(x.sqrt(), y.sqrt(), reference.condition_id),
            "channel_wasserstein": float(wasserstein_1d(x, y).mean()),
        }
        return {**terms, "score": terms["conditional_energy"] + terms["channel_wasserstein"] / PHOTONS_PER_ROOT}
    energy = _grouped_energy(_features(generated), _features(reference), reference.condition_id)
    return {"energy_distance": energy, "score": energy}


def _features(events: Events) -> Tensor:
    if "features" in events.derivations:
        try:
            return events.derived("features").double()
        except DataError:  # the extractor's weights are not installed: the events themselves still tell models apart
            pass
    return events.samples.flatten(1).double()


def _grouped_energy(x: Tensor, y: Tensor, condition_id: Tensor) -> float:
    """Mean over conditions of the energy distance within each; one group where a condition has a single event."""
    _, group, counts = torch.unique(condition_id, return_inverse=True, return_counts=True)
    if int(counts.min()) < 2:
        group, counts = torch.zeros_like(group), torch.tensor([len(group)])
    order = torch.argsort(group, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    kept = rank < LARGEST_GROUP
    return float(conditional_energies(x[kept], y[kept], group[kept], len(counts))[0].mean())
