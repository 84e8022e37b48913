"""Generators: what one is, how a name becomes one, and the checks before it is measured."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__, {"Generator": "protocol", "Resolved": "resolve", "Session": "session", "check_generator": "contract"}
)
