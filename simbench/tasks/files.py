"""Where data sets that simbench does not ship are looked for."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Where simbench keeps what it downloaded: `$XDG_CACHE_HOME/simbench`, or `~/.cache/simbench`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simbench"


def candidates(name: str, data_dir: Path | None) -> list[Path]:
    """The folders searched for the data set `name`: below `data_dir`, `$SIMBENCH_DATA` and the cache, each with and without `name`."""
    roots = [data_dir] if data_dir else []
    if os.environ.get("SIMBENCH_DATA"):
        roots.append(Path(os.environ["SIMBENCH_DATA"]))
    roots.append(cache_dir())
    return [folder for root in roots for folder in (root / name, root)]
