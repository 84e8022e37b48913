"""Files of samples: events that a generator made, written by simbench or by another program; Monte
Carlo events and what they cost."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__,
    {
        "SampleSet": "files",
        "read_samples": "files",
        "write_samples": "files",
        "MonteCarloFile": "monte_carlo",
        "read_record": "monte_carlo",
        "keep_samples": "kept",
        "kept_samples": "kept",
        "read_repetitions": "repetitions",
    },
)
