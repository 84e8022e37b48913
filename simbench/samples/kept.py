"""Samples that runs keep: the events of the first repetition beside its Result, so that a report has its figures.

Those of the last run alone: they take the place of what earlier runs left in the folder of their task and generator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from simbench.core.errors import DataError, UsageError
from simbench.metrics.base import Comparison
from simbench.results.schema import Result, read_result
from simbench.samples.files import HDF5_SUFFIXES, write_samples
from simbench.tasks.base import Task

SUFFIX = HDF5_SUFFIXES[0]


@dataclass(frozen=True)
class Kept:
    """A file of samples beside the result that they belong to; `size` in bytes."""

    path: Path
    result: Result
    size: int

    def remove(self) -> None:
        """Delete the samples; the result stays. Raises UsageError where that is impossible."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be removed", got=error.strerror or str(error)) from error


def keep_samples(
    result: Result, pair: Comparison, task: Task, path: Path, limit: float, spare: Collection[str] | None = ()
) -> Path:
    """Write the generated events of `pair` beside the result file `path`: `<id>.h5`. Returns the new file.

    Then what earlier runs kept in the folder is removed, without that of the results whose ids are in `spare`; None: of
    all.

    Raises:
        TooLargeError: they take more than `limit` bytes. Nothing is written or removed.
        UsageError: the file exists or cannot be written, or an earlier one cannot be removed.
    """
    target, rows = path.with_suffix(SUFFIX), pair.reference.split_rows
    name, seed = result.label, result.spec.root_seed
    write_samples(target, task, pair.generated.samples, rows, name, seed, result=result.id, limit=limit)
    if spare is not None:
        for old in kept_samples(path.parent, deep=False):
            if old.result.id not in (result.id, *spare):
                old.remove()
    return target


def kept_samples(folder: Path, *, deep: bool = True) -> Iterator[Kept]:
    """What runs kept in a folder, and (`deep`) in those below it, by path.

    That is every `<id>.h5` beside the result `<id>.json` of a run. A file that `simbench score` took is the user's own.
    """
    for path in sorted(folder.glob(f"**/*{SUFFIX}" if deep else f"*{SUFFIX}")):
        try:
            result = read_result(path.with_suffix(".json"), of_many=True)
            size = path.stat().st_size
        except (DataError, OSError):
            continue
        if result.id == path.stem and not result.spec.generator.startswith("samples:"):
            yield Kept(path, result, size)
