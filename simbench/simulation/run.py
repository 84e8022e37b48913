"""The loop: blocks of events on several workers, each kept as soon as it is there; stop at any time and go on later.

While it runs, `FILE.parts/` holds the particles, the request and one npz a block. In the end they become FILE.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from simbench.core.errors import GeneratorError, SimbenchError, UsageError
from simbench.core.files import check_new, read_bytes, replace_text, replaced_file
from simbench.core.progress import Progress
from simbench.core.seeds import derive_seed
from simbench.core.text import printable
from simbench.core.threads import check_processes
from simbench.core.version import __version__
from simbench.evaluation.provenance import cpu_model
from simbench.samples.monte_carlo import MonteCarloEvents, MonteCarloFileRecord, read_request, write_monte_carlo
from simbench.simulation.engines import Engine
from simbench.simulation.particles import Particles
from simbench.tasks.base import Task

REQUEST, PARTICLES = "request.json", "particles.npz"


class SimulationStopped(SimbenchError):
    """Ctrl-C: the simulation can go on."""

    exit_code: ClassVar[int] = 130


@dataclass(frozen=True)
class Request:
    """What determines the events of a file.

    Attributes:
        particles: the split whose conditions are simulated, or `chromo`.
        events, repeats: how many, and of each particle; None: see `simbench.simulation.particles`.
    """

    engine: str
    particles: str
    events: int
    repeats: int | None
    seed: int

    def text(self, task: Task, engine: Engine) -> str:
        """The request with the versions of task and engine, as JSON."""
        return json.dumps({**vars(self), "task": f"{task.name} {task.version}", **engine.identity}, sort_keys=True)


def simulate(
    engine: Engine,
    task: Task,
    request: Request,
    draw: Callable[[], Particles],
    out: Path,
    progress: Progress,
    *,
    workers: int | None = None,
    command: str = "",
) -> None:
    """Simulate the events of a request and write them to `out`; go on with what an earlier call has left.

    Args:
        draw: gives the particles, where the simulation is new.
        out: the file of `simbench.samples.monte_carlo`; with all events of this request there is nothing to do.
        workers: blocks side by side; None: as many as cores, or as the engine allows. They do not change the events.
        command: for the record.

    Raises:
        UsageError: `out` holds something else, or cannot be written; there are fewer cores than `workers`.
        GeneratorError: the engine failed; the blocks that are done are kept.
        SimulationStopped: Ctrl-C; the same call goes on from there.
    """
    text = request.text(task, engine)
    if out.exists():
        _check_same(out, read_request(out), text)
        progress.note(f"{out} is complete: nothing is simulated.")
        return
    check_new(out)
    check_processes("--workers", workers or 1)
    parts = Parts(out.with_name(f"{out.name}.parts"))
    particles = parts.begin(out, text, draw)
    count = min(workers or os.cpu_count() or 1, engine.most_workers or request.events)
    blocks = range(-(-len(particles) // engine.block))
    todo = [block for block in blocks if not parts.path(block).exists()]
    if len(todo) < len(blocks):
        progress.note(f"Going on: {len(blocks) - len(todo)} of {len(blocks)} blocks of events are there.")

    def rows_of(block: int) -> slice:
        return slice(block * engine.block, (block + 1) * engine.block)

    def one(block: int) -> int:
        seed = derive_seed(request.seed, task.name, "simulate", block)
        with parts.scratch() as folder:
            showers = engine.simulate(particles[rows_of(block)], seed, folder)
        parts.keep(block, photons=showers.photons, seconds=showers.seconds, cpu=machine(), workers=count)
        return len(showers.seconds)

    pool = ThreadPoolExecutor(count)
    try:
        with engine.working(), progress.step("simulating", len(particles)) as advance:
            advance(sum(len(particles[rows_of(block)]) for block in blocks if block not in todo))
            for future in as_completed([pool.submit(one, block) for block in todo]):
                advance(future.result())
    except BaseException as error:
        pool.shutdown(cancel_futures=True)
        if isinstance(error, KeyboardInterrupt):
            done = sum(parts.path(block).exists() for block in blocks)
            what = f"stopped: {done} of {len(blocks)} blocks of events are kept in {parts.folder}"
            raise SimulationStopped(what, fix="The same command goes on from there.") from None
        raise
    pool.shutdown()
    _assemble(out, parts, len(blocks), particles, _record(engine, task, request, text, command), engine.block)


def machine() -> str:
    """The processor that an event is simulated on."""
    return f"{cpu_model()}, 1 core of {os.cpu_count() or 1}"


@dataclass(frozen=True)
class Parts:
    """The folder of a simulation that is under way."""

    folder: Path

    def begin(self, out: Path, text: str, draw: Callable[[], Particles]) -> Particles:
        """The particles of the request: those in the folder, or new ones. Raises UsageError where it holds another."""
        request, particles = self.folder / REQUEST, self.folder / PARTICLES
        if request.exists():
            _check_same(out, read_bytes(request).decode("utf-8", "replace"), text)
        else:
            drawn = draw()
            with replaced_file(particles) as scratch, scratch.open("wb") as file:
                np.savez_compressed(file, **vars(drawn))
            replace_text(request, text)
        with np.load(particles, allow_pickle=False) as stored:
            return Particles(**stored)

    def path(self, block: int) -> Path:
        """Where a block is kept."""
        return self.folder / f"block-{block:06d}.npz"

    def keep(self, block: int, **values: Any) -> None:
        """Keep a block: whole or not at all."""
        with replaced_file(self.path(block)) as scratch, scratch.open("wb") as file:
            np.savez_compressed(file, **values)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder for an engine."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="scratch-") as folder:
            yield Path(folder)

    def remove(self) -> None:
        """Remove what a simulation leaves here, and the folder if it is empty then."""
        for path in (self.folder / REQUEST, self.folder / PARTICLES, *self.folder.glob("block-*.npz")):
            path.unlink(missing_ok=True)
        for path in (*self.folder.glob("scratch-*"), *self.folder.glob(".*.tmp")):  # of a killed process
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def _check_same(out: Path, there: str, wanted: str) -> None:
    """Refuse to go on with another simulation."""
    try:
        old: Mapping[str, Any] = dict(json.loads(there))
    except (ValueError, TypeError):
        old = {}
    new = json.loads(wanted)
    differs = next((name for name in {**new, **old} if old.get(name) != new.get(name)), None)
    if differs is not None:
        raise UsageError(
            f"{out} belongs to another simulation",
            got=f"{differs} {printable(str(new.get(differs)), 80)}",
            expected=printable(str(old.get(differs)), 80),
            fix="Give the command that began it, or choose another --out.",
        )


def _record(engine: Engine, task: Task, request: Request, text: str, command: str) -> dict[str, Any]:
    """The record, but for what is known when all events are there."""
    return {
        "engine": engine.engine,
        "physics": engine.physics,
        "cuts": engine.cuts,
        "measured": engine.measured,
        "threads": 1,
        "task": task.name,
        "task_version": task.version,
        "particles": request.particles,
        "seed": request.seed,
        "request": text,
        "simbench": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command[:10_000],
    }


def _assemble(out: Path, parts: Parts, blocks: int, particles: Particles, record: dict[str, Any], size: int) -> None:
    """Put the blocks into one file, and remove them."""

    def stored() -> Iterator[MonteCarloEvents]:
        for block in range(blocks):
            rows = particles[slice(block * size, (block + 1) * size)]
            with np.load(parts.path(block), allow_pickle=False) as part:
                yield MonteCarloEvents(part["photons"], **vars(rows), mc_seconds=part["seconds"])

    total, machines, workers = 0.0, set[str](), set[int]()
    for block in range(blocks):
        with np.load(parts.path(block), allow_pickle=False) as part:
            total += float(part["seconds"].sum(dtype=np.float64))
            machines.add(str(part["cpu"]))
            workers.add(int(part["workers"]))
    if total == 0:
        what, fix = f"{record['engine']} measured no CPU seconds at all", "Look at how it takes them."
        raise GeneratorError(what, got=f"0 s for {len(particles)} events", fix=fix)
    record |= {
        "events": len(particles),
        "seconds_per_event": total / len(particles),
        "cpu": "; ".join(sorted(machines))[:500],
        "workers": ", ".join(map(str, sorted(workers))),
    }
    record["measured"] += f", {record['workers']} at a time; {of_what(particles, record['particles'])}"
    write_monte_carlo(out, stored(), MonteCarloFileRecord(**record))
    parts.remove()


def of_what(particles: Particles, source: str) -> str:
    """`500 events: 1 of each of 500 test conditions`."""
    conditions = len(np.unique(particles.condition_id))
    kind = "particles of Sibyll 2.3d" if source == "chromo" else f"{source} conditions"
    return f"{len(particles)} events: {len(particles) // conditions} of each of {conditions} {kind}"
