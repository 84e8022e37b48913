"""The tasks: by name, as `pkg.module:Task`, `file.py:Task` or `file.toml`; `zn-alice:split=wojnar,min_photons=10` has
options.

A package offers its own by name through the entry-point group `simbench.tasks` (a Task subclass); a user imports one
that a TOML file describes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simbench.core.errors import DataError, SimbenchError, UsageError
from simbench.core.plugins import entry_points
from simbench.core.specs import Kind, find_target
from simbench.core.text import printable
from simbench.tasks.imported import copy_of, imported_names, is_imported

if TYPE_CHECKING:
    from simbench.results.schema import TaskRecord
    from simbench.tasks.base import Task

DEFAULT = "zn-geant3"
GROUP = "simbench.tasks"
KIND = Kind("task", GROUP, DataError, "load_split", "Name the class of the task.")


def task_names() -> list[str]:
    """Every task that has a name: those of packages, and those that the user imported."""
    return sorted({*entry_points(GROUP), *imported_names()})


def every_task() -> tuple[list[Task], dict[str, str]]:
    """Every task that has a name and can be read, and of the others why they cannot."""
    found, wrong = [], {}
    for name in task_names():
        try:
            found.append(get_task(name))
        except SimbenchError as error:
            wrong[name] = str(error)
    return found, wrong


def get_task(spec: str, data_dir: Path | None = None) -> Task:
    """The task that `spec` names. `data_dir` is searched first for data that simbench does not ship.

    Raises:
        UsageError: there is no such name, file, module, attribute or option.
        DataError: its code raised, or what it gave is no task.
    """
    from simbench.tasks.checks import checked, constructed

    named, options = parse_options(spec)
    described = _described(named, data_dir)
    if described is not None:
        if options:
            raise UsageError(f"the task {named} takes no options", got=", ".join(options))
        return described
    value = find_target(named, KIND, imported_names()).value
    task = constructed(spec, value, data_dir, options)
    ours = ":" not in named and type(task).__module__.startswith(f"{__name__}.")
    return task if ours else checked(task, spec, value, named=":" not in named)


def _described(named: str, data_dir: Path | None) -> Task | None:
    """The task of a TOML file, named itself or imported; None where `named` is neither."""
    is_file = named.endswith(".toml")
    if not is_file and (named in entry_points(GROUP) or not is_imported(named)):
        return None
    from simbench.tasks.described import DescribedTask

    return DescribedTask(Path(named) if is_file else copy_of(named), data_dir, named if is_file else None)


def parse_options(spec: str) -> tuple[str, dict[str, str]]:
    """What names a task, and its options: `zn-alice:split=wojnar,min_photons=10`. Raises UsageError."""
    head, colon, tail = spec.rpartition(":")
    if not colon or "=" not in tail:
        return spec, {}
    pairs = [part.partition("=") for part in tail.split(",")]
    options = {key: value for key, _, value in pairs}
    if len(options) < len(pairs) or not all(key and value for key, _, value in pairs):
        expected = "each option once: NAME:key=value,key=value"
        raise UsageError("the options of a task cannot be read", got=repr(spec)[:200], expected=expected)
    return head, options


def task_of(record: TaskRecord, spec: str | None = None, data_dir: Path | None = None) -> Task:
    """The task of a result. One from a file is code, which runs only where the user names it as `spec`.

    Raises:
        UsageError: the result's task is in no package that offers it by name, and no `spec` is given.
        DataError: as `get_task`.
    """
    if spec is None and record.source is not None:
        source = printable(record.source, 200)
        what = f"the task {printable(record.name, 60)} of this result is no installed one"
        if source.startswith("samples:"):
            what, fix = "this result has no task", f"It was held against {source.removeprefix('samples:')} alone."
            raise UsageError(what, fix=fix)
        raise UsageError(what, got=f"one that came from {source}", fix=f"Pass --task {source}.")
    return get_task(spec or record.name, data_dir)
