"""The `simbench` command, also as `python -m simbench`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line and exit. Nothing heavy is imported before: Ctrl-C is one line during the imports, too."""
    try:
        signal.signal(signal.SIGINT, _interrupt)
        from simbench.cli.main import main as run

        run()
    except KeyboardInterrupt:
        _say()
        raise SystemExit(INTERRUPTED) from None


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """End at once during an import, raise KeyboardInterrupt at any other time.

    Some imports swallow it: torch then goes on without numpy.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _say()
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _say() -> None:
    cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar may have hidden it
    print(f"{cursor}Interrupted: nothing more is written.", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
