"""Files that are not shipped: mirrors in their order, checksums, limits, and what is said where the network is
closed."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from web import served

from simbench.cli.doctor import diagnose
from simbench.core.download import Wanted, fetch, find_file, shown_address
from simbench.core.errors import DataError, UsageError
from simbench.core.files import read_pinned
from simbench.tasks import get_task, mnist, zn

SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
"""Of the five bytes `hello`."""
NOWHERE = "http://127.0.0.1:9/{name}"
"""Port 9 of this machine: nobody answers."""


def check(path: Path, name: str) -> bytes:
    return read_pinned(path, SHA256, name, "")


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of tmp_path/site; cache and data are empty folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SIMBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SIMBENCH_MIRRORS", raising=False)
    site = tmp_path / "site"
    for folder, content in (("right", b"hello"), ("wrong", b"HELLO"), ("long", b"hello, world")):
        (site / folder).mkdir(parents=True)
        (site / folder / "hello.txt").write_bytes(content)
    with served(site) as address:
        yield address


def wanted(*urls: str) -> Wanted:
    return Wanted("the words", "words", ("hello.txt",), urls, 10, check)


def test_the_next_mirror_is_asked_where_one_fails(web: str, tmp_path: Path) -> None:
    mirrors = (
        NOWHERE,
        f"{web}/none/{{name}}",
        f"{web}/wrong/{{name}}",
        f"{web}/long/{{name}}",
        f"{web}/right/{{name}}",
    )
    folder = fetch(wanted(*mirrors))
    assert folder == tmp_path / "cache" / "simbench" / "words"
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("hello.txt", b"hello")]
    assert fetch(wanted(NOWHERE)) == folder  # it is there: nobody is asked
    assert find_file(wanted(), None) == folder / "hello.txt"


def test_every_mirror_is_named_with_its_reason(web: str, tmp_path: Path) -> None:
    mirrors = (NOWHERE, f"{web}/none/{{name}}", f"{web}/wrong/{{name}}", f"{web}/long/{{name}}")
    with pytest.raises(DataError) as caught:
        fetch(wanted(*mirrors), tmp_path / "mine")
    said = str(caught.value)
    assert "127.0.0.1:9/hello.txt cannot be fetched: got ConnectionError" in said
    assert f"{web}/none/hello.txt cannot be fetched: got HTTP 404" in said
    assert f"{web}/wrong/hello.txt is another file: got sha256 3733cd977ff8…, expected 2cf24dba5fb0…" in said
    assert f"{web}/long/hello.txt sends too much: expected at most 10 bytes" in said
    assert all(part in said for part in (str(tmp_path / "mine"), "expected hello.txt", "--data-dir FOLDER"))
    assert list((tmp_path / "cache" / "simbench" / "words").iterdir()) == []


def test_a_mirror_of_the_site_comes_first(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tmp_path / "site" / "right", tmp_path / "site" / "own" / "words")
    monkeypatch.setenv("SIMBENCH_MIRRORS", f"{web}/absent  {web}/own/")
    assert (fetch(wanted(NOWHERE)) / "hello.txt").read_bytes() == b"hello"
    for nonsense in ("/srv/data", "ftp://x/y", "https:///no-host", "https://[::1"):
        monkeypatch.setenv("SIMBENCH_MIRRORS", nonsense)
        with pytest.raises(UsageError, match="SIMBENCH_MIRRORS holds no web address"):
            fetch(replace(wanted(NOWHERE), folder="other"))


def test_a_password_is_never_shown() -> None:
    assert shown_address("https://me:secret@host:8443/a/b?token=secret#c") == "https://host:8443/a/b"


# zn-geant3 where the package does not ship it


@pytest.fixture
def slim(web: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The package without its data file; the server has it where a mirror of a site has."""
    (tmp_path / "site" / "zn-geant3").mkdir()
    shutil.copy(zn.data_file(), tmp_path / "site" / "zn-geant3")
    monkeypatch.setattr(zn, "data_file", lambda name="zn_geant3": tmp_path / "slim" / f"{name}.h5")
    monkeypatch.setattr(zn, "RELEASES", NOWHERE.rpartition("/")[0])
    return web


def test_the_calorimeter_is_fetched_where_it_is_not_shipped(
    slim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="downloaded at the first use"):
        get_task("zn-geant3").find_data()
    monkeypatch.setenv("SIMBENCH_MIRRORS", slim)
    task = get_task("zn-geant3")
    assert len(task.load("test")) == 4000
    cached = tmp_path / "cache" / "simbench" / "zn-geant3" / "zn_geant3.h5"
    assert task.path == cached  # type: ignore[attr-defined]
    assert task.find_data() == "4000 test events are there, checksums verified."
    monkeypatch.delenv("SIMBENCH_MIRRORS")
    assert get_task("zn-geant3").find_data()


def test_the_calorimeter_is_found_in_a_folder_of_data(slim: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    shutil.copy(tmp_path / "site" / "zn-geant3" / "zn_geant3.h5", tmp_path / "mine")
    events = get_task("zn-geant3", tmp_path / "mine").load("test", 8)
    assert torch.equal(events.samples, zn.ZnGeant3(tmp_path / "mine" / "zn_geant3.h5").load("test", 8).samples)


def test_without_a_network_it_is_said_which_file_to_put_where(slim: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        get_task("zn-geant3", tmp_path / "mine").load("test")
    said = str(caught.value)
    assert said.startswith("the data of zn-geant3 are missing (searched ")
    assert all(
        part in said for part in (str(tmp_path / "mine"), "expected zn_geant3.h5", "SIMBENCH_DATA", "--data-dir")
    )


def test_a_damaged_download_is_not_kept(slim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served_file = tmp_path / "site" / "zn-geant3" / "zn_geant3.h5"
    served_file.write_bytes(served_file.read_bytes()[:-1])
    monkeypatch.setenv("SIMBENCH_MIRRORS", slim)
    with pytest.raises(DataError, match=r"zn_geant3\.h5 is another file: got sha256"):
        get_task("zn-geant3").load("test")
    assert not list((tmp_path / "cache" / "simbench" / "zn-geant3").iterdir())


def test_a_slim_installation_is_healthy(slim: str) -> None:
    found = next(check for check in diagnose() if check.name == "data of zn-geant3")
    assert (found.status, "downloaded at the first use" in found.reason + found.fix) == ("warn", True)


def test_mnist_comes_from_a_mirror_too(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any recompression passes, for the checksum is of what is in the file."""
    folder = tmp_path / "site" / "mnist"
    folder.mkdir()
    monkeypatch.setattr(mnist, "FILES", {"hello": SHA256})
    names = replace(mnist.WANTED, names=("hello.gz",), urls=(NOWHERE,))
    monkeypatch.setenv("SIMBENCH_MIRRORS", web)
    (folder / "hello.gz").write_bytes(gzip.compress(b"HELLO"))
    with pytest.raises(DataError, match=r"hello\.gz is another file"):
        fetch(names)
    (folder / "hello.gz").write_bytes(gzip.compress(b"hello", 1))
    assert mnist.read_verified(fetch(names), "hello") == b"hello"
