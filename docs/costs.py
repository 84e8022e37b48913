"""What each metric costs, for its page: `python docs/costs.py` from the project's root writes docs/curves/costs.json.

CPU seconds on one thread of value and standard error, real events against the test split, quantities such as features
given. CPU seconds grow less than seconds by the clock where other programs run beside.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from simbench.evaluation.provenance import cpu_model
from simbench.metrics.base import Comparison
from simbench.metrics.registry import get_metric
from simbench.tasks import get_task

TASKS = ("zn-geant3", "mnist")


def seconds(task_name: str) -> dict[str, object]:
    """CPU seconds of each metric of a task at the whole test split."""
    task = get_task(task_name)
    floor, test = task.load("floor"), task.load("test")
    for name in test.derivations:
        floor.derived(name), test.derived(name)
    found = {}
    for key in task.metrics:
        pair = Comparison(floor, test, stratify=False)  # nothing shared between metrics
        start = time.process_time()
        get_metric(key)(pair)
        found[key] = float(f"{time.process_time() - start:.2g}")
        print(f"{task_name} {key}: {found[key]:g} s", file=sys.stderr, flush=True)
    return {"events": len(test), "seconds": found}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        measured = {"cpu": cpu_model(), "tasks": {name: seconds(name) for name in TASKS}}
    Path("docs/curves/costs.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
