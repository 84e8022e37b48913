"""The engines: programs that speak the protocol of transport.F, and generators that stand for one."""

from __future__ import annotations

import abc
import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from simbench.core.errors import GeneratorError, UsageError
from simbench.core.files import file_sha256
from simbench.core.plugins import entry_points
from simbench.core.threads import torch_threads
from simbench.generators.resolve import GROUP, resolve
from simbench.generators.session import Session
from simbench.simulation.children import last_words, same_modules
from simbench.simulation.particles import Particles
from simbench.tasks.zn import Geant3Task, ZnGeant3, data_file

EngineName = Literal["geant3", "geant4", "gflash"]
TRANSPORT = "SIMBENCH_ZN_TRANSPORT"
"""The environment variable that names the built zn_transport."""

MOST_PHOTONS = 2**16 - 1
CHECK_SECONDS = 120.0


class Showers(NamedTuple):
    """What an engine made: photons uint16 (n, *task.shape); CPU seconds of each event, float32 (n)."""

    photons: NDArray[np.uint16]
    seconds: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Engine(abc.ABC):
    """A Monte Carlo for the task, and what its record says of it.

    Attributes:
        engine, physics, cuts: as in `simbench.tasks.base.MonteCarlo`.
        measured: how an event's seconds are measured.
        block: events that are simulated, and kept, together; each block has a seed of its own.
        identity: what must be equal for the same seed to give the same events: checksums, versions.
        most_workers: blocks that may run side by side; None: as many as there are cores.
    """

    engine: str
    physics: str
    cuts: str
    measured: str
    block: int
    identity: Mapping[str, str]
    most_workers: int | None = None

    @abc.abstractmethod
    def simulate(self, particles: Particles, seed: int, folder: Path) -> Showers:
        """One shower of each particle; `folder` is empty and for this call alone.

        Raises:
            GeneratorError: the engine fails, or what it returns are no showers.
        """

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Around all calls of `simulate`; an exception within ends those that are under way in other threads."""
        yield


@dataclass(frozen=True, kw_only=True)
class Program(Engine):
    """A program called as `COMMAND PRIMARIES OUTPUT SEED DETECTOR`; transport.F says what is in the two files."""

    command: Sequence[str]
    detector: str
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """See Engine."""
        try:
            yield
        except BaseException:
            with self._lock:
                self._stopped.set()
                for process in self._running:
                    process.terminate()
            raise

    def simulate(self, particles: Particles, seed: int, folder: Path) -> Showers:
        """See Engine."""
        produce = importlib.import_module("simbench.data.zn_geant3.produce")
        lines = map(produce.transport_line, particles.conditions, particles.pdg)
        (folder / "in.txt").write_text("".join(lines), encoding="ascii")
        status = self._run(seed, folder)
        output = folder / "out.bin"
        size = output.stat().st_size if output.exists() else 0
        expected = len(particles) * produce.record(self.detector).itemsize
        if status or size != expected:
            ended = f"signal {-status}" if status < 0 else f"exit code {status}"
            got = f"{ended}, {size} bytes of output; its last words: {last_words(_end_of(folder / 'log.txt'))}"
            what = f"{self.engine} failed on {len(particles)} particles"
            fix = f"The program is {self.command[0]}: build or install it anew."
            raise GeneratorError(what, got=got, expected=f"exit code 0, {expected} bytes", fix=fix)
        events = np.fromfile(output, produce.record(self.detector))
        return _showers(self.engine, events["photons"], events["seconds"])

    def _run(self, seed: int, folder: Path) -> int:
        """The exit status of the program. In a process group of its own: Ctrl-C of the terminal is ours to handle."""
        command = [*self.command, "in.txt", "out.bin", str(seed), self.detector]
        with (folder / "log.txt").open("wb") as log:
            try:
                with self._lock:
                    if self._stopped.is_set():
                        return -1
                    process = subprocess.Popen(
                        command,
                        cwd=folder,
                        env=same_modules(),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        process_group=0,
                    )
                    self._running.add(process)
            except OSError as error:
                what = f"{command[0]} cannot be run"
                raise GeneratorError(what, got=error.strerror or str(error), fix=BUILD) from error
            status = process.wait()
        with self._lock:
            self._running.discard(process)
        return status


def _showers(engine: str, photons: NDArray[Any], seconds: NDArray[np.float64]) -> Showers:
    """Counts and seconds as they are kept. Raises GeneratorError where they are impossible."""
    low, high = photons.min(), photons.max()
    if low < 0 or high > MOST_PHOTONS:
        what = f"{engine} gave impossible photon counts"
        raise GeneratorError(what, got=f"{low:g} to {high:g}", expected=f"0 to {MOST_PHOTONS}")
    if not (np.isfinite(seconds).all() and seconds.min() >= 0):
        raise GeneratorError(f"{engine} gave impossible CPU seconds", got=f"{seconds.min():g} among them")
    return Showers(photons.astype(np.uint16), seconds.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class Generated(Engine):
    """A generator in the place of a Monte Carlo, on one thread; an event's seconds are those of its batch over N."""

    session: Session

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """See Engine."""
        with torch_threads(1):
            first = self.session.task.load("test").conditions[: self.block]
            self.session.sample(first, self.session.seed("warm-up"))  # what is loaded or compiled once costs no event
            yield

    def simulate(self, particles: Particles, seed: int, folder: Path) -> Showers:
        """See Engine."""
        conditions = torch.from_numpy(particles.conditions.astype(np.float32))
        start = time.process_time()
        samples = self.session.call(conditions, seed)
        seconds = (time.process_time() - start) / len(particles)
        photons = self.session.checked(samples, len(particles)).round().numpy()
        return _showers(self.engine, photons, np.full(len(particles), seconds))


def open_engine(name: EngineName, task: Geant3Task, transport: Path | None = None) -> Engine:
    """An engine, ready to simulate.

    Args:
        transport: the program zn_transport, for `geant3`; None: that of the variable SIMBENCH_ZN_TRANSPORT.

    Raises:
        UsageError: the program, the package or the generator is not there; the message says how to get it.
        GeneratorError: the generator cannot be set up.
    """
    if name == "geant3":
        return _geant3(task, transport)
    if name == "geant4":
        return _geant4(task)
    return generated(name, task)


SOURCES = data_file().with_name("zn_geant3")
BUILD = (
    "Build it (needs git, gfortran and cmake): git clone https://github.com/vmc-project/geant3 && "
    f"bash {SOURCES / 'build.sh'} geant3; then pass --transport ./zn_transport."
)


def _geant3(task: Geant3Task, transport: Path | None) -> Engine:
    given = transport or (Path(os.environ[TRANSPORT]) if os.environ.get(TRANSPORT) else None)
    if given is None:
        raise UsageError("--engine geant3 needs the program zn_transport", got="no --transport", fix=BUILD)
    found = shutil.which(given.absolute())
    if found is None:
        got = "no such file" if not given.exists() else "a folder" if given.is_dir() else "a file that is no program"
        raise UsageError(f"{given} is not the program zn_transport", got=got, fix=BUILD)
    recorded = task.monte_carlo
    return Program(
        engine=recorded.engine,
        physics=recorded.physics,
        cuts=recorded.cuts,
        measured="CPU seconds of each event, taken by the engine itself",
        block=10,
        identity={"transport_sha256": file_sha256(Path(found))},
        command=[found],
        detector=task.detector,
    )


GEANT4 = (
    "Install the package: pip install 'simbench[geant4]'. Its physics data (2 GB) are downloaded when it is first "
    "imported in a terminal: python -c 'import geant4_pybind'; where there is no network, set GEANT4_DATA_DIR to a "
    "folder that holds them."
)


def _geant4(task: Geant3Task) -> Engine:
    if task.detector != ZnGeant3.detector:
        what = "--engine geant4 has one geometry, that of zn-geant3"
        raise UsageError(what, got=f"--task {task.name}", fix="Use --engine geant3.")
    command = [sys.executable, "-m", "simbench.simulation.geant4"]
    try:
        done = subprocess.run(
            [*command, "--check"],
            env=same_modules(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
        )
        said = done.stdout.strip().splitlines() if done.returncode == 0 else []
        problem = last_words(done.stderr)
    except subprocess.TimeoutExpired:
        said, problem = [], f"no answer in {CHECK_SECONDS:g} s"
    if not said:
        raise UsageError("--engine geant4 cannot be used here", got=problem, fix=GEANT4)
    found: dict[str, str] = json.loads(said[-1])
    return Program(
        engine=found["version"],
        physics=found["physics"],
        cuts=found["cuts"],
        measured="CPU seconds of each event, taken around it in the process that runs Geant4",
        block=20,
        identity={"geant4": found["version"], "data": found["data"]},
        command=command,
        detector=task.detector,
    )


def generated(spec: str, task: Geant3Task) -> Engine:
    """The generator that `spec` names, as an engine. Raises UsageError, GeneratorError."""
    if ":" not in spec and spec not in entry_points(GROUP):
        fix = "It is one of simbench's baselines: install simbench again. `simbench generators` lists those there are."
        raise UsageError(f"the generator {spec} is not installed", fix=fix)
    resolved = resolve(spec)
    session = resolved.set_up(task)
    identity = {
        "source_sha256": resolved.source_sha256,
        "weights_sha256": resolved.weights_sha256(),
        "parameters": json.dumps(resolved.effective_parameters(), sort_keys=True),
    }
    return Generated(
        engine=" ".join(filter(None, (resolved.name, resolved.version))),
        physics="a generator: no transport",
        cuts="none",
        measured="CPU seconds of a batch of events on one thread, over their number",
        block=task.block_size,
        identity={key: value for key, value in identity.items() if value is not None},
        most_workers=1,
        session=session,
    )


def _end_of(log: Path) -> str:
    """The last 4 KB of a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return file.read().decode("utf-8", "replace")
