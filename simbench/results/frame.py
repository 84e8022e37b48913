"""Many results at once: a tidy frame, one row per run and metric, and its export to CSV or Parquet."""

from __future__ import annotations

import glob
import importlib.util
import json
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simbench.core.errors import DataError, UsageError
from simbench.core.files import new_file
from simbench.core.text import listed, no_formula
from simbench.results.schema import Result, many_results, read_result

if TYPE_CHECKING:
    import pandas as pd

RUN: dict[str, Callable[[Result], Any]] = {
    "run": lambda r: r.id,
    "created": lambda r: r.created,
    "task": lambda r: r.task.name,
    "task_version": lambda r: r.task.version,
    "definitions": lambda r: r.spec.definitions,
    "label": lambda r: r.label,
    "generator": lambda r: r.generator.name,
    "generator_version": lambda r: r.generator.version,
    "parameters": lambda r: json.dumps(r.generator.parameters, ensure_ascii=False, sort_keys=True),
    "weights_sha256": lambda r: r.generator.weights_sha256,
    "training_seed": lambda r: r.generator.training_seed,
    "events": lambda r: r.task.events,
    "repetitions": lambda r: r.spec.repetitions,
    "root_seed": lambda r: r.spec.root_seed,
    "run_status": lambda r: r.status,
    "equivalent_events": lambda r: r.equivalent_events.headline.value if r.equivalent_events else None,
    "equivalent_aspect": lambda r: r.equivalent_events.worst if r.equivalent_events else None,
    "speedup": lambda r: r.speedup.value if r.speedup else None,
    "speedup_per_core": lambda r: r.speedup.per_core if r.speedup else None,
    "events_per_s": lambda r: max((row.events_per_s.p50 for row in r.throughput), default=None),
    "simbench": lambda r: r.provenance.simbench,
    "git_sha": lambda r: r.provenance.git_sha,
    "git_dirty": lambda r: r.provenance.git_dirty,
}
"""The columns that are of the run: equal in all rows of one. `equivalent_events` are those of the worst aspect,
which `equivalent_aspect` names; `events_per_s` is the fastest median of its speed table."""

METRIC = (
    "status", "value", "stderr", "sd_repetition", "unit", "direction", "target", "ranks", "n",
    "floor", "floor_sd", "ratio", "p", "memoriser", "seconds", "error",
)  # fmt: skip
"""The columns that are fields of the measurement."""

MEASURED = ("metric", *METRIC, "calibrated")
COLUMNS = [*RUN, *MEASURED, "file"]
NUMBERS = (
    "equivalent_events", "speedup", "speedup_per_core", "events_per_s", "value", "stderr", "sd_repetition",
    "target", "floor", "floor_sd", "ratio", "p", "memoriser", "calibrated", "seconds",
)  # fmt: skip
"""The columns of float64, NaN where there is none, even if none has a value."""

Pattern = str | PathLike[str]


def load_results(*patterns: Pattern) -> pd.DataFrame:
    """All results that the patterns name, as a tidy frame: one row per run and metric, in the order of the files'
    names.

    Args:
        patterns: files, folders (searched for *.json at any depth) or globs such as `runs/**/*.json`.

    Warns:
        UserWarning: some files are no results; it names them.

    Raises:
        DataError: nothing matches, or no file is a result.
    """
    frame, bad = read_frame(patterns)
    if bad:
        warnings.warn(bad_files(bad), UserWarning, stacklevel=2)
    return frame


def read_frame(patterns: Sequence[Pattern]) -> tuple[pd.DataFrame, list[str]]:
    """The frame of `load_results`, and what is wrong with each file that is no result."""
    import numpy as np
    import pandas as pd

    files = find_files(patterns)
    runs: list[tuple[Any, ...]] = []
    rows: list[tuple[Any, ...]] = []
    sizes, bad = [], []
    with many_results():
        for path in files:
            try:
                result = read_result(path, of_many=True)
            except DataError as error:
                bad.append(str(error))
                continue
            runs.append((*(read(result) for read in RUN.values()), str(path)))
            rows += _measured(result)
            sizes.append(len(result.measurements))
        of_runs = pd.DataFrame.from_records(runs, columns=[*RUN, "file"]).take(np.repeat(np.arange(len(runs)), sizes))
        measured = pd.DataFrame.from_records(rows, columns=list(MEASURED))
        frame = pd.concat([of_runs.reset_index(drop=True), measured], axis=1)[COLUMNS].astype(
            dict.fromkeys(NUMBERS, "float64") | {"training_seed": "Int64"}
        )
    if bad and len(bad) == len(files):
        raise DataError(f"none of {len(files)} files is a result: {listed(bad)}")
    return frame, bad


def bad_files(bad: Sequence[str]) -> str:
    """One message for all files that are left out."""
    return f"{len(bad)} file{'s are' if len(bad) > 1 else ' is'} left out: {listed(bad)}"


NO_RESULTS = ("verified", "speeds")
"""Folders of a board whose files are no results."""


def find_files(patterns: Iterable[Pattern]) -> list[Path]:
    """The files that the patterns name, each once, sorted; below a folder, not those beside a board's entries.

    Raises DataError where a pattern names none.
    """
    found: set[str] = set()
    for pattern in patterns:
        text = str(pattern)
        if Path(text).is_dir():
            text = f"{glob.escape(text)}/**/*.json"
        matched = [text] if Path(text).is_file() else glob.glob(text, recursive=True)
        files = {path for path in matched if not Path(path).is_dir() and Path(path).parent.name not in NO_RESULTS}
        if not files:
            got = "a folder without .json files" if Path(pattern).is_dir() else "no such file, and nothing that matches"
            fix = "Name a file, a folder, or a pattern in quotes: 'runs/**/*.json'."
            raise DataError(f"{pattern} names no files", got=got, expected="results of `simbench run`", fix=fix)
        found |= files
    return [Path(path) for path in sorted(found)]


def _measured(result: Result) -> list[tuple[Any, ...]]:
    fields = attrgetter(*METRIC)
    return [(m.key, *fields(m), m.calibrated.value if m.calibrated else None) for m in result.measurements]


def export(frame: pd.DataFrame, path: Path) -> None:
    """Write the frame to a new .csv or .parquet file. In CSV words never begin like a formula.

    Raises:
        UsageError: the file exists or cannot be written, its suffix is unknown, or Parquet is asked for without
            pyarrow.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UsageError(f"{path}: unknown kind of file", got=repr(path.suffix), expected=".csv or .parquet")
    if path.suffix == ".parquet":
        _need_pyarrow()
    with new_file(path) as scratch:
        if path.suffix == ".parquet":
            frame.to_parquet(scratch, index=False)
        else:
            _write_csv(frame, scratch)


def _need_pyarrow() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed", fix="pip install 'simbench[parquet]', or write .csv."
        )


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    """As `DataFrame.to_csv`, in a fifth of its time: the columns of a run repeat few values, each made text once."""
    columns = [_csv_fields(frame[name]) for name in frame.columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(map(_csv_field, frame.columns)) + "\n")
        file.writelines(f"{','.join(row)}\n" for row in zip(*columns, strict=True))


def _csv_fields(column: pd.Series[Any]) -> list[str]:
    import pandas as pd

    codes, values = pd.factorize(column)
    fields = [*map(_csv_field, values.tolist()), ""]
    return [fields[code] for code in codes.tolist()]  # -1, no value, is the last


def _csv_field(value: object) -> str:
    """A number as it is, words as no spreadsheet takes for a formula, quoted where they need it."""
    if not isinstance(value, str):
        return str(value)
    words = no_formula(value)
    return '"' + words.replace('"', '""') + '"' if _SPECIAL.search(words) else words


_SPECIAL = re.compile('[",\r\n]')
