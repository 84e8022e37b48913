"""The processes of one training: started here (`simbench train --devices 2`), or by `torchrun`, and joined."""

from __future__ import annotations

import contextlib
import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO, ClassVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from simbench.core.devices import choose_device
from simbench.core.errors import SimbenchError, UsageError
from simbench.core.text import printable
from simbench.core.threads import check_processes
from simbench.training.processes import Group, in_group, sharing

PATIENCE = datetime.timedelta(hours=2)
"""How long a process waits for the others: they do while the first one validates."""

ENDING = 30.0
"""Seconds that the other processes have to end by themselves."""

STORE = "SIMBENCH_TRAINING_PORT"
"""The variable that tells a process that was started here where the first one waits for it."""

JOINED = "joined"


class ProcessEndedError(SimbenchError):
    """One of the processes of a training has ended before the others."""

    exit_code: ClassVar[int] = 5


@contextlib.contextmanager
def together(devices: int | None, device: str, command: Sequence[str]) -> Iterator[str]:
    """Processes that train together within the block; gives the device of this one.

    Those that `torchrun` has started find each other. Otherwise this process starts the others by `command`, on this
    machine, and ends them with the block.

    Args:
        devices: how many: each has a GPU of its own, or they share the CPU. None: as many as were started, one else.
        device: `auto`, `cpu` or `cuda`; with a single process also `cuda:1`.

    Raises:
        UsageError: there are fewer GPUs, or fewer cores, or another number of processes was started.
        ProcessEndedError: another process has ended within the block.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1 and devices not in (None, started):
        what, fix = "--devices is not what was launched", "Leave out --devices."
        raise UsageError(what, got=f"--devices {devices}", expected=str(started), fix=fix)
    if started > 1:
        rank, here = int(os.environ["RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", started))
        joined = Group(started, rank, here, int(os.environ.get("LOCAL_RANK", rank)))
        store = _store(int(os.environ[STORE]), started) if STORE in os.environ else None
        with _joined(joined, device, store) as own_device:
            yield own_device
    elif devices is not None and devices > 1:
        if _device_of(Group(devices, 0, devices), device) == "cpu":
            check_processes("--devices", devices)
        store = _store(0, devices)
        with _Others(devices, command, store) as others:
            others.wait_for_all()
            try:
                with _joined(Group(devices, 0, devices), device, store) as own_device:
                    yield own_device
            except RuntimeError as error:
                raise others.blamed() or error from error
    else:
        yield choose_device(device)


def _store(port: int, count: int) -> TCPStore:
    """Where the processes of this machine find each other; port 0: a free one, of the first process."""
    return TCPStore("127.0.0.1", port, count, port == 0, timeout=PATIENCE, wait_for_workers=False)


@contextlib.contextmanager
def _joined(joined: Group, device: str, store: TCPStore | None) -> Iterator[str]:
    own_device = _device_of(joined, device)
    backend = "nccl" if own_device.startswith("cuda") else "gloo"
    if store is not None and joined.rank:
        store.add(JOINED, 1)
    if backend == "nccl":
        torch.cuda.set_device(own_device)
    dist.init_process_group(backend, store=store, rank=joined.rank, world_size=joined.count, timeout=PATIENCE)
    try:
        with in_group(joined):
            yield own_device
    finally:
        dist.destroy_process_group()


def _device_of(joined: Group, device: str) -> str:
    """The device of a process. Raises UsageError where there are too few."""
    if device not in ("auto", "cpu", "cuda"):
        expected = "auto, cpu or cuda: each process takes a GPU of its own"
        raise UsageError("several devices cannot be one", got=f"--device {device}", expected=expected)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and gpus == 0):
        return "cpu"
    if gpus < joined.here:
        fix = "Lower --devices, or take --device cpu."
        raise UsageError("there are too few GPUs", got=str(gpus), expected=str(joined.here), fix=fix)
    return f"cuda:{joined.local_rank}"


class _Others:
    """The other processes of a training on this machine, started by the first one."""

    def __init__(self, count: int, command: Sequence[str], store: TCPStore) -> None:
        self.count, self.command, self.store = count, command, store
        self.started: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []

    def __enter__(self) -> _Others:
        for rank in range(1, self.count):
            known = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.count, "LOCAL_WORLD_SIZE": self.count}
            words = {name: str(value) for name, value in {**known, STORE: self.store.port}.items()}
            said = tempfile.TemporaryFile()
            process = subprocess.Popen(
                self.command, env={**os.environ, **words}, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            self.started.append((process, said))
        return self

    def __exit__(self, *exception: object) -> None:
        deadline = time.monotonic() + ENDING
        for process, said in self.started:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            said.close()

    def wait_for_all(self) -> None:
        """Until all are there. Raises ProcessEndedError where one has ended instead."""
        while self.store.add(JOINED, 0) < self.count - 1:
            for process, _ in self.started:
                if process.poll() is not None and (error := self.blamed()):
                    raise error
            time.sleep(0.05)

    def blamed(self) -> ProcessEndedError | None:
        """The error of the process that has ended too early, if one has."""
        time.sleep(0.5)
        for rank, (process, said) in enumerate(self.started, 1):
            if process.poll():
                said.seek(0)
                lines = said.read()[-4000:].decode(errors="replace").strip().splitlines()
                got = f"exit code {process.returncode}" + (f", {printable(lines[-1], 300)}" if lines else "")
                what = f"process {rank + 1} of {self.count} has ended before the others"
                return ProcessEndedError(what, got=got, fix="The same command goes on from the last validation.")
        return None


def repeated() -> list[str]:
    """The command that this process was started by, for the others."""
    return [sys.executable, "-m", "simbench", *sys.argv[1:]]


def speaks() -> bool:
    """Whether this process is the one that answers the user."""
    return sharing().rank == 0
