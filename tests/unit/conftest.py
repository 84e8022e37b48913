"""Makes `tests/factories.py` importable: with pytest's importlib mode a test's neighbours are not on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
