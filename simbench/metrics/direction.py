"""Which way of a score is better. Everything that depends on it asks here."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Way = Literal["lower", "higher", "target"]


class Scored(Protocol):
    """What has a direction: a metric, a measurement, a golden value, a column of a board."""

    @property
    def direction(self) -> Way:
        """Which way is better."""

    @property
    def target(self) -> float | None:
        """The right value, where there is one."""


class Direction(NamedTuple):
    """Better is a lower value, a higher one, or one nearer to `target` (a ratio of 1, a difference of 0)."""

    way: Way
    target: float | None = None

    @classmethod
    def of(cls, scored: Scored) -> Direction:
        """The direction of a metric, a measurement, a golden value or a column of a board."""
        return cls(scored.direction, scored.target)

    def check(self, key: str) -> None:
        """Raises ValueError, with the metric's key, for a target without the direction "target" or the reverse."""
        if (self.way == "target") != (self.target is not None):
            raise ValueError(f"{key}: a target belongs to direction 'target', and to it alone")

    @property
    def sign(self) -> int:
        """What a difference of two values is multiplied by, so that more is worse; means nothing for a target."""
        return -1 if self.way == "higher" else 1

    def badness(self, value: float) -> float:
        """A number that is larger the worse `value` is."""
        return abs(value - (self.target or 0.0)) if self.way == "target" else self.sign * value

    @property
    def sides(self) -> int:
        """Sides of a test for being worse: a value misses a target on either side."""
        return 2 if self.way == "target" else 1

    @property
    def arrow(self) -> str:
        """`↓`, `↑` or `→1`."""
        return f"→{self.target or 0:g}" if self.way == "target" else "↓" if self.way == "lower" else "↑"

    @property
    def words(self) -> str:
        """`less is better`, `more is better` or `right at 1`."""
        if self.way == "target":
            return f"right at {self.target or 0:g}"
        return "less is better" if self.way == "lower" else "more is better"
