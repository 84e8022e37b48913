"""The verb that hands a generator over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simbench.cli import options
from simbench.cli.output import answer, read_options, stdout_kept_for_data
from simbench.tasks import DEFAULT


def deploy(
    generator: Annotated[str, typer.Argument(metavar="SPEC", help="As --generator of `simbench run`.")],
    out: Annotated[Path, options.folder("--out", "-o", help="Where the files go.")],
    task: options.Task = DEFAULT,
    param: options.Param = None,
    profile: Annotated[
        Literal["generic", "o2"],
        typer.Option("--profile", help="generic: ONNX and torch.export; o2: what ALICE's ZDC fast simulation loads."),
    ] = "generic",
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Hand a generator over to the program that will run it: a network in a file, with nothing random in it.

    The file has two inputs, noise and conditions; what it gives is compared with what the generator gives, on 1000
    events. Needs the packages of simbench[onnx].

    \b
    Examples:
      simbench deploy sae_ldm -o sae_ldm
      simbench deploy sae_ldm --profile o2 -o sae_ldm_o2
      simbench run -g onnx:sae_ldm_o2/model.onnx --param output=log1p
    """
    from dataclasses import asdict

    from simbench.generators.deployment import deploy as hand_over
    from simbench.generators.resolve import resolve

    params, chosen = read_options(param, task, data_dir)
    with stdout_kept_for_data(json):
        made = hand_over(resolve(generator, params), chosen, profile, out)
    what = (
        f"{out}: {', '.join(made.files)}. {made.latent} numbers of noise an event. Of {made.parity_events} events "
        f"{made.differing:.1g} of the values differ between torch and onnxruntime. One event takes "
        f"{made.latency_ms:.2g} ms on one core."
    )
    log = " --param output=log1p" if profile == "o2" else ""
    answer(json, asdict(made), f"{what}\nMeasure it: simbench run --generator onnx:{out}/model.onnx --task {task}{log}")


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(deploy)
