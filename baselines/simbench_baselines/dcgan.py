"""The deep convolutional generative adversarial network, conditional where the task has conditions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

from simbench.core.events import Events
from simbench.tasks.base import Task
from simbench.training.processes import drawn
from simbench_baselines.blocks import (
    LOG_MAXIMUM,
    Conditions,
    Decoder,
    Encoder,
    as_images,
    from_log,
    image_shape,
    to_log,
    with_place,
)
from simbench_baselines.trained import TrainedModel, in_pieces

DARK = -5.0
"""First value of an untrained generator's pixels before the sigmoid: nearly all pixels of a shower are dark."""


class Critic(nn.Module):
    """A classifier of real and generated events, told their conditions: logit = v f + <W c, f>, f the encoder's
    features.

    The encoder has the sizes of the autoencoders'. All layers of the image have spectral norm 1 (Miyato et al.,
    arXiv:1802.05957); the inner product with the embedded conditions c is theirs, too (arXiv:1802.05637).
    Where the geometry is known, a second image holds the place at which the particle enters.
    """

    def __init__(self, task: Task, preset: str) -> None:
        super().__init__()
        channels, height, width = image_shape(task.shape)
        self.conditions = Conditions(task)
        self.encoder = Encoder((channels + self.conditions.placed, height, width), preset)
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                spectral_norm(module)
        told = self.conditions.out_features
        self.out = spectral_norm(nn.Linear(self.encoder.out_features, 1))
        self.inner = spectral_norm(nn.Linear(told, self.encoder.out_features)) if told else None

    def features(self, images: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Features of events and embedded conditions: (B, channels, H, W), (B, C) -> (B, features), (B, told)."""
        told = self.conditions(conditions)
        if self.conditions.placed:
            images = with_place(images, told)
        return self.encoder(images), told

    def forward(self, images: Tensor, conditions: Tensor) -> Tensor:
        """Logits that events are real, (B,)."""
        features, told = self.features(images, conditions)
        logits: Tensor = self.out(features).squeeze(1)
        return logits if self.inner is None else logits + (self.inner(told) * features).sum(1)


class DCGAN(TrainedModel):
    """DCGAN: Radford, Metz and Chintala, arXiv:1511.06434; refs. 17, 29, 32 of papers/e2e-sae.txt.

    Minimised by the generator: -E log D(G(u, c), c); by the critic: -E log D(x, c) - E log(1 - D(G(u, c), c)); u ~ N(0,
    1). G has the networks of the autoencoders' decoder, D those of their encoder.

    What differs from the paper, and why:
    - the critic has spectral norm and a projection of the conditions (see `Critic`): without, it wins within an epoch;
    - photons are made as log(1 + n), at most that of the brightest pixel of the training split: without a bound, and
      with the small networks here, the generator runs away to ever brighter showers in its first hundred steps;
    - they are rounded to whole photons before the critic sees them, with the gradient of the unrounded values: else the
      critic needs only to look for fractions of photons;
    - zn-geant3 is trained with the eight-fold symmetry of the block.

    Args:
        weights: a file that `simbench train dcgan` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        noise: dimensions of u.
    """

    model_name: ClassVar[str] = "dcgan"
    version: ClassVar[str] = "1"

    def __init__(self, weights: str | None = None, preset: Literal["cpu", "paper"] = "cpu", noise: int = 16) -> None:
        super().__init__(weights, preset=preset, noise=noise)

    def plan(self, preset: str, task_name: str) -> dict[str, Any]:
        """Steps and learning rate that were chosen on the validation split."""
        rates = {"beta1": 0.0, "ema": 0.999}
        if preset == "paper":
            return {"learning_rate": 2e-4, **rates}
        mnist = task_name == "mnist"
        return {"steps": 5000 if mnist else 2000, "learning_rate": 2e-3 if mnist else 1e-3, **rates}

    def build(self, task: Task) -> None:
        """Generator and critic."""
        super().build(task)
        shape, preset = image_shape(task.shape), self.config["preset"]
        inputs, placed = self.config["noise"] + self.conditions.out_features, self.conditions.placed
        self.generator = Decoder(inputs, shape, preset, placed=placed)
        if self.counts:
            self.generator.start_at((DARK,))
            self.register_buffer("brightest", torch.tensor(LOG_MAXIMUM))
        self.critic = Critic(task, preset)

    def fit(self, events: Events) -> None:
        """Take the conditions' moments and the brightest pixel."""
        super().fit(events)
        if self.counts:
            self.get_buffer("brightest").copy_(to_log(events.samples.max()))

    def players(self) -> dict[str, list[Parameter]]:
        """The critic, then the generator."""
        return {
            "critic": list(self.critic.parameters()),
            "generator": [*self.conditions.parameters(), *self.generator.parameters()],
        }

    def losses(self, samples: Tensor, conditions: Tensor, *, player: str) -> dict[str, Tensor]:
        """What the critic tells apart, or what fools it."""
        made = self.critic(self.generate(conditions)[0], conditions)
        if player == "generator":
            return {"fooling": softplus(-made).mean()}
        real = self.critic(as_images(to_log(samples) if self.counts else samples), conditions)
        return {"real": softplus(-real).mean(), "made": softplus(made).mean()}

    def generate(self, conditions: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Images as the critic sees them, grey values or log(1 + n) of whole photons, and the noise they were made of.

        (B, C) -> (B, channels, H, W), (B, noise)
        """
        told = self.conditions(conditions)
        inputs, device = self.config["noise"], told.device
        noise = drawn(lambda n: torch.randn(n, inputs, generator=rng, device=device), len(told))
        images: Tensor = self.generator(torch.cat([noise, told], 1)).sigmoid()
        if not self.counts:
            return images, noise
        images = self.get_buffer("brightest") * images
        return images + (to_log(from_log(images)) - images).detach(), noise

    @torch.inference_mode()
    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Events of new noise."""
        rng = torch.Generator(conditions.device).manual_seed(seed)
        images = torch.cat([self.generate(some, rng)[0] for some in in_pieces(conditions)])
        return (from_log(images) if self.counts else images).reshape(-1, *self.task_shape)
