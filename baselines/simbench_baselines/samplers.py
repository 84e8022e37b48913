"""From noise to events: the two ways of mixing data with noise, and the published samplers that go back.

x is data, u ~ N(0, 1) noise of its shape (B, ...), t (B,) the time of each event.

- Flow matching (Lipman et al., arXiv:2210.02747, optimal transport path): x_t = (1 - t) u + t x, so t = 0 is noise,
  t = 1 data. A network learns the velocity E[x - u | x_t], and `euler` or `heun` follow it from 0 to 1.
- Diffusion (variance preserving): x_t = alpha x + sigma u, alpha = cos(pi t / 2), sigma = sin(pi t / 2), so t = 0 is
  data, t = 1 noise. A network learns v = E[alpha u - sigma x | x_t] (Salimans and Ho, arXiv:2202.00512), from which
  x = alpha x_t - sigma v and u = sigma x_t + alpha v; nothing is divided by alpha, so t = 1 itself needs no clipping.
  `ddim` and `ddpm` go from 1 to 0.

Every sampler takes `start`, noise of any shape (B, ...), and the number of `steps`; it is differentiable and never
waits for the device. Step counts and schedules are Python numbers: torch.compile unrolls the loop. It cannot trace an
`rng`, though, which only `ddpm` and `ddim` with eta > 0 need: there, compile the network, not the sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]
"""What a network learned: x_t (B, ...), t (B,) -> (B, ...)."""


def interpolated(x: Tensor, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Flow matching: x_t and the velocity x - u to be learned."""
    t = _along(t, x)
    return (1 - t) * u + t * x, x - u


def noised(x: Tensor, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Diffusion: x_t and the v = alpha u - sigma x to be learned."""
    angle = math.pi / 2 * _along(t, x)
    alpha, sigma = angle.cos(), angle.sin()
    return alpha * x + sigma * u, alpha * u - sigma * x


def euler(velocity: Field, start: Tensor, steps: int) -> Tensor:
    """Euler's method for dx/dt = velocity(x, t), t from 0 to 1: order 1, one evaluation a step."""
    x = start
    for step in range(steps):
        x = x + velocity(x, _times(x, step / steps)) / steps
    return x


def heun(velocity: Field, start: Tensor, steps: int) -> Tensor:
    """Heun's method: the mean of the velocities at both ends of an Euler step. Order 2, two evaluations a step."""
    x = start
    for step in range(steps):
        here = velocity(x, _times(x, step / steps))
        there = velocity(x + here / steps, _times(x, (step + 1) / steps))
        x = x + (here + there) / (2 * steps)
    return x


def ddim(predict_v: Field, start: Tensor, steps: int, eta: float = 0.0, rng: torch.Generator | None = None) -> Tensor:
    """Song, Meng and Ermon, arXiv:2010.02502, eq. (12) and (16): x_s = alpha_s x + sqrt(sigma_s^2 - k^2) u + k noise.

    x and u as they are predicted at t > s; k = eta (sigma_s / sigma_t) sqrt(1 - alpha_t^2 / alpha_s^2). With eta = 0
    the start decides everything (order 1 towards the probability flow); eta = 1 has the distribution of `ddpm`.
    """
    x = start
    for step in range(steps):
        t, s = 1 - step / steps, 1 - (step + 1) / steps
        (alpha, sigma), (next_alpha, next_sigma) = _schedule(t), _schedule(s)
        v = predict_v(x, _times(x, t))
        clean, noise = alpha * x - sigma * v, sigma * x + alpha * v
        fresh = eta * next_sigma / sigma * math.sqrt(1 - (alpha / next_alpha) ** 2)
        x = next_alpha * clean + math.sqrt(max(next_sigma**2 - fresh**2, 0.0)) * noise
        if fresh > 0:
            x = x + fresh * _normal(x, rng)
    return x


def ddpm(predict_v: Field, start: Tensor, steps: int, rng: torch.Generator | None = None) -> Tensor:
    """Ho, Jain and Abbeel, arXiv:2006.11239, algorithm 2: ancestral sampling of q(x_s | x_t, x), x as it is predicted.

    Mean (sigma_s^2 (alpha_t / alpha_s) x_t + b alpha_s x) / sigma_t^2, variance b sigma_s^2 / sigma_t^2 (their eq. 7),
    b = 1 - alpha_t^2 / alpha_s^2.
    """
    x = start
    for step in range(steps):
        t, s = 1 - step / steps, 1 - (step + 1) / steps
        (alpha, sigma), (next_alpha, next_sigma) = _schedule(t), _schedule(s)
        clean = alpha * x - sigma * predict_v(x, _times(x, t))
        b = 1 - (alpha / next_alpha) ** 2
        x = (next_sigma**2 * (alpha / next_alpha) * x + b * next_alpha * clean) / sigma**2
        if s > 0:
            x = x + math.sqrt(b) * next_sigma / sigma * _normal(x, rng)
    return x


def _schedule(t: float) -> tuple[float, float]:
    """alpha and sigma."""
    return math.cos(math.pi / 2 * t), math.sin(math.pi / 2 * t)


def _times(x: Tensor, t: float) -> Tensor:
    """The same time for each event: (B,)."""
    return x.new_full(x.shape[:1], t)


def _along(t: Tensor, x: Tensor) -> Tensor:
    """(B,) -> (B, 1, ...), with as many axes as x."""
    return t.reshape(-1, *[1] * (x.dim() - 1))


def _normal(x: Tensor, rng: torch.Generator | None) -> Tensor:
    """Noise like x; `randn_like` takes no generator."""
    return torch.randn(x.shape, generator=rng, device=x.device, dtype=x.dtype)
