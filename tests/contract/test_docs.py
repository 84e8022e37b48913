"""What ARCHITECTURE.md and CONTRIBUTING.md name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = "simbench|tests|baselines|reference_models|leaderboards"


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_exists(page: str) -> None:
    named = re.findall(rf"`((?:{TOP})/[\w/.<>]+)`", (ROOT / page).read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [path for path in named if not list(ROOT.glob(re.sub(r"<\w+>", "*", path)))] == []


def test_every_module_on_the_way_of_the_data_exists() -> None:
    way = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## The way of the data")[2]
    named = re.findall(r"`(\w+/\w+)`", way.partition("##")[0])
    assert len(named) > 5
    assert [path for path in named if not (ROOT / "simbench" / f"{path}.py").is_file()] == []
