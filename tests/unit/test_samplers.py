"""The samplers on Gaussian data, where the exact velocity, v and solution are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from simbench_baselines.samplers import ddim, ddpm, euler, heun, interpolated, noised

Sampler = Callable[[Any, Tensor, int], Tensor]
DETERMINISTIC: dict[str, Sampler] = {"euler": euler, "heun": heun, "ddim": ddim}
STOCHASTIC: dict[str, Sampler] = {
    "ddim eta=0.5": lambda field, start, steps: ddim(field, start, steps, 0.5, seeded(1)),
    "ddim eta=1": lambda field, start, steps: ddim(field, start, steps, 1.0, seeded(1)),
    "ddpm": lambda field, start, steps: ddpm(field, start, steps, seeded(1)),
}
SAMPLERS = {**DETERMINISTIC, **STOCHASTIC}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


class Normal:
    """x ~ N(m, S), anisotropic, not aligned with the axes; E[x | x_t] and E[u | x_t] are linear in x_t."""

    def __init__(self, dimensions: int) -> None:
        axes = torch.linalg.qr(random(dimensions, dimensions, seed=5))[0]
        sd = torch.linspace(0.3, 2.0, dimensions, dtype=torch.float64)
        self.mean = random(dimensions, seed=6)
        self.covariance = axes @ torch.diag(sd**2) @ axes.T
        self.root = axes @ torch.diag(sd) @ axes.T

    def expected(self, x_t: Tensor, signal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """E[x | x_t] and E[u | x_t] for x_t = signal x + noise u."""
        signal, noise = signal[:, None, None], noise[:, None, None]
        spread = signal**2 * self.covariance + noise**2 * torch.eye(len(self.mean), dtype=torch.float64)
        off = torch.linalg.solve(spread, (x_t - signal[..., 0] * self.mean)[..., None])
        return self.mean + (signal * self.covariance @ off)[..., 0], (noise * off)[..., 0]

    def velocity(self, x_t: Tensor, t: Tensor) -> Tensor:
        x, u = self.expected(x_t, t, 1 - t)
        return x - u

    def v(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (math.pi / 2 * t).cos(), (math.pi / 2 * t).sin()
        x, u = self.expected(x_t, alpha, sigma)
        return alpha[:, None] * u - sigma[:, None] * x

    def field(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        return self.velocity if name in ("euler", "heun") else self.v

    def solution(self, start: Tensor) -> Tensor:
        """Where the exact flow ends, of both conventions: the whitening map, backwards."""
        return self.mean + start @ self.root


def affine_map(name: str, data: Normal, steps: int) -> tuple[Tensor, Tensor]:
    """A deterministic sampler of Gaussian data is start -> start A + b: b, which is the samples' mean, and A."""
    size = len(data.mean)
    ends = DETERMINISTIC[name](data.field(name), torch.eye(size + 1, size, dtype=torch.float64), steps)
    return ends[-1], ends[:-1] - ends[-1]


@pytest.mark.parametrize("dimensions", [1, 4])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_mean_and_covariance_of_deterministic_samplers(name: str, dimensions: int) -> None:
    """The mean is exact in any number of steps (its path is straight); the covariance converges."""
    data = Normal(dimensions)
    errors = []
    for steps in (10, 40, 160):
        mean, matrix = affine_map(name, data, steps)
        assert torch.allclose(mean, data.mean, rtol=1e-12)
        errors.append(float((matrix.T @ matrix - data.covariance).norm() / data.covariance.norm()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.03


@pytest.mark.parametrize("name", STOCHASTIC)
def test_mean_and_covariance_of_stochastic_samplers(name: str) -> None:
    data, count = Normal(3), 40_000
    ends = STOCHASTIC[name](data.v, random(count, 3), 200)
    sd = data.covariance.diagonal().sqrt()
    assert float(((ends.mean(0) - data.mean) / sd).abs().max()) < 4 / math.sqrt(count)
    off = (ends.T.cov() - data.covariance) / (sd[:, None] * sd)
    assert float(off.abs().max()) < 4 * math.sqrt(2 / count) + 1 / 200  # of order 1 in the steps


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("ddim", 1)])
def test_order_of_convergence(name: str, order: int) -> None:
    """Twice the steps, 2^order times closer to where the exact flow ends."""
    data, start = Normal(4), random(50, 4)
    errors = [
        float((DETERMINISTIC[name](data.field(name), start, steps) - data.solution(start)).norm())
        for steps in (100, 200, 400)
    ]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.06)


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_event_as_data(name: str) -> None:
    """All data at one point: every sampler ends there in any number of steps, but for half of heun's last one, which
    asks for a velocity at t = 1, where there is none (here 0)."""
    point, start = random(1, 3, seed=3), random(5, 3)

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        return (point - x_t) / (1 - t[:, None]).clamp(min=1e-9)

    def v(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (math.pi / 2 * t[:, None]).cos(), (math.pi / 2 * t[:, None]).sin()
        return (alpha * x_t - point) / sigma

    for steps in (1, 7):
        ends = SAMPLERS[name](velocity if name in ("euler", "heun") else v, start, steps)
        expected = point + (start - point) / (2 * steps) if name == "heun" else point.expand(5, 3)
        assert torch.allclose(ends, expected, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 25])
def test_ddim_of_eta_1_is_ddpm(steps: int) -> None:
    """The same noise, the same events."""
    data, start = Normal(4), random(50, 4)
    ends = [SAMPLERS[name](data.v, start, steps) for name in ("ddim eta=1", "ddpm")]
    assert torch.allclose(ends[0], ends[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_any_shape(name: str) -> None:
    """The shape of an event plays no part, nor do the other events (but for the noise)."""
    data, start = Normal(6), random(8, 6)
    field = data.field(name)

    def folded(x_t: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (8,)
        return field(x_t.flatten(1), t).view_as(x_t)

    expected = SAMPLERS[name](field, start, 5)
    assert torch.allclose(SAMPLERS[name](folded, start.view(8, 1, 2, 3), 5).flatten(1), expected)
    if name in DETERMINISTIC:
        assert torch.allclose(SAMPLERS[name](field, start[:3], 5), expected[:3])


@pytest.mark.parametrize("sampler", [euler, heun, ddim])
def test_gradient_by_finite_differences(sampler: Sampler) -> None:
    """Through all steps, into the start and into what the field is made of."""

    def end(start: Tensor, weight: Tensor) -> Tensor:
        return sampler(lambda x, t: torch.tanh(x @ weight) * (1 + t[:, None]), start, 4)

    inputs = random(3, 2).requires_grad_(), random(2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(end, inputs)


class Net(nn.Module):
    """A field with weights that is nothing like a solution."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        dense: Tensor = self.dense(x)
        return dense * (1 + t[:, None])


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


TRACED: dict[str, Sampler] = {
    **DETERMINISTIC,
    "ddim eta=1": lambda field, start, steps: ddim(field, start, steps, 1.0),
    "ddpm": ddpm,
}


@pytest.mark.parametrize("name", TRACED)
def test_compiles_without_a_graph_break(name: str, net: Net) -> None:
    start = random(5, 4).float()
    torch._dynamo.reset()  # the cases share a line of code, whose variants are counted
    compiled = torch.compile(lambda x, steps: TRACED[name](net, x, steps), backend="eager", fullgraph=True)
    for steps in (3, 4):
        torch.manual_seed(2)
        expected = TRACED[name](net, start, steps)
        torch.manual_seed(2)
        assert torch.equal(compiled(start, steps), expected)


@pytest.mark.parametrize("name", TRACED)
def test_never_asks_for_a_value(name: str, net: Net) -> None:
    """On the meta device there are no values: .item() or a branch on a tensor would raise."""
    start = torch.empty(5, 4, device="meta")
    assert TRACED[name](net.to("meta"), start, 3).shape == (5, 4)


@pytest.mark.parametrize("name", TRACED)
def test_autocast_keeps_the_state_in_single_precision(name: str, net: Net) -> None:
    start = random(5, 4).float()
    torch.manual_seed(2)
    expected = TRACED[name](net, start, 4)
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16):
        ends = TRACED[name](net, start, 4)
    assert ends.dtype == torch.float32
    assert not torch.equal(ends, expected)
    assert torch.allclose(ends, expected, atol=0.05)


def test_pairs_to_learn_from() -> None:
    """Both ends of the paths, the derivative in t, and x and u back from v."""
    x, u, t = random(5, 2, 3), random(5, 2, 3, seed=1), torch.rand(5, generator=seeded(2), dtype=torch.float64)
    nought, one = torch.zeros(5), torch.ones(5)
    assert torch.equal(interpolated(x, u, nought)[0], u)
    assert torch.equal(interpolated(x, u, one)[0], x)
    assert torch.equal(noised(x, u, nought)[0], x)
    assert torch.allclose(noised(x, u, one)[0], u, atol=1e-6)

    step = 1e-6
    for pair, scale in ((interpolated, 1.0), (noised, math.pi / 2)):
        slope = (pair(x, u, t + step)[0] - pair(x, u, t - step)[0]) / (2 * step)
        assert torch.allclose(slope, scale * pair(x, u, t)[1], atol=1e-8)

    x_t, v = noised(x, u, t)
    alpha, sigma = (math.pi / 2 * t[:, None, None]).cos(), (math.pi / 2 * t[:, None, None]).sin()
    assert torch.allclose(alpha * x_t - sigma * v, x)
    assert torch.allclose(sigma * x_t + alpha * v, u)
