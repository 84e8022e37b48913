"""Statistics that several folders share: Holm's correction of many tests."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusted p-values: a test is significant at family error alpha where its adjusted value is below alpha.

    The i-th smallest of m is multiplied by m - i, made monotone and cut at 1. Holm, Scand. J. Statist. 6 (1979) 65.
    """
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for index, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, p_values[key] * (len(p_values) - index)))
        adjusted[key] = largest
    return adjusted
