"""simbench: the benchmark suite for generative fast simulation."""

from simbench.core.lazy import public_names
from simbench.core.version import __version__ as __version__

__getattr__, __dir__, __all__ = public_names(__name__, {"load_results": "results.frame"})
