"""Network blocks that the shipped models share, so that autoencoders differ in their losses, not in their networks.

`Encoder` and `Decoder` of a preset have the same sizes in every autoencoder (vae, wae, swae, sae, e2e sae): they are
made from `SIZES` alone. Both work for any task shape: 28 x 28 x 1, 64 x 64 x 3, 44 x 44 (which has no channel axis;
`as_images` adds one).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from simbench.core.errors import UsageError
from simbench.core.plugins import unknown_name
from simbench.tasks.base import Fibres, Task
from simbench_baselines.flight import impact_on_face

LOG_MAXIMUM = math.log1p(20_000)
"""Bound on log(1 + photons) of one pixel, well above the data's (1763 photons): nothing that is exponentiated can
overflow."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks of a preset.

    Attributes:
        channels: of the strided convolutions, from the image inwards; the decoder has them in the opposite order.
        kernel: side of the convolutions.
        norm: batch normalisation after every (de)convolution but the last.
        hidden: units of the dense layers; 0 = none between convolutions and code, as in the papers.
        maps: separable maps of the decoder (see `Decoder`); 0 = none, as in the papers.
    """

    channels: tuple[int, ...]
    kernel: int
    norm: bool
    hidden: int
    maps: int


SIZES = {
    "cpu": Sizes(channels=(16, 24, 16), kernel=3, norm=False, hidden=96, maps=8),
    "paper": Sizes(channels=(128, 256, 512, 1024), kernel=5, norm=True, hidden=0, maps=0),
}
"""`paper`: the WAE's architecture (arXiv:1711.01558) that papers/e2e-sae.txt takes: 4 (de)convolutions 5 x 5 with batch
norm and ReLU. `cpu`: under 300 k parameters for encoder, decoder and conditions together."""


def sizes_of(preset: str) -> Sizes:
    """The sizes of a preset. Raises UsageError for an unknown one."""
    if preset not in SIZES:
        raise unknown_name("preset", preset, SIZES)
    return SIZES[preset]


def image_shape(task_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, height, width) of a task's events; a calorimeter's (H, W) is one channel."""
    if len(task_shape) not in (2, 3):
        raise UsageError(
            "the shipped networks take images",
            got=f"events of shape {task_shape}",
            expected="(H, W) or (channels, H, W)",
        )
    channels, height, width = task_shape if len(task_shape) == 3 else (1, *task_shape)
    return channels, height, width


def as_images(samples: Tensor) -> Tensor:
    """(B, H, W) or (B, channels, H, W) -> (B, channels, H, W)."""
    return samples.unsqueeze(1) if samples.dim() == 3 else samples


def to_log(photons: Tensor) -> Tensor:
    """log(1 + n), the scale on which networks see photon counts."""
    return photons.log1p()


def from_log(values: Tensor) -> Tensor:
    """The inverse of `to_log`, rounded to whole photons, never negative and bounded."""
    return values.clamp(0, LOG_MAXIMUM).expm1().round()


def dense_layers(*sizes: int) -> nn.Sequential:
    """Dense layers of these sizes, inputs and outputs included, with ReLU between them."""
    layers: list[nn.Module] = [nn.Linear(sizes[0], sizes[1])]
    for inputs, outputs in pairwise(sizes[1:]):
        layers += [nn.ReLU(), nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)


def halvings(size: int, times: int) -> list[int]:
    """`size` halved `times` times, rounded up: the sides of images between strided convolutions, outermost first."""
    sides = [size]
    for _ in range(times):
        sides.append((sides[-1] + 1) // 2)
    return sides


def with_place(images: Tensor, told: Tensor) -> Tensor:
    """Images, and as one more the place that placed `Conditions` end with: convolutions can move a shower along with
    it, dense layers would have to learn each place. (B, channels, H, W), (B, told) -> (B, channels + 1, H, W)."""
    height, width = images.shape[2:]
    columns, rows = told[:, -(width + height) :].split([width, height], 1)
    return torch.cat([images, (rows[:, :, None] * columns[:, None])[:, None]], 1)


class Encoder(nn.Module):
    """Images -> features: strided convolutions, then a dense layer where the preset has one.

    (B, channels, H, W) -> (B, out_features)
    """

    def __init__(self, shape: tuple[int, int, int], preset: str) -> None:
        super().__init__()
        sizes = sizes_of(preset)
        layers: list[nn.Module] = []
        for index, (wide, narrow) in enumerate(pairwise((shape[0], *sizes.channels))):
            kernel = 5 if index == 0 else sizes.kernel
            layers += [nn.Conv2d(wide, narrow, kernel, stride=2, padding=kernel // 2, bias=not sizes.norm)]
            layers += [nn.BatchNorm2d(narrow), nn.ReLU()] if sizes.norm else [nn.SiLU()]
        flat = sizes.channels[-1] * math.prod(halvings(side, len(sizes.channels))[-1] for side in shape[1:])
        layers += [nn.Flatten()]
        if sizes.hidden:
            layers += [nn.Linear(flat, sizes.hidden), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.out_features = sizes.hidden or flat

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out_features)."""
        features: Tensor = self.layers(images)
        return features


class Decoder(nn.Module):
    """Code -> images: a dense layer, then deconvolutions, without an activation at the end.

    (B, code) -> (B, out_channels, H, W)

    In the `cpu` preset two cheap paths run beside the deconvolutions, which there stop at half resolution (a pixel
    shuffle doubles it): `maps` separable maps SiLU(row_k(i) + column_k(j)), each pair of profiles linear in the code
    and mixed pixel by pixel, which put a one-fibre spike at any place for a few thousand multiplications; and one
    number for each output channel, added to all its pixels, which carries the scale. Deconvolutions of this size can do
    neither.

    With `placed`, the code ends with interpolation weights of a place on the columns and rows (`Conditions` gives
    them), and the profiles also have a part that moves along with that place: one kernel a map, the same for both axes,
    convolved with those weights. `slim` leaves it at that part: the profiles are then linear in the rest of the code,
    which saves half of the decoder's parameters on zn-geant3.
    """

    def __init__(
        self,
        code: int,
        shape: tuple[int, int, int],
        preset: str,
        *,
        out_channels: int | None = None,
        placed: bool = False,
        slim: bool = False,
    ) -> None:
        super().__init__()
        sizes = sizes_of(preset)
        outputs = out_channels or shape[0]
        self.height, self.width, self.maps = shape[1], shape[2], sizes.maps
        heights, widths = (halvings(side, len(sizes.channels)) for side in shape[1:])
        self.start = (sizes.channels[-1], heights[-1], widths[-1])
        hidden = sizes.hidden or code
        self.hidden = nn.Sequential(nn.Linear(code, hidden), nn.SiLU()) if sizes.hidden else nn.Identity()
        self.dense = nn.Linear(hidden, math.prod(self.start))
        inwards = (*sizes.channels[::-1], outputs)
        layers: list[nn.Module] = [nn.ReLU() if sizes.norm else nn.SiLU()]
        last = len(sizes.channels) - 1
        for index, (wide, narrow) in enumerate(pairwise(inwards)):
            level = last - index
            if index == last and sizes.maps:
                layers += [nn.Conv2d(wide, 4 * narrow, 3, padding=1), nn.PixelShuffle(2)]
                continue
            extra = (heights[level] - 2 * heights[level + 1] + 1, widths[level] - 2 * widths[level + 1] + 1)
            layers += [
                nn.ConvTranspose2d(
                    wide,
                    narrow,
                    sizes.kernel,
                    stride=2,
                    padding=sizes.kernel // 2,
                    output_padding=extra,
                    bias=index == last or not sizes.norm,
                )
            ]
            if index < last:
                layers += [nn.BatchNorm2d(narrow), nn.ReLU()] if sizes.norm else [nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        if sizes.maps:
            self.profiled = code - (self.height + self.width if placed and slim else 0)
            self.profiles = nn.Linear(self.profiled, sizes.maps * (self.height + self.width))
            self.mix = nn.Conv2d(sizes.maps, outputs, 1)
            self.scale = nn.Linear(hidden, outputs)
            self.reach = max(self.height, self.width) - 1
            self.around = (
                nn.Conv1d(1, sizes.maps, 2 * self.reach + 1, padding=self.reach, bias=False) if placed else None
            )

    @torch.no_grad()
    def start_at(self, values: tuple[float, ...]) -> None:
        """Let an untrained decoder's output channels begin near `values`."""
        last = self.scale if self.maps else self.layers[-1]
        bias = cast("nn.Linear | nn.ConvTranspose2d", last).bias
        if bias is not None and not bias.is_meta:
            bias.copy_(bias.new_tensor(values))

    def forward(self, code: Tensor) -> Tensor:
        """(B, code) -> (B, out_channels, H, W)."""
        hidden = self.hidden(code)
        images: Tensor = self.layers(self.dense(hidden).unflatten(1, self.start))[..., : self.height, : self.width]
        if not self.maps:
            return images
        rows, columns = (
            self.profiles(code[:, : self.profiled]).unflatten(1, (self.maps, -1)).split([self.height, self.width], 2)
        )
        if self.around is not None:
            on_columns, on_rows = code[:, -(self.width + self.height) :].split([self.width, self.height], 1)
            rows, columns = rows + self.around(on_rows[:, None]), columns + self.around(on_columns[:, None])
        maps = functional.silu(rows[..., :, None] + columns[..., None, :])
        mixed = torch.einsum("oc,bchw->bohw", self.mix.weight[:, :, 0, 0], maps)  # half a step's time as a convolution
        scale: Tensor = self.scale(hidden) + self.mix.bias
        return images + mixed + scale[..., None, None]


PATH_POINTS = 41
"""Points of the straight flight through the block at which its material is looked up."""


class Conditions(nn.Module):
    """Conditions -> what a network is told of them: (B, C) in task units -> (B, out_features).

    - one-hot labels and no conditions at all (C = 0): as they are;
    - others: standardised with the moments of the training split (buffers, set by `fit`), with log(1 + energy), through
      two dense layers;
    - where the calorimeter's geometry is known, also where and how the particle meets it, derived from the conditions
      alone: the impact point on the face x = Vx + Px/|Pz| (z_face - sign(Pz) Vz), y likewise; its phase within the
      pitch and distance to the nearest fibre; and of the straight flight on through the block, the depths at which it
      first meets matter and first meets tungsten, and its lengths in quartz and in tungsten (a particle that flies down
      a groove gives nothing). Beside the dense layers' output stand the two `place`
      vectors: linear interpolation weights of the impact point on the fibre columns and rows.
    """

    def __init__(self, task: Task, width: int = 64) -> None:
        super().__init__()
        self.names = task.condition_names
        self.plain = not self.names or set(task.condition_units) == {"one-hot"}
        self.geometry = task.fibres
        if self.plain:
            self.out_features, self.placed = len(self.names), False
            return
        self.register_buffer("mean", torch.zeros(len(self.names)))
        self.register_buffer("sd", torch.ones(len(self.names)))
        derived = 2 * 3 + 5 if self.geometry else 0
        inputs = len(self.names) + ("Energy" in self.names) + derived
        self.dense = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.placed = self.geometry is not None
        self.out_features = width + (2 * self.geometry.number if self.geometry else 0)

    @torch.no_grad()
    def fit(self, conditions: Tensor) -> None:
        """Take the moments of the training conditions, (N, C)."""
        if not self.plain:
            self.get_buffer("mean").copy_(conditions.mean(0))
            self.get_buffer("sd").copy_(conditions.std(0).clamp(min=1e-12))

    def standardised(self, conditions: Tensor) -> Tensor:
        """Conditions with mean 0 and standard deviation 1 over the training split, labels as they are: (B, C)."""
        return conditions if self.plain else (conditions - self.get_buffer("mean")) / self.get_buffer("sd")

    def forward(self, conditions: Tensor) -> Tensor:
        """(B, C) in task units -> (B, out_features)."""
        if self.plain:
            return conditions
        parts = [self.standardised(conditions)]
        if "Energy" in self.names:
            column = self.names.index("Energy")
            energy = conditions[:, column : column + 1]  # a list would be copied to the device, which is waited for
            parts.append((energy.clamp(min=0).log1p() - 6) / 1.5)
        if self.geometry is None:
            embedded: Tensor = self.dense(torch.cat(parts, 1))
            return embedded
        impact, slope, _ = impact_on_face(conditions, self.names, self.geometry)
        place = impact / self.geometry.pitch + (self.geometry.number - 1) / 2
        phase = 2 * math.pi * place
        parts += [
            (place - (self.geometry.number - 1) / 2) / 12,
            phase.sin(),
            phase.cos(),
            self._path(impact, slope, self.geometry),
        ]
        fibre = torch.arange(self.geometry.number, device=conditions.device)
        hats = (1 - (place[:, :, None] - fibre).abs()).clamp(min=0)
        return torch.cat([self.dense(torch.cat(parts, 1)), hats.flatten(1)], 1)

    @staticmethod
    def _path(impact: Tensor, slope: Tensor, geometry: Fibres) -> Tensor:
        """Distance to the nearest fibre's axis at the face; depths of the first matter and tungsten; lengths in quartz
        and tungsten: (B, 5)."""
        depth = torch.linspace(0, geometry.depth, PATH_POINTS, device=impact.device)
        place = (impact[:, None] + slope[:, None] * depth[:, None]) / geometry.pitch + (geometry.number - 1) / 2
        away = (place - place.round()).abs() * geometry.pitch
        distance = away.norm(dim=2)
        quartz, tungsten = distance < geometry.core, away.amax(2) >= geometry.groove
        before_matter = ((quartz | tungsten).cumsum(1) == 0).sum(1)
        before_tungsten = (tungsten.cumsum(1) == 0).sum(1)
        shares = torch.stack([before_matter, before_tungsten, quartz.sum(1), tungsten.sum(1)], 1) / PATH_POINTS
        return torch.cat([4 * distance[:, :1] / geometry.pitch - 1.5, 2 * shares], 1)
