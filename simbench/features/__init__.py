"""Feature extractors: pinned networks (LeNet-5, Inception) that make vectors of events, each verified by its sha256."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__,
    {"LeNetFeatures": "extractors", "LeNetLabels": "extractors", "LeNetReadOut": "extractors", "LeNet5": "lenet"},
)
