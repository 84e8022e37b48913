"""Evaluation: a generator on a task becomes a Result: sample, time, score, each score beside its floor."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__, {"Evaluated": "evaluate", "score_files": "evaluate", "Clock": "throughput"}
)
