"""The classifier tests: what they tell apart, what they must not, and whether their errors are right."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from simbench.core.errors import UsageError
from simbench.core.seeds import derive_seed
from simbench.metrics.base import Comparison, Estimate
from simbench.metrics.classifier import FOLDS, HeldOut, auc, classifier_high, classifier_low, held_out_scores
from simbench.metrics.registry import get_metric
from simbench.metrics.resampling import PAIR_GROUPS, jackknife_groups
from simbench.tasks import get_task
from simbench.tasks.controls import conditions_shuffled

Classifier = Callable[[Tensor, Tensor, Tensor, Tensor], Estimate]
both = pytest.mark.parametrize("classifier", [classifier_low, classifier_high])


def test_auc_against_scikit_learn_and_with_ties() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, 300), rng.integers(0, 20, 300)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert auc(np.zeros(10), np.arange(10) % 2) == 0.5


@both
def test_equal_sets_score_a_half_and_shifted_ones_one(classifier: Classifier) -> None:
    rng = torch.Generator().manual_seed(3)
    x, y = torch.randn(1000, 4, generator=rng), torch.randn(1000, 4, generator=rng)
    condition, unit = torch.randn(1000, 1, generator=rng), torch.arange(1000)
    null = classifier(x, y, condition, unit)
    assert 0.5 <= null.value < 0.55
    assert null.value - 0.5 < 3.5 * (null.stderr or 0)
    assert classifier(x, y, condition, unit) == null
    assert classifier(x + 2, y, condition, unit).value > 0.95


@both
def test_right_answers_to_wrong_conditions_are_told_apart(classifier: Classifier) -> None:
    """Where 60 numbers say nothing and one condition says all: it must be as loud as they are together."""
    rng = torch.Generator().manual_seed(3)
    condition = torch.randn(1200, 1, generator=rng)
    answered, right = (torch.randn(1200, 60, generator=rng) + condition for _ in range(2))
    wrong = right[torch.randperm(1200, generator=rng)]
    unit = torch.arange(1200)
    assert classifier(wrong, answered, condition, unit).value > 0.8
    assert classifier(right, answered, condition, unit).value < 0.55


@both
def test_no_condition_stands_on_both_sides(classifier: Classifier) -> None:
    """Every condition has marks of its own, other ones on either side: who has seen one of its events knows all."""
    rng = torch.Generator().manual_seed(4)
    unit = torch.arange(800) // 8
    marks = torch.randn(2, 100, 60, generator=rng)
    x, y = (side[unit] + 0.01 * torch.randn(800, 60, generator=rng) for side in marks)
    none = torch.zeros(800, 0)
    assert classifier(x, y, none, unit).value < 0.62
    assert classifier(x, y, none, torch.arange(800)).value > 0.9
    scores = held_out_scores(x, y, none, unit)
    assert all(len(scores.fold[unit == u].unique()) == 1 for u in range(100))


@both
def test_neither_uses_nor_moves_the_global_random_numbers(classifier: Classifier) -> None:
    rng = torch.Generator().manual_seed(1)
    x, y = (torch.randn(400, 6, generator=rng) for _ in range(2))
    conditions, unit = torch.zeros(400, 0), torch.arange(400)
    alone = classifier(x, y, conditions, unit)
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert classifier(x, y, conditions, unit) == alone
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            torch.rand(10)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        assert classifier(x, y, conditions, unit) == alone
    finally:
        stop.set()
        thread.join()


def held_out(generated: Tensor, real: Tensor, unit: Tensor) -> HeldOut:
    return HeldOut(generated, real, jackknife_groups(unit, FOLDS), jackknife_groups(unit, PAIR_GROUPS))


@pytest.mark.parametrize("repeats", [1, 8])
@pytest.mark.parametrize("shift", [0.3, 1.5])
def test_the_error_is_the_spread_of_the_auc_over_new_events(shift: float, repeats: int) -> None:
    unit = torch.arange(480) // repeats
    rng = torch.Generator().manual_seed(5)
    values, errors = [], []
    for _ in range(60):
        common = torch.randn(480 // repeats, generator=rng)[unit]
        generated, real = (side + torch.randn(480, generator=rng) for side in (common + shift, 0.3 * common))
        found = held_out(generated, real, unit).estimate(torch.ones(480, dtype=torch.bool))
        values.append(found.value)
        errors.append(found.stderr)
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.3)  # type: ignore[arg-type]


def test_an_auc_below_a_half_is_a_difference_too() -> None:
    rng = torch.Generator().manual_seed(6)
    low, high = torch.randn(500, generator=rng), torch.randn(500, generator=rng) + 1
    rows, unit = torch.ones(500, dtype=torch.bool), torch.arange(500)
    below, above = held_out(low, high, unit).estimate(rows), held_out(high, low, unit).estimate(rows)
    assert below.value == pytest.approx(above.value)
    assert below.stderr == pytest.approx(above.stderr)
    assert below.parts["AUC"] == pytest.approx(1 - above.parts["AUC"])
    assert below.value == pytest.approx(0.76, abs=0.05)


def test_a_fold_without_events_is_refused() -> None:
    scores = held_out(torch.zeros(20), torch.zeros(20), torch.arange(20))
    with pytest.raises(UsageError, match="a fold has no such event"):
        scores.estimate(scores.fold == 0)


@pytest.mark.parametrize("key", ["classifier_low/2", "classifier_high/2"])
def test_real_showers_of_other_particles_are_told_from_the_right_ones(key: str) -> None:
    """`classifier_auc/1` scored them .28: it took each generated shower for the real ones of its training folds."""
    task = get_task("zn-geant3")
    floor, test = task.load("floor", 3200), task.load("test", 3200)
    rng = torch.Generator().manual_seed(derive_seed(0, "shuffled"))
    wrong = floor.with_samples(conditions_shuffled(floor, rng))
    metric = get_metric(key)
    found, null = metric(Comparison(wrong, test, stratify=False)), metric(Comparison(floor, test, stratify=False))
    assert found.parts["AUC"] > 0.7
    assert null.value - 0.5 < 3.5 * (null.stderr or 0)
