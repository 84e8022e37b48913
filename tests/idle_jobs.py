"""A worker's job that does nothing, in a module that a worker can import."""

from __future__ import annotations

from pathlib import Path

from simbench.core.progress import Progress
from simbench.evaluation.jobs import Ended
from simbench.sweep import cluster
from simbench.sweep.plan import Asked, Step

real = cluster.on_worker


def nothing(step: Step, asked: Asked, progress: Progress) -> Ended:
    return Ended(Path(step.key))


def on_worker(step: Step, asked: Asked, cores: int) -> Ended:
    """As `simbench.sweep.cluster.on_worker`, with a job that does nothing."""
    return real(step, asked, cores, nothing)
