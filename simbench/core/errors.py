"""The errors a user can meet: each says what is wrong, what was got, what was expected and how to mend it."""

from __future__ import annotations

import os
import traceback
from typing import ClassVar

INTERNAL_ERROR = 70
"""Exit code of what is a defect of simbench."""


class SimbenchError(Exception):
    """Base of every error that simbench raises on purpose.

    `what` names the thing that is wrong; `got`, `expected` and `fix` complete the sentence and may be left out.
    `exit_code` is what the command line exits with.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, got: str = "", expected: str = "", fix: str = "") -> None:
        self.what, self.got, self.expected, self.fix = what, got, expected, fix
        clauses = [f"got {got}" if got else "", f"expected {expected}" if expected else ""]
        detail = ", ".join(clause for clause in clauses if clause)
        sentence = f"{what}: {detail}" if detail else what
        super().__init__(f"{sentence.rstrip('.')}. {fix}".strip())


class UsageError(SimbenchError):
    """The request itself makes no sense: an unknown name, an option out of range, a folder that cannot be written."""

    exit_code = 2


class GeneratorError(SimbenchError):
    """A generator that cannot be loaded, or whose events are not what the task asks for."""

    exit_code = 3


class DataError(SimbenchError):
    """Data, weights or provenance that are missing, damaged or belong to something else."""

    exit_code = 4


class NothingMeasuredError(SimbenchError):
    """A run whose primary metrics have no value."""

    exit_code = 5


def print_traceback(error: BaseException) -> None:
    """The traceback of an error on stderr, with the user's own behind it, where SIMBENCH_DEBUG=1 asks for it."""
    if os.environ.get("SIMBENCH_DEBUG") == "1":
        traceback.print_exception(error)
