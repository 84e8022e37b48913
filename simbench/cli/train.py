"""The verb that trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from simbench.cli import options
from simbench.cli.output import answer, stdout_kept_for_data
from simbench.tasks import DEFAULT


def train(
    model: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="A model with `sample` and `losses`: pkg.module:attr, file.py:attr or a name."
        ),
    ],
    task: options.Task = DEFAULT,
    param: options.Param = None,
    preset: Annotated[str, options.name("--preset", help="cpu (minutes on two cores) or paper (for a GPU).")] = "cpu",
    seed: Annotated[int, options.number("--seed", min=0, help="Of everything random in the training.")] = 0,
    steps: Annotated[int | None, options.number("--steps", help="In place of the preset's.")] = None,
    out: Annotated[
        Path | None,
        options.folder("--out", "-o", help="Weights, curve and checkpoint. [default: training/<model>-<task>]"),
    ] = None,
    device: options.Device = "auto",
    devices: Annotated[
        int | None,
        options.number("--devices", help="Train on so many GPUs of this machine at once, or in so many CPU processes."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with what the folder holds, if it is this training.")
    ] = True,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Train a model on a task.

    Shipped models and yours go through the same loop. Ctrl-C stops it; the same command goes on from there. On several
    devices, and under torchrun, the processes share each batch: docs/training.md.

    \b
    Examples:
      simbench train vae --task mnist
      simbench train mymodel.py:Model --steps 500 --param learning_rate=3e-4
      simbench train vae --preset paper --devices 4
      torchrun --nproc-per-node 4 -m simbench train vae --preset paper
    """
    if devices is not None or "WORLD_SIZE" in os.environ:  # torch reads it once: DDP warns of what the loop intends
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from simbench.core.parameters import parse_params
    from simbench.tasks import get_task
    from simbench.training.command import run_training
    from simbench.training.launch import repeated, speaks, together

    params, chosen = parse_params(param or []), get_task(task, data_dir)
    with stdout_kept_for_data(json), together(devices, device, repeated()) as own_device:
        weights = run_training(
            model,
            chosen,
            preset=preset,
            seed=seed,
            steps=steps,
            out=out,
            device=own_device,
            params=params,
            resume=resume,
        )
        answers = speaks()
    if not answers:
        return
    following = f"simbench run --generator {model} --task {task} --param weights={weights}"
    found = {"model": model, "task": task, "weights": str(weights)}
    answer(json, found, f"The weights are in {weights}. Measure them: {following}")


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(train)
