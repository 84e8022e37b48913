"""Samples saved by a run: whole or not at all, found again by the report, and never taken for another result's."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from factories import make_result
from toys import ToyTask

from simbench.core.errors import DataError, UsageError
from simbench.core.progress import Progress
from simbench.metrics.base import Comparison
from simbench.results.schema import Result, write_result
from simbench.samples.files import TooLargeError, read_samples, write_samples
from simbench.samples.kept import keep_samples, kept_samples
from simbench.samples.repetitions import find_pairs, read_pair, read_repetitions

TASK = ToyTask()
EVENTS = 8


def toy_result(result_id: str = "a", **generator: Any) -> Result:
    result = make_result(id=result_id)
    return result.model_copy(
        update={
            "task": result.task.model_copy(update={"name": TASK.name, "events": EVENTS}),
            "generator": result.generator.model_copy(update=generator),
        }
    )


def toy_pair(value: float = 1.0) -> Comparison:
    reference = TASK.load("test", EVENTS)
    return Comparison(reference.with_samples(reference.samples + value), reference)


def kept(result: Result, pair: Comparison, path: Path, limit: float = 1e6, spare: Collection[str] = ()) -> Path:
    return keep_samples(result, pair, TASK, path, limit, spare)


def saved(folder: Path, result_id: str, value: float) -> tuple[Result, Path]:
    """A result with its samples beside it."""
    result = toy_result(result_id)
    path = write_result(result, folder)
    kept(result, toy_pair(value), path, spare=("a", "b"))
    return result, path


def test_what_a_run_saved_is_read_back_as_it_was_scored(tmp_path: Path) -> None:
    pair, result = toy_pair(), toy_result()
    path = kept(result, pair, tmp_path / "a.json")
    assert path == tmp_path / "a.h5"
    samples, again = read_pair(path, TASK)
    assert (samples.result, samples.generator, samples.seed) == ("a", "vae", 0)
    assert torch.equal(again.generated.samples, pair.generated.samples)
    assert torch.equal(again.reference.samples, pair.reference.samples)
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_saved_samples_are_never_overwritten(tmp_path: Path) -> None:
    path = kept(toy_result(), toy_pair(), tmp_path / "a.json")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        kept(toy_result(), toy_pair(2.0), tmp_path / "a.json")
    assert path.read_bytes() == before


def test_a_disk_that_fills_up_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(UsageError, match="No space left on device"):
        kept(toy_result(), toy_pair(), tmp_path / "a.json")
    assert os.listdir(tmp_path) == []


def test_samples_take_the_place_of_those_of_earlier_runs_and_of_nothing_else(tmp_path: Path) -> None:
    """Not those of this call's other runs, of files that were scored, of other folders, or of nobody."""
    (_, old), (_, other) = saved(tmp_path, "old", 1.0), saved(tmp_path / "other", "elsewhere", 2.0)
    scored = toy_result("scored").model_copy(
        update={"spec": toy_result().spec.model_copy(update={"generator": "samples:x"})}
    )
    path = write_result(scored, tmp_path)
    path.with_suffix(".h5").write_bytes(b"the user's own")
    (path.parent / "notes.h5").write_bytes(b"the user's own")
    _, first = saved(tmp_path, "a", 1.0)
    _, second = saved(tmp_path, "b", 1.0)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        *("a.h5", "a.json", "b.h5", "b.json", "notes.h5", "old.json", "scored.h5", "scored.json")
    ]
    assert not old.with_suffix(".h5").exists()
    assert other.with_suffix(".h5").exists()
    assert [one.path.stem for one in kept_samples(tmp_path)] == ["elsewhere", "a", "b"]
    assert [one.size for one in kept_samples(first.parent, deep=False)] == [
        file.with_suffix(".h5").stat().st_size for file in (first, second)
    ]


def test_a_first_try_keeps_the_samples_of_a_larger_run(tmp_path: Path) -> None:
    _, whole = saved(tmp_path, "whole", 1.0)
    few = toy_result("few")
    few = few.model_copy(update={"task": few.task.model_copy(update={"events": EVENTS - 1})})
    path = write_result(few, tmp_path)
    kept(few, toy_pair(), path)
    assert whole.with_suffix(".h5").exists()
    saved(tmp_path, "again", 1.0)
    assert not path.with_suffix(".h5").exists()
    assert not whole.with_suffix(".h5").exists()


def test_samples_beyond_the_limit_are_not_kept_and_cost_nothing_that_is_there(tmp_path: Path) -> None:
    _, old = saved(tmp_path, "old", 1.0)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TooLargeError, match="at most 10"):
        kept(toy_result("a"), toy_pair(), old.parent / "a.json", 10)
    assert sorted(tmp_path.rglob("*")) == before


def test_writing_stops_soon_after_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that does not compress, of 8 MB: the disk never holds much more than the limit."""
    sizes = []
    monkeypatch.setattr(os, "unlink", lambda path, **how: (sizes.append(os.stat(path).st_size), os.remove(path)))
    samples = torch.rand(125_000, 4, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(TooLargeError):
        write_samples(tmp_path / "x.h5", TASK, samples, torch.arange(len(samples)), "x", 0, limit=1e6)
    assert list(tmp_path.iterdir()) == []
    assert sizes
    assert max(sizes) < 2.5e6
    write_samples(tmp_path / "x.h5", TASK, samples, torch.arange(len(samples)), "x", 0, limit=9e6)
    with h5py.File(tmp_path / "x.h5") as file:
        assert torch.equal(torch.from_numpy(file["samples"][()]), samples)


def test_the_samples_beside_a_result_are_found(tmp_path: Path) -> None:
    (first, one), (second, two) = saved(tmp_path, "a", 1.0), saved(tmp_path, "b", 2.0)
    third = toy_result("c")
    pairs = find_pairs([second, third, first], [two, tmp_path / "c.json", one], [], TASK)
    assert pairs[1] is None
    means = [
        None if pair is None else float((pair.generated.samples - pair.reference.samples).mean()) for pair in pairs
    ]
    assert means == [pytest.approx(2.0), None, pytest.approx(1.0)]


def test_files_that_are_passed_find_their_results_in_any_order(tmp_path: Path) -> None:
    results = [toy_result("a"), toy_result("b")]
    files = [
        kept(result, toy_pair(value), tmp_path / f"x{value}.json")
        for result, value in zip(results, (1.0, 2.0), strict=True)
    ]
    pairs = find_pairs(results, [tmp_path / "a.json", tmp_path / "b.json"], files[::-1], TASK)
    assert [float(pair.generated.samples[0, 0, 0]) > 2 for pair in pairs if pair] == [False, True]


def test_a_file_that_was_scored_is_known_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    write_samples(path, TASK, toy_pair().generated.samples, torch.arange(EVENTS), "mine", 3)
    result = toy_result(source_sha256=read_samples(path, TASK).sha256)
    assert find_pairs([result], [tmp_path / "r.json"], [path], TASK)[0] is not None
    with pytest.raises(DataError, match=r"none of the results: got mine, sha256 .*expected vae b"):
        find_pairs([toy_result("b")], [tmp_path / "r.json"], [path], TASK)


def test_samples_of_another_result_or_size_are_refused(tmp_path: Path) -> None:
    result, path = saved(tmp_path, "a", 1.0)
    with pytest.raises(DataError, match="those of result a"):
        find_pairs([toy_result("b")], [tmp_path / "b.json"], [path.with_suffix(".h5")], TASK)
    larger = result.model_copy(update={"task": result.task.model_copy(update={"events": 12})})
    with pytest.raises(DataError, match=r"8 events.*12 events"):
        find_pairs([larger], [path], [], TASK)


# Repetitions


def repetition(folder: Path, name: str, value: float, generator: str = "mine", rows: int = EVENTS) -> Path:
    path = folder / name
    reference = TASK.load("test", rows)
    write_samples(path, TASK, reference.samples + value, torch.arange(rows), generator, 0)
    return path


def read(*paths: Path) -> list[float]:
    """The mean of what each file adds to the real events."""
    with Progress(quiet=True) as progress:
        _, pairs = read_repetitions(paths, TASK, progress)
    return [float((pair.generated.samples - pair.reference.samples).mean()) for pair in pairs]


def test_repetitions_are_read_in_order(tmp_path: Path) -> None:
    paths = [repetition(tmp_path, f"{value}.npz", value) for value in (3.0, 1.0, 2.0)]
    assert read(*paths) == pytest.approx([3, 1, 2])
    nameless = [repetition(tmp_path, f"nameless{value}.npz", value, generator="") for value in (1.0, 2.0)]
    assert read(*nameless) == pytest.approx([1, 2])


def test_what_is_no_repetition_is_refused(tmp_path: Path) -> None:
    first = repetition(tmp_path, "a.npz", 1.0)
    with pytest.raises(DataError, match=r"a\.npz and .*a\.npz hold the same samples"):
        read(first, first)
    with pytest.raises(DataError, match=r"a\.npz and .*copy\.h5 hold the same samples"):
        read(first, repetition(tmp_path, "b.npz", 2.0), repetition(tmp_path, "copy.h5", 1.0))
    with pytest.raises(DataError, match=r"different generators: got 'mine' and 'yours'"):
        read(first, repetition(tmp_path, "c.npz", 2.0, generator="yours"))
    with pytest.raises(DataError, match=r"different generators: got 'mine' and no name"):
        read(first, repetition(tmp_path, "d.npz", 2.0, generator=""))
    with pytest.raises(DataError, match=r"8 rows from 0 to 7 and 4 rows from 0 to 3"):
        read(first, repetition(tmp_path, "e.npz", 2.0, rows=4))
    with pytest.raises(UsageError, match="no file"):
        read()
