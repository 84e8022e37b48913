"""Seeds derived by name: no two random streams of a run are the same."""

from __future__ import annotations

import hashlib


def derive_seed(root: int, *names: str | int) -> int:
    """The seed of a named stream, the first 31 bits of sha256: `derive_seed(0, "zn-geant3", "sample", 0, 3)`."""
    text = "/".join(str(part) for part in (root, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
