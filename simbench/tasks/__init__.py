"""The tasks, by name. A package offers its own through the entry-point group `simbench.tasks` (a Task subclass)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simbench.core.plugins import entry_points, load_entry_point, unknown_name

if TYPE_CHECKING:
    from simbench.tasks.base import Task

DEFAULT = "zn-geant3"


def task_names() -> list[str]:
    """Every registered task."""
    return sorted(entry_points("simbench.tasks"))


def get_task(name: str, data_dir: Path | None = None) -> Task:
    """The task of that name. `data_dir` is searched first for data that simbench does not ship.

    Raises:
        UsageError: no such task.
    """
    known = entry_points("simbench.tasks")
    if name not in known:
        raise unknown_name("task", name, known)
    cls = load_entry_point(known[name])
    task: Task = cls(data_dir) if data_dir is not None and "data_dir" in cls.__init__.__annotations__ else cls()
    return task
