"""Which scores may be compared: those made against the same events by the same definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from simbench.results.schema import TaskRecord


class Basis(NamedTuple):
    """What a score depends on beside the generator. `data_set` is the beginning of its checksum."""

    task: str
    task_version: str
    split: str
    data_set: str
    number_of_events: int
    definitions: str

    @classmethod
    def of(cls, task: TaskRecord, definitions: str) -> Basis:
        """The basis of a result, or of golden values."""
        return cls(task.name, task.version, task.split, task.dataset_sha256[:12], task.events, definitions)

    def unlike(self, other: Basis) -> Iterator[tuple[str, Any, Any]]:
        """What differs: its name, here, in the other."""
        for name, mine, theirs in zip(self._fields, self, other, strict=True):
            if mine != theirs:
                yield name.replace("_", " "), mine, theirs
