"""What the models share that go from noise to events pixel by pixel: `ddpm` and `flow_matching`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from simbench.core.events import Events
from simbench.tasks.base import Task
from simbench.training.processes import drawn
from simbench_baselines.blocks import as_images, from_log, image_shape, to_log
from simbench_baselines.samplers import Field
from simbench_baselines.trained import TrainedModel, in_pieces
from simbench_baselines.unet import UNet, levels_of


class PixelSpace(TrainedModel):
    """A U-Net that learns what leads from noise to events, with one squared error as its loss.

    A subclass gives `mixed`, what the U-Net sees and learns, and `generate`, how events are made of it; its constructor
    hands on `preset`, `channels` (None: the preset's) and what only sampling reads, `steps` among them.

    The U-Net sees grey values scaled to [-1, 1], and photons as log(1 + n), standardised with the moments of all pixels
    of the training split. Whole numbers are not dequantised: a pixel is rounded in the end, and an error of less than
    half the distance between two numbers changes nothing as long as training ends on them. Noise there would bring the
    dark pixels, seven in eight, up to where they are rounded to one photon.
    """

    def __init__(self, weights: str | None, *, preset: str, channels: int | None, **sampling: Any) -> None:
        wide = levels_of(preset).channels if channels is None else channels
        super().__init__(weights, preset=preset, channels=wide, **sampling)

    def plan(self, preset: str, task_name: str) -> dict[str, Any]:
        """Steps that a core takes in about 12 minutes, validation included, which costs `steps` evaluations an
        event."""
        if preset == "paper":
            return {"learning_rate": 2e-4}
        rare = {"ema": 0.999, "validate_every": 300, "validation_events": 1000}
        return {"steps": 3900 if task_name == "mnist" else 1500, "learning_rate": 2e-3, **rare}

    def build(self, task: Task) -> None:
        """The U-Net, and the numbers that scale what it sees."""
        super().build(task)
        shape = image_shape(task.shape)
        self.network = UNet(shape, self.conditions, self.config["preset"], self.config["channels"])
        self.image_shape = shape
        for name, value in (("centre", 0.5), ("width", 0.5), ("highest", 1.0)):
            self.register_buffer(name, torch.tensor(value))

    def fit(self, events: Events) -> None:
        """Take the conditions' moments, and of photons the pixels' moments and the brightest one."""
        super().fit(events)
        if self.counts:
            values = to_log(events.samples)
            self.get_buffer("centre").copy_(values.mean())
            self.get_buffer("width").copy_(values.std())
            self.get_buffer("highest").copy_(values.max())

    @abstractmethod
    def mixed(self, x: Tensor, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Of data, noise and times: what the U-Net sees and what it learns to say of it, (B, channels, H, W) each."""

    @abstractmethod
    def generate(self, field: Field, start: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Noise (B, channels, H, W) -> data, by what the U-Net says."""

    def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """The squared error of a pixel. The times of a batch lie evenly in [0, 1], from a random start (Kingma et al.,
        arXiv:2107.00630, appendix I.1): less noise in the gradient than independent ones."""
        images = as_images(to_log(samples) if self.counts else samples)
        x = (images - self.get_buffer("centre")) / self.get_buffer("width")
        t = drawn(lambda n: (torch.rand(1, device=x.device) + torch.arange(n, device=x.device) / n) % 1, len(x))
        noise = drawn(lambda n: torch.randn(n, *x.shape[1:], device=x.device), len(x))
        seen, wanted = self.mixed(x, noise, t)
        return {"squared_error": (self.network(seen, t, self.conditions(conditions)) - wanted).square().mean()}

    @torch.inference_mode()
    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Events of new noise; no pixel is brighter than the brightest of the training split."""
        if not len(conditions):
            return conditions.new_zeros(0, *self.task_shape)  # pixel_unshuffle leaves images of no event as they are
        rng = torch.Generator(conditions.device).manual_seed(seed)
        events = torch.cat([self._some(told, rng) for told in in_pieces(self.conditions(conditions))])
        return events.reshape(-1, *self.task_shape)

    def _some(self, told: Tensor, rng: torch.Generator) -> Tensor:
        """Events of these embedded conditions, (B, channels, H, W)."""
        start = torch.randn(len(told), *self.image_shape, generator=rng, device=told.device)
        x = self.generate(lambda seen, t: self.network(seen, t, told), start, rng)
        values = (self.get_buffer("centre") + self.get_buffer("width") * x).clamp(min=0)
        values = values.minimum(self.get_buffer("highest"))
        return from_log(values) if self.counts else values
