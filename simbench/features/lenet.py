"""LeNet-5: the small convolutional network whose penultimate layer is the feature space of `mnist` and `zn-geant3`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from simbench.core.events import Events

FEATURES = 84
"""Width of the penultimate layer."""


@dataclass(frozen=True)
class Variant:
    """What a task fixes of the network and of its training.

    Attributes:
        task: the name of the task, and so of the file of weights.
        shape: of one event of the task.
        heads: name and width of each output; `log_energy` is a regression, every other one a classification.
        logarithm: the input is log(1 + photons) / 3 (of order 1 on a lit pixel) instead of the values themselves.
        sha256: of the file of weights, which `python -m simbench.training.lenet` writes and prints.
        targets: what each head learns of the events.
        epochs: of the training.
        batch: events in a batch.
        peak_rate: the largest learning rate.
    """

    task: str
    shape: tuple[int, ...]
    heads: tuple[tuple[str, int], ...]
    logarithm: bool
    sha256: str
    targets: Callable[[Events], dict[str, Tensor]]
    epochs: int
    batch: int
    peak_rate: float


class MaxPool2(nn.Module):
    """Max pooling 2 x 2 of maps with even sides: (N, C, H, W) -> (N, C, H / 2, W / 2)."""

    def forward(self, maps: Tensor) -> Tensor:
        """The values of `max_pool2d`, which also writes down where each came from and takes 15 times as long."""
        if torch.is_grad_enabled():  # of equal values it lets the first learn, and pinned weights are its work
            return max_pool2d(maps, 2)
        rows = torch.maximum(maps[..., 0::2, :], maps[..., 1::2, :])
        return torch.maximum(rows[..., 0::2], rows[..., 1::2])


class LeNet5(nn.Module):
    """LeNet-5 after LeCun et al., Proc. IEEE 86 (1998), section II.B.

    conv 5x5 (6, padded by 2) - max pool 2 - conv 5x5 (16) - max pool 2 - 120 - 84 - heads, for an event of the task,
    (N, *shape) in task units. 28 x 28 ends on 16 maps of 5 x 5, 44 x 44 on 16 of 9 x 9.

    Differs from the paper: ReLU for the scaled tanh and max pooling for the trained average (both common since), every
    map of the second convolution sees all six of the first, linear heads for the radial basis functions; and batch
    normalisation without free parameters in front of the two dense ReLUs. Without it a sixth to a third of the 84
    features of `zn-geant3` die in training and the others follow the photon sum alone (participation ratio of their
    covariance 1.2; with it 3.6 and none dead, after equally short trainings). ReLU keeps the features unbounded: an
    event unlike any in training is far from them all.

    `feature_scale` is the pinned scalar; it and the moments of the log energy (mean, sd) come with the weights.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        side = (variant.shape[-1] // 2 - 4) // 2
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), MaxPool2(), nn.Conv2d(6, 16, 5), nn.ReLU(), MaxPool2()
        )
        self.dense = nn.Sequential(
            nn.Linear(16 * side * side, 120),
            nn.BatchNorm1d(120, affine=False),
            nn.ReLU(),
            nn.Linear(120, FEATURES),
            nn.BatchNorm1d(FEATURES, affine=False),
            nn.ReLU(),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, width) for name, width in variant.heads})
        self.feature_scale: Tensor
        self.log_energy_moments: Tensor
        self.register_buffer("feature_scale", torch.tensor(1.0, dtype=torch.float64))
        if "log_energy" in self.heads:
            self.register_buffer("log_energy_moments", torch.tensor([0.0, 1.0], dtype=torch.float64))

    def frozen(self) -> LeNet5:
        """This network in evaluation mode, the layers after the convolutions in double precision.

        Sums of float32 in another order (a chunk of another size, another number of threads) then no longer show in
        float32 features, and equal events have equal features. Double convolutions would take six times as long; single
        ones add up each pixel alike in any batch.
        """
        self.dense.double()
        self.heads.double()
        return self.eval().requires_grad_(False)

    def activations(self, samples: Tensor) -> Tensor:
        """The penultimate layer after its non-linearity, not scaled: (N, *shape) in task units -> (N, 84)."""
        images = samples.reshape(len(samples), 1, *self.variant.shape[-2:]).float()
        if self.variant.logarithm:
            images = images.log1p() / 3
        maps = self.convolutions(images).flatten(1)
        hidden: Tensor = self.dense(maps.to(next(self.dense.parameters()).dtype))
        return hidden

    def forward(self, samples: Tensor) -> dict[str, Tensor]:
        """The outputs by the name of their head: (N, *shape) -> (N, width) each. `log_energy` is standardised."""
        hidden = self.activations(samples)
        return {name: head(hidden) for name, head in self.heads.items()}
