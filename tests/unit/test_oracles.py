from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from simbench.core.errors import GeneratorError
from simbench.generators.protocol import Generator
from simbench.metrics.channels import channel_sums
from simbench.tasks.base import Task
from simbench.tasks.mnist import Mnist, find
from simbench.tasks.zn import ZnGeant3
from simbench_baselines.oracles import (
    ChannelMarginals,
    Floor,
    MeanResponse,
    Memoriser,
    Neighbours,
    Pool,
    WrongCondition,
)

ORACLES = [Floor, Memoriser, MeanResponse, ChannelMarginals, WrongCondition]
MASS, CHARGE = 7, 8


@functools.cache
def task(name: str) -> Task:
    if name == "zn-geant3":
        return ZnGeant3()
    if find(None) is None:
        pytest.skip("the MNIST files are not on this machine: set SIMBENCH_DATA")
    return Mnist()


@functools.cache
def oracle(cls: type, name: str) -> Generator:
    ready = cls()
    ready.setup(task(name), "cpu")
    return ready  # type: ignore[no-any-return]


def rows(samples: Tensor) -> list[bytes]:
    return [row.tobytes() for row in samples.flatten(1).numpy()]


@pytest.mark.parametrize("name", ["zn-geant3", "mnist"])
@pytest.mark.parametrize("cls", ORACLES)
def test_contract(cls: type, name: str) -> None:
    conditions = task(name).load("test").conditions
    generator = oracle(cls, name)
    assert isinstance(generator, Generator)
    for count in (8, 301):
        samples = generator.sample(conditions[:count], seed=1)
        assert samples.dtype == torch.float32
        assert torch.equal(task(name).check_samples(samples, count, cls.__name__), samples)
        assert torch.equal(generator.sample(conditions[:count], seed=1), samples)
        assert torch.equal(generator.sample(conditions[:count], seed=2), samples) == (cls is MeanResponse)


@pytest.mark.parametrize("cls", ORACLES)
def test_ladder_of_ten_thousand(cls: type) -> None:
    conditions = task("zn-geant3").load("test").conditions
    tiled = torch.cat([conditions, conditions, conditions])[:10_000]
    samples = oracle(cls, "zn-geant3").sample(tiled, seed=0)
    assert samples.shape == (10_000, 44, 44)
    assert bool(samples.isfinite().all())


@pytest.mark.parametrize("cls", ORACLES)
def test_not_set_up(cls: type) -> None:
    with pytest.raises(GeneratorError, match="setup"):
        cls().sample(torch.zeros(1, 9), seed=0)


@pytest.mark.parametrize("name", ["zn-geant3", "mnist"])
def test_floor_returns_every_floor_event_once_over_the_test_split(name: str) -> None:
    test, floor = task(name).load("test"), task(name).load("floor")
    blocks = enumerate(torch.split(test.conditions, task(name).block_size))
    samples = torch.cat([oracle(Floor, name).sample(block, seed=seed) for seed, block in blocks])
    assert sorted(rows(samples)) == sorted(rows(floor.samples))
    assert not torch.equal(samples, floor.samples)
    if name == "zn-geant3":
        for got, real in zip(torch.split(samples, 8), torch.split(floor.samples, 8), strict=True):
            assert sorted(rows(got)) == sorted(rows(real))


def test_floor_deals_each_event_before_any_comes_again() -> None:
    floor = task("zn-geant3").load("floor")
    samples = oracle(Floor, "zn-geant3").sample(floor.conditions[:1].expand(24, -1), seed=5)
    assert sorted(rows(samples)) == sorted(rows(floor.samples[:8]) * 3)
    assert rows(samples[:8]) != rows(floor.samples[:8])


def test_floor_refuses_other_conditions() -> None:
    train = task("zn-geant3").load("train")
    with pytest.raises(GeneratorError, match="floor only answers the task's test conditions: got 4 of 4"):
        oracle(Floor, "zn-geant3").sample(train.conditions[:4], seed=0)


def test_memoriser_replays_the_nearest_training_condition_of_the_species() -> None:
    train, test = task("zn-geant3").load("train"), task("zn-geant3").load("test")
    samples = oracle(Memoriser, "zn-geant3").sample(test.conditions, seed=3)
    at: dict[bytes, list[int]] = {}
    for row, key in enumerate(rows(train.samples)):
        at.setdefault(key, []).append(row)
    assert all(key in at for key in rows(samples))

    sd = train.conditions.double().std(0)
    for row in range(0, 4000, 160):
        same = (train.conditions[:, [MASS, CHARGE]] == test.conditions[row, [MASS, CHARGE]]).all(1)
        distance = ((train.conditions.double() - test.conditions[row].double()) / sd).square().sum(1)
        nearest = train.condition_id[distance.masked_fill(~same, torch.inf).argmin()]
        assert nearest in train.condition_id[at[rows(samples[row : row + 1])[0]]]


def test_memoriser_deals_the_three_events_evenly() -> None:
    condition = task("zn-geant3").load("train").conditions[300:301]
    train = task("zn-geant3").load("train").samples[300:303]
    samples = rows(oracle(Memoriser, "zn-geant3").sample(condition.expand(8, -1), seed=0))
    assert sorted(samples.count(key) for key in rows(train)) == [2, 3, 3]


def test_memoriser_of_digits_gives_the_label_without_replacement() -> None:
    test, train = task("mnist").load("test"), task("mnist").load("train")
    samples = oracle(Memoriser, "mnist").sample(test.conditions, seed=0)
    label = {key: int(digit) for key, digit in zip(rows(train.samples), train.condition_id, strict=True)}
    assert [label[key] for key in rows(samples)] == test.condition_id.tolist()
    assert len(set(rows(samples))) > 9_990  # all but the few images that MNIST holds twice


def test_neighbours_fall_back_to_all_species_and_survive_constant_columns() -> None:
    # columns: a constant, an energy, a mass
    conditions = torch.tensor([[5.0, 1.0, 0.0], [5.0, 2.0, 0.0], [5.0, 3.0, 940.0]])
    pool = Pool(torch.zeros(3, 1), conditions, torch.arange(3))
    neighbours = Neighbours(pool, [2])
    distance, index = neighbours(torch.tensor([[5.0, 2.9, 0.2], [5.0, 2.5, 938.0], [5.0, 1.0, 940.0]]), 2)
    assert index[:, 0].tolist() == [1, 2, 2]
    assert bool(distance[:, 0].isfinite().all())
    assert distance[2, 1] == torch.inf
    assert bool(distance[1].isfinite().all())


def test_mean_response_is_the_mean_of_the_neighbours() -> None:
    train = task("zn-geant3").load("train")
    request = train.conditions[0]
    sd = train.conditions.double().std(0)
    same = (train.conditions[:, [MASS, CHARGE]] == request[[MASS, CHARGE]]).all(1)
    distance = ((train.conditions.double() - request.double()) / sd).square().sum(1).masked_fill(~same, torch.inf)
    nearest = distance.argsort(stable=True)[:30]
    got = oracle(MeanResponse, "zn-geant3").sample(request[None], seed=0)[0]
    torch.testing.assert_close(got, train.samples[nearest].mean(0), rtol=1e-5, atol=1e-5)


def test_mean_response_of_a_rare_species_takes_all_there_is() -> None:
    train = task("zn-geant3").load("train")
    rare = (train.conditions[:, MASS].round() == 1315).nonzero().flatten()
    assert 0 < len(rare) < 30
    got = oracle(MeanResponse, "zn-geant3").sample(train.conditions[rare[:1]], seed=0)[0]
    torch.testing.assert_close(got, train.samples[rare].mean(0), rtol=1e-5, atol=1e-5)


def test_mean_response_of_digits_is_the_mean_image_of_the_label() -> None:
    train = task("mnist").load("train")
    got = oracle(MeanResponse, "mnist").sample(torch.eye(10), seed=0)
    for digit in range(10):
        torch.testing.assert_close(got[digit], train.samples[train.condition_id == digit].mean(0), rtol=1e-4, atol=1e-5)


def test_mean_response_of_no_events_is_refused() -> None:
    with pytest.raises(GeneratorError, match="events=0"):
        MeanResponse(events=0)


def test_channel_marginals_keeps_channels_and_breaks_their_correlation() -> None:
    test, train = task("zn-geant3").load("test"), task("zn-geant3").load("train")
    generated = channel_sums(oracle(ChannelMarginals, "zn-geant3").sample(test.conditions, seed=0))
    real = channel_sums(train.samples)
    for channel in range(5):
        assert set(generated[:, channel].tolist()) <= set(real[:, channel].tolist())
        error = float(real[:, channel].std()) / len(generated) ** 0.5
        assert abs(float(generated[:, channel].mean() - real[:, channel].mean())) < 4 * error
    off_diagonal = ~torch.eye(5, dtype=torch.bool)
    assert float(real.T.corrcoef()[4, :4].min()) > 0.4
    assert float(generated.T.corrcoef()[off_diagonal].abs().max()) < 0.08


def test_pixel_marginals_of_a_task_without_channels() -> None:
    train = task("mnist").load("train")
    samples = oracle(ChannelMarginals, "mnist").sample(torch.eye(10).repeat(300, 1), seed=0)
    torch.testing.assert_close(samples.mean(0), train.samples.mean(0), rtol=0, atol=0.04)
    centre, right = samples[:, 0, 14, 14], samples[:, 0, 14, 15]
    assert abs(float(torch.stack([centre, right]).corrcoef()[0, 1])) < 0.08


@pytest.mark.parametrize("name", ["zn-geant3", "mnist"])
def test_wrong_condition_replays_training_events_and_ignores_the_request(name: str) -> None:
    test, train = task(name).load("test"), task(name).load("train")
    samples = oracle(WrongCondition, name).sample(test.conditions, seed=0)
    assert set(rows(samples)) <= set(rows(train.samples))
    assert torch.equal(samples, oracle(WrongCondition, name).sample(test.conditions.flip(0), seed=0))
