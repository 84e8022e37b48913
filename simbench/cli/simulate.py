"""The verb that makes Monte Carlo events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simbench.cli import options
from simbench.cli.output import answer, command_line, refuse_options, working
from simbench.tasks import DEFAULT


def simulate(
    engine: Annotated[
        Literal["geant3", "geant4", "gflash"],
        typer.Option("--engine", "-e", help="The Monte Carlo, or a parametrised one in its place."),
    ],
    events: Annotated[int, options.number("--events", "-n", help="How many.")],
    out: Annotated[Path, options.file("--out", "-o", help="A new .h5 file, or one that this command has begun.")],
    task: Annotated[str, options.TaskOption(help="Whose detector and particles: zn-geant3 or zp-geant3.")] = DEFAULT,
    transport: Annotated[
        Path | None,
        options.file(
            "--transport", help="geant3: the built zn_transport. [default: the variable SIMBENCH_ZN_TRANSPORT]"
        ),
    ] = None,
    primaries: Annotated[
        Literal["task", "chromo"],
        typer.Option("--primaries", help="The particles of the task, or new ones of p-p collisions (package chromo)."),
    ] = "task",
    conditions: Annotated[
        Literal["test", "train", "validation"] | None,
        typer.Option("--conditions", help="Of which split the particles are, in its order.  [default: test]"),
    ] = None,
    repeats: Annotated[
        int | None, options.number("--repeats", help="Events of each particle.  [default: as few as reach --events]")
    ] = None,
    workers: Annotated[
        int | None,
        options.number("--workers", help="Events side by side; they do not change them. [default: all cores]"),
    ] = None,
    seed: Annotated[int, options.number("--seed", min=0, help="Of everything random in the events.")] = 0,
    json: options.Json = False,
) -> None:
    """Make Monte Carlo events here, and measure what each one costs: showers of zn-geant3, or of zp-geant3.

    The file holds photons, conditions, pdg, condition_id and the CPU seconds of each event; its attributes say how they
    were made. Ctrl-C stops it; the same command goes on from there. Events of test conditions can be scored:
    `simbench score FILE`.

    \b
    Examples:
      simbench simulate --engine geant3 --transport ./zn_transport --events 500 --out geant3.h5
      simbench simulate --engine geant4 --events 500 --out geant4.h5
      simbench simulate --engine gflash --events 4000 --out gflash.h5
      simbench simulate --engine geant3 --events 1000 --primaries chromo --out new.h5
      simbench simulate --engine geant3 --task zp-geant3 --events 50 --out zp.h5
    """
    from simbench.core.errors import UsageError
    from simbench.simulation.engines import open_engine
    from simbench.simulation.particles import of_collisions, of_split
    from simbench.simulation.run import Request
    from simbench.simulation.run import simulate as simulate_events
    from simbench.simulation.summary import summary
    from simbench.tasks import get_task
    from simbench.tasks.zn import Geant3Task

    chosen = get_task(task)
    if not isinstance(chosen, Geant3Task):
        what, fix = f"no Monte Carlo of the task {chosen.name} is here", "Choose one of these."
        raise UsageError(what, expected="--task zn-geant3 or zp-geant3", fix=fix)
    if primaries == "chromo":
        refuse_options("--primaries chromo makes its own particles", conditions=conditions)
    if engine != "geant3":
        refuse_options(f"--engine {engine} needs no such program", transport=transport)
    if out.suffix not in (".h5", ".hdf5"):
        raise UsageError(f"{out}: unknown kind of file", got=repr(out.suffix), expected=".h5 or .hdf5")
    split = conditions or "test"
    particles = "chromo" if primaries == "chromo" else split
    request = Request(engine=engine, particles=particles, events=events, repeats=repeats, seed=seed)
    with working(json) as progress:
        simulate_events(
            open_engine(engine, chosen, transport),
            chosen,
            request,
            lambda: (
                of_collisions(chosen, events, repeats, seed)
                if primaries == "chromo"
                else of_split(chosen, split, events, repeats)
            ),
            out,
            progress,
            workers=workers,
            command=command_line(),
        )
        found = summary(out, chosen)
    answer(json, found.data, *found.lines)


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(simulate)
