"""Results: the file that a run leaves, many of them as one frame, their differences, and the words for their scores."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__,
    {
        "Result": "schema",
        "Measurement": "schema",
        "read_result": "schema",
        "write_result": "schema",
        "json_schema": "schema",
        "load_results": "frame",
        "Difference": "compare",
        "ranks": "ranking",
        "verdict": "words",
    },
)
