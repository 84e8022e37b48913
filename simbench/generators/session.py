"""A session: a generator that is set up for a task on a device. Every call of a user's `sample` goes through here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from simbench.core.allocator import keep_freed_memory
from simbench.core.errors import GeneratorError, SimbenchError
from simbench.core.events import Events
from simbench.core.seeds import derive_seed
from simbench.core.user_code import user_error
from simbench.generators.protocol import Encoder, Generator
from simbench.tasks.base import Task

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True)
class Mode:
    """How a generator is called.

    Attributes:
        precision: `bf16` runs it under `torch.autocast`, which does its matrix products and convolutions in bfloat16.
        compiled: the modules that it calls are compiled by `torch.compile` (for any batch size), at their first call.
    """

    precision: Precision = "fp32"
    compiled: bool = False

    def __str__(self) -> str:
        return f"{self.precision}{', compiled' if self.compiled else ''}"


PLAIN = Mode()


def as_tensor(samples: Any) -> Any:
    """An array of another library (JAX, TensorFlow, CuPy) as a tensor on its memory; all else as it is.

    Its library may compute it only now, that is, while the clock of a timed call still runs.
    """
    if isinstance(samples, Tensor | np.ndarray) or not hasattr(type(samples), "__dlpack__"):
        return samples
    return from_dlpack(samples)


@dataclass(frozen=True)
class Session:
    """Calls a generator, checks the shape and range of its events, and derives the seeds of a run.

    To make one calls the generator's optional `setup(task, device)`; from then on the process keeps freed memory
    (`keep_freed_memory`).

    Attributes:
        generator: the object with `sample`.
        task: whose conditions it answers.
        who: what error messages call it.
        device: where the conditions are when it is called.
        root_seed: the seed of the run.
        mode: how it is called; see `in_mode`.

    Raises:
        GeneratorError: `setup` raised; from the methods: `sample` raised, or its events are not of the task.
    """

    generator: Generator
    task: Task
    who: str
    device: str = "cpu"
    root_seed: int = 0
    mode: Mode = PLAIN
    _compiled: dict[torch.nn.Module, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keep_freed_memory()
        setup = getattr(self.generator, "setup", None)
        if not callable(setup):
            return
        try:
            setup(self.task, torch.device(self.device))
        except SimbenchError:
            raise
        except (Exception, SystemExit) as error:
            raise user_error(error, f"{self.who} failed in `setup`") from error

    def seed(self, *names: str | int) -> int:
        """The seed of a named stream of this run."""
        return derive_seed(self.root_seed, self.task.name, *names)

    def modules(self) -> Iterator[torch.nn.Module]:
        """Every module that the generator is or holds."""
        for value in (self.generator, *getattr(self.generator, "__dict__", {}).values()):
            if isinstance(value, torch.nn.Module):
                yield from value.modules()

    def in_mode(self, mode: Mode) -> Session:
        """This session, with the same generator as it is set up, called in another way."""
        other = copy.copy(self)
        object.__setattr__(other, "mode", mode)
        return other

    @contextmanager
    def _in_its_mode(self) -> Iterator[None]:
        """The mode, for one call. Compiled modules are kept, and put in their place for the call alone."""
        if self.mode.compiled and not self._compiled:
            self._compiled.update({module: torch.compile(module._call_impl, dynamic=True) for module in self._called()})
        used = self._compiled if self.mode.compiled else {}
        before = {module: module._compiled_call_impl for module in used}
        half = self.mode.precision == "bf16"
        try:
            for module, compiled in used.items():
                module._compiled_call_impl = compiled
            with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=half):
                yield
        finally:
            for module, own in before.items():
                module._compiled_call_impl = own

    def _called(self) -> Iterator[torch.nn.Module]:
        """The outermost modules that `sample` may call: those that the generator holds."""
        held = getattr(self.generator, "__dict__", {}).values()
        yield from (value for value in held if isinstance(value, torch.nn.Module))
        if isinstance(self.generator, torch.nn.Module):
            yield from self.generator.children()

    def call_bare(self, conditions: Tensor, seed: int) -> Any:
        """What `sample` returns for these very conditions, unchecked, in the session's mode. KeyboardInterrupt
        passes."""
        try:
            with nullcontext() if self.mode == PLAIN else self._in_its_mode():
                return as_tensor(self.generator.sample(conditions, seed=seed))
        except SimbenchError:
            raise
        except (Exception, SystemExit) as error:
            what = f"{self.who} failed in `sample` for {len(conditions)} events"
            raise user_error(error, what, fix=f"Try `simbench check {self.who}`.") from error

    def call(self, conditions: Tensor, seed: int) -> Any:
        """What `sample` returns for a copy of the conditions (it may work in place), unchecked, without gradients."""
        with torch.no_grad():
            return self.call_bare(conditions.clone(), seed)

    def checked(self, samples: object, count: int) -> Tensor:
        """What `sample` returned, float32 on the CPU, if it is `count` events of the task."""
        return self.task.check_samples(samples, count, self.who)

    def sample(self, conditions: Tensor, seed: int) -> Tensor:
        """One checked event per row of `conditions`, (N, *task.shape) float32 on the CPU."""
        conditions = conditions.to(self.device)
        return self.checked(self.call(conditions, seed), len(conditions))

    def sample_blocks(
        self,
        conditions: Tensor,
        repetition: int,
        on_block: Callable[[int], None] = lambda events: None,
        call: Callable[[Tensor, int], Any] | None = None,
    ) -> Tensor:
        """As `sample`, in blocks of task.block_size rows, each with a seed of its own.

        So no score depends on how, or in what batches, the generator is timed. `call` stands for `self.call`: a clock.
        """
        blocks = []
        for block, rows in enumerate(conditions.split(self.task.block_size)):
            samples = (call or self.call)(rows.to(self.device), self.seed("sample", repetition, block))
            blocks.append(self.checked(samples, len(rows)))
            on_block(len(rows))
        return torch.cat(blocks)

    @property
    def encodes(self) -> bool:
        """Whether the generator offers `latent_codes`."""
        return isinstance(self.generator, Encoder)

    def codes(self, events: Events) -> Tensor:
        """Codes of events, (N, d) float32 on the CPU. The generator `encodes`."""
        encode: Any = getattr(self.generator, "latent_codes", None)
        pieces = []
        for rows in torch.arange(len(events)).split(self.task.block_size):
            given = [values[rows].to(self.device) for values in (events.samples, events.conditions)]
            pieces.append(self._codes("latent_codes", len(rows), partial(encode, *given)))
        return torch.cat(pieces)

    def prior_codes(self, conditions: Tensor, seed: int) -> Tensor | None:
        """Codes that `sample` would decode, (N, d) float32 on the CPU; None where the generator does not give them."""
        draw = getattr(self.generator, "prior_codes", None)
        if not callable(draw):
            return None
        return self._codes("prior_codes", len(conditions), partial(draw, conditions.to(self.device), seed=seed))

    def _codes(self, method: str, count: int, call: Callable[[], Any]) -> Tensor:
        who = f"{self.who}: `{method}`"
        try:
            with torch.no_grad():
                codes = torch.as_tensor(call()).detach().to("cpu", torch.float32)
        except SimbenchError:
            raise
        except (Exception, SystemExit) as error:
            raise user_error(error, f"{who} failed for {count} events") from error
        if codes.dim() != 2 or len(codes) != count or not codes.shape[1]:
            what = f"{who} returned codes of the wrong shape"
            raise GeneratorError(what, got=str(tuple(codes.shape)), expected=f"({count}, d)")
        if not bool(torch.isfinite(codes).all()):
            raise GeneratorError(f"{who} returned NaN or infinite values", expected="finite numbers")
        return codes
