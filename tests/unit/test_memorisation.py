"""Memorisation: what is found, at which size of the training split, and what must not be."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import make_measurement, make_result
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.events import Events
from simbench.metrics.base import Comparison, Estimate
from simbench.metrics.memorisation import memorisation_metric, nearer_to_training
from simbench.results.findings import copying
from simbench.tasks import get_task
from simbench.tasks.controls import training_replayed


@pytest.mark.parametrize(
    ("closer", "training", "drawn"), [(0, 9, 4), (1, 9, 4), (3, 9, 4), (6, 9, 4), (9, 9, 9), (2, 5, 5)]
)
def test_the_share_of_re_splits_against_all_of_them(closer: int, training: int, drawn: int) -> None:
    splits = list(itertools.combinations(range(training), drawn))
    share = np.mean([min(split) < closer for split in splits])
    found = nearer_to_training(torch.tensor(closer), training, torch.tensor(drawn))
    assert float(found) == pytest.approx(share, abs=1e-9)


class World:
    """Toy showers of 6 x 6 pixels, each unit with a mean of its own; 3 (train) and 5 (validation) events of each."""

    def __init__(self, seed: int, train: int = 200, held_out: int = 60, queries: int = 50) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        self.splits = {"train": self.events(train, 3), "validation": self.events(held_out, 5)}
        self.real = self.events(queries, 8)
        self.splits["test"] = self.real

    def showers(self, mean: Tensor) -> Tensor:
        return torch.poisson(mean, generator=self.rng)

    def events(self, units: int, repeats: int) -> Events:
        unit = torch.arange(units).repeat_interleave(repeats)
        self.mean = 30 * torch.rand(units, 6, 6, generator=self.rng)[unit]
        return Events(
            self.showers(self.mean), torch.zeros(len(unit), 0), unit, unit, other_split=lambda name: self.splits[name]
        )

    def score(self, samples: Tensor) -> Estimate:
        return memorisation_metric(Comparison(self.real.with_samples(samples), self.real))

    def unseen(self) -> Tensor:
        return self.showers(self.mean)

    def replayed(self) -> Tensor:
        train = self.splits["train"].samples
        return train[torch.randint(len(train), (len(self.real),), generator=self.rng)]


@pytest.mark.parametrize("train", [60, 200, 2000])
def test_power_does_not_fall_as_the_training_split_grows(train: int) -> None:
    world = World(1, train)
    replayed = world.score(world.replayed())
    assert replayed.value > 5 * (replayed.stderr or 0)
    assert 0.3 < replayed.value < 0.7
    assert replayed.parts["exact copies"] == replayed.parts["copies"] == 1
    redrawn = world.score(world.showers(world.replayed() * 4) / 4)
    assert redrawn.parts["copies"] > 0.9
    assert redrawn.parts["exact copies"] == 0
    assert redrawn.value > 5 * (redrawn.stderr or 0)


def test_one_event_in_ten_copied_is_found() -> None:
    world = World(2, 1000)
    samples = torch.where(torch.rand(400, 1, 1, generator=world.rng) < 0.1, world.replayed(), world.unseen())
    found = world.score(samples)
    assert found.value == pytest.approx(0.05, abs=0.025)
    assert found.parts["exact copies"] == pytest.approx(0.1, abs=0.04)


def test_unseen_events_of_any_quality_score_nothing_and_the_error_is_their_spread() -> None:
    """Worse events (blurred, brighter) are as far from training as from held-out ones; 20 worlds show chance."""
    defects = {"none": lambda x: x, "x 1.5": lambda x: 1.5 * x, "mean": lambda x: 0.3 * x + 0.7 * x.mean(0)}
    values: dict[str, list[float]] = {name: [] for name in defects}
    errors: dict[str, list[float]] = {name: [] for name in defects}
    for seed in range(20):
        world = World(seed)
        for name, defect in defects.items():
            found = world.score(defect(world.unseen()))
            assert found.stderr is not None
            values[name].append(found.value)
            errors[name].append(found.stderr)
    for name in defects:
        spread, mean = np.std(values[name], ddof=1), np.mean(values[name])
        assert abs(mean) < 3 * spread / np.sqrt(20), name
        assert 0.7 < np.mean(errors[name]) / spread < 1.6, name


def test_events_of_the_held_out_split_are_not_compared_with_themselves() -> None:
    """mnist's floor is its validation split."""
    world = World(3, 1000, held_out=400)
    held = world.splits["validation"]
    single = replace(held, unit_id=torch.arange(len(held)))
    world.splits |= {"validation": single, "train": replace(world.splits["train"], unit_id=torch.arange(3000))}
    assert memorisation_metric(Comparison(single, single)).value == 0
    unseen = single.with_samples(world.showers(torch.full_like(held.samples, 15)))
    found = memorisation_metric(Comparison(single, unseen))
    assert abs(found.value) < 4 * (found.stderr or 0)


def test_copies_are_searched_in_every_stratum_and_in_the_test_split() -> None:
    world = World(4)
    names = np.array(["a", "b"])
    for name, events in world.splits.items():
        world.splits[name] = replace(events, strata={"kind": names[events.unit_id.numpy() % 2]})
    world.real = world.splits["test"]
    other = world.splits["train"].samples[world.splits["train"].strata["kind"] == "b"]
    world.real = replace(world.real, strata={"kind": np.full(400, "a")})
    copied = world.score(other[:400].repeat(2, 1, 1)[:400])
    assert copied.parts["copies"] == 1
    assert copied.value > 0.4
    assert copied.parts["test copies"] < 0.05
    returned = world.real.samples.clone()
    returned[:, 0, 0] += 1  # a photon more
    near = world.score(returned)
    assert near.parts["test copies"] == 1
    assert near.parts["exact test copies"] == 0
    assert near.parts["copies"] < 0.05
    assert near.parts["test copies real"] == 0


class Smooth(World):
    """Events that vary in 8 directions, real ones with a little noise; 40 training events for each held-out one."""

    def __init__(self, seed: int, train: int = 8000) -> None:
        self.directions = torch.rand(8, 36, generator=torch.Generator().manual_seed(0))
        super().__init__(seed, train, held_out=200, queries=4000)

    def showers(self, mean: Tensor) -> Tensor:
        return mean + 0.02 * torch.rand(mean.shape, generator=self.rng)

    def denoised(self, count: int) -> Tensor:
        return 30 * (torch.rand(count, 8, generator=self.rng) @ self.directions).view(-1, 6, 6)

    def events(self, units: int, repeats: int) -> Events:
        unit = torch.arange(units)
        samples = self.showers(self.denoised(units))
        return Events(samples, torch.zeros(units, 0), unit, unit, other_split=lambda name: self.splits[name])


def called_a_copier(found: Estimate) -> bool:
    measurement = make_measurement("memorisation", found.value, stderr=found.stderr, parts=found.parts, n=found.n)
    return copying(make_result(measurements=[measurement])) != ""


def test_denoised_events_are_no_copies_however_many_training_events_there_are() -> None:
    world = Smooth(6)
    found = world.score(world.denoised(4000))
    assert 0 < found.parts["copies"] < 0.01  # about 2^-8, and more at the edges
    assert not called_a_copier(found)


@pytest.mark.parametrize("twice", [False, True])
def test_a_few_copies_with_noise_are_found_also_of_what_is_in_the_split_twice(twice: bool) -> None:
    world = Smooth(7)
    train = world.splits["train"].samples
    if twice:
        train[4000:] = train[:4000]
    samples = world.denoised(4000)
    samples[:200] = train[:200] * (1 + 0.01 * torch.randn(200, 6, 6, generator=world.rng))
    found = world.score(samples)
    assert found.parts["copies"] == pytest.approx(0.05, abs=0.01)
    assert found.parts["exact copies"] == 0
    assert called_a_copier(found)


def test_real_showers_replayed_ones_and_a_planted_copy() -> None:
    task = get_task("zn-geant3")
    floor, test, train = task.load("floor"), task.load("test"), task.load("train")
    clean = memorisation_metric(Comparison(floor, test, stratify=False))
    assert abs(clean.value) < 2 * (clean.stderr or 0)
    assert clean.parts["exact copies"] == 0
    planted = floor.samples.clone()
    bright = int(torch.nonzero(train.samples.sum((1, 2)) > 100)[0])
    row = int(torch.nonzero(floor.samples.sum((1, 2)) > 100)[0])
    planted[row] = train.samples[bright]
    found = memorisation_metric(Comparison(floor.with_samples(planted), test, stratify=False))
    assert found.parts["exact copies"] == pytest.approx(1 / 4000, rel=0.1)
    replayed = floor.with_samples(training_replayed(floor, torch.Generator().manual_seed(0)))
    copied = memorisation_metric(Comparison(replayed, test, stratify=False))
    assert copied.parts["exact copies"] == 1
    assert copied.value > 5 * (copied.stderr or 0)


def test_what_cannot_be_judged_says_so() -> None:
    world = World(5)
    with pytest.raises(UsageError, match="enough photons"):
        world.score(torch.zeros(400, 6, 6))
    world.real = replace(world.real, other_split=None)
    with pytest.raises(UsageError, match="training split"):
        world.score(world.unseen())
