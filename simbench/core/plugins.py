"""Names of things that packages register, and what to say when a name is unknown."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from simbench.core.errors import GeneratorError, UsageError


@functools.cache
def entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Registered entry points of a group, by name; nothing is imported."""
    return {point.name: point for point in metadata.entry_points(group=group)}


def load_entry_point(point: metadata.EntryPoint) -> Any:
    """The object behind an entry point. Raises GeneratorError where its module fails to import."""
    try:
        return point.load()
    except Exception as error:
        what = f"the registered {point.name!r} ({point.value}) cannot be loaded"
        fix = "Mend or uninstall the package that registers it."
        raise GeneratorError(what, got=f"{type(error).__name__}: {error}", fix=fix) from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'vae'?`, or an empty string where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that nothing is registered under."""
    known = sorted(known)
    return UsageError(
        f"unknown {kind}", got=repr(name), expected=f"one of {', '.join(known)}", fix=did_you_mean(name, known)
    )
