"""Options that several verbs share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

number = partial(typer.Option, min=1, metavar="N")
file = partial(typer.Option, metavar="FILE")
folder = partial(typer.Option, metavar="FOLDER")
name = partial(typer.Option, metavar="NAME")
spec = partial(typer.Option, "--generator", "-g", metavar="SPEC")
label = partial(typer.Option, "--name", metavar="LABEL")
LABEL = "What tables, reports and paths call it, in place of its own name"
TaskOption = partial(typer.Option, "--task", "-t", metavar="TASK")
Task = Annotated[
    str,
    TaskOption(
        help="What to generate: a name of `simbench tasks`, path/file.toml, path/file.py:Task or pkg.module:Task; "
        "options of the task follow it, as in zn-alice:split=wojnar,min_photons=10."
    ),
]
TaskOfResult = Annotated[
    str | None,
    TaskOption(help="path/file.toml, path/file.py:Task or pkg.module:Task, where the result's task is of one."),
]
Generator = Annotated[str, spec(help="As --generator of `simbench run`.")]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="KEY=VALUE",
        help="A constructor argument of the generator; repeatable. A value with commas stands in double quotes: "
        "'cuts=\"1,2\"'.",
    ),
]
Seed = Annotated[int, number("--seed", min=0, help="The root seed that all others are derived from.")]
Events = Annotated[int | None, number("--events", help="The first N test events instead of all.")]
Device = Annotated[str, name("--device", help="auto, cpu, cuda or cuda:N.")]
Devices = Annotated[
    str,
    typer.Option(
        "--devices", "--device", metavar="NAMES", help="auto, cpu, cuda or cuda:N; with commas, timed in turn."
    ),
]
Batches = Annotated[
    str | None,
    typer.Option(
        "--batches",
        "--batch-size",
        metavar="N,...",
        help="Time these batch sizes alone; scores do not change.  [default: 1,100,1000,10000 and the scoring block]",
    ),
]
BlockSize = Annotated[
    int | None,
    number(
        "--block-size",
        help="Events to score that are asked for in one call.  [default: the task's, see `simbench tasks NAME`]",
    ),
]
Precision = Annotated[str, name("--precision", help="fp32, bf16 (torch.autocast), or both with a comma.")]
Compile = Annotated[bool, typer.Option("--compile", help="Time it compiled by torch.compile, too.")]
MonteCarlo = Annotated[
    Path | None,
    file(
        "--monte-carlo",
        help="The speed-up is over this file of `simbench simulate`.  [default: over the recorded seconds]",
    ),
]
Fast = Annotated[bool, typer.Option("--fast", help="Leave out the slow metrics.")]
Out = Annotated[Path, folder("--out", "-o", help="Results go to FOLDER/<task>/<name>/<id>.json.")]
DataDir = Annotated[
    Path | None, folder("--data-dir", help="Where data that simbench does not ship are looked for first.")
]
Json = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout; progress stays on stderr.")]
