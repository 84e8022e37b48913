"""The self-test: negative controls, which metric finds each, and how each metric answers to stronger defects."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(__name__, {"controls": "run", "ControlResult": "run"})
