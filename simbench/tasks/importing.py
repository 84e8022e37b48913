"""An import: a described task checked, event by event, told in words, and its description copied."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from simbench.core.errors import DataError, UsageError
from simbench.core.files import file_sha256, write_new
from simbench.core.text import toml_text
from simbench.tasks.base import Split
from simbench.tasks.described import SPLITS, DescribedTask
from simbench.tasks.imported import copy_of


@dataclass(frozen=True)
class SplitFound:
    """What was found of one split: `conditions` that differ, `repeats` the fewest and most events of each."""

    events: int
    conditions: int
    repeats: tuple[int, int]
    empty: int
    largest: float
    file: str


@dataclass(frozen=True)
class Found:
    """What an import understood.

    Attributes:
        splits: by name.
        units: what errors are computed over, `conditions` or `events`.
        measured, left_out: the metrics; and those of the description that the events do not allow, each with why.
        unsummed: values of an event that are in no channel; None without channels.
        copies: test events that are not empty and stand in `train`, too, value for value.
        sha256: of each file.
    """

    name: str
    version: str
    splits: dict[str, SplitFound]
    units: str
    measured: tuple[str, ...]
    primary: tuple[str, ...]
    left_out: dict[str, str]
    channels: int | None
    unsummed: int | None
    copies: int
    sha256: dict[str, str]
    registered: str


def import_task(path: Path, data_dir: Path | None, advance: Callable[[str], None]) -> Found:
    """Check a described task, all of its events, and keep a copy of the description under its name.

    `advance` gets the name of each split that is read.

    Raises:
        UsageError: a task of that name is imported already, or there is no such file.
        DataError: a field, a file or an event is wrong.
    """
    task = DescribedTask(path, data_dir)
    if task.described.recorded is not None:
        what, fix = f"{path} is a copy that an import made", "Import the file that it was made from."
        raise DataError(what, got="a table [recorded]", fix=fix)
    target = copy_of(task.name)
    if target.exists():
        fix = f"Remove that one, `simbench tasks remove {task.name}`, or choose another `name`."
        raise UsageError(f"a task {task.name} is imported already ({target})", fix=fix)
    splits = {}
    for split in SPLITS:
        if split == "floor" and not task.has_floor:
            continue
        splits[str(split)] = _found(task, split)
        advance(split)
    sha256 = {name: file_sha256(task.find_file(name)) for name in task.files()}
    masks = task.channel_masks if "channels" in task.has else None
    found = Found(
        name=task.name,
        version=task.version,
        splits=splits,
        units="events" if task.units_are_events else "conditions",
        measured=task.measured(),
        primary=task.primary,
        left_out=task.left_out(),
        channels=None if masks is None else masks.shape[1],
        unsummed=None if masks is None else int((masks.sum(1) == 0).sum()),
        copies=_copies(task),
        sha256=sha256,
        registered=str(target),
    )
    text = path.read_text(encoding="utf-8")
    folders = [*task.folders, *([data_dir.absolute()] if data_dir else [])]
    write_new(target, f"{text.rstrip()}\n\n{_recorded(folders, sha256)}")
    return found


def _found(task: DescribedTask, split: Split) -> SplitFound:
    events = task.load_split(split)
    counts = np.unique(events.condition_id.numpy(), return_counts=True)[1]
    return SplitFound(
        events=len(events),
        conditions=len(counts),
        repeats=(int(counts.min()), int(counts.max())),
        empty=int((~events.samples.flatten(1).any(1)).sum()),
        largest=float(events.samples.max()),
        file=str(task.find_file(str(task.described.data.path(split)))),
    )


def _copies(task: DescribedTask) -> int:
    """Test events, not empty, that stand in `train` value for value."""

    def digest(row: Tensor) -> bytes:
        return hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest()

    known = {digest(row) for row in task.load_split("train").samples}
    return sum(digest(row) in known for row in task.load_split("test").samples if bool(row.any()))


def _recorded(folders: list[Path], sha256: dict[str, str]) -> str:
    """The table that an import adds."""
    lines = ["# Added by `simbench tasks import`.", "[recorded]", f"folders = {toml_text([*map(str, folders)])}", ""]
    lines += ["[recorded.sha256]", *(f"{toml_text(name)} = {toml_text(digest)}" for name, digest in sha256.items())]
    return "\n".join(lines) + "\n"
