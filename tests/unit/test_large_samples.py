"""Scores of shards read in chunks: the same as in memory, whatever the chunks; and shards that are broken."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from toys import ToyDigits, ToyNoise, ToyTask
from typer.testing import CliRunner

from simbench.cli.main import app
from simbench.core.errors import DataError, GeneratorError, SimbenchError, UsageError
from simbench.core.progress import Progress
from simbench.core.seeds import derive_seed
from simbench.core.spread import spread
from simbench.evaluation.evaluate import Options, score_files, score_shards
from simbench.evaluation.shards import Reading, Streamed, read_shards
from simbench.metrics import streams
from simbench.metrics.base import Comparison, Estimate
from simbench.metrics.energy import diversity_ratio
from simbench.metrics.frechet import frechet_distance
from simbench.metrics.physics import quantile_scaled, separation
from simbench.metrics.registry import get_metric, metrics
from simbench.metrics.streams import Rows, Run, Sorted, Sums, subsample
from simbench.results.comparable import comparable_groups
from simbench.samples.shards import chunks_of, pieces, survey
from simbench.tasks import get_task
from simbench.tasks.base import Task

ZN = get_task("zn-geant3")
ROWS = 160
STREAMED = [key for key in ZN.metrics if get_metric(key).stream]
QUIET = Progress(quiet=True)


def write(path: Path, samples: Any, index: Any, /, **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("samples", data=samples, chunks=(16, *samples.shape[1:]), compression="lzf")
        file["condition_index"] = index
        file.attrs.update({"generator": "mine", **attributes})
    return path


def showers(answers: int, seed: int = 0) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """So many answers to each of the first ROWS test rows, in random order."""
    rng = np.random.default_rng(seed)
    index = rng.permutation(np.repeat(np.arange(ROWS), answers))
    rates = ZN.load("floor").samples.numpy()[index // 8 * 8 + rng.integers(8, size=len(index))]
    return rng.poisson(rates).astype(np.uint16), index


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One answer to each row, in two shards of unequal size."""
    samples, index = showers(1)
    folder = tmp_path_factory.mktemp("one")
    return [write(folder / "a.h5", samples[:100], index[:100]), write(folder / "b.h5", samples[100:], index[100:])]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four answers to each row."""
    samples, index = showers(4, seed=1)
    folder = tmp_path_factory.mktemp("four")
    return [write(folder / "a.h5", samples[:400], index[:400]), write(folder / "b.h5", samples[400:], index[400:])]


def read(paths: list[Path], chunk: int = 50, task: Task = ZN, keys: list[str] = STREAMED, workers: int = 1) -> Streamed:
    return read_shards(paths, task, keys, Reading(chunk, workers), QUIET, None)[1]


def close(one: Estimate, other: Estimate, tolerance: float = 1e-9) -> None:
    """Values, errors, parts, strata and replicates."""

    def numbers(estimate: Estimate) -> dict[str, float]:
        replicates = estimate.replicates.values if estimate.replicates else ()
        found = {"value": estimate.value, "stderr": estimate.stderr or 0.0, "n": estimate.n, **estimate.parts}
        found |= {f"replicate {place}": value for place, value in enumerate(replicates)}
        for name, stratum in estimate.strata.items():
            found |= {f"{name} {field}": value for field, value in numbers(stratum).items()}
        return found

    assert numbers(one) == pytest.approx(numbers(other), rel=tolerance, abs=tolerance)


@pytest.fixture(scope="module")
def in_memory(one: list[Path]) -> Comparison:
    """The pair as it is scored in memory."""
    samples = np.concatenate([h5py.File(path)["samples"][:] for path in one])
    index = np.concatenate([h5py.File(path)["condition_index"][:] for path in one])
    reference = ZN.load("test").take(torch.arange(ROWS))
    return Comparison(
        reference.with_samples(torch.from_numpy(samples[np.argsort(index)].astype(np.float32))), reference
    )


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.slow), 7, 1000])
def test_one_answer_a_row_scores_as_in_memory_whatever_the_chunks(
    one: list[Path], in_memory: Comparison, chunk: int
) -> None:
    streamed = read(one, chunk)
    assert torch.equal(streamed.pair.generated.samples, in_memory.generated.samples)
    assert torch.equal(streamed.pair.generated.split_rows, in_memory.generated.split_rows)
    assert len(STREAMED) > 8
    for key in STREAMED:
        close(streamed.estimate(get_metric(key)), get_metric(key)(in_memory))


@pytest.mark.parametrize("key", [m.key for m in metrics().values() if m.stream and m.key not in STREAMED and m.unit])
def test_so_do_the_published_definitions(one: list[Path], in_memory: Comparison, key: str) -> None:
    close(read(one, 33, keys=[key]).estimate(get_metric(key)), get_metric(key)(in_memory))


@pytest.mark.slow
def test_a_result_of_shards_is_that_of_one_file(one: list[Path], in_memory: Comparison, tmp_path: Path) -> None:
    path = write(tmp_path / "whole.h5", in_memory.generated.samples.numpy(), np.arange(ROWS))
    whole = score_files([path], ZN, Options(), QUIET).result
    parts = score_shards(one, ZN, Options(), Reading(33), QUIET).result
    assert [m.key for m in parts.measurements] == list(ZN.metrics)
    for mine, theirs in zip(parts.measurements, whole.measurements, strict=True):
        assert (mine.status, mine.n, mine.subsample_of) == (theirs.status, theirs.n, None)
        for field in ("value", "stderr", "floor", "p", "ratio"):
            found, expected = getattr(mine, field), getattr(theirs, field)
            assert (found is None) == (expected is None), (mine.key, field)
            assert (found or 0.0) == pytest.approx(expected or 0.0, rel=1e-9, abs=1e-9), (mine.key, field)
    assert parts.samples_sha256 == whole.samples_sha256
    assert parts.task == whole.task
    assert len(comparable_groups([parts, whole])) == 1


def test_several_answers_a_row_score_as_the_functions_of_arrays_do(four: list[Path]) -> None:
    """Against what needs no stream: scipy, and the public functions of two sets of unequal size."""
    streamed = read(four)
    samples = np.concatenate([h5py.File(path)["samples"][:] for path in four])
    index = torch.from_numpy(np.concatenate([h5py.File(path)["condition_index"][:] for path in four]))
    reference = ZN.load("test").take(torch.arange(ROWS))
    real = reference.take(index)
    generated = real.with_samples(torch.from_numpy(samples.astype(np.float32)))
    of = {key: streamed.estimate(get_metric(key)) for key in STREAMED}
    assert {estimate.n for estimate in of.values()} == {4 * ROWS}
    sums, real_sums = generated.derived("channels").numpy(), reference.derived("channels").numpy()
    expected = [wasserstein_distance(sums[:, channel], real_sums[:, channel]) for channel in range(5)]
    assert of["channel_wasserstein/1"].value == pytest.approx(np.mean(expected), rel=1e-9)
    neutrons = (generated.strata["species"] == "neutron", reference.strata["species"] == "neutron")
    expected = [wasserstein_distance(sums[neutrons[0], c], real_sums[neutrons[1], c]) for c in range(5)]
    assert of["channel_wasserstein/1"].strata["species=neutron"].value == pytest.approx(np.mean(expected), rel=1e-9)
    errors = np.abs(sums - real.derived("channels").numpy())
    assert of["channel_mae/1"].value == pytest.approx(errors.mean(), rel=1e-9)
    assert of["channel_mae/1"].parts["sd"] == pytest.approx(errors.mean(1).std(ddof=1), rel=1e-9)
    difference = generated.samples.double() - real.samples.double()
    assert of["rmse/1"].value == pytest.approx(float(difference.square().mean().sqrt()), rel=1e-9)
    empty = float((generated.samples.flatten(1).sum(1) == 0).double().mean())
    assert of["empty_fraction/1"].parts["generated"] == pytest.approx(empty, rel=1e-9)
    physics = generated.derived("physics"), reference.derived("physics")
    assert of["separation/1"].value == pytest.approx(float(separation(*physics).mean()), rel=1e-9)
    assert of["fpd/1"].value == pytest.approx(frechet_distance(*quantile_scaled(*physics)), rel=1e-9)
    features = generated.derived("features").double(), reference.derived("features").double()
    assert of["lenet_fid/1"].value == pytest.approx(frechet_distance(*features), rel=1e-9)
    traces = []
    for side, condition in zip(features, (generated.condition_id, reference.condition_id), strict=True):
        groups = [side[condition == c] for c in condition.unique()]
        scatter = sum(float((group - group.mean(0)).square().sum()) for group in groups)
        traces.append(scatter / (len(side) - len(groups)))
    assert of["diversity_ratio/1"].value == pytest.approx(traces[0] / traces[1], rel=1e-9)


def test_the_light_of_all_answers_enters_the_response(four: list[Path]) -> None:
    streamed = read(four, keys=["energy_response/1"])
    light = ZN.load("test").take(torch.arange(ROWS))
    assert len(streamed.whole) == len(light)
    parts = streamed.estimate(get_metric("energy_response/1")).parts
    samples = np.concatenate([h5py.File(path)["samples"][:] for path in four]).sum((1, 2))
    index = np.concatenate([h5py.File(path)["condition_index"][:] for path in four])
    species, energy = light.strata["species"], light.conditions[:, 0].double().numpy()
    names = [name for name in parts if name.startswith("neutron")]
    particles = np.unique((np.arange(ROWS) // 8)[species == "neutron"])
    bins = np.array_split(particles[np.argsort(energy[particles * 8], kind="stable")], len(names))
    for name, inside in zip(names, bins, strict=True):
        generated = (samples / energy[index])[np.isin(index // 8, inside)].mean()
        real = (light.derived("channels").sum(1).numpy() / energy)[np.isin(np.arange(ROWS) // 8, inside)].mean()
        assert parts[name] == pytest.approx(generated / real, rel=1e-9)


def test_the_subsample_is_one_answer_to_each_row_and_the_same_whatever_the_chunks(four: list[Path]) -> None:
    keys = ["empty_fraction/1", "channel_wasserstein/1"]
    found = [read(four, chunk, keys=keys) for chunk in (13, 5000)]
    samples = np.concatenate([h5py.File(path)["samples"][:] for path in four])
    index = np.concatenate([h5py.File(path)["condition_index"][:] for path in four])
    _, answer = subsample(ZN.load("test").take(torch.arange(ROWS)), 8, 4, derive_seed(0, "zn-geant3", "subsample"))
    expected = np.stack([samples[np.flatnonzero(index == row)[answer[row]]] for row in range(ROWS)])
    assert set(answer.tolist()) == {0, 1, 2, 3}
    for streamed in found:
        assert np.array_equal(streamed.pair.generated.samples.numpy(), expected)
        close(streamed.estimate(get_metric(keys[1])), found[0].estimate(get_metric(keys[1])), 1e-12)


def test_of_a_large_reference_whole_conditions_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SUBSAMPLE", 100)
    taken, answer = subsample(ZN.load("test"), 8, 3, 7)
    conditions = torch.nonzero(taken).squeeze(1) // 8
    assert int(taken.sum()) == 96  # 12 whole conditions
    assert torch.unique(conditions, return_counts=True)[1].tolist() == [8] * 12
    assert torch.equal(taken, subsample(ZN.load("test"), 8, 3, 7)[0])
    assert not torch.equal(taken, subsample(ZN.load("test"), 8, 3, 8)[0])
    assert set(answer.tolist()) == {0, 1, 2}
    monkeypatch.setattr(streams, "SUBSAMPLE_BYTES", 4 * 44 * 44 * 20)
    assert int(subsample(ZN.load("test"), 8, 3, 7)[0].sum()) == 16


def test_metrics_of_a_subsample_of_a_large_reference_have_its_number(
    one: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SUBSAMPLE", 100)
    chosen = "conditional_energy,channel_wasserstein,channel_mae"
    result = score_shards(one, ZN, Options(metrics=chosen), Reading(64), QUIET).result
    found = {m.metric: m for m in result.measurements}
    assert (found["conditional_energy"].n, found["conditional_energy"].subsample_of) == (96, ROWS)
    assert found["conditional_energy"].floor_n == 96
    assert (found["channel_wasserstein"].n, found["channel_wasserstein"].subsample_of) == (ROWS, None)
    assert found["channel_wasserstein"].floor_n == ROWS
    # the error of 96 events, taken down to 160
    streamed = read(one, keys=["channel_wasserstein/1"])
    drawn = get_metric("channel_wasserstein/1")(streamed.pair)
    assert len(streamed.pair) == 96
    assert found["channel_wasserstein"].stderr == pytest.approx(drawn.stderr * (96 / ROWS) ** 0.5, rel=1e-9)


def test_a_result_says_what_entered_and_does_not_compare_with_one_of_other_events(
    one: list[Path], four: list[Path]
) -> None:
    chosen = Options(metrics="channel_wasserstein,conditional_energy")
    many = score_shards(four, ZN, chosen, Reading(100), QUIET).result
    few = score_shards(one, ZN, chosen, Reading(100), QUIET).result
    wasserstein, conditional = many.measurements
    assert (many.task.events, many.spec.events) == (4 * ROWS, 4 * ROWS)
    assert (wasserstein.n, wasserstein.subsample_of, wasserstein.floor) == (4 * ROWS, None, None)
    assert (conditional.n, conditional.subsample_of) == (ROWS, 4 * ROWS)
    assert conditional.floor is not None
    assert len(comparable_groups([many, few])) == 2
    assert many.task.scored_sha256 == few.task.scored_sha256
    assert type(many).model_validate_json(many.to_json()) == many


# Summaries


def summaries(seed: int) -> list[Any]:
    rng = torch.Generator().manual_seed(seed)
    values = torch.rand(9, 2, generator=rng, dtype=torch.float64)
    row = torch.randint(4, (9,), generator=rng)
    return [Rows.of(values, row, 4), Sorted.of((values * 5).round()), Sums((values, values.sum(0)))]


def numbers(summary: Any) -> list[torch.Tensor]:
    if isinstance(summary, Sorted):
        return [values for run in summary.columns() for values in (run.values, run.counts.double())]
    return list(summary.tensors) if isinstance(summary, Sums) else [summary.count, summary.mean, summary.scatter]


@pytest.mark.parametrize("kind", range(3))
def test_summaries_add_up_in_any_order(kind: int) -> None:
    parts = [summaries(seed)[kind] for seed in range(4)]
    expected = numbers(parts[0] + parts[1] + parts[2] + parts[3])
    for a, b, c, d in permutations(parts):
        for total in (a + (b + (c + d)), (a + b) + (c + d)):
            for mine, theirs in zip(numbers(total), expected, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_rows_hold_means_and_scatter_without_cancellation() -> None:
    values = torch.tensor([[1e8], [1e8 + 1], [1e8 + 2], [7.0]], dtype=torch.float64)
    row = torch.tensor([2, 2, 2, 0])
    total = Rows.of(values[:1], row[:1], 3) + Rows.of(values[1:2], row[1:2], 3) + Rows.of(values[2:], row[2:], 3)
    assert total.count.tolist() == [1, 0, 3]
    assert total.mean.flatten().tolist() == [7.0, 0.0, 1e8 + 1]
    assert total.scatter.flatten().tolist() == [0.0, 0.0, 2.0]
    assert total.sd(0) == pytest.approx(float(values.std()), rel=1e-12)


def test_a_run_beyond_its_size_is_the_same_in_any_order_and_close(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    other = values * 1.01
    monkeypatch.setattr(streams, "DISTINCT", 500)
    parts = [Run.of(part) for part in values.split(700)]
    forward, backward = parts[0], parts[-1]
    for part in parts[1:]:
        forward = forward + part
    for part in reversed(parts[:-1]):
        backward = part + backward
    at_once = Run.of(values)
    for run in (forward, backward):
        assert torch.equal(run.values, at_once.values)
        assert torch.equal(run.counts, at_once.counts)
        assert run.level == at_once.level > 0
    assert len(at_once.values) <= 500
    assert int(at_once.counts.sum()) == 4000
    exact = wasserstein_distance(values, other)
    found = wasserstein_distance(at_once.sample(), other, at_once.counts)
    assert found == pytest.approx(exact, abs=0.5 / 250)  # half the width of what is cut off, 1/256 at most
    monkeypatch.setattr(streams, "DISTINCT", 4000)
    assert torch.equal(Run.of(values).sample(), values.sort().values)


def test_diversity_leaves_conditions_with_one_real_event_out_on_both_sides() -> None:
    from simbench.metrics.energy import _diversity

    real = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    condition = torch.tensor([0, 0, 0, 1, 1])
    alone = torch.tensor([0, 0, 0, 1, 1, 2])
    rows = torch.arange(5).repeat_interleave(2)
    values = real[rows] * 2
    ones = torch.ones(1, 6, dtype=torch.float64)
    two = Rows.of(values, rows, 5)
    expected = float(_diversity(two, real, condition)(ones[:, :5]))
    with_one = Rows.of(
        torch.cat([values, 100 * torch.randn(2, 3, dtype=torch.float64)]), torch.cat([rows, torch.tensor([5, 5])]), 6
    )
    assert float(_diversity(with_one, torch.cat([real, real[:1]]), alone)(ones)) == pytest.approx(expected, rel=1e-12)
    assert float(_diversity(Rows.of(real * 2, torch.arange(5), 5), real, condition)(ones[:, :5])) == pytest.approx(
        diversity_ratio(real * 2, real, condition), rel=1e-12
    )


def test_a_stream_that_fails_takes_no_other_with_it(four: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: object, chunk: Comparison, row: torch.Tensor, whole: object) -> None:
        raise KeyError("physics")

    monkeypatch.setattr("simbench.metrics.physics.SeparationStream.summary", fails)
    result = score_shards(four, ZN, Options(metrics="empty_fraction,separation"), Reading(300), QUIET).result
    assert [m.status for m in result.measurements] == ["ok", "failed"]
    assert "KeyError: 'physics'" in (result.measurements[1].error or "")


# What shards say


def toy(path: Path, answers: int = 3, task: Task | None = None, **arrays: Any) -> Path:
    task = task or ToyTask()
    rows = np.arange(12 * answers) % 12
    found = {"samples": np.ones((len(rows), *task.shape), np.float32), "condition_index": rows, **arrays}
    with h5py.File(path, "w") as file:
        for key, values in found.items():
            if values is not None:
                file[key] = values
    return path


@pytest.mark.parametrize("task", [ToyTask(), ToyDigits()])
def test_conditions_answer_their_rows_in_turn(tmp_path: Path, task: Task) -> None:
    conditions = task.load("test").conditions.numpy()
    order = np.random.default_rng(0).permutation(24)
    given = np.concatenate([conditions, conditions])[order]
    path = toy(tmp_path / "s.h5", 2, task, condition_index=None, conditions=given)
    shard = survey(path, task)
    found = [chunk for piece in pieces([shard], task) for chunk in chunks_of(piece, task, 5)]
    row = torch.cat([chunk.row for chunk in found])
    assert torch.bincount(row).tolist() == [2] * 12
    assert torch.equal(task.load("test").conditions[row], torch.from_numpy(given))
    assert sorted(zip(row.tolist(), torch.cat([c.answer for c in found]).tolist(), strict=True)) == [
        (at, answer) for at in range(12) for answer in range(2)
    ]


def test_without_conditions_events_answer_rows_in_turn(tmp_path: Path) -> None:
    task = ToyNoise()
    shards = [survey(toy(tmp_path / f"{n}.h5", n, task, condition_index=None), task) for n in (1, 2)]
    chunks = [chunk for piece in pieces(shards, task) for chunk in chunks_of(piece, task, 7)]
    assert torch.cat([chunk.row for chunk in chunks]).tolist() == list(range(12)) * 3
    assert torch.cat([chunk.answer for chunk in chunks]).tolist() == [0] * 12 + [1] * 12 + [2] * 12


def test_ranges_go_on_where_the_last_one_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simbench.samples.shards.RANGE", 1)  # as many as there are test rows
    task = ToyTask()
    path = toy(tmp_path / "s.h5", 3, condition_index=np.repeat(np.arange(12), 3))
    cut = pieces([survey(path, task)], task)
    assert [(piece.start, piece.stop) for piece in cut] == [(0, 12), (12, 24), (24, 36)]
    answer = torch.cat([chunk.answer for piece in cut for chunk in chunks_of(piece, task, 5)])
    assert answer.tolist() == [0, 1, 2] * 12


# Shards that are broken


def refused(paths: list[Path], kind: type[SimbenchError], *words: str, task: Task | None = None) -> None:
    with pytest.raises(kind) as caught:
        read(paths, 5, task or ToyTask(), keys=[])
    assert type(caught.value) is kind
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def with_value(value: float) -> NDArray[np.float32]:
    samples = np.ones((36, 4, 4), np.float32)
    samples[23, 1, 2] = value
    return samples


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1, "negative"), (1e6, "large")])
def test_an_event_that_is_none_is_named_with_its_shard_and_row(tmp_path: Path, value: float, word: str) -> None:
    good = toy(tmp_path / "good.h5")
    bad = toy(tmp_path / "bad.h5", samples=with_value(value))
    refused([good, bad], GeneratorError, "row 23", "bad.h5", word)


def test_a_shard_of_another_shape_is_named(tmp_path: Path) -> None:
    refused(
        [toy(tmp_path / "a.h5"), toy(tmp_path / "b.h5", samples=np.ones((36, 4, 5)))], GeneratorError, "b.h5", "(4, 4)"
    )
    refused([toy(tmp_path / "c.h5", samples=np.ones((0, 4, 4)))], DataError, "c.h5", "no samples")
    refused([toy(tmp_path / "d.h5", samples=None)], DataError, "d.h5", "no `samples`")
    refused([toy(tmp_path / "e.h5", condition_index=np.arange(5))], DataError, "e.h5", "wrong shape")
    refused([toy(tmp_path / "f.h5", condition_index=None)], DataError, "f.h5", "which conditions")


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    path = toy(tmp_path / "a.h5")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 300])
    refused([path], DataError, "a.h5", "truncated")
    refused([tmp_path / "none.h5"], DataError, "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    refused([tmp_path / "text.h5"], DataError, "text.h5")


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    samples = np.random.default_rng(0).random((36, 4, 4))
    with h5py.File(path, "w") as file:
        file.create_dataset("samples", data=samples, chunks=(6, 4, 4), compression="gzip", fletcher32=True)
        file["condition_index"] = np.arange(36) % 12
        offset = file["samples"].id.get_chunk_info(3).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset + 20)
        raw.write(b"\xff" * 8)
    refused([path], DataError, "a.h5", "rows 18 to 23")


def test_rows_that_are_none_or_are_not_answered_equally_are_named(tmp_path: Path) -> None:
    rows = np.arange(36) % 12
    rows[30] = 12
    refused([toy(tmp_path / "a.h5", condition_index=rows)], DataError, "a.h5", "row 30", "12", "0 to 11")
    rows[30] = 5
    refused([toy(tmp_path / "b.h5", condition_index=rows)], DataError, "unequally", "row 6", "row 5")
    refused([toy(tmp_path / "c.h5", condition_index=rows / 2)], DataError, "float")
    conditions = ToyTask().load("test").conditions.numpy()[np.arange(36) % 12]
    conditions[7, 0] += 1
    refused([toy(tmp_path / "d.h5", condition_index=None, conditions=conditions)], DataError, "d.h5", "row 7")
    half = np.repeat([0, 1, 2], 12)  # both rows of condition 0, one of condition 1
    refused([toy(tmp_path / "e.h5", condition_index=half)], DataError, "conditions unequally")


def test_shards_must_belong_together(tmp_path: Path) -> None:
    one = toy(tmp_path / "a.h5")
    refused([one, one], DataError, "a.h5", "same file")
    other = toy(tmp_path / "b.h5", samples=2 * np.ones((36, 4, 4)))
    conditions = ToyTask().load("test").conditions.numpy()[np.arange(36) % 12]
    by_condition = toy(tmp_path / "c.h5", condition_index=None, conditions=conditions)
    refused([other, by_condition], DataError, "different ways")
    with h5py.File(other, "r+") as file:
        file.attrs["generator"] = "theirs"
    refused([one, other], DataError, "different generators", "theirs")
    with h5py.File(other, "r+") as file:
        file.attrs["task"] = "mnist"
    refused([other], DataError, "another task")
    np.savez(tmp_path / "d.npz", samples=np.ones((12, 4, 4)), condition_index=np.arange(12))
    refused([tmp_path / "d.npz"], DataError, "d.npz", "HDF5")
    with pytest.raises(UsageError, match="no file"):
        read([], task=ToyTask(), keys=[])


def test_rows_stored_together_beyond_a_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("samples", data=np.ones((36, 4, 4)), chunks=(36, 1, 1))
        file["condition_index"] = np.arange(36) % 12
    assert read([path], task=ToyTask(), keys=[]).events == 36
    monkeypatch.setattr("simbench.samples.shards.MAX_SLAB", 4000)
    refused([path], DataError, "36 stored together", "chunks=(250, 4, 4)")


def test_a_shard_that_changes_is_refused(tmp_path: Path) -> None:
    path, task = toy(tmp_path / "a.h5"), ToyTask()
    piece = pieces([survey(path, task)], task)[0]
    toy(path, 4)
    with pytest.raises(DataError, match="changed"):
        list(chunks_of(piece, task, 5))


# On the command line


def score(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["score", *arguments])


def test_the_command_reads_shards_with_two_workers(four: list[Path], tmp_path: Path) -> None:
    chosen = ["--metrics", "channel_wasserstein,conditional_energy", "--no-report", "-o", str(tmp_path), "--json"]
    files = [str(path) for path in four]
    one, two = (score(*files, "--chunk", "200", *more, *chosen) for more in ([], ["--workers", "2"]))
    assert one.exit_code == two.exit_code == 0, two.output
    first, second = (type_of(result.stdout) for result in (one, two))
    assert [m.value for m in first.measurements] == pytest.approx([m.value for m in second.measurements], rel=1e-9)
    assert second.measurements[1].subsample_of == 4 * ROWS
    assert first.samples_sha256 == second.samples_sha256


def type_of(text: str) -> Any:
    from simbench.results.schema import Result

    return Result.model_validate_json(text)


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_same_error(four: list[Path], tmp_path: Path) -> None:
    samples, index = showers(1)
    bad = samples.astype(np.float32)
    bad[17, 0, 0] = -1
    broken = write(tmp_path / "bad.h5", bad, index)
    found = score(str(four[0]), str(four[1]), str(broken), "--chunk", "100", "--workers", "2")
    assert found.exit_code == GeneratorError.exit_code, found.output
    assert "row 17" in found.output
    assert "Traceback" not in found.output


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--workers", "2"], "--chunk"),
        (["--scheduler", "tcp://127.0.0.1:1"], "--chunk"),
        (["--chunk", "5", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "exclude"),
        (["--chunk", "0"], "--chunk"),
        (["--chunk", "5", "--against", "other.h5"], "--against"),
    ],
)
def test_options_that_do_not_go_together_are_refused(four: list[Path], options: list[str], word: str) -> None:
    found = score(str(four[0]), *options)
    assert found.exit_code == 2, found.output
    assert word in found.output


def test_a_file_of_too_many_events_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--chunk"):
        score_files([toy(tmp_path / "a.h5")], ToyTask(), Options(), QUIET)


# On a cluster


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same(four: list[Path]) -> None:
    distributed = pytest.importorskip("distributed")
    keys = ["empty_fraction/1", "channel_wasserstein/1"]
    here = read(four, 100, keys=keys)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        reading = Reading(100, scheduler=cluster.scheduler_address)
        there = read_shards(four, ZN, keys, reading, QUIET, None)[1]
    for key in keys:
        close(there.estimate(get_metric(key)), here.estimate(get_metric(key)), 1e-12)
    assert torch.equal(here.pair.generated.samples, there.pair.generated.samples)


def test_no_scheduler_is_said_so() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match="no Dask scheduler"), spread(scheduler="nowhere"):
        pass


# Memory

PEAK = """
import resource, sys
from pathlib import Path
from simbench.core.progress import Progress
from simbench.evaluation.shards import Reading, read_shards
from simbench.tasks import get_task
task = get_task("zn-geant3")
keys = ["channel_wasserstein/1", "rmse/1", "fpd/1"]
read_shards([Path(p) for p in sys.argv[1:]], task, keys, Reading(500), Progress(quiet=True), None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_events(tmp_path: Path) -> None:
    """32 times as many events, 159 MB as float32, take hardly more memory."""
    samples, index = showers(4)
    peaks = []
    for copies in (1, 32):
        path = write(tmp_path / f"{copies}.h5", np.tile(samples, (copies, 1, 1)), np.tile(index, copies))
        done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 60, peaks
