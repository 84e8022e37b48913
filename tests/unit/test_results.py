"""The Result file: written whole or not at all, never overwritten, and nothing in it is believed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
from factories import make_result

from simbench.core.errors import DataError, UsageError
from simbench.core.files import check_writable, replace_text, safe_name, write_new
from simbench.results.frame import find_files
from simbench.results.schema import json_schema, read_result, result_path, write_result


def test_round_trip_and_schema(tmp_path: Path) -> None:
    result = make_result()
    path = write_result(result, tmp_path)
    assert read_result(path) == result
    jsonschema.validate(json.loads(path.read_text()), json_schema())
    assert path == tmp_path / result.task.name / result.generator.name / f"{result.id}.json"
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_label_takes_the_place_of_the_name_in_the_path(tmp_path: Path) -> None:
    result = make_result()
    named = result.model_copy(update={"spec": result.spec.model_copy(update={"label": "wide, 50 epochs"})})
    path = write_result(named, tmp_path)
    assert path.parent == tmp_path / result.task.name / "wide-50-epochs"
    again = read_result(path)
    assert (again.label, again.generator.name, result.label) == ("wide, 50 epochs", "vae", "vae")
    old = json.loads(result.to_json())
    del old["spec"]["label"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_result(tmp_path / "old.json") == result


def test_a_result_from_before_training_seeds_is_read(tmp_path: Path) -> None:
    result = make_result()
    text = result.model_copy(update={"generator": result.generator.model_copy(update={"training_seed": 3})}).to_json()
    (tmp_path / "new.json").write_text(text)
    assert read_result(tmp_path / "new.json").generator.training_seed == 3
    old = json.loads(text)
    del old["generator"]["training_seed"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_result(tmp_path / "old.json") == result


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    result = make_result()
    path = write_result(result, tmp_path)
    before = path.read_text()
    with pytest.raises(UsageError, match="never overwritten"):
        write_result(result, tmp_path)
    assert path.read_text() == before


def test_of_many_concurrent_writers_one_wins_and_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"

    def attempt(number: int) -> bool:
        try:
            write_new(path, f"{number}" * 100_000)
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(attempt, range(8)))
    assert sum(wins) == 1
    assert path.read_text() == f"{wins.index(True)}" * 100_000
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_new(tmp_path / "x.json", "text")
    assert list(tmp_path.iterdir()) == []


SMALL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from factories import make_result
from simbench.core.errors import UsageError
from simbench.results.schema import write_result
result = make_result()
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
try:
    write_result(result, Path(sys.argv[1]))
except UsageError as error:
    print(error)
"""


def test_a_disk_that_is_full_half_way_leaves_nothing(tmp_path: Path) -> None:
    """The kernel itself refuses what is beyond the first 5 kB."""
    command = [sys.executable, "-c", SMALL_DISK, str(tmp_path), str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "could not be written: got File too large" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


KILLED = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from factories import make_result
from simbench.results.schema import write_result
def wait(descriptor):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = wait
write_result(make_result(), Path(sys.argv[1]))
"""


def test_a_kill_in_the_middle_of_a_write_leaves_no_result_and_nothing_in_the_way(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.kill()
    assert list(tmp_path.rglob("*.json")) == []
    path = write_result(make_result(), tmp_path)
    assert find_files([tmp_path]) == [path]
    assert read_result(path) == make_result()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may look into and not write to, whoever runs the tests."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    (folder / "report.html").write_text("old")
    folder.chmod(0o555)
    owner = os.geteuid()
    if owner == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(owner)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_is_read_only_is_refused(locked: Path) -> None:
    for attempt in (
        lambda: check_writable(locked),
        lambda: check_writable(locked / "deeper"),
        lambda: write_result(make_result(), locked),
        lambda: write_new(locked / "x.json", "text"),
        lambda: replace_text(locked / "report.html", "new"),
    ):
        with pytest.raises(UsageError, match="Permission denied"):
            attempt()
    assert [path.name for path in locked.iterdir()] == ["report.html"]
    assert (locked / "report.html").read_text() == "old"


def test_an_output_folder_that_is_a_file_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        check_writable(tmp_path / "file" / "runs")


def test_a_hostile_generator_name_stays_inside_the_folder(tmp_path: Path) -> None:
    result = make_result(name="../../etc/<script>passwd")
    assert tmp_path in result_path(result, tmp_path).resolve().parents
    assert safe_name("../..") == "unnamed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="simbench.run/9"), "schema 'simbench.run/9'"),
        (lambda d: d["measurements"][0].update(value="4.3"), r"measurements.0.value.*wrong"),
        (lambda d: d["measurements"][0].update(value=float("nan")), "measurements.0.value"),
        (lambda d: d["measurements"][0].update(stderr=float("-inf")), "measurements.0.stderr"),
        (lambda d: d["measurements"][0].update(ranks=1), "measurements.0.ranks"),
        (lambda d: d["generator"].update(parameters={"latent": [[1]]}), "generator.parameters.latent"),
        (lambda d: d["measurements"][0].update(value=10**400), "measurements.0.value"),
        (lambda d: d.pop("spec"), "spec"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.update(id="../../x"), "id"),
        (lambda d: d.update(created="2026-01-01T00:00:00"), "created"),
    ],
)
def test_an_edited_file_is_refused_by_the_name_of_the_field(tmp_path: Path, change, message) -> None:  # type: ignore[no-untyped-def]
    data = json.loads(make_result().to_json())
    change(data)
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=message):
        read_result(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '"x"', "\x00"])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match="not a result"):
        read_result(path)


def test_a_name_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    text = make_result().to_json()
    assert text.count('"value": 8.8,') == 1
    path.write_text(text.replace('"value": 8.8,', '"value": 0.1, "value": 8.8,'))
    with pytest.raises(DataError, match="the field 'value' is there twice"):
        read_result(path)
    path.write_text(text.replace('"parameters": {}', '"parameters": {"a": 1, "a": 2}'))
    with pytest.raises(DataError, match="the field 'a' is there twice"):
        read_result(path)


def test_what_is_too_large_or_too_deep_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.touch()
    os.truncate(path, 2**30)
    tracemalloc.start()
    with pytest.raises(DataError, match="too large: got 1073741824 bytes"):
        read_result(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    deep = (
        make_result().to_json().replace('"parameters": {}', '"parameters": ' + '{"a":' * 100_000 + "1" + "}" * 100_000)
    )
    for text in ("[" * 100_000, "[" * 100_000 + "]" * 100_000, deep):
        path.write_text(text)
        start = time.process_time()
        with pytest.raises(DataError):
            read_result(path)
        assert time.process_time() - start < 1


def test_a_missing_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: got no such file"):
        read_result(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read: got a folder"):
        read_result(tmp_path)
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_result(tmp_path / "x.json")
