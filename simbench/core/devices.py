"""The device a user asks for, if this machine has it."""

from __future__ import annotations

import re

import torch

from simbench.core.errors import UsageError


def choose_device(name: str) -> str:
    """`auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:1`, as torch spells it. Raises UsageError."""
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", name)
    if match is None:
        raise UsageError("unknown device", got=repr(name), expected="auto, cpu, cuda or cuda:N")
    index, count = int(match[1] or 0), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        found = f"{count} CUDA device{'s' if count != 1 else ''}"
        fix = "Use --device cpu, or see `simbench doctor`."
        raise UsageError(f"there is no device {name}", got=f"{found} on this machine", fix=fix)
    return f"cuda:{index}"
