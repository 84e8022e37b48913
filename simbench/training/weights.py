"""Weights: one safetensors file a model, whose metadata say what it is, how it was trained and how well."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from simbench.core.errors import DataError, UsageError
from simbench.core.files import replaced_file
from simbench.core.version import __version__

FORMAT = "simbench.weights/1"
REQUIRED = ("format", "model", "config", "task", "command", "seed", "steps", "simbench", "validation_score")
MAX_BYTES = 4 * 2**30
MAX_TENSORS = 10_000
AGAIN = "Train it again with `simbench train`, or fetch the file again."


def save_weights(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the state of `model` to `path`, whole or not at all. `format` and `simbench` are added to the metadata.

    Raises:
        UsageError: the metadata lack one of REQUIRED, or the file cannot be written.
    """
    complete = {"format": FORMAT, "simbench": __version__, **metadata}
    missing = [key for key in REQUIRED if key not in complete]
    if missing:
        what = "the metadata of the weights are incomplete"
        raise UsageError(what, got=f"no {', '.join(missing)}", expected=", ".join(REQUIRED))
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    with replaced_file(path) as scratch:
        try:
            save_file(state, scratch, metadata=complete)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a weights file, on the CPU, and its metadata.

    Raises:
        DataError: the file is missing, too large, damaged, or was not written by simbench.
    """
    if not path.is_file():
        raise DataError(f"there are no weights at {path}", got="no file", expected="a safetensors file", fix=AGAIN)
    size, expected = path.stat().st_size, f"at most {MAX_BYTES}"
    if size > MAX_BYTES:
        raise DataError(f"{path} is too large for weights", got=f"{size} bytes", expected=expected, fix=AGAIN)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata: dict[str, str] = file.metadata() or {}
            names = list(file.keys())
            missing = [key for key in REQUIRED if key not in metadata]
            if missing or metadata.get("format") != FORMAT or len(names) > MAX_TENSORS:
                got = f"metadata {sorted(metadata)[:12]}, {len(names)} tensors"
                expected = f"format {FORMAT} with {', '.join(REQUIRED[1:])}"
                raise DataError(f"{path} was not written by simbench", got=got, expected=expected, fix=AGAIN)
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error)[:200], "a safetensors file") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise _damaged(path, f"NaN or infinite values in {name}", "finite weights")
    return state, metadata


def _damaged(path: Path, got: str, expected: str) -> DataError:
    return DataError(f"{path} is damaged", got=got, expected=expected, fix=AGAIN)


def read_config(path: Path, metadata: Mapping[str, str], *, model: str, task_name: str) -> dict[str, Any]:
    """The constructor arguments in the metadata, if the weights are those of `model` on the task.

    Raises:
        DataError: they belong to another model or task, or the arguments are not a JSON object.
    """
    for key, wanted in (("model", model), ("task", task_name)):
        if metadata.get(key) != wanted:
            what = f"{path} holds the weights of another {key}"
            fix = f"Its weights come from: {metadata.get('command', 'unknown')}"[:300]
            raise DataError(what, got=repr(metadata.get(key)), expected=repr(wanted), fix=fix)
    try:
        config = json.loads(metadata["config"])
    except ValueError as error:
        raise _damaged(path, f"config: {error}", "a JSON object") from error
    if not isinstance(config, dict):
        raise _damaged(path, f"config: {type(config).__name__}", "a JSON object")
    return config


def read_seed(metadata: Mapping[str, str]) -> int | None:
    """The training seed in the metadata; None where it is no seed."""
    seed = metadata["seed"]
    return int(seed) if seed.isdecimal() and len(seed) <= 18 else None


def read_seconds(metadata: Mapping[str, str]) -> float | None:
    """The seconds of the training in the metadata, validation included; None where they are not told."""
    try:
        seconds = float(metadata["seconds"])
    except (KeyError, ValueError):
        return None
    return seconds if 0 <= seconds < math.inf else None


def validation_score_of(path: Path) -> float:
    """The score of a file's weights on the validation split, lower is better; infinite where none is told.

    Raises:
        DataError: the file is damaged or no weights file.
    """
    try:
        return float(json.loads(load_weights(path)[1]["validation_score"])["score"])
    except (KeyError, TypeError, ValueError):
        return math.inf


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Give `model`, which may be on the meta device, the tensors of `state`: all of them, of the right shapes.

    Raises:
        DataError: a tensor is missing, superfluous or of another shape or type.
    """
    wanted = model.state_dict()
    if wanted.keys() != state.keys():
        odd = sorted(wanted.keys() ^ state.keys())
        got = f"{len(odd)} tensors missing or superfluous: {', '.join(odd[:4])}"
        raise DataError(f"{path} does not fit the model", got=got, expected=f"{len(wanted)} tensors", fix=AGAIN)
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape or state[name].dtype != tensor.dtype:
            got = f"{name} {state[name].dtype} {tuple(state[name].shape)}"
            expected = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise DataError(f"{path} does not fit the model", got=got, expected=expected, fix=AGAIN)
    model.load_state_dict(dict(state), assign=True)
