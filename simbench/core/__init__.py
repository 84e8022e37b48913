"""What every other folder stands on: errors, files, seeds, events, progress, threads, devices, text and plugins.

It knows nothing of tasks, metrics or generators."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__,
    {
        "SimbenchError": "errors",
        "UsageError": "errors",
        "GeneratorError": "errors",
        "DataError": "errors",
        "NothingMeasuredError": "errors",
        "Events": "events",
        "concatenate": "events",
        "Progress": "progress",
        "derive_seed": "seeds",
        "parse_params": "parameters",
    },
)
