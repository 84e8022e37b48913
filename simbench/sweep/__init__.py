"""Sweeps: many runs and trainings, which a plan asks for, side by side on a cluster.

`plan` reads what is asked for, `run` works through it, `cluster` is the only module that knows Dask.
"""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__, {"Plan": "plan", "read_plan": "plan", "Step": "plan", "work_through": "run"}
)
