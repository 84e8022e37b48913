"""Tasks that a user imported: checked copies of their descriptions, in the user's folder."""

from __future__ import annotations

import re
from pathlib import Path

from simbench.core.files import config_dir
from simbench.core.plugins import unknown_name

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def folder() -> Path:
    """Where the copies are."""
    return config_dir() / "tasks"


def imported_names() -> list[str]:
    """The tasks that are imported."""
    return sorted(path.stem for path in folder().glob("*.toml") if NAME.fullmatch(path.stem))


def copy_of(name: str) -> Path:
    """Where the copy of a task is, imported or not."""
    return folder() / f"{name}.toml"


def is_imported(name: str) -> bool:
    """Whether a task of that name is imported."""
    return NAME.fullmatch(name) is not None and copy_of(name).is_file()


def remove_task(name: str) -> Path:
    """Forget an imported task; its files stay. Returns the copy that was removed. Raises UsageError."""
    if not is_imported(name):
        raise unknown_name("imported task", name, imported_names() or ["none"])
    copy_of(name).unlink()
    return copy_of(name)
