"""The pinned extractors: event -> 84 features, or event -> predicted label, by a network with a known sha256.

The weights are read at the first use, not when an extractor is made. Everything runs on the CPU (see `LeNet5.frozen`):
the features of an event are the same to the bit in chunks of any size and on any number of threads (tested); another
machine's arithmetic may move a feature of unit variance by some 3e-6, and so a score by as much of itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from simbench.core.files import read_pinned
from simbench.features.lenet import LeNet5, Variant

CHUNK = 250
"""Events that pass through the network at once: what the processor's cache holds, without effect on the result."""


def weights_file(variant: Variant) -> Path:
    """Where the package ships the weights of a task's LeNet-5."""
    return Path(str(resources.files("simbench") / "data" / f"lenet-{variant.task}.safetensors"))


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors in a safetensors file, if it is byte for byte the pinned one. Raises DataError."""
    fix = "Install simbench again: the package ships it. Scores made with other weights cannot be compared."
    return load_safetensors(read_pinned(path, sha256, "the pinned feature extractor", fix))


@functools.cache
def network(variant: Variant) -> LeNet5:
    """A pinned network, in evaluation mode and double precision, shared by all who ask. Raises DataError."""
    lenet5 = LeNet5(variant)
    lenet5.load_state_dict(read_weights(weights_file(variant), variant.sha256))
    return lenet5.frozen()


def in_chunks(function: Callable[[Tensor], Tensor], samples: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`function` of every event, CHUNK at a time, on the CPU: (N, *shape) -> (N, ...). Raises ValueError."""
    if samples.dim() != len(shape) + 1 or tuple(samples.shape[1:]) != shape or len(samples) == 0:
        raise ValueError(
            f"the feature extractor takes events of shape (N, {', '.join(map(str, shape))}), got {tuple(samples.shape)}"
        )
    with torch.inference_mode():
        outputs = torch.cat([function(chunk.cpu()) for chunk in torch.split(samples.detach(), CHUNK)])
    return outputs.clone().to(samples.device)


@dataclass(frozen=True)
class LeNetFeatures:
    """(N, *shape) in task units -> (N, 84) float32: penultimate activations after the ReLU, times one pinned scalar.

    The scalar makes the mean over the 84 dimensions of the variance over the training split 1.
    """

    variant: Variant

    def __call__(self, samples: Tensor) -> Tensor:
        """The features. Raises ValueError for events of another shape, DataError for other weights."""
        lenet5 = network(self.variant)
        return in_chunks(lambda x: (lenet5.activations(x) * lenet5.feature_scale).float(), samples, self.variant.shape)


@dataclass(frozen=True)
class LeNetReadOut:
    """(N, *shape) in task units -> (N, width): what the head `head` says of each event.

    The probability of each class; of `log_energy` the energy itself, in the unit of the condition, (N, 1).
    """

    variant: Variant
    head: str

    def __call__(self, samples: Tensor) -> Tensor:
        """The read-out. Raises as `LeNetFeatures` does."""
        lenet5 = network(self.variant)
        return in_chunks(lambda x: self._of(lenet5, lenet5(x)[self.head]), samples, self.variant.shape)

    def _of(self, lenet5: LeNet5, outputs: Tensor) -> Tensor:
        if self.head != "log_energy":
            return outputs.softmax(1)
        mean, sd = lenet5.log_energy_moments
        energies: Tensor = (mean + sd * outputs).exp()
        return energies


@dataclass(frozen=True)
class LeNetLabels:
    """(N, *shape) in task units -> (N,) int64: the most probable class of the head `head`."""

    variant: Variant
    head: str

    def __call__(self, samples: Tensor) -> Tensor:
        """The labels. Raises as `LeNetFeatures` does."""
        lenet5 = network(self.variant)
        return in_chunks(lambda x: lenet5(x)[self.head].argmax(1), samples, self.variant.shape)
