"""Reports: the HTML page of one or many results, its figures, and the table on a terminal."""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__, {"write_report": "page", "ReportEntry": "page", "print_result": "terminal", "Series": "style"}
)
