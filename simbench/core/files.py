"""Files: written whole or not at all, read up to a limit and with a checksum; folders searched for data sets."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from simbench.core.errors import DataError, UsageError

MAX_BYTES = 16 * 2**20
"""The largest file of text that is read."""

MAX_PINNED_BYTES = 2**30
"""The largest file that is read with a checksum."""


def safe_name(name: str) -> str:
    """A name that is safe as a folder or file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "unnamed"


def check_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before any work is done. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        what = f"the output folder {folder} cannot be written"
        raise UsageError(what, got=_reason(error, folder), fix="Choose another folder.") from error


def _reason(error: OSError, folder: Path) -> str:
    return f"{folder} is no folder" if isinstance(error, FileExistsError) else error.strerror or str(error)


@contextlib.contextmanager
def _scratch_for(path: Path, move: Callable[[Path, Path], object]) -> Iterator[Path]:
    """A scratch file beside `path`, moved there if all goes well, else removed. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".tmp")
        os.close(descriptor)
        scratch = Path(name)
        try:
            yield scratch
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            scratch.chmod(0o644)
            move(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        fix = "Make room, or choose another folder."
        raise UsageError(f"{path} could not be written", got=_reason(error, path.parent), fix=fix) from error


def check_new(path: Path) -> None:
    """Refuse a file that exists or cannot be written, before any work is done. Raises UsageError."""
    if path.exists():
        raise _exists(path)
    check_writable(path.parent)


def check_replaceable(path: Path) -> None:
    """Refuse a file that cannot be written, before any work is done. Raises UsageError."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", expected="a file", fix="Name a file in it.")
    check_writable(path.parent)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A scratch path, which becomes `path` if all goes well. Raises UsageError where it exists or cannot be written."""
    if path.exists():
        raise _exists(path)
    with _scratch_for(path, _move_new) as scratch:
        yield scratch


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists and is never overwritten", fix="Move it away or choose another name.")


def _move_new(scratch: Path, path: Path) -> None:
    """Give `scratch` the name `path`. Raises UsageError where that is taken."""
    try:
        try:
            os.link(scratch, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            path.touch(exist_ok=False)
            scratch.replace(path)
    except FileExistsError as error:
        raise _exists(path) from error


def write_new(path: Path, text: str) -> None:
    """Write a new file: readers see all of it or none. Raises UsageError where it exists or cannot be written."""
    with new_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A scratch path, which takes the place of `path` if all goes well. Raises UsageError where that is impossible."""
    with _scratch_for(path, Path.replace) as scratch:
        yield scratch


def replace_text(path: Path, text: str) -> None:
    """Write a file over an old one: readers see the one or the other. Raises UsageError."""
    with replaced_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")


def read_bytes(path: Path, limit: int = MAX_BYTES, fix: str = "") -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises DataError, with `fix`."""
    try:
        if not path.is_file():
            got = "a folder" if path.is_dir() else "no regular file" if path.exists() else "no such file"
            raise DataError(f"{path} cannot be read", got=got, fix=fix)
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path} is too large", got=f"{size} bytes", expected=f"at most {limit}", fix=fix)
        with path.open("rb") as file:
            return file.read(size + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error), fix=fix) from error


def check_sha256(content: bytes, sha256: str, path: Path, what: str, fix: str) -> bytes:
    """`content`, read from `path`, if its sha256 begins with the one given. Raises DataError that it is not `what`."""
    got = hashlib.sha256(content).hexdigest()
    if not got.startswith(sha256):
        problem = f"{path} is damaged or replaced: it is not {what}"
        raise DataError(problem, got=f"sha256 {got[:12]}…", expected=f"{sha256[:12]}…", fix=fix)
    return content


def read_pinned(path: Path, sha256: str, what: str, fix: str) -> bytes:
    """The bytes of a file whose sha256 is known. Raises DataError where it is missing or not `what`."""
    if not path.exists():
        raise DataError(f"{path} is missing", got="no such file", expected=f"{what}, sha256 {sha256[:12]}…", fix=fix)
    return check_sha256(read_bytes(path, MAX_PINNED_BYTES, fix), sha256, path, what, fix)


def file_sha256(path: Path) -> str:
    """The checksum of a file, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_dir() -> Path:
    """Where simbench keeps what it downloaded: `$XDG_CACHE_HOME/simbench`, or `~/.cache/simbench`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simbench"


def config_dir() -> Path:
    """Where simbench keeps what the user told it: `$XDG_CONFIG_HOME/simbench`, or `~/.config/simbench`."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "simbench"


def candidates(name: str, data_dir: Path | None) -> list[Path]:
    """The folders to search for a data set: `data_dir`, `$SIMBENCH_DATA` and the cache, with and without `name`."""
    roots = [data_dir] if data_dir else []
    if os.environ.get("SIMBENCH_DATA"):
        roots.append(Path(os.environ["SIMBENCH_DATA"]))
    roots.append(cache_dir())
    return [folder for root in roots for folder in (root / name, root)]
