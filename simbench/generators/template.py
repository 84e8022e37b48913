"""`simbench init`: ten lines that already are a generator."""

from __future__ import annotations

from pathlib import Path

from simbench.core.errors import UsageError
from simbench.core.files import write_new
from simbench.core.specs import class_name
from simbench.tasks.base import Task


def write_scaffold(path: Path, task: Task) -> str:
    """Write a generator to start from; returns the name of its class.

    Raises UsageError where the file exists, is no .py or cannot be written.
    """
    if path.suffix != ".py" or not path.stem.isidentifier():
        fix = f"Try {path.with_suffix('.py')}." if path.stem.isidentifier() else "Use letters, digits and _ only."
        what = "a generator lives in a Python file that can be imported"
        raise UsageError(what, got=str(path), expected="a name like mymodel.py", fix=fix)
    if path.exists():
        raise UsageError(f"{path} exists and is never overwritten", fix="Choose another name, or move it away.")
    name = class_name(path) if "{name}" in task.template else "Model"
    write_new(path, task.template.format(task=task.spec, file=path, name=name))
    return name
