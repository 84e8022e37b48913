"""`onnx:FILE`: a network in ONNX format, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
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
        try:
            import onnxruntime
        except ImportError as error:
            fix = "pip install 'simbench[onnx]'"
            raise UsageError(f"onnx:{self.weights_path} needs the package onnxruntime", fix=fix) from error
        self.runtime: Any = onnxruntime
        self.sessions: dict[int, Any] = {}
        self.providers = ["CPUExecutionProvider"]
        if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            self.providers.insert(0, "CUDAExecutionProvider")
        session = self._session()
        if not session.get_outputs():
            raise GeneratorError(f"{self.weights_path} has no output")
        inputs = session.get_inputs()
        strange = [f"{one.name}: {one.type}" for one in inputs if one.type not in TYPES]
        if strange:
            what = f"{self.weights_path} has inputs that are no floats"
            raise GeneratorError(what, got=", ".join(strange), expected=", ".join(TYPES))
        self.types = [TYPES[one.type] for one in inputs]
        self.names = [one.name for one in inputs]
        sizes = [tuple(size if isinstance(size, int) else None for size in one.shape) for one in inputs]
        return [Input(one.name, size) for one, size in zip(inputs, sizes, strict=True)]

    def _session(self) -> Any:
        """The session for the threads that torch has now; threads are settled when one is made."""
        threads = torch.get_num_threads()
        if threads not in self.sessions:
            options = self.runtime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = threads, 3
            try:
                made = self.runtime.InferenceSession(str(self.weights_path), options, providers=self.providers)
            except Exception as error:  # onnxruntime's own classes, which differ between versions
                reason = " ".join(str(error).split())[:300]
                what, fix = f"{self.weights_path} is no ONNX network that onnxruntime can load", "Export it again."
                raise GeneratorError(what, got=reason, fix=fix) from error
            self.sessions[threads] = made
        return self.sessions[threads]

    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        """The first output, on the CPU."""
        given = zip(self.names, self.types, tensors, strict=True)
        feed = {name: tensor.to("cpu", kind).numpy() for name, kind, tensor in given}
        return torch.from_numpy(self._session().run(None, feed)[0])
