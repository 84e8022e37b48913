"""Processes of our own: what they see of this one, and what they said last."""

from __future__ import annotations

import os
import sys

from simbench.core.text import printable


def same_modules() -> dict[str, str]:
    """The environment of a Python process that imports the modules of this one, wherever it runs."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}


def last_words(output: str) -> str:
    """The last line of what a process wrote, safe to show."""
    lines = output.strip().splitlines()
    return printable(lines[-1], 300) if lines else "none"
