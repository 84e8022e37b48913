"""simbench: the benchmark suite for generative fast simulation."""

__version__ = "0.1.0"
