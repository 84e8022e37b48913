"""What each metric is, in numbers: its value and error on fixed events, beside the release that brought it.

`python tests/definitions.py` writes gates/definitions.json. It adds metrics that are new and marks those that are gone;
it never changes a number: a metric that gives another one needs a new version in its key.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from simbench.core.version import __version__
from simbench.metrics.base import Comparison, Metric
from simbench.metrics.registry import SHIPPED
from simbench.tasks import get_task

FILE = Path(__file__).parent / "gates" / "definitions.json"
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
EVENTS = 320
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


def measured(metric: Metric, pair: Comparison) -> dict[str, float | None]:
    """The numbers that are recorded, to seven digits."""
    found = metric(pair)
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
    shipped, pair = {metric.key: metric for metric in SHIPPED}, fixed_pair()
    new = [key for key in shipped if key not in found]
    gone = [key for key, record in found.items() if key not in shipped and "until" not in record]
    for key in new:
        found[key] = {"since": __version__, **measured(shipped[key], pair)}
    for key in gone:
        found[key]["until"] = __version__
    rows = [f"  {json.dumps(key)}: {json.dumps(record)}" for key, record in sorted(found.items())]
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    print(f"new: {', '.join(new) or 'none'}\ngone: {', '.join(gone) or 'none'}", file=sys.stderr)


if __name__ == "__main__":
    main()
