"""Terms of the founding paper's loss (papers/e2e-sae.txt) that no baseline has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)
"""The blurring kernel of each axis, over its sum, of Burt and Adelson's pyramid."""

LEVELS = 4
"""Levels of the pyramid, the last of them the blurred image that is left; fewer for images too small for them."""


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Images as a sum of details at ever coarser scales: (B, channels, H, W) -> LEVELS tensors, each half the size.

    L_j = g_j - up(g_{j+1}), g_0 the images, g_{j+1} every second pixel of g_j blurred; the last is g itself. Adding up
    from the last gives the images back.
    """
    levels = []
    for _ in range(LEVELS - 1):
        if min(images.shape[2:]) < 4:
            break
        smaller = _blur(images)[..., ::2, ::2]
        levels.append(images - enlarge(smaller, images.shape[2:]))
        images = smaller
    return [*levels, images]


def enlarge(images: Tensor, size: torch.Size) -> Tensor:
    """Images of a level, brought to the size of the level below it."""
    return functional.interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)


def _blur(images: Tensor) -> Tensor:
    channels = images.shape[1]
    line = images.new_tensor(BINOMIAL) / sum(BINOMIAL)
    kernel = torch.outer(line, line).expand(channels, 1, 5, 5)
    return functional.conv2d(functional.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def laplacian_distance(x: Tensor, y: Tensor) -> Tensor:
    """Lap1(x, y) = sum_j 2^(2j) |L_j(x) - L_j(y)|_1, eq. (1), of each pair of images: (B, channels, H, W) twice ->
    (B,)."""
    pairs = zip(laplacian_pyramid(x), laplacian_pyramid(y), strict=True)
    terms = [4**level * (a - b).abs().flatten(1).sum(1) for level, (a, b) in enumerate(pairs)]
    return torch.stack(terms).sum(0)


def cosine_penalty(codes: Tensor, tau: float) -> Tensor:
    """sum_{i != j} m_ij cos(y_i, y_j)^2, m_ij = 1 where |cos| >= tau, eqs. (5) and (6) without p: (N, d) -> ()."""
    unit = functional.normalize(codes, dim=1, eps=1e-8)
    cosines = (unit @ unit.T).fill_diagonal_(0)
    return cosines.square().where(cosines.abs() >= tau, 0).sum()
