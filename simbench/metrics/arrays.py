"""Input arrays of metrics: converted and checked, copied only where needed; and distances between their rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.errors import UsageError

Array = Tensor | NDArray[Any]
"""What the public metric functions accept."""


def as_features(generated: Array, reference: Array, *, minimum: int = 1) -> tuple[Tensor, Tensor]:
    """Two sets of feature vectors as detached tensors of one dtype (float64 if either was, else float32) on one device.

    Raises:
        UsageError: not (N, d) and (M, d), fewer than `minimum` events, NaN or infinite values, different devices.
    """
    pair = {name: _as_matrix(values, name) for name, values in (("generated", generated), ("reference", reference))}
    x, y = pair["generated"], pair["reference"]
    if x.shape[1] != y.shape[1]:
        raise UsageError(
            "generated and reference features differ in dimension",
            got=f"{tuple(x.shape)} and {tuple(y.shape)}",
            expected="(N, d) and (M, d)",
            fix="Take both from the same feature extractor.",
        )
    if x.device != y.device:
        raise UsageError(
            "generated and reference features lie on different devices",
            got=f"{x.device} and {y.device}",
            fix="Move one with .to(device).",
        )
    for name, values in pair.items():
        if len(values) < minimum:
            raise UsageError(
                f"too few {name} events",
                got=str(len(values)),
                expected=f"at least {minimum}",
                fix="Ask for more events.",
            )
        # a finite sum has finite terms; looking at each of them takes as long as a Frechet distance
        if not bool(torch.isfinite(values.sum())) and (bad := int((~torch.isfinite(values)).any(1).sum())):
            raise UsageError(
                f"{name} features hold NaN or infinite values",
                got=f"{bad} of {len(values)} events with one",
                expected="finite numbers",
                fix="Look for an overflow in the generator or the extractor.",
            )
    dtype = torch.float64 if torch.float64 in (x.dtype, y.dtype) else torch.float32
    return x.to(dtype), y.to(dtype)


def _as_matrix(values: Array, name: str) -> Tensor:
    tensor = torch.as_tensor(values).detach()
    if tensor.dim() != 2 or tensor.shape[1] == 0:
        raise UsageError(
            f"{name} features are not a matrix",
            got=f"shape {tuple(tensor.shape)}",
            expected="(events, dimensions)",
            fix="Flatten each event, e.g. features.flatten(1).",
        )
    if tensor.is_complex():
        raise UsageError(
            f"{name} features are complex", got=str(tensor.dtype), expected="real numbers", fix="Take the real part."
        )
    return tensor


def chunks(rows: int, columns: int, elements: int = 4_000_000) -> Iterator[slice]:
    """Slices of `rows` such that a block (slice, columns) holds at most about `elements` numbers."""
    step = max(1, elements // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances (N, d), (M, d) -> (N, M) by |x|^2 + |y|^2 - 2 x.y, clipped at 0.

    The rounding error is a few units in the last place of |x|^2 + |y|^2: centre the data first.
    """
    norms = y.square().sum(1)
    distances = torch.addmm(norms.unsqueeze(0), x, y.T, alpha=-2)
    return distances.add_(x.square().sum(1).unsqueeze(1)).clamp_(min=0)


def as_photons(generated: Array, reference: Array, *, paired: bool = False) -> tuple[Tensor, Tensor]:
    """Two sets of events, (N, ...) and (M, ...), as detached float64 tensors.

    Raises:
        UsageError: empty, NaN or infinite values, or events of different shapes; where `paired`, also N and M that
            differ.
    """
    x, y = (torch.as_tensor(values).detach().to(torch.float64) for values in (generated, reference))
    if x.shape[1:] != y.shape[1:] or (paired and len(x) != len(y)):
        raise UsageError(
            "generated and reference events differ in shape",
            got=f"{tuple(x.shape)} and {tuple(y.shape)}",
            expected="the same number of events, row-paired by condition" if paired else "events of one shape",
        )
    for name, values in (("generated", x), ("reference", y)):
        if values.numel() == 0:
            raise UsageError(f"no {name} events", got=f"shape {tuple(values.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise UsageError(f"{name} events hold NaN or infinite values", expected="finite numbers")
    return x, y
