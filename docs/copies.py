"""Which copies are seen: real events replayed in several ways, and the findings of each. `python docs/copies.py` prints
the table of docs/cheating.md (4000 events of zn-geant3)."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from simbench.evaluation.floors import Floors
from simbench.evaluation.scoring import measure
from simbench.generators.resolve import resolve
from simbench.metrics.base import Comparison
from simbench.metrics.registry import get_metric
from simbench.results.findings import findings
from simbench.tasks import get_task

KEYS = ("memorisation/3", "conditional_energy/1", "channel_wasserstein/1")
WORDS = {"copies": "copies", "too near": "too near", "better than the truth": "better than the truth"}
"""What a finding says, and what the table says of it."""
RNG = torch.Generator().manual_seed(0)


def redrawn(photons: Tensor, share: float) -> Tensor:
    """That share of the photons taken away, and as many drawn anew at the same fibres."""
    kept = torch.binomial(photons, torch.full_like(photons, 1 - share), generator=RNG)
    return kept + torch.poisson(photons * share, generator=RNG)


def mixed(some: Tensor, others: Tensor, share: float) -> Tensor:
    """That share of the events from `some`."""
    return torch.where(torch.rand(len(some), generator=RNG)[:, None, None] < share, some, others)


def main() -> None:
    """Print the table."""
    task = get_task("zn-geant3")
    test, floor = task.load("test"), task.load("floor")
    replay = resolve("memoriser").set_up(task).sample(test.conditions, 1)
    variants = {
        "training events, of the nearest particle": replay,
        "the same, 10 % of the photons redrawn": redrawn(replay, 0.1),
        "the same, all photons redrawn": torch.poisson(replay, generator=RNG),
        "the same, mirrored": replay.flip(2),
        "2 % training events": mixed(replay, floor.samples, 0.02),
        "0.5 % training events": mixed(replay, floor.samples, 0.005),
        "test events": test.samples,
        "test events, 10 % of the photons redrawn": redrawn(test.samples, 0.1),
        "test events, all photons redrawn": torch.poisson(test.samples, generator=RNG),
        "10 % test events": mixed(test.samples, floor.samples, 0.1),
        "events of the split `floor`": floor.samples,
    }
    floors = Floors(task, test)
    print("| what is returned | copies of training | of test | conditional energy | refused |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name, samples in variants.items():
        pair = Comparison(floor.with_samples(samples), test, stratify=False)
        found = [measure(get_metric(key), [pair], floors, fast=False, definitions="simbench") for key in KEYS]
        parts, energy = found[0].parts, found[1]
        why = findings(SimpleNamespace(measurements=found))  # type: ignore[arg-type]
        refused = ", ".join(kind for word, kind in WORDS.items() if any(word in sentence for sentence in why)) or "no"
        shares = f"{parts['copies']:.1%} | {parts['test copies']:.1%}"
        print(f"| {name} | {shares} | {energy.value:.2f} ± {energy.stderr:.2f} | {refused} |", flush=True)


if __name__ == "__main__":
    main()
