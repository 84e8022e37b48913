"""Run a command and print what it took: seconds on the clock, CPU seconds, and the most memory of all its processes.

    python docs/cost_of.py COMMAND ...

Memory is the sum of the proportional set sizes, in which what processes share counts once, twice a second.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time

import psutil


def memory(process: psutil.Process) -> int:
    """Bytes of a process and of those that it started."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total


def main(command: list[str]) -> int:
    """Returns the exit code of the command."""
    start, most = time.monotonic(), 0
    running = subprocess.Popen(command)
    process = psutil.Process(running.pid)
    while running.poll() is None:
        most = max(most, memory(process))
        time.sleep(0.5)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, cpu = time.monotonic() - start, used.ru_utime + used.ru_stime
    print(f"{seconds:.0f} s, {cpu:.0f} CPU s, {most / 1e9:.2f} GB", file=sys.stderr)
    return running.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
