"""Gates: golden values of a generator, and whether a new version is worse or slower than chance allows."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__,
    {"gate": "quality", "Gate": "quality", "read_golden": "golden", "update_golden": "golden", "run_for_gate": "run"},
)
