"""`onnx:FILE`: a network in ONNX format, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simbench.core.errors import GeneratorError, UsageError
from simbench.generators.network import Input, NetworkFile

TYPES = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}


class Onnx(NetworkFile):
    """A network in ONNX format. See `NetworkFile`.

    onnxruntime takes as many threads as torch has when it is called, and CUDA where the device and its own build allow.
    """

    def open(self, device: torch.device) -> Sequence[Input]:
        """Load the file. Raises UsageError without onnxruntime, GeneratorError where the file is no such network."""
        self.sessions: dict[int, Any] = {}
        self.cuda = device.type == "cuda"
        session = self._session()
        if not session.get_outputs():
            raise GeneratorError(f"{self.weights_path} has no output")
        inputs = session.get_inputs()
        strange = [f"{one.name}: {one.type}" for one in inputs if one.type not in TYPES]
        if strange:
            what = f"{self.weights_path} has inputs that are no floats"
            raise GeneratorError(what, got=", ".join(strange), expected=", ".join(TYPES))
        self.types = [TYPES[one.type] for one in inputs]
        sizes = [tuple(size if isinstance(size, int) else None for size in one.shape) for one in inputs]
        return [Input(one.name, size) for one, size in zip(inputs, sizes, strict=True)]

    def _session(self) -> Any:
        """The session for the threads that torch has now; threads are settled when one is made."""
        threads = torch.get_num_threads()
        if threads not in self.sessions:
            self.sessions[threads] = onnx_session(self.weights_path, threads, self.cuda)
        return self.sessions[threads]

    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        """The first output, on the CPU."""
        given = zip(self.inputs, self.types, tensors, strict=True)
        feed = {one.name: tensor.to("cpu", kind).numpy() for one, kind, tensor in given}
        return torch.from_numpy(self._session().run(None, feed)[0])


def onnx_session(path: Path, threads: int, cuda: bool = False) -> Any:
    """onnxruntime's session of a file, with that many threads.

    Raises:
        UsageError: onnxruntime is not installed.
        GeneratorError: it cannot load the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{path} needs the package onnxruntime", fix="pip install 'simbench[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    wanted = ["CUDAExecutionProvider"] if cuda else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which differ between versions
        reason = " ".join(str(error).split())[:300]
        what = f"{path} is no ONNX network that onnxruntime can load"
        raise GeneratorError(what, got=reason, fix="Export it again.") from error
