"""The DCGAN with selective diversity increase."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from simbench.training.processes import own, whole
from simbench_baselines.blocks import as_images, to_log
from simbench_baselines.dcgan import DCGAN


class SDIGAN(DCGAN):
    """SDI-GAN: Dubinski et al., arXiv:2207.01561: a DCGAN whose events differ as much as their conditions allow.

    Added to the generator's loss: weight E_c f(c) d_u(u1, u2) / d(G(u1, c), G(u2, c)), with u1, u2 two noise vectors,
    d_u their mean absolute difference, d that of the critic's features, and f(c) the diversity of the real events of
    the condition: the sum over pixels of the standard deviation among its repeats, divided by the batch's largest.
    Conditions whose events all look alike are thus left in peace. Batches hold whole conditions.

    Args:
        weights: a file that `simbench train sdi_gan` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        noise: dimensions of u.
        diversity: weight of the added term.
    """

    model_name: ClassVar[str] = "sdi_gan"
    version: ClassVar[str] = "1"
    whole_conditions: ClassVar[bool] = True

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        noise: int = 16,
        diversity: float = 0.1,
    ) -> None:
        super().__init__(weights, preset=preset, noise=noise)
        self.config["diversity"] = diversity

    def losses(self, samples: Tensor, conditions: Tensor, *, player: str) -> dict[str, Tensor]:
        """The DCGAN's losses, and the generator's wish for diversity."""
        terms = super().losses(samples, conditions, player=player)
        if player == "generator":
            images = as_images(to_log(samples) if self.counts else samples)
            terms["diversity"] = self.config["diversity"] * self.likeness(images, conditions)
        return terms

    def likeness(self, images: Tensor, conditions: Tensor) -> Tensor:
        """E f(c) d_u / d: real events as the critic sees them (B, channels, H, W), conditions (B, C) -> ()."""
        (one, noise_one), (other, noise_other) = (self.generate(conditions) for _ in range(2))
        apart = self.critic.features(one, conditions)[0] - self.critic.features(other, conditions)[0]
        ratio = (noise_one - noise_other).abs().mean(1) / apart.abs().mean(1).clamp(min=1e-4)
        return (own(diversity(whole(images), whole(conditions))) * ratio).mean()


def diversity(images: Tensor, conditions: Tensor) -> Tensor:
    """f(c) of each event, in [0, 1]: (B, channels, H, W), (B, C) -> (B,). A condition without repeats has 0."""
    known = torch.cat([conditions, conditions.new_zeros(len(conditions), 1)], 1)  # without conditions, one for all
    _, unit, counts = torch.unique(known, dim=0, return_inverse=True, return_counts=True)
    pixels = images.flatten(1)
    mean = pixels.new_zeros(len(counts), pixels.shape[1]).index_add(0, unit, pixels) / counts[:, None]
    squares = pixels.new_zeros(mean.shape).index_add(0, unit, (pixels - mean[unit]).square())
    spread = (squares / (counts[:, None] - 1).clamp(min=1)).sqrt().sum(1)
    share: Tensor = spread / spread.max().clamp(min=1e-12)
    return share[unit]
