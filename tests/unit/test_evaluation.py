"""The whole way from a generator to a Result, on a small task size."""

from __future__ import annotations

import statistics
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simbench.core.errors import GeneratorError, UsageError
from simbench.core.progress import Progress
from simbench.evaluation import scoring
from simbench.evaluation.evaluate import Evaluated, Options, evaluate, score_files
from simbench.evaluation.floors import Floors
from simbench.evaluation.scoring import measure
from simbench.generators.resolve import Resolved
from simbench.generators.session import Session
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.results.timing import timing_findings
from simbench.samples.files import write_samples
from simbench.tasks import get_task
from simbench.tasks.zn import ZnGeant3

QUIET = Progress(quiet=True)


class Blob:
    """Poisson photons, more of them at higher energy."""

    def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(seed)
        rate = (conditions[:, :1, None] / 2000).clamp(0.01, 5).expand(-1, 44, 44)
        return torch.poisson(rate, generator=rng)


def resolved(generator: object) -> Resolved:
    return Resolved(spec="test:Blob", name="blob", generator=generator)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def live() -> Evaluated:
    """160 events of Blob by all metrics, timed one by one."""
    return evaluate(resolved(Blob()), get_task("zn-geant3"), Options(events=160, batches=(1,)), QUIET)


def test_scores_do_not_depend_on_the_batch_size(live: Evaluated) -> None:
    one = live.result
    many = evaluate(resolved(Blob()), get_task("zn-geant3"), Options(events=160, batches=(100,)), QUIET).result
    assert [m.value for m in one.measurements] == [m.value for m in many.measurements]
    assert [m.stderr for m in one.measurements] == [m.stderr for m in many.measurements]
    assert [row.batch for row in one.throughput] != [row.batch for row in many.throughput]
    assert one.status == "complete"
    assert one.generator.deterministic
    assert one.speedup is not None


def test_blocks_have_seeds_of_their_own_that_depend_on_root_and_repetition() -> None:
    seeds: list[int] = []

    class Spy:
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            seeds.append(seed)
            return torch.zeros(len(conditions), 44, 44)

    task = get_task("zn-geant3")
    conditions = task.load("test", 600).conditions
    for root, repetition in ((0, 0), (0, 1), (1, 0), (0, 0)):
        Session(Spy(), task, "spy", root_seed=root).sample_blocks(conditions, repetition)
    assert len(seeds) == 12
    assert len(set(seeds)) == 9
    assert seeds[:3] == seeds[9:]
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_generator_without_memory_for_a_block_is_scored_in_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: set[int] = set()

    class Large(Blob):
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            sizes.add(len(conditions))
            if len(conditions) > 70:
                raise MemoryError
            return super().sample(conditions, seed=seed)

    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1",))
    task, asked = get_task("zn-geant3"), Options(events=160, batches=(1,))
    with pytest.raises(GeneratorError, match=r"failed in `sample` for 160 events.*--block-size"):
        evaluate(resolved(Large()), task, asked, QUIET)
    sizes.clear()
    evaluated = evaluate(resolved(Large()), task, replace(asked, block_size=64, batches=()), QUIET)
    result = evaluated.result
    assert {64, 160 % 64} <= sizes
    assert (result.spec.block, task.block_size, ZnGeant3.block_size) == (64, 256, 256)
    assert result.timing is not None
    assert result.timing.scored_batch == 64
    assert 64 in {row.batch for row in result.throughput}
    assert "failed in `sample` for" in (result.throughput_error or "")
    again = Session(Blob(), task.in_blocks(64), "blob").sample_blocks(evaluated.pair.reference.conditions, 0)
    assert torch.equal(again, evaluated.pair.generated.samples)


def test_repetitions_are_kept_apart_from_the_sampling_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1",))
    one, found = (
        evaluate(
            resolved(Blob()), get_task("zn-geant3"), Options(events=80, repetitions=count, batches=(1,)), QUIET
        ).result.measurements[0]
        for count in (1, 3)
    )
    assert len(set(found.per_repetition)) == 3
    assert found.value == pytest.approx(sum(found.per_repetition) / 3)
    assert found.sd_repetition == pytest.approx(statistics.stdev(found.per_repetition))
    assert (one.value, one.sd_repetition) == (found.per_repetition[0], None)
    assert found.stderr == one.stderr  # that of one repetition: more of them do not make the test events more


def test_a_metric_that_fails_is_recorded_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    @metric("channel_wasserstein/1", unit="photons")
    def broken(pair: Comparison) -> Estimate:
        """Broken."""
        raise ZeroDivisionError("no luck")

    real = scoring.get_metric
    monkeypatch.setattr(ZnGeant3, "metrics", ("empty_fraction/1", broken.key, "conditional_energy/1"))
    monkeypatch.setattr(scoring, "get_metric", lambda key: broken if key == broken.key else real(key))
    result = evaluate(resolved(Blob()), get_task("zn-geant3"), Options(events=160, batches=(1,)), QUIET).result
    failed = result.measurement("channel_wasserstein/1")
    assert failed is not None
    assert (failed.status, failed.value, failed.error) == ("failed", None, "ZeroDivisionError: no luck")
    assert result.measurement("conditional_energy/1").value is not None  # type: ignore[union-attr]
    assert result.status == "incomplete"


class Sleeps(Blob):
    """Takes 0.5 s a call, except where the clock's `measure` calls it."""

    def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
        if "timed_call" not in {frame.name for frame in traceback.extract_stack()}:
            time.sleep(0.5)
        return super().sample(conditions, seed=seed)


def test_a_generator_that_is_only_fast_when_it_is_timed_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1",))
    result = evaluate(resolved(Sleeps()), get_task("zn-geant3"), Options(events=800, batches=(256,)), QUIET).result
    assert result.timing is not None
    assert result.timing.scored_events == 800
    assert result.timing.scored_seconds > 4 * 0.5
    assert result.timing.agrees
    assert result.timing.differs_by_seed
    assert any("more than 3x apart" in warning for warning in result.warnings)
    assert timing_findings(result) == result.warnings[-1:]


def test_timing_that_fails_leaves_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(Blob):
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            if len(conditions) > 256:
                raise MemoryError
            return super().sample(conditions, seed=seed)

    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1",))
    result = evaluate(resolved(Small()), get_task("zn-geant3"), Options(events=160, batches=(300,)), QUIET).result
    assert result.status == "complete"
    assert result.throughput == []
    assert str(result.throughput_error).startswith("batch 300 on cpu with 1 thread: test:Blob failed in `sample`")
    assert (result.speedup, result.timing) == (None, None)


def test_a_calibration_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class TestOnly(Blob):
        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            if torch.equal(conditions[0], validation[0]):
                raise ValueError("never seen")
            return super().sample(conditions, seed=seed)

    validation = get_task("zn-geant3").load("validation").conditions
    monkeypatch.setattr(ZnGeant3, "metrics", ("channel_wasserstein/1",))
    result = evaluate(resolved(TestOnly()), get_task("zn-geant3"), Options(events=80, batches=(1,)), QUIET).result
    assert result.measurements[0].calibrated is None
    assert any(warning.startswith("no calibrated scores: test:Blob failed") for warning in result.warnings)


def test_fast_leaves_out_slow_metrics_only() -> None:
    task = get_task("zn-geant3")
    test = task.load("test", 80)
    pair = Comparison(task.load("floor", 80), test)
    slow = replace(scoring.get_metric("empty_fraction/1"), slow=True)
    assert measure(slow, [pair], Floors(task, test), fast=True, definitions="simbench").status == "skipped"
    assert measure(slow, [pair], Floors(task, test), fast=False, definitions="simbench").status == "ok"


def test_a_generator_that_breaks_in_the_middle_is_one_error() -> None:
    class Breaks(Blob):
        calls = 0

        def sample(self, conditions: torch.Tensor, *, seed: int) -> torch.Tensor:
            self.calls += 1
            samples = super().sample(conditions, seed=seed)
            return samples * torch.nan if self.calls > 4 else samples

    with pytest.raises(GeneratorError, match="NaN"):
        evaluate(resolved(Breaks()), get_task("zn-geant3"), Options(events=640), QUIET)


def test_a_file_of_samples_scores_as_the_generator_that_made_it(live: Evaluated, tmp_path: Path) -> None:
    task = get_task("zn-geant3")
    path = tmp_path / "blob.h5"
    write_samples(path, task, live.pair.generated.samples, torch.arange(160), generator="blob", seed=0)
    scored = score_files([path], task, Options(), QUIET).result
    assert [m.value for m in scored.measurements] == [m.value for m in live.result.measurements]
    assert scored.generator.deterministic is None
    assert scored.throughput == []


def test_unknown_definitions_and_counts_are_refused() -> None:
    task = get_task("zn-geant3")
    wrong = ({"definitions": "deja"}, {"repetitions": 0}, {"batches": (0,)}, {"block_size": 0}, {"events": 3999})
    for arguments in wrong:
        with pytest.raises(UsageError):
            evaluate(resolved(Blob()), task, Options(**arguments), QUIET)  # type: ignore[arg-type]
