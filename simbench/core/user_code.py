"""Where code that simbench did not write failed, said in one sentence instead of a traceback."""

from __future__ import annotations

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from simbench.core.errors import GeneratorError, SimbenchError

_HERE = os.path.realpath(Path(__file__).parents[1]) + os.sep
_STDLIB = os.path.realpath(sysconfig.get_paths()["stdlib"]) + os.sep
_INSTALLED = tuple(os.path.realpath(sysconfig.get_paths()[key]) + os.sep for key in ("purelib", "platlib"))
_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the host or the device has no memory left."""
    message = str(error).lower()
    named = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    return named or any(text in message for text in _MEMORY)


def place(error: BaseException) -> str:
    """`file.py:12`: the innermost line of the user's own code that the exception passed; empty where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{os.path.basename(error.filename)}:{error.lineno}"
    stack = traceback.walk_tb(error.__traceback__)
    frames = [(os.path.realpath(frame.f_code.co_filename), line) for frame, line in stack]
    outside = [(path, line) for path, line in frames if os.path.isfile(path) and not path.startswith(_HERE)]
    foreign = [(path, line) for path, line in outside if path.startswith(_INSTALLED) or not path.startswith(_STDLIB)]
    own = [(path, line) for path, line in foreign if not path.startswith(_INSTALLED)]
    if not foreign:
        return ""
    path, line = own[-1] if own else foreign[0]
    return f"{os.path.basename(path)}:{line}"


def one_line(error: BaseException, limit: int = 300) -> str:
    """`ValueError: the message (file.py:12)`, on one line and not endless."""
    message = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    message = message if len(message) <= limit else message[: limit - 1] + "…"
    sentence = f"{type(error).__name__}: {message}" if message else type(error).__name__
    where = place(error)
    return f"{sentence} ({where})" if where else sentence


def user_error(
    error: BaseException, what: str, *, expected: str = "", fix: str = "", kind: type[SimbenchError] = GeneratorError
) -> SimbenchError:
    """The error to raise in place of an exception from user code."""
    if is_out_of_memory(error) and kind is GeneratorError:
        fix = "It ran out of memory: make fewer events at once inside `sample`, or pass `simbench run` a smaller "
        fix += "--block-size (scored events) and smaller --batches (timed ones), or another --device."
    return kind(what, got=one_line(error), expected=expected, fix=fix)


@contextlib.contextmanager
def user_code(what: str, kind: type[SimbenchError] = GeneratorError) -> Iterator[None]:
    """Turn whatever user code raises, SystemExit too, into one sentence; but not KeyboardInterrupt."""
    try:
        yield
    except SimbenchError:
        raise
    except (Exception, SystemExit) as error:
        fix = ""
        if isinstance(error, ModuleNotFoundError):
            fix = "Install the missing package into the environment that runs simbench."
        elif isinstance(error, SystemExit):
            fix = "Put what belongs to a script under `if __name__ == '__main__':`."
        raise user_error(error, what, fix=fix, kind=kind) from error
