"""`simbench train`, as a function: from a spec to a file of weights."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from simbench.core.devices import choose_device
from simbench.core.errors import GeneratorError
from simbench.core.parameters import signature_of
from simbench.core.seeds import derive_seed
from simbench.generators.resolve import find, resolve
from simbench.tasks.base import Task
from simbench.training.plan import Plan, plan_for

PLAN_FIELDS = frozenset(field.name for field in dataclasses.fields(Plan))


def run_training(
    spec: str,
    task: Task,
    *,
    preset: str = "cpu",
    seed: int = 0,
    steps: int | None = None,
    out: Path | None = None,
    device: str = "cpu",
    params: Mapping[str, Any] | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Path:
    """Construct the model that `spec` names and train it on `task`.

    Args:
        preset: `cpu` or `paper`; the constructor is given it, too, if it takes a `preset`.
        steps: in place of the plan's.
        out: folder for weights, curve and checkpoint; `training/<model>-<task>/` if None.
        params: of the constructor; a name that it does not take and the plan has (`learning_rate`) goes to the plan.
        resume: go on with what `out` holds.
        progress: a bar and a line a validation, on stderr.

    Returns:
        The weights file.

    Raises:
        UsageError, GeneratorError, DataError: as `generators.resolve.resolve` and `training.loop.train`.
        TrainingStopped: Ctrl-C; the same call goes on from there.
    """
    from simbench.training.loop import train

    given = {key: str(value) for key, value in (params or {}).items()}
    target = find(spec)
    accepted = signature_of(target.value)
    plan_params = {key: text for key, text in given.items() if key in PLAN_FIELDS and key not in accepted}
    constructor_params = {key: text for key, text in given.items() if key not in plan_params}
    if "preset" in accepted:
        constructor_params.setdefault("preset", preset)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "training", "initial weights"))
        resolved = resolve(spec, constructor_params, target)
    model = resolved.generator
    if not isinstance(model, nn.Module):
        expected, fix = "a torch.nn.Module with a method `losses`", "See simbench.training.protocol.Trainable."
        raise GeneratorError(f"{spec} has nothing to train", got=type(model).__name__, expected=expected, fix=fix)
    overrides = {key: _number(text) for key, text in plan_params.items()}
    plan = plan_for(model, task.name, preset, **{**overrides, **({} if steps is None else {"steps": steps})})
    config = {key: value for key, value in resolved.effective_parameters().items() if key != "weights"}
    words = ["simbench", "train", spec, "--task", task.spec, "--preset", preset, "--seed", str(seed)]
    words += ["--steps", str(steps)] if steps is not None else []
    words += [word for key, text in given.items() for word in ("--param", f"{key}={text}")]
    name = str(getattr(model, "model_name", resolved.name))
    record = {"model": name, "config": json.dumps(config, sort_keys=True), "command": shlex.join(words)}
    folder, on = out or Path("training") / f"{name}-{task.name}", choose_device(device)
    return train(model, task, plan, out=folder, seed=seed, device=on, resume=resume, progress=progress, record=record)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
