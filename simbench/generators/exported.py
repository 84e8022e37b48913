"""`pt2:FILE`: an archive of `torch.export.save`."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simbench.core.errors import GeneratorError
from simbench.generators.network import Input, NetworkFile

WRITE = "Write it with torch.export.save(torch.export.export(model, inputs), FILE)."


class Exported(NetworkFile):
    """A network that `torch.export.save` wrote. See `NetworkFile`."""

    def open(self, device: torch.device) -> Sequence[Input]:
        """Load the file. Raises GeneratorError where it is no such archive, or holds pickled objects."""
        _refuse_pickles(self.weights_path)
        try:
            program = torch.export.load(self.weights_path)
            self.module = program.module().to(device).requires_grad_(False)
        except Exception as error:  # of many kinds, by what is damaged
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise GeneratorError(f"{self.weights_path} is no archive of torch.export", got=reason, fix=WRITE) from error
        nodes = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
        self.types = [nodes[name].dtype for name in program.graph_signature.user_inputs]
        return [
            Input(name, tuple(size if isinstance(size, int) else None for size in nodes[name].shape))
            for name in program.graph_signature.user_inputs
        ]

    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        """The first output."""
        out = self.module(*(tensor.to(kind) for tensor, kind in zip(tensors, self.types, strict=True)))
        first: Tensor = out[0] if isinstance(out, tuple | list) else out
        return first


def _refuse_pickles(path: Path) -> None:
    """Unpickling runs whatever a file says, and torch falls back to it: what is not a plain tensor is refused.

    Raises:
        GeneratorError: the archive holds pickled objects, or is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".pt"):
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                elif name.endswith("_config.json"):
                    _plain_tensors(json.loads(archive.read(name))["config"])
    except (pickle.UnpicklingError, RuntimeError) as error:
        what, expected = f"{path} holds pickled objects", "plain tensors alone"
        raise GeneratorError(what, got=" ".join(str(error).split())[:200], expected=expected) from error
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, AttributeError) as error:
        raise GeneratorError(f"{path} is no archive of torch.export", got=str(error)[:200], fix=WRITE) from error


def _plain_tensors(config: dict[str, dict[str, Any]]) -> None:
    for name, entry in config.items():
        if entry.get("use_pickle") or not entry["path_name"].startswith(("weight_", "tensor_")):
            raise pickle.UnpicklingError(name)
