"""What a board knows of its entries' verification: records that `simbench leaderboard verify` writes beside them.

`leaderboards/<task>/verified/<entry file>` says which bytes of the entry were verified, and how: the record is not of
an
entry that was changed since.
"""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, ValidationError

from simbench.core.errors import DataError
from simbench.core.files import read_bytes, replace_text
from simbench.core.version import __version__
from simbench.results.schema import Short, StrictRecord, first_error

How = Literal["re-run", "samples"]
"""The generator was run again; or the samples that were submitted were scored again."""


class VerifiedRecord(StrictRecord):
    """One verification that succeeded. `entry_sha256` is of the entry's file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal["simbench.verified/1"] = Field("simbench.verified/1", alias="schema")
    entry_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    how: How
    simbench: Short
    date: AwareDatetime


def record_path(entry: Path) -> Path | None:
    """Where the record of an entry belongs; None for a file that is no entry of a board."""
    folder = entry.resolve().parent
    if folder.name != "entries" or not (folder.parent / "board.toml").is_file():
        return None
    return folder.parent / "verified" / entry.name


def write_record(entry: Path, content: bytes, how: How) -> Path | None:
    """Record that these bytes of an entry were verified; returns the record's file, None where it is no board's entry.

    Raises UsageError where it cannot be written.
    """
    path = record_path(entry)
    if path is None:
        return None
    record = VerifiedRecord(
        entry_sha256=hashlib.sha256(content).hexdigest(),
        how=how,
        simbench=__version__,
        date=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
    )
    replace_text(path, record.model_dump_json(by_alias=True, indent=2) + "\n")
    return path


def verified_how(entry: Path, content: bytes) -> How | None:
    """How an entry of these bytes was verified; None where it was not, or is not what was verified.

    Raises DataError for a damaged record.
    """
    path = entry.parent.parent / "verified" / entry.name
    if not path.exists():
        return None
    try:
        record = VerifiedRecord.model_validate_json(read_bytes(path))
    except ValidationError as error:
        where, found = first_error(error)
        fix = "Remove it, and verify the entry again."
        raise DataError(f"{path}: the field {where or 'file'!r} is wrong", **found, fix=fix) from error
    return record.how if record.entry_sha256 == hashlib.sha256(content).hexdigest() else None
