"""Feature extractors: pinned networks whose weights ship with simbench and are known by their sha256."""
