"""Random numbers that are given: a generator's `sample` as a function of noise, in place of a seed.

torch.randn and its like are answered from a given tensor of normal numbers, in the order in which they are asked for,
so that the same Python code can be run, compared and exported as a graph without anything random in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from simbench.core.errors import GeneratorError

BELOW_ONE = 1 - 2.0**-24
"""The largest uniform number: float32 has none between it and 1."""

NORMAL = (torch.randn, torch.randn_like, Tensor.normal_)
UNIFORM = (torch.rand, torch.rand_like, Tensor.uniform_)
UNKNOWN = {
    *("poisson", "_standard_gamma", "bernoulli", "bernoulli_", "multinomial", "randint", "randint_like", "randperm"),
    *("random_", "exponential_", "geometric_", "cauchy_", "log_normal_", "normal", "binomial", "dropout"),
}
"""Names of random functions that cannot be answered by one normal number a value."""


def uniform(normal: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) of normal ones, by their distribution function."""
    return (0.5 * (1 + torch.erf(normal * math.sqrt(0.5)))).clamp(max=BELOW_ONE)


class GivenNoise(TorchFunctionMode):
    """Within it, random numbers are those of `noise`, (B, L) normal; L and what is used may be asked for afterwards.

    Without `noise` they are drawn as ever, and counted: `used` is then the L that is needed. `traced`: `events` is the
    length of the example with which a graph of any number of events is traced.

    Raises:
        GeneratorError: a random function that is not understood, more noise than there is, or numbers that are not
            drawn for each of the B events alike.
    """

    def __init__(self, noise: Tensor | None, events: int, traced: bool = False) -> None:
        super().__init__()
        self.noise, self.events, self.used, self.traced = noise, events, 0, traced

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__len__ and self.traced:
            return self.events  # asked for its true length, a tensor of any length would become one of this length
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func not in NORMAL and func not in UNIFORM:
            if name in UNKNOWN and not (name == "dropout" and not kwargs.get("training", True)):
                what = f"it draws with torch.{name.rstrip('_')}, which cannot be given as normal numbers"
                raise GeneratorError(what, fix="Draw with torch.randn or torch.rand.")
            return func(*args, **kwargs)
        like: Any = args[0] if name.endswith(("_like", "_")) else None
        values = self._taken(name, _shape(args, kwargs) if like is None else like.shape)
        if func in UNIFORM:
            values = uniform(values)
        if name == "normal_":
            mean, sd = _two(args, kwargs, "mean", "std")
            return like.copy_(values * sd + mean)
        if name == "uniform_":
            low, high = _two(args, kwargs, "from", "to")
            return like.copy_(values * (high - low) + low)
        return values

    def _taken(self, name: str, shape: Sequence[Any]) -> Tensor:
        """The next normal numbers of each event, in this shape, for the random function of that name."""
        if not shape or not (isinstance(shape[0], torch.SymInt) or shape[0] == self.events):  # its only free length
            got = f"torch.{name} of shape {tuple(shape)}"
            raise GeneratorError("it does not draw random numbers event by event", got=got, expected="(event, ...)")
        count = math.prod(int(size) for size in shape[1:])
        first, self.used = self.used, self.used + count
        if self.noise is None:
            return torch.randn(tuple(int(size) for size in shape))
        if self.used > self.noise.shape[1]:
            what = "it drew more random numbers than it did at first: how many depends on the data"
            raise GeneratorError(what, got=str(self.used), expected=f"{self.noise.shape[1]}")
        taken: Tensor = self.noise[:, first : self.used]
        return taken.unflatten(1, [int(size) for size in shape[1:]]) if len(shape) > 1 else taken[:, 0]


def _shape(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The shape that torch.randn was asked for."""
    given = kwargs.get("size", args)
    return tuple(given[0]) if len(given) == 1 and not isinstance(given[0], int | torch.SymInt) else tuple(given)


def _two(args: Sequence[Any], kwargs: Mapping[str, Any], first: str, second: str) -> tuple[float, float]:
    """The two numbers that a method in place was given, 0 and 1 where it was not."""
    given = {first: 0.0, second: 1.0, **dict(zip((first, second), args[1:], strict=False)), **kwargs}
    return given[first], given[second]


def is_given() -> bool:
    """Whether random numbers are given just now: where a model has a way to draw that data cannot steer, it takes
    it."""
    return any(isinstance(mode, GivenNoise) for mode in _get_current_function_mode_stack())
