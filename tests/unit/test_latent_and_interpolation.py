"""The figures that must ask a generator: its latent space with the linear probe, and the way between conditions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import make_result
from torch import Tensor
from toys import ToyTask

from simbench.core.errors import GeneratorError
from simbench.core.events import Events
from simbench.generators.protocol import Encoder
from simbench.generators.session import Session
from simbench.metrics.base import Comparison
from simbench.report.interpolation import NOISES, POINTS, Walk, Way, changed, outside, walk, ways
from simbench.report.latent import class_name, latent_space, linear_probe
from simbench.report.page import ReportEntry, write_report
from simbench.tasks.base import Split
from simbench.tasks.mnist import Mnist
from simbench.tasks.zn import ZnGeant3


class Plain:
    """Poisson noise about the first condition; no encoder."""

    def __init__(self, shape: tuple[int, ...] = (44, 44)) -> None:
        self.shape = shape

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        noise = torch.rand((len(conditions), *self.shape), generator=rng)
        return noise * conditions[:, :1].reshape(-1, *[1] * len(self.shape)) / conditions[:, :1].max().clamp(min=1)


class Encoding(Plain):
    """As above; codes are the logarithm of the energy, beside noise, and the prior is right."""

    def latent_codes(self, samples: Tensor, conditions: Tensor) -> Tensor:
        return torch.cat([conditions[:, :1].log(), torch.randn(len(conditions), 2)], 1)

    def prior_codes(self, conditions: Tensor, *, seed: int) -> Tensor:
        return self.latent_codes(conditions, conditions)


class Broken(Encoding):
    def latent_codes(self, samples: Tensor, conditions: Tensor) -> Tensor:
        raise RuntimeError("no such layer")

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        raise RuntimeError("no such layer")


class Classes(ToyTask):
    """The toy task with the quintile of the energy."""

    def load_split(self, split: Split) -> Events:
        events = super().load_split(split)
        names = np.array([f"q{number % 3 + 1}" for number in events.condition_id.tolist()])
        return Events(events.samples, events.conditions, events.condition_id, events.unit_id, {"energy": names})


# The linear probe


def codes_of(classes: Any, distance: float, rng: np.random.Generator) -> Any:
    return rng.normal(size=(len(classes), 4)) + distance * (classes[:, None] == np.arange(4))


def test_the_probe_reads_separable_classes_and_guesses_at_noise() -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 4, 2000) for _ in range(2))
    units = np.arange(2000)

    def probe(distance: float) -> Any:
        sets = [(codes_of(classes, distance, rng), classes.astype(str)) for classes in (train, test)]
        return linear_probe(*sets[0], *sets[1], units)

    apart, noise = probe(20.0), probe(0.0)
    assert apart.accuracy == 1.0
    assert apart.error == 0.0
    assert noise.chance == pytest.approx(np.bincount(test).max() / 2000)
    assert abs(noise.accuracy - 0.25) < 4 * noise.error
    assert noise.error == pytest.approx(np.sqrt(noise.accuracy * (1 - noise.accuracy) / 2000), rel=1e-3)


def test_events_that_belong_together_count_as_one() -> None:
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 4, 400)
    codes = codes_of(classes, 1.0, rng)
    alone = linear_probe(codes, classes.astype(str), codes, classes.astype(str), np.arange(400))
    copies = [np.repeat(values, 4, axis=0) for values in (codes, classes.astype(str), np.arange(400))]
    together = linear_probe(codes, classes.astype(str), *copies)
    assert together.accuracy == pytest.approx(alone.accuracy)
    assert together.error == pytest.approx(alone.error)


def test_one_class_alone_needs_no_probe() -> None:
    one = np.full(10, "q1")
    probe = linear_probe(np.zeros((10, 2)), one, np.zeros((10, 2)), one, np.arange(10))
    assert (probe.accuracy, probe.error, probe.chance) == (1.0, 0.0, 1.0)


# The latent space


def test_an_encoder_has_a_latent_space() -> None:
    session = Session(Encoding((4, 4)), Classes(), "mine")
    space = latent_space(session, Classes())
    assert space.real.shape == (12, 2)
    assert space.prior is not None
    assert space.prior.shape == (12, 2)
    assert space.kind == class_name(Classes().load("test")) == "energy"
    assert not Session(Plain(), Classes(), "mine").encodes
    assert isinstance(Encoding(), Encoder)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(5), "wrong shape: got .5,., expected .5, d."),
        (torch.full((5, 2), torch.nan), "NaN"),
        ("text", "failed for 5 events"),
    ],
)
def test_codes_are_checked(codes: Any, message: str) -> None:
    model = Encoding()
    model.latent_codes = lambda samples, conditions: codes  # type: ignore[method-assign]
    with pytest.raises(GeneratorError, match=message):
        Session(model, Classes(), "mine").codes(Classes().load("test"))


def test_other_codes_of_the_prior_are_refused() -> None:
    model = Encoding((4, 4))
    model.prior_codes = lambda conditions, *, seed: torch.zeros(len(conditions), 7)  # type: ignore[method-assign]
    with pytest.raises(GeneratorError, match="7 numbers a code, and 3 of `latent_codes`"):
        latent_space(Session(model, Classes(), "mine"), Classes())


# The way between conditions


def test_the_ends_of_a_way_are_plain_samples_and_the_noise_stays() -> None:
    task = Mnist()
    session = Session(Plain((1, 28, 28)), task, "mine", root_seed=3)
    way = Way("0", "5", (torch.eye(10)[0], torch.eye(10)[5]), "digit", (0, 5))
    walked = walk(session, way, task)
    seed = session.seed("interpolation", "0", "5")
    assert walked.samples.shape == (POINTS, NOISES, 1, 28, 28)
    for at, end in ((0, 0), (-1, 5)):
        assert torch.equal(walked.samples[at], session.sample(torch.eye(10)[end].expand(NOISES, -1), seed))
    middle = walked.samples[POINTS // 2]
    assert torch.allclose(middle, walked.samples[0] / 2)
    assert np.allclose(walked.read_out.sum(2), 1.0)


def test_ways_of_digits_pass_between_labels() -> None:
    task = Mnist()
    nothing = torch.zeros(0)
    found = ways(Events(nothing, nothing, nothing, nothing), task)
    assert [(way.start, way.end, way.classes) for way in found[:2]] == [("0", "5", (0, 5)), ("1", "6", (1, 6))]
    assert found[0].point(0.5).tolist() == [0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0]
    assert ways(ToyTask().load("test"), ToyTask()) == []


def test_ways_of_showers_keep_the_direction_and_the_mass_shell() -> None:
    task = ZnGeant3()
    found = ways(task.load("test"), task)
    assert [way.head for way in found] == ["log_energy", "log_energy", "species"]
    assert found[-1].classes == (0, 1)
    for way in found:
        for end in way.conditions:
            energy, momentum, mass = end[0], end[4:7].norm(), end[7] / 1000
            assert float((momentum**2 + mass**2).sqrt()) == pytest.approx(float(energy), rel=1e-4)
        start, end = way.conditions
        assert torch.equal(start[1:4], end[1:4])
        assert float(torch.cosine_similarity(start[4:7], end[4:7], dim=0)) == pytest.approx(1)
    assert found[0].energies[0] < found[0].energies[1]
    start, end = found[-1].conditions
    assert start[0] == end[0]
    assert torch.equal(changed(start, start, task.condition_names), start)


def test_outside_is_the_probability_of_neither_end() -> None:
    read_out = np.full((POINTS, NOISES, 4), 0.25)
    read_out[:, :, 3], read_out[:, :, 0] = 0.05, 0.45
    way = Way("a", "b", (torch.zeros(1), torch.ones(1)), "x", (0, 1))
    share = outside([Walk(way, torch.zeros(1), read_out)])
    assert share == pytest.approx((0.3, 0.0))
    assert outside([Walk(Way("a", "b", way.conditions, "log_energy"), torch.zeros(1), read_out)]) is None


# The page


@pytest.fixture(scope="module")
def pair() -> Comparison:
    reference = ZnGeant3().load("test", 200)
    return Comparison(reference.with_samples(ZnGeant3().load("floor", 200).samples), reference)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simbench.report.features.ITERATIONS", 250)
    monkeypatch.setattr("simbench.report.features.TOTAL", 100)
    monkeypatch.setattr("simbench.report.latent.DRAWN", 40)


@pytest.mark.usefixtures("quick")
def test_the_page_shows_what_the_generators_offer(pair: Comparison, tmp_path: Path) -> None:
    task = ZnGeant3()
    models = {"encoding": Encoding(), "plain": Plain(), "broken": Broken()}
    entries = {
        name: ReportEntry(make_result(name), pair, Session(model, task, name), f"{name} is said")
        for name, model in models.items()
    }

    def page(*names: str) -> str:
        return write_report([entries[name] for name in names], task, tmp_path / "page.html").read_text()

    alone = page("plain")
    assert 'id="latent"' not in alone
    assert 'id="interpolation"' in alone
    assert "plain is said" in alone
    every = page(*models)
    assert "Accuracy of the linear probe: encoding 0." in every
    assert every.count("Without broken: broken") == 2
    assert "Probability of neither end, mean over the ways between classes: encoding " in every
    assert "Left out" not in every
    broken = page("broken")
    assert broken.count("Left out: broken") == 2
    without = write_report([ReportEntry(make_result("saved"), pair)], task, tmp_path / "page.html").read_text()
    assert 'id="interpolation"' not in without
