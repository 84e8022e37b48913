"""What each metric is, in numbers: its value and error on fixed events, beside the release that brought it.

`python tests/definitions.py` writes gates/definitions.json. It adds metrics that are new and marks those that are gone;
it never changes a number: a metric that gives another one needs a new version in its key.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from calo import write_dataset

from simbench.core.version import __version__
from simbench.metrics.base import Comparison, Metric
from simbench.metrics.registry import SHIPPED
from simbench.tasks import get_task
from simbench.tasks.calo import CaloPhotons

FILE = Path(__file__).parent / "gates" / "definitions.json"
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
EVENTS = 320
OF_VOXELS = ("separation_", "classifier_voxels/")
"""What keys of metrics begin with that need a calorimeter of layers and voxels."""
BRIGHTNESS = (1.5, 0.6, 1.9)


def fixed_pair() -> Comparison:
    """Real showers of 40 particles; as generated ones others of the same particles, brighter and dimmer in turn,
    every ninth emptied.

    Their features stand for those of any network; every third event reads as another condition than was asked for.
    """
    task = get_task("zn-geant3")
    reference, floor = task.load("test", EVENTS), task.load("floor", EVENTS)
    labels = reference.condition_id.clone()
    labels[::3] += 1
    reference = replace(
        reference, derivations={**reference.derivations, "predicted_label": lambda samples: labels[: len(samples)]}
    )
    factors = torch.tensor(BRIGHTNESS).repeat(EVENTS)[:EVENTS]
    factors[::9] = 0
    return Comparison(reference.with_samples((factors[:, None, None] * floor.samples).round()), reference)


def fixed_voxels() -> Comparison:
    """Made-up showers in the CaloChallenge's layout; as generated ones others of the same energies, brighter."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            task = get_task("calo-1-photons", write_dataset(Path(folder) / "data", CaloPhotons.dataset, 2 * EVENTS))
            reference, floor = task.load("test"), task.load("floor")
            return Comparison(
                reference.with_samples(1.1 * floor.samples), reference.with_samples(reference.samples.clone())
            )
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


@dataclass(frozen=True)
class Fixed:
    """The fixed events that each metric is measured on."""

    showers: Comparison
    voxels: Comparison

    @classmethod
    def made(cls) -> Fixed:
        """Both."""
        return cls(fixed_pair(), fixed_voxels())

    def of(self, metric: Metric) -> Comparison:
        """Those of a metric."""
        return self.voxels if metric.key.startswith(OF_VOXELS) else self.showers


def measured(metric: Metric, fixed: Fixed) -> dict[str, float | None]:
    """The numbers that are recorded, to seven digits."""
    found = metric(fixed.of(metric))
    return {"value": _rounded(found.value), "stderr": _rounded(found.stderr)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.7g}")


def recorded() -> dict[str, dict[str, Any]]:
    """The record by key: `since`, and `until` where it is gone, are releases."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Record new metrics, mark those that are gone, and say what belongs into CHANGELOG.md."""
    found = recorded() if FILE.exists() else {}
    shipped, fixed = {metric.key: metric for metric in SHIPPED}, Fixed.made()
    new = [key for key in shipped if key not in found]
    gone = [key for key, record in found.items() if key not in shipped and "until" not in record]
    for key in new:
        found[key] = {"since": __version__, **measured(shipped[key], fixed)}
    for key in gone:
        found[key]["until"] = __version__
    rows = [f"  {json.dumps(key)}: {json.dumps(record)}" for key, record in sorted(found.items())]
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    print(f"new: {', '.join(new) or 'none'}\ngone: {', '.join(gone) or 'none'}", file=sys.stderr)


if __name__ == "__main__":
    main()
