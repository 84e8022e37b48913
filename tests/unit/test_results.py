"""The Result file: written whole or not at all, never overwritten, and nothing in it is believed."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
from factories import make_result

from simbench.errors import DataError, UsageError
from simbench.results import check_writable, json_schema, read_result, result_path, safe_name, write_new, write_result


def test_round_trip_and_schema(tmp_path: Path) -> None:
    result = make_result()
    path = write_result(result, tmp_path)
    assert read_result(path) == result
    jsonschema.validate(json.loads(path.read_text()), json_schema())
    assert path == tmp_path / result.task.name / result.generator.name / f"{result.id}.json"
    assert not list(tmp_path.rglob("*.tmp"))


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


def test_a_missing_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_result(tmp_path / "none.json")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_result(tmp_path / "x.json")
