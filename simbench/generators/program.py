"""`cmd:PROGRAM`: a generator in any language, as a program that answers blocks of conditions with files of events.

The program is started once. For each block it reads one line of JSON from its standard input,

    {"seed": 17, "events": 1000, "task": "zn-geant3", "conditions": "/tmp/.../3.npy"}

and writes one line to its standard output: the path of an .npy file, or of an HDF5 file with a data set `samples`, of
(events, *task.shape) in task units. The folder of the conditions, (events, C) float32, is a scratch folder: what it
writes there is deleted once it is read. All else it has to say goes to its standard error. It ends when its input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import shutil
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import torch
from torch import Tensor

from simbench.core.containers import DAMAGED
from simbench.core.errors import GeneratorError, UsageError
from simbench.core.text import printable
from simbench.tasks.base import Task

QUOTED = 2000
"""Characters of the program's standard error that an error message quotes, the last ones."""


class Program:
    """A program that generates.

    Args:
        command: the program with its arguments, as a shell would split them; no shell is used.
        timeout: seconds that it may take for a block.
    """

    def __init__(self, command: str, timeout: float = 600.0) -> None:
        try:
            self.words = shlex.split(command)
        except ValueError as error:
            raise UsageError("cmd: cannot be split into words", got=command, fix=f"{error}.") from error
        if not self.words:
            raise UsageError("cmd: names no program", fix="For example cmd:./my_generator.")
        found = shutil.which(self.words[0])
        if found is None:
            there = Path(self.words[0]).is_file()
            fix = f"chmod +x {self.words[0]}" if there else "Write ./NAME for a program in this folder."
            raise UsageError("no such program" if not there else "not executable", got=self.words[0], fix=fix)
        if timeout <= 0:
            raise UsageError("--param timeout must be above 0 seconds", got=f"{timeout:g}")
        self.weights_path, self.timeout = Path(found), timeout
        self.running: _Running | None = None

    def setup(self, task: Task, device: torch.device) -> None:
        """Start the program."""
        self.task = task
        self.start()

    def start(self) -> _Running:
        """The program, started if it does not run."""
        if self.running is None:
            self.running = _Running(self.words)
        return self.running

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Events in task units, (event, *task.shape), for conditions (event, C)."""
        running = self.start()
        try:
            return self._answer(running, conditions, seed)
        except BaseException:  # where it stands in its work is not known any more
            self.running = None
            running.end()
            raise

    def _answer(self, running: _Running, conditions: Tensor, seed: int) -> Tensor:
        path = running.folder / "conditions.npy"
        np.save(path, conditions.cpu().numpy())
        asked = {"seed": seed, "events": len(conditions), "task": self.task.name, "conditions": str(path)}
        line = running.ask(json.dumps(asked), self.timeout)
        answer = Path(line)
        there = False
        with contextlib.suppress(OSError, ValueError):  # what it wrote may be no path at all
            there = answer.is_file()
        if not there:
            what, got = "did not answer with the path of a file", printable(line, 200) or "an empty line"
            fix = "Write the path alone to standard output, and all else to standard error."
            raise running.error(what, got=got, expected="an .npy or .h5 file", fix=fix)
        try:
            samples = _read(answer)
        except DAMAGED as error:
            got = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise running.error(f"wrote a file that cannot be read, {answer.name}", got=got) from error
        expected = (len(conditions), *self.task.shape)
        if samples.shape != expected:
            raise running.error("wrote events of another shape", got=str(samples.shape), expected=str(expected))
        if running.folder in answer.parents:
            answer.unlink(missing_ok=True)
        return torch.from_numpy(samples)


def _read(path: Path) -> Any:
    """The array of an .npy file, or `samples` of an HDF5 file."""
    if path.suffix in (".h5", ".hdf5"):
        with h5py.File(path, "r") as file:
            return file["samples"][()]
    return np.load(path, allow_pickle=False)


class _Running:
    """The program as it runs, with its scratch folder and what it says."""

    def __init__(self, words: list[str]) -> None:
        self.name = words[0]
        self.folder = Path(tempfile.mkdtemp(prefix="simbench-cmd-"))
        self.stderr = (self.folder / "stderr").open("w+b")
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=self.stderr, text=True)
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            fix = "A script needs a first line such as #!/usr/bin/env python3."
            raise UsageError(f"cmd:{self.name} cannot be started", got=str(error), fix=fix) from error
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_forward, args=(self.process.stdout, self.lines), daemon=True).start()
        self.end = weakref.finalize(self, _end, self.process, self.stderr, self.folder)

    def ask(self, line: str, timeout: float) -> str:
        """The program's answer to a line. Raises GeneratorError where there is none."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its missing answer says below
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        try:
            answer = self.lines.get(timeout=timeout)
        except queue.Empty:
            fix = "Pass --param timeout=SECONDS, or look whether it flushes its standard output after each line."
            raise self.error(f"gave no answer within {timeout:g} s", fix=fix) from None
        if not answer:
            code = self.process.wait()
            got = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise self.error("ended before it answered", got=got, expected="an answer to each line of its input")
        return answer.rstrip("\r\n")

    def error(self, what: str, *, got: str = "", expected: str = "", fix: str = "") -> GeneratorError:
        """The error, with the last words of the program's standard error."""
        self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(0, self.stderr.tell() - QUOTED))
        said = printable(" | ".join(self.stderr.read().decode("utf-8", "replace").strip().splitlines()[-5:]), QUOTED)
        quoted = f"Its standard error: {said}" if said else "It wrote nothing to its standard error."
        return GeneratorError(f"cmd:{self.name} {what}", got=got, expected=expected, fix=f"{fix} {quoted}".strip())


def _forward(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Each line of the stream, then an empty string."""
    with contextlib.suppress(ValueError):
        for line in stream:
            lines.put(line)
    lines.put("")


def _end(process: subprocess.Popen[str], stderr: IO[bytes], folder: Path) -> None:
    """Let the program end, or end it, and delete its folder."""
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    stderr.close()
    shutil.rmtree(folder, ignore_errors=True)
