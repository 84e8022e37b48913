"""Paired differences: their error is that of the difference, and nothing that differs in kind is compared."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from factories import make_measurement, make_result

from simbench.core.errors import DataError
from simbench.results.compare import LEAST_P, compare, same_events, winners
from simbench.results.schema import Measurement, ReplicatesRecord, Result

RUNS = itertools.count()


def result(value: float, noise: np.ndarray | None, kind: str = "bootstrap", **changes: object) -> Result:
    replicates = None if noise is None else ReplicatesRecord(kind=kind, values=(value + noise).tolist())  # type: ignore[arg-type]
    measured: Measurement = make_measurement(value=value, stderr=1.0, replicates=replicates, **changes)
    number = next(RUNS)  # every run has events of its own
    return make_result(measurements=[measured], samples_sha256=[f"{number:064x}"], id=f"run-{number}")


def test_common_noise_cancels() -> None:
    rng = np.random.default_rng(0)
    common, own = rng.normal(0, 1, 200), rng.normal(0, 0.1, (2, 200))
    found = compare(result(10, common + own[0]), result(11, common + own[1]))[0]
    assert found.paired
    assert found.value == 1
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1 * np.sqrt(2), rel=0.2)
    assert found.better == "A"
    apart = compare(result(10, None), result(11, None))[0]
    assert not apart.paired
    assert apart.high - apart.low == pytest.approx(2 * 1.96 * np.sqrt(2))
    assert apart.better == "tie"


def test_jackknife_replicates_have_the_jackknifes_factor() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.01, (2, 20))
    found = compare(result(10, noise[0], "jackknife"), result(10, noise[1], "jackknife"))[0]
    difference = noise[1] - noise[0]
    expected = np.sqrt(19 / 20 * ((difference - difference.mean()) ** 2).sum())
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(2.0930 / 1.9600 * expected, rel=1e-4)


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(400):
        common = rng.normal(0, 1, 200)
        a, b = rng.normal(0, 0.3, 2)
        alarms += (
            compare(result(10 + a, common + rng.normal(0, 0.3, 200)), result(10 + b, common + rng.normal(0, 0.3, 200)))[
                0
            ].better
            != "tie"
        )
    assert 5 <= alarms <= 40


def test_no_p_value_is_zero() -> None:
    noise = np.random.default_rng(4).normal(0, 0.001, 200)
    far = compare(result(10, noise), result(90, noise[::-1]))[0]
    exact = compare(result(10, noise), result(90, noise))[0]
    assert (far.p, exact.p) == (LEAST_P, LEAST_P)
    assert (far.better, exact.better) == ("A", "A")


@pytest.mark.parametrize("noise", [None, np.random.default_rng(5).normal(0, 1, 200)])
def test_scores_of_the_same_events_do_not_differ(noise: np.ndarray | None) -> None:
    one = result(58.0, noise)
    rounded = result(58.0 + 1e-6, noise).model_copy(update={"samples_sha256": one.samples_sha256})
    for other in (one, rounded):
        found = compare(one, other)[0]
        assert found.low == found.high == pytest.approx((other.measurements[0].value or 0) - 58.0)
        assert (found.p, found.better) == (1.0, "tie")
    unknown = one.model_copy(update={"samples_sha256": []})
    assert same_events(one, one)
    assert not same_events(unknown, unknown)


@pytest.mark.parametrize(
    ("direction", "a", "b", "better"),
    [("lower", 1, 9, "A"), ("higher", 1, 9, "B"), ("target", 0.9, 3.0, "A"), ("target", -4.0, 0.9, "B")],
)
def test_better_follows_the_direction(direction: str, a: float, b: float, better: str) -> None:
    noise = np.random.default_rng(3).normal(0, 0.01, 200)
    changes = {"direction": direction, "target": 1.0 if direction == "target" else None}
    assert compare(result(a, noise, **changes), result(b, noise[::-1], **changes))[0].better == better


def test_values_on_either_side_of_a_target_are_as_good() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.01, (2, 200))
    changes = {"direction": "target", "target": 1.0}
    near, far = result(0.9, noise[0], **changes), result(1.101, noise[1], **changes)
    (found,) = compare(near, far)
    assert found.better == "tie"
    assert found.low > 0.1
    assert compare(near, result(1.2, noise[1], **changes))[0].better == "A"


def test_a_winner_is_better_than_each_of_the_others() -> None:
    results = [result(value, None) for value in (10.0, 1.0, 4.0)]  # errors of 1
    assert winners(results) == {"channel_wasserstein/1": 1}
    assert winners([*results, result(2.0, None)]) == {}
    unknown = make_result(measurements=[make_measurement(value=50.0, stderr=None)])
    assert winners([*results, unknown]) == {}
    assert winners(results[:1]) == {}


def test_what_differs_in_kind_is_refused() -> None:
    a = result(1, None)
    with pytest.raises(DataError, match="version of channel_wasserstein"):
        compare(a, result(1, None, version="2"))
    for change, message in (
        ({"task": a.task.model_copy(update={"events": 400})}, "number of events"),
        ({"task": a.task.model_copy(update={"features_sha256": "other"})}, "feature network"),
        ({"spec": a.spec.model_copy(update={"definitions": "deja2020"})}, "definitions"),
        ({"task": a.task.model_copy(update={"scored_sha256": "other"})}, "data set"),
    ):
        with pytest.raises(DataError, match=message):
            compare(a, a.model_copy(update=change))
    larger = a.task.model_copy(update={"train_sha256": "other", "version": "9.9"})
    assert len(compare(a, a.model_copy(update={"task": larger}))) == 1  # the training split was not scored against
    with pytest.raises(DataError, match="in common"):
        compare(a, make_result(measurements=[make_measurement("other")]))
