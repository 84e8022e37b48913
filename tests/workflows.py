"""The workflows below .github, and what their steps run: so that tests run the very same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / ".github" / "workflows"


def workflow(name: str) -> dict[str, Any]:
    """A workflow; its triggers are under `on`, which YAML reads as true."""
    loaded = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in loaded.items()}


def runs(name: str, job: str) -> dict[str, str]:
    """What the steps of a job run, by the step's name, in their order."""
    return {step["name"]: step["run"] for step in workflow(name)["jobs"][job]["steps"] if "run" in step}
