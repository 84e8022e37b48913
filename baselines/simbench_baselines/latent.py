"""What latent diffusion models share: standardised codes, and the network that makes new ones out of noise."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from simbench.training.plan import PRESETS
from simbench.training.processes import drawn, own, whole
from simbench_baselines.blocks import Conditions
from simbench_baselines.samplers import ddim, euler, interpolated, noised

FREQUENCIES = 8
"""Of the time that the network is told: sine and cosine of 2^k pi t / 2, k = 0 to FREQUENCIES - 1."""

WIDTH, BLOCKS = {"cpu": 112, "paper": 1024}, {"cpu": 3, "paper": 6}
"""Units of the hidden layers of the latent network, and its residual blocks, by preset."""

ASKED_WIDTH = 96
"""Units of the layers that embed the conditions for a learned prior."""

DRAWS = 4
"""Times and noises at which each code of a batch is learned from: next to the autoencoder they cost little."""


def refined_as_long(plan: dict[str, Any], preset: str) -> dict[str, Any]:
    """A plan with as many steps again, in which the prior alone learns on. While the autoencoder learns, the codes move
    away from under the prior; its steps alone cost a tenth of the autoencoder's."""
    steps = plan.get("steps", PRESETS[preset].steps)
    return {**plan, "steps": 2 * steps, "refine": 0.5, "validate_every": 2 * PRESETS[preset].validate_every}


Process = Literal["flow", "diffusion"]


class Standardise(nn.BatchNorm1d):
    """Codes with mean 0 and variance 1: (B, latent) -> (B, latent), by batch normalisation without scale and shift.

    The moments of a batch are known with an error only, so the same event has another code in each batch. What learns
    to make codes could not foresee that and would take it for a spread (on zn-geant3 a third of that within a
    condition). It therefore makes them as the moving averages standardise them, and `to_batch` and `to_usual` lead from
    there to the last batch's codes and back.
    """

    def __init__(self, latent: int) -> None:
        super().__init__(latent, affine=False)
        self.scale, self.shift = torch.ones(latent), torch.zeros(latent)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Moving averages of mean and standard deviation, (latent,) each."""
        return self.get_buffer("running_mean"), (self.get_buffer("running_var") + self.eps).sqrt()

    def forward(self, codes: Tensor) -> Tensor:
        """The standardised codes."""
        if not self.training or len(codes) < 2:
            mean, sd = self.moments()
            self.scale, self.shift = torch.ones_like(mean), torch.zeros_like(mean)
            return (codes - mean) / sd
        codes = whole(codes)
        standard: Tensor = own(super().forward(codes))
        with torch.no_grad():
            mean, sd = self.moments()
            batch_sd = (codes.var(0, correction=0) + self.eps).sqrt()
            self.scale, self.shift = sd / batch_sd, (mean - codes.mean(0)) / batch_sd
        return standard

    def to_batch(self, usual: Tensor) -> Tensor:
        """Codes as the moments of the last batch standardise them, of those by the moving averages."""
        return usual * self.scale + self.shift

    def to_usual(self, codes: Tensor) -> Tensor:
        """The inverse of `to_batch`."""
        return (codes - self.shift) / self.scale

    def undo(self, usual: Tensor) -> Tensor:
        """The codes as they were, of those standardised by the moving averages."""
        mean, sd = self.moments()
        return usual * sd + mean


class LatentNetwork(nn.Module):
    """A learned prior: a residual network that moves noise to codes in small steps, told time and conditions.

    - `flow`: flow matching (arXiv:2210.02747) on straight paths z_t = (1 - t) u + t z, learning z - u; Euler steps;
    - `diffusion`: v-prediction (arXiv:2202.00512) with the cosine schedule z_t = cos(pi t / 2) z + sin(pi t / 2) u;
      DDIM steps.

    Codes z (B, latent) should have about mean 0 and variance 1; noise u ~ N(0, 1), t ~ U(0, 1). The conditions are
    embedded by layers of its own: what tells codes apart is not what the decoder needs to be told.
    """

    def __init__(self, latent: int, conditions: Conditions, preset: str, process: Process) -> None:
        super().__init__()
        self.latent, self.process, self.conditions = latent, process, conditions
        width = WIDTH[preset]
        self.enter = nn.Linear(latent + 2 * FREQUENCIES + conditions.out_features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width)) for _ in range(BLOCKS[preset])
        )
        self.leave = nn.Linear(width, latent)

    def forward(self, z: Tensor, t: Tensor, *, told: Tensor) -> Tensor:
        """The velocity, or v: (B, latent), (B,), (B, told) -> (B, latent)."""
        angles = t[:, None] * math.pi / 2 * 2.0 ** torch.arange(FREQUENCIES, device=t.device)
        hidden = self.enter(torch.cat([z, angles.sin(), angles.cos(), told], 1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        velocity: Tensor = self.leave(silu(hidden))
        return velocity

    def denoising(self, codes: Tensor, conditions: Tensor) -> Tensor:
        """The squared error of what is learned, summed over the code: (B, latent), (B, C) -> ()."""
        codes, told = codes.repeat(DRAWS, 1), self.conditions(conditions).repeat(DRAWS, 1)
        device = codes.device
        u = drawn(lambda n: torch.randn(n, self.latent, device=device), len(codes), DRAWS)
        t = drawn(lambda n: torch.rand(n, device=device), len(codes), DRAWS)
        z, target = (interpolated if self.process == "flow" else noised)(codes, u, t)
        error: Tensor = (self(z, t, told=told) - target).square().sum(1).mean()
        return error

    def draw(self, conditions: Tensor, steps: int, rng: torch.Generator | None = None, times: int = 1) -> Tensor:
        """New codes by `steps` steps from noise, with their gradient: (B, C) -> (B, latent). `times`: see `drawn`."""
        device = conditions.device
        u = drawn(lambda n: torch.randn(n, self.latent, generator=rng, device=device), len(conditions), times)
        move = partial(self, told=self.conditions(conditions))
        return euler(move, u, steps) if self.process == "flow" else ddim(move, u, steps, 0.0, rng)
