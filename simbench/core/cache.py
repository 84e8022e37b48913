"""Values that are computed once each, whichever thread asks first."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Once:
    """A cache for several threads: the first that asks for a key computes its value, the others wait for it."""

    def __init__(self, values: Mapping[Hashable, Any] | None = None) -> None:
        self._values: dict[Hashable, Any] = dict(values or {})
        self._locks: dict[Hashable, Lock] = {}
        self._lock = Lock()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of `key`, from `compute` where there is none yet. An exception of `compute` leaves none."""
        with self._lock:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            if key not in self._values:
                self._values[key] = compute()
            return cast(T, self._values[key])

    def values(self) -> dict[Hashable, Any]:
        """What has been computed so far."""
        return dict(self._values)
