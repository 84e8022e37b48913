"""simbench: the benchmark suite for generative fast simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_results"]

if TYPE_CHECKING:
    from simbench.runs import load_results


def __getattr__(name: str) -> Any:
    """What needs heavy imports, made when it is first asked for."""
    if name == "load_results":
        from simbench.runs import load_results

        return load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
