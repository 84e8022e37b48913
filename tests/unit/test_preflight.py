"""Eight events, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import ToyDigits, ToyNoise, ToyTask

from simbench.core.errors import DataError, GeneratorError
from simbench.generators.preflight import preflight, spread_rows
from simbench.generators.resolve import FunctionGenerator
from simbench.generators.session import Session
from simbench.tasks.base import Task


def session(sample: Callable[..., Any], task: Task | None = None) -> Session:
    return Session(FunctionGenerator(sample), task or ToyTask(), "mypkg:Model")


def poisson(conditions: Tensor, *, seed: int) -> Tensor:
    rate = 50 * conditions[:, :1, None] * torch.ones(4, 4)
    return torch.poisson(rate, generator=torch.Generator().manual_seed(seed))


def test_a_good_generator_is_deterministic_and_stochastic() -> None:
    found = preflight(session(poisson))
    assert (found.deterministic, found.stochastic, found.warnings) == (True, True, [])


def test_an_ignored_seed_is_a_warning() -> None:
    found = preflight(session(lambda conditions, seed: torch.rand(len(conditions), 4, 4)))
    assert not found.deterministic
    assert found.stochastic
    assert len(found.warnings) == 1
    assert "ignores the seed" in found.warnings[0]


def test_a_mean_response_is_a_warning() -> None:
    found = preflight(session(lambda conditions, seed: torch.ones(len(conditions), 4, 4)))
    assert found.deterministic
    assert not found.stochastic
    assert "same events for every seed" in found.warnings[0]


def test_events_that_are_all_empty_are_a_warning() -> None:
    found = preflight(session(lambda conditions, seed: torch.zeros(len(conditions), 4, 4)))
    assert "empty" in found.warnings[-1]


def test_fractions_of_photons_are_a_warning() -> None:
    found = preflight(session(lambda conditions, seed: torch.full((len(conditions), 4, 4), 0.5 + seed % 7), ToyNoise()))
    assert len(found.warnings) == 1
    assert "hold fractions of photons" in found.warnings[0]


def test_events_that_share_memory_are_told_apart() -> None:
    buffer = torch.zeros(8, 4, 4)

    def sample(conditions: Tensor, *, seed: int) -> Tensor:
        return buffer.copy_(poisson(conditions, seed=seed))

    assert preflight(session(sample)).stochastic


@pytest.mark.parametrize("task", [ToyTask(), ToyDigits(), ToyNoise()])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.uint8, torch.int64])
def test_any_real_type_will_do(task: ToyTask, dtype: torch.dtype) -> None:
    preflight(session(lambda conditions, seed: torch.ones(len(conditions), *task.shape, dtype=dtype), task))


def test_numpy_arrays_will_do() -> None:
    preflight(session(lambda conditions, seed: np.ones((len(conditions), 4, 4))))


def with_value(value: float) -> Callable[..., Tensor]:
    def sample(conditions: Tensor, *, seed: int) -> Tensor:
        events = torch.ones(len(conditions), 4, 4)
        events[3, 1, 2] = value
        return events

    return sample


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (
            lambda conditions, seed: torch.ones(len(conditions), 1, 4, 4),
            ["toy expects (8, 4, 4)", "(8, 1, 4, 4)", "squeeze(1)"],
        ),
        (lambda conditions, seed: torch.ones(len(conditions) - 1, 4, 4), ["(7, 4, 4)", "one event per row"]),
        (lambda conditions, seed: torch.ones(len(conditions), 16), ["(8, 16)", "reshape"]),
        (lambda conditions, seed: torch.tensor(1.0), ["returned ()"]),
        (lambda conditions, seed: None, ["no tensor", "NoneType"]),
        (lambda conditions, seed: [[1.0]], ["no tensor", "list"]),
        (lambda conditions, seed: torch.ones(len(conditions), 4, 4, dtype=torch.complex64), ["complex64"]),
        (lambda conditions, seed: torch.ones(len(conditions), 4, 4, dtype=torch.bool), ["bool"]),
        (lambda conditions, seed: torch.ones(len(conditions), 4, 4, device="meta"), ["without values", "setup"]),
        (with_value(float("nan")), ["NaN", "1 of 8 events"]),
        (with_value(float("inf")), ["NaN or infinite"]),
        (with_value(-0.5), ["negative photons", "-0.5", "clamp(min=0)"]),
        (with_value(1e9), ["too large photons", "1e+09", "[0, 1000]"]),
    ],
)
def test_events_that_are_not_of_the_task(sample: Callable[..., Any], words: list[str]) -> None:
    with pytest.raises(GeneratorError) as caught:
        preflight(session(sample))
    assert all(word in str(caught.value) for word in [*words, "mypkg:Model"]), str(caught.value)


def raising(error: BaseException) -> Callable[..., Tensor]:
    def sample(conditions: Tensor, *, seed: int) -> Tensor:
        raise error

    return sample


def test_an_exception_becomes_one_sentence_with_the_users_line() -> None:
    line = raising.__code__.co_firstlineno + 2
    with pytest.raises(GeneratorError) as caught:
        preflight(session(raising(ValueError("first\nsecond"))))
    assert f"ValueError: first second (test_preflight.py:{line})" in str(caught.value)
    assert "mypkg:Model failed in `sample` for 8 events" in str(caught.value)


def test_the_users_line_is_named_where_torch_raises() -> None:
    def sample(conditions: Tensor, *, seed: int) -> Tensor:
        return torch.cat([torch.ones(1, 2), torch.ones(2, 3)], 0)

    with pytest.raises(GeneratorError, match=rf"\(test_preflight.py:{sample.__code__.co_firstlineno + 1}\)"):
        preflight(session(sample))


@pytest.mark.parametrize("error", [SystemExit(3), RecursionError("deep"), AssertionError(), StopIteration()])
def test_everything_a_user_may_raise_is_caught(error: BaseException) -> None:
    with pytest.raises(GeneratorError, match=type(error).__name__):
        session(raising(error)).call(torch.ones(2, 2), 1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_running_out_of_memory_is_explained(error: Exception) -> None:
    with pytest.raises(GeneratorError, match=r"ran out of memory: .* --block-size .* --batches"):
        session(raising(error)).call(torch.ones(2, 2), 1)


def test_ctrl_c_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        session(raising(KeyboardInterrupt())).call(torch.ones(2, 2), 1)


def test_errors_that_say_it_all_pass_as_they_are() -> None:
    error = DataError("the weights are missing")
    with pytest.raises(DataError) as caught:
        session(raising(error)).call(torch.ones(2, 2), 1)
    assert caught.value is error


def test_generators_work_on_a_copy_of_the_conditions_and_without_gradients() -> None:
    given = torch.ones(2, 2)
    weight = torch.ones(1, requires_grad=True)
    out = session(lambda conditions, seed: conditions.mul_(3) * weight).call(given, 1)
    assert torch.equal(given, torch.ones(2, 2))
    assert not out.requires_grad


class WithSetup:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any]] = []

    def setup(self, task: Any, device: Any) -> None:
        self.calls.append((task, device))

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        return poisson(conditions, seed=seed)


def test_setup_is_called_once_with_task_and_device() -> None:
    generator, task = WithSetup(), ToyTask()
    preflight(Session(generator, task, "m"))
    assert generator.calls == [(task, torch.device("cpu"))]


def test_a_setup_that_raises_is_one_sentence() -> None:
    class Broken(WithSetup):
        def setup(self, task: Any, device: Any) -> None:
            raise FileNotFoundError("weights.pt")

    with pytest.raises(
        GeneratorError, match=re.escape("failed in `setup`: got FileNotFoundError: weights.pt (test_preflight.py:")
    ):
        Session(Broken(), ToyTask(), "m")


def test_rows_are_spread_over_the_conditions() -> None:
    assert spread_rows(4000).tolist() == [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]
    assert spread_rows(5).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
