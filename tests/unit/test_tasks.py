"""The tasks: what the files hold, what a wrong file does, what a wrong sample does."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from simbench.core.errors import DataError, GeneratorError, UsageError
from simbench.core.events import checksum
from simbench.metrics.channels import channel_sums
from simbench.tasks import get_task, mnist
from simbench.tasks.zn import Geant3Task, ZnGeant3, ZpGeant3, data_file, species_strata

needs_mnist = pytest.mark.skipif(
    mnist.find(None) is None, reason="MNIST not found: set SIMBENCH_DATA to the folder that holds mnist/*.gz"
)


@pytest.mark.parametrize("task", [ZnGeant3(), ZpGeant3()], ids=lambda task: task.name)
def test_splits_share_no_condition_and_repeat_as_stated(task: Geant3Task) -> None:
    splits = {name: task.load(name) for name in ("train", "validation", "test", "floor")}  # type: ignore[arg-type]
    ids = {name: set(events.condition_id.tolist()) for name, events in splits.items()}
    assert not ids["train"] & ids["test"]
    assert not ids["validation"] & (ids["train"] | ids["test"])
    assert torch.equal(splits["floor"].conditions, splits["test"].conditions)
    assert torch.equal(splits["floor"].condition_id, splits["test"].condition_id)
    assert not torch.equal(splits["floor"].samples, splits["test"].samples)
    assert bool(
        (
            splits["test"].condition_id.reshape(-1, task.repeats) == splits["test"].condition_id[:: task.repeats, None]
        ).all()
    )
    assert len(splits["test"]) == task.test_events == 8 * len(ids["test"])
    named = {"zn-geant3": {"photon", "neutron", "proton", "other"}, "zp-geant3": {"proton", "other"}}
    assert set(splits["test"].strata["species"]) == named[task.name]
    assert min(np.unique(splits["test"].strata["energy"], return_counts=True)[1]) == task.test_events // 5


def test_the_proton_calorimeter_is_hit_where_the_particle_flies() -> None:
    """The centre of the light of protons: rows along x, columns along y; the axis at the edge of rows 19 and 20."""
    train = ZpGeant3().load("train")
    names = ZpGeant3.condition_names
    protons = torch.from_numpy(train.strata["species"] == "proton")
    condition, light = train.conditions[protons].double(), train.samples[protons].double()
    along = condition[:, names.index("Pz")].abs()
    for name, axis, edge in (("x", 2, 19.0), ("y", 1, 15.0)):
        profile = light.sum(axis)
        centre = profile @ torch.arange(profile.shape[1], dtype=torch.float64) / profile.sum(1).clamp(min=1)
        impact = edge - 0.5 + condition[:, names.index(f"P{name}")] / along * 112.5 / 0.004
        bright = (profile.sum(1) > 300) & (impact > 6) & (impact < profile.shape[1] - 7)
        assert int(bright.sum()) > 300
        difference = (centre - impact)[bright]
        assert abs(float(difference.median())) < 0.5  # cells: the block is cut off sooner on one side of the axis
        assert float(difference.abs().quantile(0.68)) < 2


def test_zn_monte_carlo_cost_is_recorded() -> None:
    record = ZnGeant3().monte_carlo
    assert record.engine.startswith("GEANT 3.21")
    assert record.seconds_per_event == pytest.approx(0.809, abs=0.001)
    assert record.threads == 1


def test_zp_monte_carlo_cost_is_recorded_and_the_data_are_pinned() -> None:
    task = ZpGeant3()
    test = task.load("test")
    assert test.mc_seconds is not None
    assert task.monte_carlo.seconds_per_event == pytest.approx(float(test.mc_seconds.mean()))
    assert checksum(test, task.load("floor")) == task.scored_sha256
    assert checksum(task.load("train")) == task.train_sha256
    assert data_file(task.file).stat().st_size < 2_000_000
    assert task.shape == tuple(test.samples.shape[1:]) == (56, 30)
    torch.testing.assert_close(test.derived("channels"), channel_sums(test.samples, "zp_2x2"))


def test_rare_species_are_pooled() -> None:
    test = np.repeat([22, 2112, 3222], [30, 20, 19]).astype(np.int32)
    assert species_strata(np.array([22, 2112, 3222, 99], np.int32), test).tolist() == [
        "photon",
        "neutron",
        "other",
        "other",
    ]


def test_a_truncated_data_file_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "zn.h5"
    broken.write_bytes(data_file().read_bytes()[:100_000])
    with pytest.raises(DataError, match="damaged"):
        ZnGeant3(broken).load("test")
    with pytest.raises(DataError, match="missing"):
        ZnGeant3(tmp_path / "none.h5").load("test")


@pytest.mark.parametrize(("events", "repeats"), [(16, 8), (100, 5), (500, 5), (1500, 6), (3500, 7), (13, 1)])
def test_events_are_equally_many_of_each_condition(events: int, repeats: int) -> None:
    loaded = get_task("zn-geant3").load("test", events)
    assert set(torch.unique(loaded.condition_id, return_counts=True)[1].tolist()) == {repeats}
    whole = get_task("zn-geant3").load("test")
    assert torch.equal(whole.samples[loaded.split_rows], loaded.samples)
    assert get_task("zn-geant3").record(loaded).scored_sha256 != get_task("zn-geant3").record(whole).scored_sha256


def test_events_that_cannot_be_shared_out_equally_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Try --events 3000"):
        get_task("zn-geant3").load("test", 3001)
    for events in (8000, 0):
        with pytest.raises(UsageError, match="Ask for fewer"):
            get_task("zn-geant3").load("test", events)


def test_the_pinned_checksums_are_those_of_the_events() -> None:
    """What is scored against and the training split have a checksum each: a larger `train` leaves the first as it
    is."""
    task = get_task("zn-geant3")
    assert task.scored_sha256 == checksum(task.load("test"), task.load("floor"))
    assert task.train_sha256 == checksum(task.load("train"))
    assert len(task.load("train")) == 20_040


def test_an_unknown_task_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'zn-geant3'\?"):
        get_task("zn-geant")


def test_a_task_says_where_its_data_are_and_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_task("zn-geant3").find_data() == "4000 test events are there, checksums verified."
    monkeypatch.setenv("SIMBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="downloaded at the first use"):
        get_task("mnist", tmp_path).find_data()
    with pytest.raises(DataError, match="CelebA files are missing"):
        get_task("celeba64", tmp_path).find_data()
    assert list(tmp_path.iterdir()) == []


def test_taking_events_keeps_what_was_derived() -> None:
    events = get_task("zn-geant3").load("test", 80)
    channels = events.derived("channels")
    some = events.take(torch.arange(0, 80, 8))
    assert torch.equal(some.derived("channels"), channels[::8])
    assert some.strata["species"].tolist() == events.strata["species"][::8].tolist()
    zeros = events.with_samples(torch.zeros_like(events.samples))
    assert float(zeros.derived("channels").sum()) == 0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            torch.zeros(4, 1, 44, 44),
            r"expects \(4, 44, 44\), m returned \(4, 1, 44, 44\). Drop the channel axis, e.g. out.squeeze\(1\)",
        ),
        (torch.zeros(3, 44, 44), "Return one event per row of conditions"),
        (torch.zeros(4, 44 * 44), r"out.reshape\(4, 44, 44\)"),
        (torch.zeros(4, 40, 40), r"An event of this task has shape \(44, 44\)"),
        (torch.full((4, 44, 44), torch.nan), "4 of 4 events"),
        (torch.full((4, 44, 44), -1.0), "negative photons"),
        (torch.full((4, 44, 44), 1e9), "too large photons"),
        (torch.zeros(4, 44, 44, dtype=torch.complex64), "real numbers"),
        ([[0.0]], "returned no tensor"),
        (None, "NoneType"),
    ],
)
def test_what_is_not_an_event_of_the_task_is_refused(samples: object, message: str) -> None:
    with pytest.raises(GeneratorError, match=message):
        get_task("zn-geant3").check_samples(samples, 4, "m")


def test_integer_and_numpy_samples_are_taken() -> None:
    task = get_task("zn-geant3")
    assert task.check_samples(np.ones((2, 44, 44), np.uint16), 2, "m").dtype == torch.float32
    assert task.check_samples(torch.ones(2, 44, 44, dtype=torch.int64), 2, "m").sum() == 2 * 44 * 44


@needs_mnist
def test_mnist_splits() -> None:
    task = get_task("mnist")
    test, floor, train = task.load("test"), task.load("floor"), task.load("train")
    assert len(test) == len(floor) == 10_000
    assert len(train) == 50_000
    assert torch.equal(test.conditions, floor.conditions)
    assert test.samples.shape == (10_000, 1, 28, 28)
    assert (float(test.samples.min()), float(test.samples.max())) == (0.0, 1.0)
    held = {bytes(row.numpy()) for row in (floor.samples * 255).to(torch.uint8)}
    kept = {bytes(row.numpy()) for row in (train.samples[:5000] * 255).to(torch.uint8)}
    assert not held & kept


@needs_mnist
def test_mnist_takes_any_recompression_and_refuses_other_bytes(tmp_path: Path) -> None:
    source = mnist.find(None)
    assert source is not None
    name = "t10k-labels-idx1-ubyte"
    content = mnist.read_verified(source, name)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    assert mnist.read_verified(tmp_path, name) == content
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content[:-1] + b"\x0b"))
    with pytest.raises(DataError, match="not the MNIST file"):
        mnist.read_verified(tmp_path, name)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content)[:-50])
    with pytest.raises(DataError, match="cannot be read"):
        mnist.read_verified(tmp_path, name)


def test_a_missing_mnist_says_which_files_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIMBENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refused(*_: object, **__: object) -> None:
        raise OSError("network unreachable")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", refused)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz.*--data-dir FOLDER") as caught:
        get_task("mnist", tmp_path).load("test")
    assert str(tmp_path) in str(caught.value)


def test_idx_parsing() -> None:
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(6)])
    assert mnist.parse_idx(content).tolist() == [[0, 1, 2], [3, 4, 5]]
