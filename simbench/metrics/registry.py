"""The metrics by key: simbench's own, and those that packages offer through the entry-point group `simbench.metrics`.

A new metric is one decorated function in a module of `FAMILIES` and its key in the tasks that show it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from importlib import import_module

from simbench.core.errors import UsageError
from simbench.core.plugins import did_you_mean, entry_points, load_entry_point, unknown_name
from simbench.metrics.base import Metric
from simbench.metrics.published import ON_VARIANTS

FAMILIES = (
    "channels", "response", "physics", "showers", "frechet", "kernel", "energy", "transport", "manifolds", "classifier",
    "labels", "memorisation", "published",
)  # fmt: skip
"""The modules of this folder that hold metrics; metrics are listed in this order."""

SHIPPED = (
    *(
        value
        for family in FAMILIES
        for value in vars(import_module(f"simbench.metrics.{family}")).values()
        if isinstance(value, Metric)
    ),
    *ON_VARIANTS,
)


@functools.cache
def metrics() -> dict[str, Metric]:
    """Every known metric, by key."""
    known = {metric.key: metric for metric in SHIPPED}
    for point in entry_points("simbench.metrics").values():
        offered = load_entry_point(point)
        if not isinstance(offered, Metric):
            raise UsageError(
                f"the registered metric {point.name!r} ({point.value}) is not one",
                got=type(offered).__name__,
                expected="a function decorated with simbench.metrics.base.metric",
            )
        known[offered.key] = offered
    return known


def get_metric(key: str) -> Metric:
    """The metric of that key. Raises UsageError where there is none."""
    known = metrics()
    if key not in known:
        raise UsageError(
            "unknown metric", got=repr(key), expected=f"one of {', '.join(known)}", fix=did_you_mean(key, known)
        )
    return known[key]


def metric_named(name: str, preferred: Collection[str] = ()) -> Metric:
    """The metric of a key, or of a name without its version: the one among the keys `preferred`, else the newest.

    Raises UsageError where there is none.
    """
    known = metrics()
    if "/" in name:
        return get_metric(name)
    versions = [key for key in known if key.partition("/")[0] == name]
    if not versions:
        raise unknown_name("metric", name, dict.fromkeys(key.partition("/")[0] for key in known))
    found = next((key for key in preferred if key in versions), None)
    return known[found or max(versions, key=_age)]


def _age(key: str) -> int:
    version = key.partition("/")[2]
    return int(version) if version.isdigit() else 0
