"""Which scores may be compared: those of the same events by the same definitions. What changed in a generator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from simbench.core.text import printable
from simbench.results.schema import GeneratorRecord, TaskRecord


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
