"""A network in a file as a generator: what it is fed, and how what it gives becomes events.

A network has two inputs, noise and conditions, or one of them. Which is which follows from their names (`noise`, `z`,
`latent`, ...; `conditions`, `c`, `label`, ...), where these do not tell from their sizes (conditions have as many
columns as the task), and of two that are alike the first is the noise. `inputs` says it outright.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from simbench.core.errors import DataError, GeneratorError, UsageError
from simbench.core.files import read_bytes
from simbench.core.text import listed
from simbench.tasks.base import Task

Role = Literal["noise", "conditions"]
Output = Literal["task", "log1p"]
Order = Literal["noise", "conditions", "noise-conditions", "conditions-noise"]
NAMES: dict[str, Role] = {
    **dict.fromkeys(("noise", "latent", "latents", "z", "u", "eps", "random"), "noise"),
    **dict.fromkeys(("conditions", "condition", "cond", "c", "q", "label", "labels", "context"), "conditions"),
}
ORDERS: dict[Order, tuple[Role, ...]] = {
    "noise": ("noise",),
    "conditions": ("conditions",),
    "noise-conditions": ("noise", "conditions"),
    "conditions-noise": ("conditions", "noise"),
}
BESIDE = "beside"
MAX_SCALER = 2**20


@dataclass(frozen=True)
class Input:
    """An input of a network: its name and its shape, None where an axis may have any length. Axis 0 is the event's."""

    name: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join('any' if size is None else str(size) for size in self.shape)})"


class NetworkFile(ABC):
    """A network in a file. A subclass opens it (`open`, which gives its inputs) and runs it (`run`).

    Args:
        file: where it is.
        output: what it gives: `task`, values in task units, or `log1p`, log(1 + photons). Flat or an image, row-major.
        inputs: the roles of its inputs in their order, where names and sizes do not tell.
        latent: numbers of noise an event, where the file does not say.
        scaler: a file with a mean and a scale for each condition, (c - mean) / scale; `beside` takes the file of the
            network's name with the suffix .json or .txt, where there is one, `none` takes none.
        whole: round what it gives to whole photons.
    """

    def __init__(
        self,
        file: Path,
        output: Output = "task",
        inputs: Order | None = None,
        latent: int | None = None,
        scaler: str = BESIDE,
        whole: bool = False,
    ) -> None:
        if not file.is_file():
            raise UsageError("there is no such file", got=str(file), expected="the file of a network")
        self.weights_path, self.output, self.whole = file, output, whole
        self.wanted, self.latent, self.scaler_file = inputs, latent, _scaler_file(file, scaler)

    @abstractmethod
    def open(self, device: torch.device) -> Sequence[Input]:
        """Load the file. Raises GeneratorError where it is no such network."""

    @abstractmethod
    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        """The network's first output for these inputs, in their order."""

    def setup(self, task: Task, device: torch.device) -> None:
        """Load the network and settle what its inputs are."""
        self.device, self.shape, self.columns = device, task.shape, len(task.condition_names)
        self.inputs = tuple(self.open(device))
        self.roles = _roles(self.weights_path, self.inputs, self.columns, self.wanted)
        self.noise_shape = self._noise_shape()
        sizes = [one.shape[0] for one in self.inputs if one.shape]
        self.batch = min((size for size in sizes if size is not None), default=None)
        self.moments = read_scaler(self.scaler_file, self.columns) if self.scaler_file and self.columns else None

    def _noise_shape(self) -> tuple[int, ...]:
        """The shape of an event's noise."""
        if "noise" not in self.roles:
            return ()
        one = self.inputs[self.roles.index("noise")]
        known = [size for size in one.shape[1:] if size is not None]
        if len(known) == len(one.shape) - 1:
            return tuple(known)
        if self.latent is None:
            what, fix = f"{self.weights_path} does not say how much noise it takes", "Pass --param latent=N."
            raise GeneratorError(what, got=str(one), fix=fix)
        return (*known, self.latent) if len(one.shape) > 1 else (self.latent,)

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Events in task units, (event, *task.shape), for conditions (event, C)."""
        events = len(conditions)
        if self.moments is not None:
            mean, scale = self.moments.to(conditions)
            conditions = (conditions - mean) / scale
        given: dict[Role, Tensor] = {"conditions": conditions}
        if "noise" in self.roles:  # drawn on the CPU, so that the seed means the same on every device
            rng = torch.Generator().manual_seed(seed)
            given["noise"] = torch.randn((events, *self.noise_shape), generator=rng).to(self.device)
        tensors = [given[role] for role in self.roles]
        out = self._run(tensors, events)
        if out.dim() and out.shape[0] == events and out.numel() == events * math.prod(self.shape):
            out = out.reshape(events, *self.shape)
        if self.output == "log1p":
            out = out.float().expm1().clamp(min=0)
        return out.round() if self.whole else out

    def _run(self, tensors: Sequence[Tensor], events: int) -> Tensor:
        """In pieces, where the network takes a fixed number of events at once."""
        if self.batch is None or self.batch == events:
            return self.run(tensors)
        pieces = []
        for start in range(0, events, self.batch):
            piece = [tensor[start : start + self.batch] for tensor in tensors]
            missing = self.batch - len(piece[0])
            full = [pad(one, [0, 0] * (one.dim() - 1) + [0, missing]) for one in piece] if missing else piece
            pieces.append(self.run(full)[: len(piece[0])])
        return torch.cat(pieces)


def _roles(file: Path, inputs: Sequence[Input], columns: int, wanted: Order | None) -> tuple[Role, ...]:
    """What each input is fed with."""
    what = f"{file} has inputs that simbench cannot tell apart"
    got = listed([str(one) for one in inputs])
    expected = f"noise (event, latent) and conditions (event, {columns}), or one of them"
    if wanted is not None:
        roles = ORDERS[wanted]
        if len(roles) != len(inputs):
            raise UsageError(f"--param inputs={wanted} does not fit {file}", got=got, fix="Name a role for each input.")
        return roles
    if not 1 <= len(inputs) <= 2 or any(len(one.shape) < 1 for one in inputs):
        raise GeneratorError(what, got=got, expected=expected, fix="Bake other inputs into the file.")
    named = [NAMES.get(one.name.lower().split(".")[-1].rstrip("_0123456789")) for one in inputs]
    sized = [_by_size(one, columns) for one in inputs]
    if len(inputs) == 1:
        role = named[0] or sized[0]
        return (role or ("conditions" if columns else "noise"),)
    for found in (named, sized):
        roles_found = {role for role in found if role is not None}
        if len(roles_found) == 2 or (len(roles_found) == 1 and None in found):
            first = found[0] or _other(next(iter(roles_found)))
            return (first, _other(first))
    if any(named):
        raise GeneratorError(what, got=got, expected=expected, fix="Pass --param inputs=noise-conditions.")
    return ("noise", "conditions")


def _by_size(one: Input, columns: int) -> Role | None:
    """By the last axis: conditions have the task's columns, and two axes."""
    last = one.shape[-1] if len(one.shape) > 1 else None
    if last is None:
        return None
    return "conditions" if columns and len(one.shape) == 2 and last == columns else "noise"


def _other(role: Role) -> Role:
    return "noise" if role == "conditions" else "conditions"


def _scaler_file(file: Path, wanted: str) -> Path | None:
    """The scaler that was named, or the one that lies beside the network."""
    if wanted.lower() == "none":
        return None
    if wanted != BESIDE:
        if not Path(wanted).is_file():
            raise UsageError("there is no such scaler", got=wanted, expected="a .json or .txt file, or none")
        return Path(wanted)
    return next((near for suffix in (".json", ".txt") if (near := file.with_suffix(suffix)).is_file()), None)


def read_scaler(file: Path, columns: int) -> Tensor:
    """Mean and scale of each condition, (2, columns), of a scaler file.

    `.json`: {"means": [...], "scales": [...]} (`mean`, `scale`, `mean_`, `scale_` are understood, too). Any other: a
    line `#means`, one number a line, a blank line, a line `#scales`, one number a line.

    Raises:
        DataError: it is damaged, or not for so many conditions.
    """
    fix = "Mend it, or pass --param scaler=none."
    try:
        text = read_bytes(file, MAX_SCALER, fix).decode("utf-8")
        means, scales = _of_json(text) if file.suffix == ".json" else _of_text(text)
        moments = torch.tensor([means, scales], dtype=torch.float64)
    except (ValueError, KeyError, TypeError) as error:
        expected = "two blocks, #means and #scales, of one number a line, or the same as JSON"
        raise DataError(
            f"{file} is no scaler", got=f"{type(error).__name__}: {error}", expected=expected, fix=fix
        ) from error
    if moments.shape[1] != columns:
        what = f"{file} scales another number of conditions"
        raise DataError(what, got=str(moments.shape[1]), expected=str(columns), fix=fix)
    if not bool(torch.isfinite(moments).all()) or bool((moments[1] <= 0).any()):
        raise DataError(f"{file} holds a scale that is not above 0, or a number that is not finite", fix=fix)
    return moments.float()


def _of_json(text: str) -> tuple[list[float], list[float]]:
    found = json.loads(text)
    means, scales = (_first(found, (f"{name}s", name, f"{name}_")) for name in ("mean", "scale"))
    return means, scales


def _first(found: dict[str, list[float]], names: Iterable[str]) -> list[float]:
    for name in names:
        if name in found:
            return [float(value) for value in found[name]]
    raise KeyError(next(iter(names)))


def _of_text(text: str) -> tuple[list[float], list[float]]:
    blocks: dict[str, list[float]] = {}
    name = ""
    for line in text.split():
        if line.startswith("#"):
            name = line.lstrip("#").strip().lower()
            blocks[name] = []
        else:
            blocks[name].append(float(line))
    return blocks["means"], blocks["scales"]
