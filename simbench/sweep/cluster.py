"""The pool of a Dask cluster: one that is started here, on this machine or by a batch system, or one that runs already.

A worker does one job at a time and owns its cores. It offers them as the Dask resource `cores`: a job that measures
speeds takes them all, so that no other can share them.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from simbench.core.errors import SimbenchError, UsageError
from simbench.core.plugins import did_you_mean
from simbench.core.progress import Progress
from simbench.core.spread import RECONNECTING, connect
from simbench.core.threads import torch_threads
from simbench.core.version import __version__
from simbench.evaluation.jobs import Ended, Job
from simbench.sweep.plan import Asked, ClusterTable, Step
from simbench.sweep.run import do

try:
    import dask.config
    import dask.utils
    from distributed import CancelledError, Client, KilledWorker, LocalCluster, WorkerPlugin, wait
except ImportError as error:
    fix = "pip install 'simbench[dask]'"
    raise UsageError("a sweep needs Dask, which is not installed", got=str(error), fix=fix) from error

CORES = "cores"
"""The resource that a worker offers."""

KILLS = 3
"""Workers that a job may bring down before it counts as failed."""

SECONDS = 1.0
"""How long `wait` waits at most, so that the table on the screen moves."""

SILENCE = 60.0
"""Seconds without a worker after which the user is told."""

BATCH_SYSTEMS = {"slurm": "SLURMCluster", "htcondor": "HTCondorCluster", "pbs": "PBSCluster"}
"""The classes of dask-jobqueue."""


class ClusterLostError(SimbenchError):
    """The scheduler does not answer any more."""

    exit_code: ClassVar[int] = 5


@dataclass(frozen=True)
class Place:
    """Where a local worker works: the cores of this machine that it owns, by the worker's name, and its log."""

    cores: tuple[tuple[int, ...], ...]
    logs: Path

    def of(self, name: object) -> tuple[int, ...]:
        """The cores of a worker."""
        return self.cores[int(str(name)) % len(self.cores)]


class _Settle(WorkerPlugin):
    """Brings a new local worker onto its cores, and what it prints into its log."""

    name = "simbench"

    def __init__(self, place: Place) -> None:
        self.place = place

    def setup(self, worker: Any) -> None:
        log = os.open(self.place.logs / f"worker-{worker.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        if hasattr(os, "sched_setaffinity"):
            for thread in os.listdir("/proc/self/task"):
                with contextlib.suppress(OSError):  # it has ended
                    os.sched_setaffinity(int(thread), self.place.of(worker.name))


def on_worker(step: Step, asked: Asked, cores: int, perform: Callable[[Step, Asked, Progress], Ended] = do) -> Ended:
    """Do a step in a worker, on as many threads as it has cores."""
    os.chdir(asked.folder)
    with contextlib.redirect_stdout(sys.stderr), torch_threads(cores):
        return perform(step, asked, Progress(quiet=True))


def version_here() -> str:
    """The version of simbench that a worker has."""
    return __version__


class DaskPool:
    """Steps on the workers of a cluster, one at a time on each. `note` tells the user that there are none."""

    def __init__(self, client: Client, asked: Asked, cores: int, note: Callable[[str], None]) -> None:
        self.client, self.asked, self.cores, self.note = client, asked, cores, note
        self._known: set[str] = set()
        self._noted = time.monotonic()
        self._running: dict[Any, Step] = {}
        self._tries = itertools.count()
        self._kills: Counter[str] = Counter()

    def workers(self) -> int:
        """How many workers there are at this moment. Raises UsageError where one cannot do these jobs."""
        found = self.client.scheduler_info(n_workers=-1)["workers"]
        for address in found.keys() - self._known:
            self._check(address, found[address])
            self._known.add(address)
        if found:
            self._noted = time.monotonic()
        elif time.monotonic() - self._noted > SILENCE:
            self._noted = time.monotonic()
            self.note("No worker is there: the sweep waits for one.")
        return len(found)

    def _check(self, address: str, worker: Mapping[str, Any]) -> None:
        if worker["nthreads"] != 1 or worker["resources"].get(CORES) != self.cores:
            got = f"{worker['nthreads']} threads and the resources {worker['resources']} at {address}"
            fix = f"Start workers by: dask worker ADDRESS --nthreads 1 --resources {CORES}={self.cores}"
            raise UsageError("a worker would do several jobs on the same cores", got=got, fix=fix)
        try:
            (version,) = self.client.run(version_here, workers=[address]).values()
        except OSError:  # it is gone again
            return
        except ImportError as error:
            what, fix = f"the worker at {address} cannot import simbench", "Install the same version there."
            raise UsageError(what, got=str(error), fix=fix) from error
        if version != __version__:
            what, fix = f"the worker at {address} has another simbench", "Install the same version there."
            raise UsageError(what, got=version, expected=__version__, fix=fix)

    def room(self) -> int:
        """Workers without a job. A job behind another on one worker would be blamed for that one's crash."""
        return max(0, self.workers() - len(self._running)) if self._connected() else 0

    def start(self, step: Step) -> None:
        """Send a step to a worker."""
        timed = isinstance(step.job, Job) and step.job.samples is None and self.asked.run.timing
        future = self.client.submit(
            on_worker,
            step,
            self.asked,
            self.cores,
            key=f"{step.key}-{next(self._tries)}",
            resources={CORES: self.cores if timed else 1},
            pure=False,
        )
        self._running[future] = step

    def wait(self) -> Iterator[tuple[Step, Ended | None]]:
        """Steps that have ended within `SECONDS`."""
        if self._running and self._connected():
            with contextlib.suppress(TimeoutError, CancelledError):
                wait(list(self._running), timeout=SECONDS, return_when="FIRST_COMPLETED")
        else:
            time.sleep(SECONDS)
        for future in [future for future in self._running if future.done()]:
            step = self._running.pop(future)
            yield step, self._end(step, future)

    def _end(self, step: Step, future: Any) -> Ended | None:
        if future.cancelled() or future.status == "lost":
            return None
        error = future.exception()
        if error is None:
            ended: Ended = future.result()
            return ended
        if isinstance(error, KilledWorker):
            self._kills[step.key] += error.allowed_failures + 1
            if self._kills[step.key] < KILLS:
                return None
            what = f"it brought down {self._kills[step.key]} workers (out of memory, or a crash)"
            return Ended(None, f"GeneratorError: {what}. Run it alone: {self.asked.command(step.job)}", 3)
        return Ended.by(error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _connected(self) -> bool:
        """Whether the scheduler answers; Dask tries for `RECONNECTING` seconds. Raises ClusterLostError after that."""
        if self.client.status in ("closing", "closed"):
            fix = "Start it again; the same command then does what is left."
            raise ClusterLostError("the scheduler of the cluster does not answer any more", fix=fix)
        return bool(self.client.status == "running")


@contextlib.contextmanager
def dask_pool(table: ClusterTable, asked: Asked, logs: Path, note: Callable[[str], None] = print) -> Iterator[DaskPool]:
    """The pool that a plan's `[cluster]` asks for; what is started for it ends with it.

    Raises:
        UsageError: more cores than there are, options that the batch system does not know, or no such scheduler.
    """
    _check_memory(table)
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            dask.config.set(
                {
                    # a job that is tried again by Dask itself may stand behind another, and be blamed for its crash
                    "distributed.scheduler.allowed-failures": 0,
                    "distributed.comm.timeouts.connect": f"{RECONNECTING}s",
                    "distributed.logging.distributed": "critical",
                }
            )
        )
        if table.scheduler is not None:
            client = stack.enter_context(connect(table.scheduler))
            yield DaskPool(client, asked, table.cores or _cores_of(client), note)
            return
        place = None
        if table.kind == "local":
            place = Place(shares(table), logs)
            logs.mkdir(parents=True, exist_ok=True)
            cluster, cores = _local(table, place), len(place.cores[0])
        else:
            cluster, cores = batch_cluster(table), table.cores or 1
            cluster.scale(jobs=table.workers)
        client = stack.enter_context(connect(stack.enter_context(cluster)))
        if place is not None:
            client.register_plugin(_Settle(place))
        yield DaskPool(client, asked, cores, note)


def _check_memory(table: ClusterTable) -> None:
    if table.memory is not None:
        try:
            dask.utils.parse_bytes(table.memory)
        except ValueError as error:
            raise UsageError("memory is no size", got=repr(table.memory), expected='such as "8GB"') from error


def shares(table: ClusterTable) -> tuple[tuple[int, ...], ...]:
    """The cores of this machine that each worker owns. Raises UsageError where there are too few."""
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    cores = table.cores or len(there) // table.workers
    if cores < 1 or cores * table.workers > len(there):
        what, got = "the cores are too few for the workers", f"{table.workers} workers with {max(cores, 1)} cores each"
        fix = "Lower `workers` or `cores` in [cluster]: jobs would measure each other."
        raise UsageError(what, got=got, expected=f"at most {len(there)} cores in all", fix=fix)
    return tuple(tuple(there[place * cores : (place + 1) * cores]) for place in range(table.workers))


def _local(table: ClusterTable, place: Place) -> LocalCluster:
    cores = str(len(place.cores[0]))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), cores)
    with dask.config.set({"distributed.nanny.pre-spawn-environ": threads}):
        return LocalCluster(
            n_workers=table.workers,
            threads_per_worker=1,
            resources={CORES: len(place.cores[0])},
            memory_limit=table.memory or 0,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        )


def batch_cluster(table: ClusterTable) -> Any:
    """The cluster of a batch system: each of its jobs is one worker. Raises UsageError for what it does not know."""
    import dask_jobqueue

    kind = getattr(dask_jobqueue, BATCH_SYSTEMS[table.kind])
    known = [*inspect.signature(kind.job_cls.__init__).parameters, *inspect.signature(kind.__init__).parameters]
    known += [*inspect.signature(dask_jobqueue.core.Job.__init__).parameters]
    known += [*inspect.signature(dask_jobqueue.core.JobQueueCluster.__init__).parameters]
    taken = ("self", "args", "kwargs", "base_class_kwargs", "job_kwargs", "cores", "memory", "processes", "n_workers")
    for name in table.options:
        if name not in known or name in taken:
            what, fix = f"{table.kind} has no option {name!r}", did_you_mean(name, set(known) - set(taken))
            raise UsageError(what, fix=fix or "docs/sweep.md says which there are.")
    if table.memory is None:
        what = f"{table.kind} has to be told how much memory a worker needs"
        raise UsageError(what, fix='For example memory = "8GB" in [cluster].')
    cores = table.cores or 1
    own = ["--nthreads", "1", "--resources", f"{CORES}={cores}"]
    options = {"scheduler_options": {"dashboard_address": ":0"}, **table.options}
    extra = [*options.pop("worker_extra_args", []), *own]
    try:
        return kind(cores=cores, memory=table.memory, processes=1, worker_extra_args=extra, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the options of {table.kind} are wrong", got=str(error)[:300]) from error


def _cores_of(client: Client) -> int:
    """The cores that the workers of a cluster offer; of one without workers 1."""
    found: Sequence[Any] = list(client.scheduler_info(n_workers=-1)["workers"].values())
    return int(found[0]["resources"].get(CORES, 1)) if found else 1
