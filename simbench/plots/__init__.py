"""The figures of the report: pure functions of events and results, each returning a matplotlib Figure; no pyplot, no global state."""
