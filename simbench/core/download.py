"""Files that simbench does not ship: found on this machine, else fetched from the first mirror that has the right ones.

`$SIMBENCH_MIRRORS`, addresses with spaces between them, comes before the mirrors that simbench knows. Such a mirror is
a folder of `$SIMBENCH_DATA` behind a web server: `https://data.example.org/zn-geant3/zn_geant3.h5`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from simbench.core.errors import DataError, SimbenchError, UsageError
from simbench.core.files import cache_dir, candidates, replaced_file
from simbench.core.text import printable

MIRRORS = "SIMBENCH_MIRRORS"
TIMEOUT = 30.0
"""Seconds without a byte after which a server is given up."""
CHUNK = 2**16

RELEASES = "https://github.com/simbench/simbench/releases/download"
"""Where the project's own files are, from its first release on."""

Check = Callable[[Path, str], object]
"""Raises DataError where the path does not hold the file of that name."""


@dataclass(frozen=True)
class Wanted:
    """Files that belong together.

    Attributes:
        title: what they are, for messages: `the MNIST files`.
        folder: their folder below a root of data, and below a mirror of a site's own.
        names: the files.
        urls: where they are known to be, in this order; `{name}` stands for the file.
        limit: bytes of the largest one, at most.
        check: decides alone what is taken.
    """

    title: str
    folder: str
    names: tuple[str, ...]
    urls: tuple[str, ...]
    limit: int
    check: Check

    def missing(self, data_dir: Path | None, reason: str = "") -> DataError:
        """The error that says where was looked, and which files to put where."""
        searched = ", ".join(map(str, candidates(self.folder, data_dir)))
        return DataError(
            f"{self.title} are missing (searched {searched}{f'; {reason}' if reason else ''})",
            expected=", ".join(self.names),
            fix=f"{self._put} into a folder and pass --data-dir FOLDER, or set SIMBENCH_DATA"
            + ("." if reason else "; else they are downloaded at the first use."),
        )

    @property
    def _put(self) -> str:
        where = self.urls[0].format(name=self.names[0])
        return f"Fetch {where} elsewhere, put it" if len(self.names) == 1 else f"Put those {len(self.names)} files"


def find_file(wanted: Wanted, data_dir: Path | None) -> Path | None:
    """The first of `wanted.names` on this machine, unchecked; None where it is nowhere."""
    paths = (folder / wanted.names[0] for folder in candidates(wanted.folder, data_dir))
    return next((path for path in paths if path.is_file()), None)


def fetch(wanted: Wanted, data_dir: Path | None = None) -> Path:
    """The folder of the cache that holds the files; those that it lacks are downloaded first.

    Raises:
        DataError: no mirror has one of them; it names each mirror with its reason, and what to put where.
        UsageError: `$SIMBENCH_MIRRORS` holds no web address, or the cache cannot be written.
    """
    target = cache_dir() / wanted.folder
    for name in wanted.names:
        if not (target / name).is_file():
            _fetch_one(wanted, name, target / name, data_dir)
    return target


def site_mirrors() -> list[str]:
    """The addresses in `$SIMBENCH_MIRRORS`. Raises UsageError where one is none."""
    addresses = os.environ.get(MIRRORS, "").split()
    for address in addresses:
        if not is_web_address(address):
            expected, fix = "https://HOST/FOLDER", "A folder on this machine goes into SIMBENCH_DATA."
            raise UsageError(f"${MIRRORS} holds no web address", got=repr(address)[:80], expected=expected, fix=fix)
    return [address.rstrip("/") for address in addresses]


def is_web_address(text: str) -> bool:
    """Whether a text is an http or https address of a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable() and " " not in text
    except ValueError:
        return False


def _fetch_one(wanted: Wanted, name: str, path: Path, data_dir: Path | None) -> None:
    """One file, from the first mirror whose file is the right one."""
    own = [f"{mirror}/{wanted.folder}/{quote(name)}" for mirror in site_mirrors()]
    reasons, causes = [], []
    for url in [*own, *(url.format(name=quote(name)) for url in wanted.urls)]:
        try:
            download(url, path, wanted.limit, wanted.check, name)
            return
        except DataError as error:
            reasons.append(str(error).rstrip("."))
            causes.append(error)
    raise wanted.missing(data_dir, "; ".join(reasons)) from causes[-1]


def download(url: str, path: Path, limit: int, check: Check, name: str) -> None:
    """Fetch `url` into the file `path`, which appears only where all of it came and `check` takes it as `name`.

    Raises:
        DataError: the address does not answer, answers with more than `limit` bytes, or with what `check` refuses.
        UsageError: the file cannot be written.
    """
    import pooch

    where = shown_address(url)
    with replaced_file(path) as scratch:
        try:
            with scratch.open("wb") as file:
                pooch.HTTPDownloader(chunk_size=CHUNK, timeout=TIMEOUT)(url, _Limited(file, limit), None)
        except _TooLarge as error:
            raise DataError(f"{where} sends too much", expected=f"at most {limit} bytes") from error
        except Exception as error:  # whatever requests, urllib3 and the network raise
            raise DataError(f"{where} cannot be fetched", got=_reason(error)) from error
        try:
            check(scratch, name)
        except SimbenchError as error:
            raise DataError(f"{where} is another file", got=error.got, expected=error.expected) from error


def shown_address(url: str) -> str:
    """An address for a message: without a password or a token in it."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return printable(f"{parts.scheme}://{parts.hostname}{port}{parts.path}", 300)


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__


class _TooLarge(Exception):
    """More bytes than a file may have."""


class _Limited:
    """A file that takes at most so many bytes."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self.file, self.left = file, limit

    def write(self, data: bytes) -> Any:
        """Write, or raise _TooLarge."""
        self.left -= len(data)
        if self.left < 0:
            raise _TooLarge
        return self.file.write(data)

    def flush(self) -> None:
        """Flush."""
        self.file.flush()
