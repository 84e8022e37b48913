"""Deliberate cheats, on real zn events: each is seen, refused or flagged, and an honest perfect model is not.

800 test events, with floors measured here: none of this needs the shipped ones.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from boards import shipped_board
from factories import make_result
from torch import Tensor

from simbench.boards.board import objections
from simbench.core.progress import Progress
from simbench.evaluation.equivalent import equivalent_events
from simbench.evaluation.evaluate import Options, evaluate
from simbench.evaluation.floors import Floor, Floors, swaps
from simbench.evaluation.scoring import measure_all
from simbench.evaluation.verify import verify
from simbench.generators.resolve import resolve
from simbench.metrics.base import Comparison, Metric
from simbench.metrics.registry import metric_named
from simbench.metrics.resampling import values_only
from simbench.results.findings import copying, findings
from simbench.results.ranking import Score, ranks
from simbench.results.schema import EquivalentCount, Measurement, Result
from simbench.results.words import equivalent_sentence, floor_test, verdict
from simbench.tasks import get_task
from simbench.tasks.controls import conditions_shuffled, pixels_shuffled, shrunk, training_replayed

TASK = get_task("zn-geant3")
EVENTS = 800
TEST, FLOOR = (TASK.load(split, EVENTS) for split in ("test", "floor"))
KEYS = tuple(
    metric_named(name).key
    for name in ("channel_wasserstein", "conditional_energy", "energy_distance", "dispersion_ratio", "separation")
)


class DealtAnew(Floors):
    """Floors with a spread from 8 swaps, as the shipped ones have one from 20."""

    @functools.cache  # noqa: B019
    def of(self, metric: Metric) -> Floor:
        if metric.reads_train:  # memorisation: what real events show is in its value already
            return Floor(value=0.0, sd=None, memoriser=None)
        with values_only():
            value = metric(Comparison(FLOOR, TEST, stratify=False)).value
            spread = np.std([metric(pair).value for pair in swaps(FLOOR, TEST, 0, 8)], ddof=1)
        return Floor(value=value, sd=float(spread), memoriser=None)


FLOORS = DealtAnew(TASK, TEST)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def scored(samples: Tensor, keys: tuple[str, ...] = KEYS) -> Result:
    """The Result of these answers to the test conditions."""
    pair = Comparison(TEST.with_samples(samples), TEST, stratify=False)
    measurements = measure_all(keys, [pair], TASK, floors=FLOORS, definitions="simbench")
    equivalent = equivalent_events(TASK, measurements, EVENTS, EVENTS // TASK.repeats)
    return make_result("cheat", measurements=measurements, equivalent_events=equivalent)


def score(result: Result, name: str) -> Measurement:
    return next(m for m in result.measurements if m.metric == name)


def counted(result: Result, aspect: str) -> EquivalentCount:
    assert result.equivalent_events is not None
    return next(count for count in result.equivalent_events.counts if count.aspect == aspect)


@pytest.fixture(scope="module")
def honest() -> Result:
    return scored(FLOOR.samples)


def test_independent_real_events_are_at_the_floor_and_no_finding(honest: Result) -> None:
    assert {m.key: floor_test(m) for m in honest.measurements} == dict.fromkeys(KEYS, "at the floor")
    assert verdict(honest).startswith("at the floor")
    assert findings(honest) == []
    assert counted(honest, "in its images").bound == counted(honest, "per particle").bound == "at least"
    assert counted(honest, "per particle").value > TASK.repeats


def test_real_events_dealt_to_the_wrong_particles_know_nothing_of_their_particle() -> None:
    result = scored(conditions_shuffled(FLOOR, rng()))
    assert score(result, "channel_wasserstein").value == pytest.approx(score(result, "channel_wasserstein").floor)
    assert floor_test(score(result, "conditional_energy")) == "worse than the floor"
    assert result.equivalent_events is not None
    assert (result.equivalent_events.worst, result.equivalent_events.headline.value < 0.2) == ("per particle", True)
    assert "at the floor" not in verdict(result)
    assert "as close to the truth as 0." in equivalent_sentence(result)


def test_real_channel_sums_with_their_pixels_shuffled_are_far_in_the_images() -> None:
    result = scored(pixels_shuffled(FLOOR, rng()))
    assert floor_test(score(result, "channel_wasserstein")) == "at the floor"
    assert floor_test(score(result, "conditional_energy")) == "at the floor"
    assert {floor_test(score(result, name)) for name in ("energy_distance", "separation")} == {"worse than the floor"}
    assert result.equivalent_events is not None
    assert (result.equivalent_events.worst, result.equivalent_events.headline.value < 2) == ("in its images", True)
    assert "at the floor" not in verdict(result)


@pytest.fixture(scope="module")
def means() -> Tensor:
    return shrunk(1.0)(FLOOR, rng())


def test_the_mean_of_each_conditions_showers_is_worth_few_events(means: Tensor) -> None:
    result = scored(means)
    assert score(result, "dispersion_ratio").value == pytest.approx(0, abs=0.2)
    for name in ("channel_wasserstein", "conditional_energy", "energy_distance", "dispersion_ratio"):
        assert floor_test(score(result, name)) == "worse than the floor"
    assert result.equivalent_events is not None
    assert (result.equivalent_events.worst, result.equivalent_events.headline.value < 5) == ("in its images", True)
    assert "at the floor" not in verdict(result)


def rank_score(measurement: Measurement) -> Score:
    assert measurement.value is not None
    assert measurement.stderr is not None
    kept = measurement.replicates
    return Score(measurement.value, measurement.stderr, kept.kind if kept else "", tuple(kept.values) if kept else ())


def test_one_absurd_event_makes_a_score_uncertain_and_no_score_good(honest: Result, means: Tensor) -> None:
    """The mean response plus one event of 1e5 photons a pixel: nothing is significantly better than 48 000 ± 45 000."""
    absurd = means.clone()
    absurd[0] = TASK.maximum
    result, mean = scored(absurd), scored(means)
    channels = score(result, "channel_wasserstein")
    assert channels.stderr is not None
    assert channels.value is not None
    assert channels.value - (channels.floor or 0.0) < 1.96 * channels.stderr
    assert floor_test(channels) == "too uncertain to say"
    assert "at the floor" not in verdict(result)
    for name in ("channel_wasserstein", "conditional_energy"):
        found = ranks([rank_score(score(one, name)) for one in (result, mean, honest)])
        assert found[2] == 1
        assert found[0] >= found[1] > 1 or name == "conditional_energy"
        assert found[0] > 1


def one_photon_off(samples: Tensor) -> Tensor:
    """Each event with a photon more or less in its brightest pixel."""
    changed = samples.flatten(1).clone()
    rows, sign = torch.arange(len(changed)), 2 * torch.randint(2, (len(changed),), generator=rng()) - 1
    changed[rows, changed.argmax(1)] += sign
    return changed.clamp(min=0).view_as(samples)


def test_test_events_returned_are_better_than_the_truth() -> None:
    memorisation = metric_named("memorisation").key
    result = scored(one_photon_off(TEST.samples), (*KEYS, memorisation))
    found = findings(result)
    for name in ("channel_wasserstein", "conditional_energy"):
        assert [sentence for sentence in found if f"{name}/" in sentence and "better than the truth" in sentence]
    assert "copies of test events" in found[0]
    assert copying(result) == found[0]
    assert "as close to the truth" not in equivalent_sentence(result)
    refused = " ".join(objections(shipped_board(), result))
    assert "better than the truth" in refused
    assert "copies of test events" in refused


def test_training_events_returned_are_called_copies() -> None:
    result = scored(one_photon_off(training_replayed(TEST, rng())), (metric_named("memorisation").key,))
    assert "copies of training events" in copying(result)
    assert findings(result) != []


def test_no_copies_among_fresh_real_events() -> None:
    assert findings(scored(FLOOR.samples, (metric_named("memorisation").key,))) == []


def test_a_hand_edited_entry_is_not_what_its_generator_scores(tmp_path: Path) -> None:
    options = Options(events=80, repetitions=2, batches=(1,), metrics="channel_wasserstein,conditional_energy")
    progress = Progress(quiet=True)
    result = evaluate(resolve("wrong_condition"), TASK, options, progress).result
    path = tmp_path / "entry.json"
    path.write_text(result.to_json())
    assert verify(path, [], TASK, progress).wrong == []
    first, second = result.measurements
    better = second.model_copy(update={"value": 0.01, "per_repetition": [0.01, 0.01]})
    path.write_text(result.model_copy(update={"measurements": [first, better]}).to_json())
    assert second.key in verify(path, [], TASK, progress).wrong
    assert result.equivalent_events is not None
    counts = [count.model_copy(update={"value": 7.9}) for count in result.equivalent_events.counts]
    flattered = result.equivalent_events.model_copy(update={"counts": counts})
    path.write_text(result.model_copy(update={"equivalent_events": flattered}).to_json())
    assert verify(path, [], TASK, progress).wrong == ["equivalent events per particle"]
