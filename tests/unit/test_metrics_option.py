"""`--metrics`: which metrics are measured, chosen by name or added to the task's."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from toys import ToyTask

from simbench.core.errors import UsageError
from simbench.evaluation.evaluate import metric_keys
from simbench.evaluation.floors import Floors
from simbench.evaluation.scoring import measure
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.registry import metric_named


class Task(ToyTask):
    metrics = ("rmse/1", "sinkhorn/deja2020")
    definitions: ClassVar[dict[str, tuple[str, ...]]] = {"paper": ("channel_mae/1",)}


@pytest.mark.parametrize(
    ("chosen", "keys"),
    [
        ("", ("rmse/1", "sinkhorn/deja2020")),
        ("fpd, kpd/1", ("fpd/1", "kpd/1")),
        ("+fpd", ("rmse/1", "sinkhorn/deja2020", "fpd/1")),
        ("+rmse", ("rmse/1", "sinkhorn/deja2020")),
        ("fpd,+rmse,fpd/1", ("fpd/1", "rmse/1")),
        ("sinkhorn", ("sinkhorn/deja2020",)),
        ("sinkhorn/1", ("sinkhorn/1",)),
        ("channel_mae", ("channel_mae/1",)),
    ],
)
def test_metrics_are_chosen_or_added(chosen: str, keys: tuple[str, ...]) -> None:
    assert metric_keys(Task(), "simbench", chosen) == keys


def test_they_are_added_to_the_definitions_that_are_asked_for() -> None:
    assert metric_keys(Task(), "paper", "+rmse") == ("channel_mae/1", "rmse/1")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [("fpdd", "Did you mean 'fpd'"), ("+rmse/9", "Did you mean 'rmse/1'"), ("fpd,", "lacks a name"), ("+", "lacks a")],
)
def test_what_nobody_knows_is_refused(chosen: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metric_keys(Task(), "simbench", chosen)


def test_a_name_alone_is_the_newest_version() -> None:
    assert metric_named("channel_mae").key == "channel_mae/1"


@pytest.mark.parametrize(
    ("returned", "reason"), [(Estimate(math.nan, 0.1, 12), "its value is nan"), (torch.tensor(1.0), "no Estimate")]
)
def test_a_strangers_metric_that_returns_nonsense_fails_alone(returned: Any, reason: str) -> None:
    task = Task()
    events = task.load("test")
    found = measure(
        metric("odd/1")(lambda pair: returned),
        [Comparison(events, events)],
        Floors(task, events),
        fast=False,
        definitions="simbench",
    )
    assert (found.status, found.value) == ("failed", None)
    assert reason in (found.error or "")
