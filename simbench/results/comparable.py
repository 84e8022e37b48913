"""Which scores may be compared: those of the same events by the same definitions. What changed in a generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from simbench.core.text import count, printable
from simbench.results.schema import GeneratorRecord, Result, TaskRecord


class Basis(NamedTuple):
    """What a score depends on beside the generator. `data_set` and the like are the beginnings of checksums.

    `task_file` is None for tasks that a package offers by name: its version speaks for them.
    """

    task: str
    split: str
    number_of_events: int
    data_set: str
    feature_network: str | None
    definitions: str
    task_file: str | None = None

    @classmethod
    def of(cls, task: TaskRecord, definitions: str) -> Basis:
        """The basis of a result, or of golden values."""
        return cls(
            task.name,
            task.split,
            task.events,
            task.scored_sha256[:12],
            task.features_sha256 and task.features_sha256[:12],
            definitions,
            task.source_sha256 and task.source_sha256[:12],
        )

    def unlike(self, other: Basis) -> Iterator[tuple[str, Any, Any]]:
        """What differs: its name, here, in the other."""
        for name, mine, theirs in zip(self._fields, self, other, strict=True):
            if mine != theirs:
                yield name.replace("_", " "), mine, theirs


@dataclass(frozen=True)
class Group:
    """Results whose scores compare.

    Attributes:
        places: where they stand among all results, ascending.
        words: what tells them from the other groups: `4 000 events`; empty where there is one group.
    """

    places: tuple[int, ...]
    words: str


TELLING = ("task", "number_of_events", "definitions", "split", "feature_network", "data_set")
"""Fields of `Basis`; the first that tell all groups apart are said (fewer events are another data set, too)."""


def comparable_groups(results: Sequence[Result]) -> list[Group]:
    """The results in groups whose scores compare, in the order of their first results."""
    found: dict[Basis, list[int]] = {}
    for place, result in enumerate(results):
        found.setdefault(Basis.of(result.task, result.spec.definitions), []).append(place)
    told: list[str] = []
    for name in TELLING:
        if len({getattr(basis, name) for basis in found}) > 1:
            told.append(name)
        if len({tuple(getattr(basis, name) for name in told) for basis in found}) == len(found):
            break
    return [
        Group(tuple(places), ", ".join(_field(name, getattr(basis, name)) for name in told))
        for basis, places in found.items()
    ]


def _field(name: str, value: Any) -> str:
    if name == "number_of_events":
        return f"{count(value)} events"
    return printable(str(value), 60) if name == "task" else f"{name.replace('_', ' ')} {printable(str(value), 60)}"


def generator_changes(before: GeneratorRecord, now: GeneratorRecord) -> list[str]:
    """What changed in a generator between two runs, in words: its parameters, its source, its weights."""
    changes = []
    for name in sorted(before.parameters.keys() | now.parameters.keys()):
        old, new = (repr(record.parameters[name]) if name in record.parameters else "none" for record in (before, now))
        if old != new:
            kind = "the parameter" if name in before.given or name in now.given else "the default of"
            changes.append(f"{kind} {printable(name, 60)} changed from {printable(old, 60)} to {printable(new, 60)}")
    if before.source_sha256 != now.source_sha256:
        changes.append("its source file changed")
    if before.weights_sha256 != now.weights_sha256:
        changes.append("its weights changed")
    return changes
