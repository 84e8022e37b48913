from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from simbench.core.errors import DataError
from simbench.core.events import Events
from simbench.features.extractors import LeNetFeatures, LeNetLabels, network, read_weights, weights_file
from simbench.features.lenet import LeNet5, MaxPool2
from simbench.tasks import get_task
from simbench.tasks.base import Split
from simbench.tasks.mnist import Mnist, find
from simbench.tasks.zn import ZnGeant3
from simbench.training.lenet import mirrored, report, shifted

TASKS = ["mnist", "zn-geant3"]
VARIANTS = {"mnist": Mnist.lenet, "zn-geant3": ZnGeant3.lenet}
LABELS = LeNetLabels(Mnist.lenet, "digit")


def lenet(name: str) -> LeNetFeatures:
    return LeNetFeatures(VARIANTS[name])


@functools.cache
def events(name: str, split: Split) -> Events:
    if name == "mnist" and find(None) is None:
        pytest.skip("the MNIST files are not on this machine: set SIMBENCH_DATA")
    return get_task(name).load(split)


def some(name: str, count: int = 64) -> Tensor:
    """Events of the right shape that need no data: sparse, of the task's order of magnitude."""
    rng = torch.Generator().manual_seed(0)
    samples = torch.rand(count, *VARIANTS[name].shape, generator=rng)
    return samples if name == "mnist" else (samples * 40 - 30).clamp(min=0).round()


def test_mnist_labels() -> None:
    test = events("mnist", "test")
    predicted = LABELS(test.samples)
    assert predicted.dtype == torch.int64
    assert float((predicted == test.condition_id).double().mean()) >= 0.99


def test_mnist_held_out_images_were_not_trained_on() -> None:
    held_out = events("mnist", "floor")
    accuracy = float((LABELS(held_out.samples) == held_out.condition_id).double().mean())
    assert 0.985 < accuracy < 0.999


@pytest.mark.parametrize("split", ["validation", "test"])
def test_zn_energy_and_species(split: Split) -> None:
    everything = events("zn-geant3", split)
    lit = everything.take(everything.samples.flatten(1).any(1))
    scores = report(network(ZnGeant3.lenet), lit, ZnGeant3.lenet.targets(lit))
    assert scores["log_energy R²"] > 0.85
    assert scores["species accuracy"] > scores["species majority"] + 0.15


@pytest.mark.parametrize("name", TASKS)
def test_mean_training_variance_is_one(name: str) -> None:
    features = lenet(name)(events(name, "train").samples)
    assert features.dtype == torch.float32
    variance = features.double().var(0)
    assert float(variance.mean()) == pytest.approx(1, abs=1e-3)
    assert int((variance < 1e-2).sum()) == 0, "a feature that is (nearly) constant tells nothing"


@pytest.mark.parametrize("name", TASKS)
def test_result_depends_on_neither_chunk_nor_order_nor_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = some(name)
    features = lenet(name)(samples)
    assert features.shape == (64, 84)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    threads = torch.get_num_threads()
    try:
        for chunk in (1, 7, 250):
            for count in (1, 2):
                monkeypatch.setattr("simbench.features.extractors.CHUNK", chunk)
                torch.set_num_threads(count)
                torch.testing.assert_close(lenet(name)(samples[order]), features[order], rtol=0, atol=1e-6)
    finally:
        torch.set_num_threads(threads)


def test_pooling_with_and_without_a_gradient_is_that_of_torch() -> None:
    maps = torch.randn(3, 2, 18, 10, generator=torch.Generator().manual_seed(1))
    maps[0, 0, 4:6, 4:6], maps[1, 1, 3, 3] = 0.5, float("nan")
    pooled = torch.nn.functional.max_pool2d(maps, 2)
    assert torch.equal(MaxPool2()(maps).nan_to_num(-9), pooled.nan_to_num(-9))
    with torch.inference_mode():
        assert torch.equal(MaxPool2()(maps).nan_to_num(-9), pooled.nan_to_num(-9))


@pytest.mark.parametrize("name", TASKS)
def test_equal_events_have_equal_features(name: str) -> None:
    dark = torch.zeros(3, *VARIANTS[name].shape)
    features = lenet(name)(torch.cat([dark, some(name, 300), dark]))
    assert len(torch.unique(torch.cat([features[:3], features[-3:]]), dim=0)) == 1


@pytest.mark.parametrize("name", TASKS)
def test_features_are_plain_tensors_past_the_non_linearity(name: str) -> None:
    features = lenet(name)(some(name))
    assert float(features.min()) >= 0
    assert not features.is_inference()
    assert not features.requires_grad


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("shape", [(), (4,), (0,), (4, 1, 1, 28, 28), (4, 28, 44), (4, 784)])
def test_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    shape = (0, *VARIANTS[name].shape) if shape == (0,) else shape
    with pytest.raises(ValueError, match="takes events of shape"):
        lenet(name)(torch.zeros(shape))


@pytest.mark.parametrize("name", TASKS)
def test_flipped_byte_is_refused(name: str, tmp_path: Path) -> None:
    content = bytearray(weights_file(VARIANTS[name]).read_bytes())
    content[-1] ^= 1
    damaged = tmp_path / "lenet.safetensors"
    damaged.write_bytes(content)
    with pytest.raises(DataError, match=r"is not the pinned feature extractor: got sha256 .*, expected .*\. Install"):
        read_weights(damaged, VARIANTS[name].sha256)
    with pytest.raises(DataError, match="missing"):
        read_weights(tmp_path / "nowhere", VARIANTS[name].sha256)


def test_weights_are_read_at_first_use_only() -> None:
    extractor = LeNetFeatures(replace(Mnist.lenet, sha256="0" * 64))
    with pytest.raises(DataError, match="pinned"):
        extractor(some("mnist"))


def test_weights_of_a_task_that_ships_none() -> None:
    with pytest.raises(DataError, match=r"lenet-mnst\.safetensors is missing"):
        LeNetFeatures(replace(Mnist.lenet, task="mnst"))(some("mnist"))


@pytest.mark.parametrize("name", TASKS)
def test_gradient_reaches_every_weight(name: str) -> None:
    lenet5 = LeNet5(VARIANTS[name])
    torch.stack([output.square().sum() for output in lenet5(some(name)).values()]).sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in lenet5.parameters())


def test_augmentations() -> None:
    rng = torch.Generator().manual_seed(0)
    image = some("zn-geant3", 1)
    orientations = {mirrored(image, rng).numpy().tobytes() for _ in range(200)}
    assert len(orientations) == 8
    digit = torch.zeros(1, 1, 28, 28)
    digit[0, 0, 10:18, 10:18] = some("mnist", 1)[0, 0, 10:18, 10:18]
    moved = [shifted(digit, rng) for _ in range(300)]
    assert len({image.numpy().tobytes() for image in moved}) == 25
    assert all(image.shape == digit.shape and torch.isclose(image.sum(), digit.sum()) for image in moved)
