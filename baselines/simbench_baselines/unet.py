"""A small U-Net for images of any task, told a time and the embedded conditions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from simbench.core.plugins import unknown_name
from simbench_baselines.blocks import Conditions, with_place


@dataclass(frozen=True)
class Levels:
    """Sizes of the U-Net of a preset.

    Attributes:
        channels: of the finest level.
        multiples: of them, at each level, from the finest inwards; each level has half the side of the one before.
        blocks: residual blocks of each level on the way in, and again on the way out.
        patch: side of the squares of pixels that are the finest level's pixels.
        groups: of the group normalisations.
        embedding: units of the embedded time and conditions.
        attention: at the coarsest level, after each of its blocks.
    """

    channels: int
    multiples: tuple[int, ...]
    blocks: int
    patch: int
    groups: int
    embedding: int
    attention: bool


LEVELS = {
    "cpu": Levels(channels=16, multiples=(1, 2, 4), blocks=1, patch=2, groups=8, embedding=64, attention=False),
    "paper": Levels(channels=128, multiples=(1, 2, 2), blocks=2, patch=1, groups=32, embedding=512, attention=True),
}
"""`cpu`: under 300 k parameters with the conditions; no convolution at full resolution. `paper`: the sizes of
arXiv:2006.11239 with three levels for images of 28 to 64 pixels."""

FREQUENCIES = 16


def levels_of(preset: str) -> Levels:
    """The sizes of a preset. Raises UsageError for an unknown one."""
    if preset not in LEVELS:
        raise unknown_name("preset", preset, LEVELS)
    return LEVELS[preset]


class Block(nn.Module):
    """A residual block: two convolutions, of which the second sees the first scaled and shifted by the embedding
    (FiLM, arXiv:1709.07871), then self-attention where it is asked for. Both begin as the identity.

    (B, inputs, H, W), (B, embedding) -> (B, outputs, H, W)
    """

    def __init__(self, inputs: int, outputs: int, sizes: Levels, *, attention: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(sizes.groups, outputs)
        self.film = nn.Linear(sizes.embedding, 2 * outputs)
        self.second = _from_nought(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.past = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs, sizes.groups) if attention else nn.Identity()

    def forward(self, images: Tensor, embedded: Tensor) -> Tensor:
        """See the class."""
        scale, shift = self.film(embedded)[..., None, None].chunk(2, 1)
        hidden = self.norm(self.first(functional.silu(images)))
        hidden = functional.silu(hidden * (1 + scale) + shift)
        result: Tensor = self.attention(self.past(images) + self.second(hidden))
        return result


class Attention(nn.Module):
    """Self-attention between the pixels, added to them: one head, as in arXiv:2006.11239."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.inwards = nn.Linear(channels, 3 * channels)
        self.out = _from_nought(nn.Linear(channels, channels))

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same."""
        pixels = self.norm(images).flatten(2).mT
        query, key, value = self.inwards(pixels).chunk(3, 2)
        mixed: Tensor = self.out(functional.scaled_dot_product_attention(query, key, value))
        return images + mixed.mT.reshape(images.shape)


class UNet(nn.Module):
    """What is learned of noisy images: (B, channels, H, W), t (B,), told (B, out_features of `Conditions`) -> (B,
    channels, H, W).

    A level's images, at the end of the way in, are handed to the same level's way out. Time (sines and cosines, then
    two dense layers) and the embedded conditions are added and reach every block. Where the conditions say at which
    place the particle meets the fibres, that place is one more image beside the noisy one.
    """

    def __init__(self, shape: tuple[int, int, int], conditions: Conditions, preset: str, channels: int) -> None:
        super().__init__()
        sizes, self.size, self.placed = levels_of(preset), shape[1:], conditions.placed
        widths = [channels * multiple for multiple in sizes.multiples]
        self.patch, pixels = sizes.patch, sizes.patch**2
        told, embedding, deepest = conditions.out_features, sizes.embedding, len(widths) - 1
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.told = nn.Linear(told, embedding, bias=False) if told else None
        self.first = nn.Conv2d((shape[0] + self.placed) * pixels, widths[0], 3, padding=1)

        def blocks(level: int, inputs: int) -> nn.ModuleList:
            width, attention = widths[level], sizes.attention and level == deepest
            return nn.ModuleList(
                Block(width if index else inputs, width, sizes, attention=attention) for index in range(sizes.blocks)
            )

        self.inwards = nn.ModuleList(blocks(level, width) for level, width in enumerate(widths))
        self.outwards = nn.ModuleList(
            blocks(level, width if level == deepest else 2 * width) for level, width in enumerate(widths)
        )
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 3, 2, padding=1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.norm = nn.GroupNorm(sizes.groups, widths[0])
        self.last = _from_nought(nn.Conv2d(widths[0], shape[0] * pixels, 3, padding=1))

    def forward(self, images: Tensor, t: Tensor, told: Tensor) -> Tensor:
        """See the class."""
        embedded = self.embed(t, told)
        images = with_place(images, told) if self.placed else images
        images = functional.pixel_unshuffle(self.padded(images), self.patch)
        level = self.first(images.contiguous(memory_format=torch.channels_last))  # twice as fast on a CPU
        levels: list[Tensor] = []
        for index, blocks in enumerate(self.inwards):
            if index:
                level = self.down[index - 1](level)
            for block in blocks:  # type: ignore[attr-defined]
                level = block(level, embedded)
            levels.append(level)
        for index in reversed(range(len(levels))):
            if index < len(levels) - 1:
                fine = levels[index]
                level = functional.interpolate(self.up[index](level), size=fine.shape[2:])
                level = torch.cat([fine, level], 1)
            for block in self.outwards[index]:  # type: ignore[attr-defined]
                level = block(level, embedded)
        result = functional.pixel_shuffle(self.last(functional.silu(self.norm(level))), self.patch)
        return result[..., : self.size[0], : self.size[1]]

    def embed(self, t: Tensor, told: Tensor) -> Tensor:
        """Time and conditions, (B, embedding); the angular frequencies go from 1 to 100 in equal factors."""
        frequencies = torch.logspace(0, 2, FREQUENCIES, device=t.device)
        angles = t[:, None] * frequencies
        embedded: Tensor = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        return functional.silu(embedded if self.told is None else embedded + self.told(told))

    def padded(self, images: Tensor) -> Tensor:
        """Images whose sides are multiples of the patch."""
        height, width = self.size
        return functional.pad(images, (0, -width % self.patch, 0, -height % self.patch))


def _from_nought(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer, with weights that are 0 before the first step."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
