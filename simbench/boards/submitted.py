"""The samples that were submitted with an entry: their checksums, and where they can be fetched.

`leaderboards/<task>/samples/<entry file>` says of which bytes of the entry they are, and names a file for each
repetition. The files themselves are elsewhere: a board is a few megabytes of text, and stays so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError

from simbench.core.download import Check, download, is_web_address
from simbench.core.errors import DataError
from simbench.core.files import file_sha256, read_bytes, replace_text
from simbench.core.progress import Progress
from simbench.results.schema import StrictRecord, first_error

MAX_BYTES = 2**30
"""The largest file of samples that is fetched."""
SUFFIX = ".h5"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _web_address(text: str) -> str:
    if not is_web_address(text):
        raise ValueError("an address https://HOST/FILE")
    return text


class SubmittedFile(StrictRecord):
    """The samples of one repetition, as simbench wrote them. `url` None: nobody can fetch them yet."""

    sha256: Sha256
    bytes: Annotated[int, Field(gt=0, le=MAX_BYTES)]
    url: Annotated[str, StringConstraints(max_length=500), AfterValidator(_web_address)] | None


class SamplesRecord(StrictRecord):
    """The samples of an entry, file k of repetition k. `entry_sha256` is of the entry's file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal["simbench.samples/1"] = Field("simbench.samples/1", alias="schema")
    entry_sha256: Sha256
    samples: Annotated[list[SubmittedFile], Field(min_length=1, max_length=1000)]


def samples_path(entry: Path) -> Path:
    """Where the record of an entry's samples is."""
    return entry.parent.parent / "samples" / entry.name


def write_samples_record(entry: Path, files: Sequence[SubmittedFile]) -> Path:
    """Record the samples of an entry, in the place of an earlier record. Raises UsageError where that is impossible."""
    path = samples_path(entry)
    record = SamplesRecord(entry_sha256=hashlib.sha256(entry.read_bytes()).hexdigest(), samples=list(files))
    replace_text(path, record.model_dump_json(by_alias=True, indent=2) + "\n")
    return path


def read_samples_record(entry: Path, content: bytes) -> SamplesRecord | None:
    """The record of the samples of an entry of these bytes; None where there is none.

    Raises DataError where it is damaged, or of an entry of other bytes.
    """
    path = samples_path(entry)
    if not path.is_file():
        return None
    fix = "Make it again: simbench submit."
    try:
        record = SamplesRecord.model_validate_json(read_bytes(path, fix=fix))
    except ValidationError as error:
        where, found = first_error(error)
        raise DataError(f"{path}: the field {where or 'file'!r} is wrong", **found, fix=fix) from error
    if (got := hashlib.sha256(content).hexdigest()) != record.entry_sha256:
        what, expected = f"{entry} is not the entry that {path} was written for", f"sha256 {record.entry_sha256[:12]}…"
        fix = "Entries are never changed: restore it, or submit a new one."
        raise DataError(what, got=f"sha256 {got[:12]}…", expected=expected, fix=fix)
    return record


def check_submitted(record: SamplesRecord, files: Sequence[Path]) -> None:
    """Refuse files that are not those that were submitted, in their order. Raises DataError."""
    if len(files) > len(record.samples):
        got, expected = f"{len(files)} files", f"at most {len(record.samples)}, one a repetition"
        raise DataError("there are more files than were submitted", got=got, expected=expected)
    for place, (file, submitted) in enumerate(zip(files, record.samples, strict=False)):
        _is_submitted(submitted, place)(file, str(file))


def fetch_submitted(entry: Path, record: SamplesRecord | None, folder: Path, progress: Progress) -> list[Path]:
    """Download the samples of an entry into `folder`, each with its checksum. Returns the files, one a repetition.

    Raises DataError where there is no record, or a file has no address, cannot be fetched or is another.
    """
    if record is None:
        what, expected = f"{entry} has no record of its samples", f"the file {samples_path(entry)}"
        raise DataError(what, expected=expected, fix="Pass --samples FILE, or make it: simbench submit.")
    files = []
    for place, submitted in enumerate(progress.each("fetching", record.samples, len(record.samples))):
        if submitted.url is None:
            what = f"{samples_path(entry)} names no address for the samples of repetition {place}"
            raise DataError(what, fix="Upload them, and run simbench submit again with --url; or pass --samples FILE.")
        files.append(folder / f"{place}{SUFFIX}")
        download(submitted.url, files[-1], submitted.bytes, _is_submitted(submitted, place), files[-1].name)
    return files


def _is_submitted(submitted: SubmittedFile, place: int) -> Check:
    """Refuses what is not that file of that repetition."""

    def check(path: Path, name: str) -> None:
        try:
            got = f"sha256 {file_sha256(path)}"
        except OSError as error:
            got = error.strerror or str(error)
        if got != f"sha256 {submitted.sha256}":
            raise DataError(
                f"{name} is not the file of samples that was submitted for repetition {place}",
                got=got[:19],
                expected=f"sha256 {submitted.sha256[:12]}",
                fix="Pass the files that were submitted, in the order of the repetitions, or --fetch.",
            )

    return check
