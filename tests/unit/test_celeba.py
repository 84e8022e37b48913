"""CelebA in the official layout, written by the test, a training step of every model on it, and the Inception extractor
on weights that the test makes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from simbench.core.errors import DataError
from simbench.features import inception
from simbench.tasks import celeba, get_task
from simbench.training.batches import Batches
from simbench.training.plan import plan_for
from simbench_baselines.dcgan import DCGAN
from simbench_baselines.sae import SAE
from simbench_baselines.sdi_gan import SDIGAN
from simbench_baselines.swae import SWAE
from simbench_baselines.trained import TrainedModel
from simbench_baselines.vae import VAE
from simbench_baselines.wae_gan import WAEGAN
from simbench_baselines.wae_mmd import WAEMMD
from simbench_models.e2e_sae import E2eSAE


def jpeg(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (11, 9, 3), dtype=np.uint8))
    out = io.BytesIO()
    small.resize((178, 218), Image.Resampling.BICUBIC).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 images of the official size: 20 for training, 12 for validation, 8 for the test."""
    (tmp_path / celeba.IMAGES).mkdir()
    lines = []
    for number in range(40):
        name = f"{number + 1:06d}.jpg"
        (tmp_path / celeba.IMAGES / name).write_bytes(jpeg(number))
        lines.append(f"{name} {0 if number < 20 else 1 if number < 32 else 2}")
    (tmp_path / celeba.PARTITION).write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_official_split_and_the_crop(folder: Path) -> None:
    task = get_task("celeba64", folder)
    train, test, floor = task.load("train"), task.load("test"), task.load("floor")
    assert (len(train), len(test), len(floor), len(task.load("validation"))) == (20, 8, 8, 12)
    assert test.samples.shape == (8, 3, 64, 64)
    assert test.conditions.shape == (8, 0)
    assert 0 <= float(test.samples.min()) < float(test.samples.max()) <= 1
    original = np.asarray(Image.open(folder / celeba.IMAGES / "000001.jpg"), dtype=np.float64) / 255
    crop = original[39 : 39 + 140, 19 : 19 + 140]
    assert train.samples[0].mean((1, 2)).numpy() == pytest.approx(crop.mean((0, 1)), abs=0.01)


def test_a_zip_gives_the_same_events_as_a_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("zipped")
    (other / celeba.PARTITION).write_bytes((folder / celeba.PARTITION).read_bytes())
    with zipfile.ZipFile(other / f"{celeba.IMAGES}.zip", "w") as archive:
        for path in sorted((folder / celeba.IMAGES).iterdir()):
            archive.write(path, f"{celeba.IMAGES}/{path.name}")
    assert torch.equal(
        get_task("celeba64", other).load("test").samples, get_task("celeba64", folder).load("test").samples
    )


def test_what_is_wrong_with_the_files_is_said(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert get_task("celeba64", folder).find_data() == f"Found in {folder}."
    with pytest.raises(DataError, match=r"list_eval_partition.txt beside img_align_celeba/.*--data-dir FOLDER"):
        get_task("celeba64", tmp_path_factory.mktemp("empty")).load("test")
    (folder / celeba.IMAGES / "000033.jpg").write_bytes(b"not a jpeg")
    with pytest.raises(DataError, match=r"000033\.jpg is not an image"):
        get_task("celeba64", folder).load("test")
    (folder / celeba.IMAGES / "000021.jpg").unlink()
    with pytest.raises(DataError, match=r"000021.jpg that .* names cannot be read"):
        get_task("celeba64", folder).load("validation")
    (folder / "bad.txt").write_text("../../etc/passwd 0\n")
    with pytest.raises(DataError, match="line 1 is not a partition line"):
        celeba.read_partition(folder / "bad.txt")
    out = io.BytesIO()
    Image.new("RGB", (100, 200)).save(out, "PNG")
    with pytest.raises(DataError, match="too small"):
        celeba.decode(out.getvalue(), "x.png")


FACES: dict[type[TrainedModel], dict[str, Any]] = {E2eSAE: {"head": "mse", "alpha": 1.0}}
"""The founding paper's loss for faces: squared errors and Lap1."""

LONG = (WAEMMD, WAEGAN, SWAE, SAE, DCGAN, SDIGAN)


@pytest.mark.parametrize(
    "model_class",
    [VAE, E2eSAE, *(pytest.param(model, marks=pytest.mark.slow) for model in LONG)],
    ids=lambda model: model.model_name,
)
def test_the_papers_networks_take_a_training_step_on_faces(model_class: type[TrainedModel], folder: Path) -> None:
    task = get_task("celeba64", folder)
    model: Any = model_class(preset="paper", **FACES.get(model_class, {}))
    plan = plan_for(model, "celeba64", "paper", batch_size=4)
    events = task.load("train")
    torch.manual_seed(0)
    model.prepare(task, events)
    samples, conditions = model.augment(
        *Batches(events, plan.batch_size, 0, whole_conditions=model.whole_conditions)(0)
    )
    assert samples.shape == (4, 3, 64, 64)
    players = model.players() if hasattr(model, "players") else {"": list(model.parameters())}
    for player, parameters in players.items():
        before = [parameter.detach().clone() for parameter in parameters]
        optimiser = torch.optim.AdamW(parameters, plan.learning_rate, (plan.beta1, plan.beta2))
        optimiser.zero_grad()
        losses = model.losses(samples, conditions, **({"player": player} if player else {}))
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        assert all(bool(torch.isfinite(term)) for term in losses.values()), losses
        for old, new in zip(before, parameters, strict=True):
            assert bool(torch.isfinite(new).all())
            assert not torch.equal(old, new)
    if model_class is E2eSAE:
        assert losses.keys() >= {"reconstruction", "sinkhorn", "lap1"}
    model.eval()
    task.check_samples(model.sample(torch.zeros(2, 0), seed=0), 2, model.model_name)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Inception of random weights, in the published file's layout."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    folder = tmp_path_factory.mktemp("inception")
    path = folder / inception.WEIGHTS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.save({}, path)
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(path))
        torch.save(network.state_dict(), path)
    return path


def test_inception_features_are_torch_fidelitys(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    monkeypatch.setenv("SIMBENCH_DATA", str(weights.parent))
    monkeypatch.setattr(inception, "SHA256_PREFIX", hashlib.sha256(weights.read_bytes()).hexdigest()[:8])
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    features = inception.inception(images)
    peer = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(weights))
    expected = peer((images * 255).round().to(torch.uint8))[0]
    assert features.shape == (3, 2048)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)


def test_other_weights_and_hostile_pickles_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the published Inception"):
        inception.load_network(weights, inception.SHA256_PREFIX)
    hostile = tmp_path / "x.pth"
    torch.save({"x": HostileObject()}, hostile)
    with pytest.raises(DataError, match="cannot be read as tensors"):
        inception.load_network(hostile, hashlib.sha256(hostile.read_bytes()).hexdigest()[:8])


class HostileObject:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle ran code",))


def test_missing_inception_weights_say_where_to_put_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SIMBENCH_DATA", raising=False)

    def refused(*_: object, **__: object) -> None:
        raise OSError("network unreachable")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", refused)
    with pytest.raises(DataError, match=r"weights-inception-2015-12-05-6726825d.pth.*SIMBENCH_DATA"):
        inception.weights_path()
