"""The Monte Carlo, live: `simbench simulate` drives an engine and measures what each of its events costs."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__, {"Engine": "engines", "open_engine": "engines", "Particles": "particles", "simulate": "run"}
)
