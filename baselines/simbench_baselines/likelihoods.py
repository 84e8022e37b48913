"""Likelihoods of decoded events: what a decoder's output means, its log-density, and how an event is drawn from it."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from simbench.generators.noise import is_given, uniform
from simbench_baselines.blocks import LOG_MAXIMUM, as_images, from_log, to_log


class Head(Protocol):
    """The last step of a decoder.

    `channels` decoded images belong to one of the task; their first values are near `start`, where that matters. With
    `empty`, a second output of the decoder is the logit that an event holds nothing at all.
    """

    channels: ClassVar[int]
    start: ClassVar[tuple[float, ...]]
    empty: ClassVar[bool]

    @classmethod
    def negative_log(cls, decoded: Tensor, empty_logit: Tensor | None, samples: Tensor) -> Tensor:
        """-log p of each event, up to a constant: (B, channels, H, W), (B,) or None, (B, *shape) -> (B,)."""
        ...

    @classmethod
    def draw(cls, decoded: Tensor, empty_logit: Tensor | None, rng: torch.Generator) -> Tensor:
        """Events in task units, (B, *shape) but for the axis of the channels."""
        ...

    @classmethod
    def picture(cls, decoded: Tensor) -> Tensor:
        """The mean event as an image, of log(1 + n) for photons: (B, channels, H, W)."""
        ...


class Counts:
    """Photon counts: an event is empty with probability p; otherwise pixels are independent negative binomial.

    A decoded image has two channels, a = log of the mean count and b = log of the dispersion: variance = mean + exp(b)
    mean^2. The zero class exists because a particle that runs down a groove gives nothing at all, which independent
    pixels express badly.

    log P(n) = log G(n + r) - log G(r) - log n! + r log(r / (r + mean)) + n log(mean / (r + mean)),
    r = exp(-b), G the gamma function
    """

    channels: ClassVar[int] = 2
    start: ClassVar[tuple[float, ...]] = (-3.0, 0.0)
    """First values of the two channels, near the data's: nearly all pixels are dark."""
    empty: ClassVar[bool] = True

    @staticmethod
    def _split(decoded: Tensor) -> tuple[Tensor, Tensor]:
        return decoded[:, 0].clamp(-12, LOG_MAXIMUM), decoded[:, 1].clamp(-6, 5)

    @classmethod
    def negative_log(cls, decoded: Tensor, empty_logit: Tensor | None, samples: Tensor) -> Tensor:
        """-log p(event) without log n!, which no parameter moves: (B, 2, H, W), (B,), (B, H, W) -> (B,)."""
        assert empty_logit is not None
        log_mean, log_dispersion = cls._split(decoded)
        r = torch.exp(-log_dispersion)
        odds = log_mean + log_dispersion
        dark = -(r * functional.softplus(odds)).flatten(1).sum(1)
        event, row, column = samples.nonzero(as_tuple=True)  # one pixel in eight: the gamma functions are dear
        n, r = samples[event, row, column], r[event, row, column]
        lit = torch.lgamma(n + r) - torch.lgamma(r) - n * functional.softplus(-odds[event, row, column])
        pixels = dark.index_add(0, event, lit)
        filled = (samples.flatten(1) > 0).any(1).to(samples.dtype)
        seen = functional.binary_cross_entropy_with_logits(empty_logit, 1 - filled, reduction="none")
        return seen - filled * pixels

    @classmethod
    def draw(cls, decoded: Tensor, empty_logit: Tensor | None, rng: torch.Generator) -> Tensor:
        """Whole photons, (B, H, W)."""
        assert empty_logit is not None
        log_mean, log_dispersion = cls._split(decoded)
        mean, r = log_mean.exp(), torch.exp(-log_dispersion)
        if is_given():
            photons = negative_binomial_quantile(mean, r, torch.randn(mean.shape, generator=rng, device=mean.device))
        else:
            photons = negative_binomial(mean, r, rng)
        empty = torch.rand(len(decoded), generator=rng, device=decoded.device) < empty_logit.sigmoid()
        return photons.masked_fill(empty[:, None, None], 0.0)

    @classmethod
    def picture(cls, decoded: Tensor) -> Tensor:
        """log(1 + mean count) of events that are not empty, (B, 1, H, W)."""
        return functional.softplus(cls._split(decoded)[0])[:, None]


BRIGHT = 0.5
"""Mean above which a count is drawn as a Poisson count with a gamma distributed mean; below, by inversion, which is
faster there."""

INVERSION_STEPS = 200


def negative_binomial(mean: Tensor, r: Tensor, rng: torch.Generator) -> Tensor:
    """Negative binomial counts of the given mean and shape r (variance mean + mean^2 / r), any shape, bounded by 20 000
    a pixel.

    Both ways are exact: the gamma-Poisson mixture, and the search for the n with P(< n) <= u < P(<= n), by
    P(n + 1) = P(n) (n + r) / (n + 1) mean / (r + mean). The search looks at the numbers, which a GPU would have to be
    waited for: there all counts are from the mixture.
    """
    if mean.device.type != "cpu":
        return _gamma_poisson(mean, r, rng)
    counts = torch.zeros_like(mean)
    bright = mean >= BRIGHT
    counts[bright] = _gamma_poisson(mean[bright], r[bright], rng)
    u = torch.rand(mean.shape, generator=rng, device=mean.device)
    at_zero = torch.exp(-r * torch.log1p(mean / r))
    open_at = ((u >= at_zero) & ~bright).nonzero(as_tuple=True)
    p, left, shape = at_zero[open_at], u[open_at], r[open_at]
    ratio = mean[open_at] / (shape + mean[open_at])
    found = torch.zeros_like(p)
    for n in range(INVERSION_STEPS):
        left = left - p
        beyond = left >= 0
        if not bool(beyond.any()):
            break
        found += beyond
        p = p * (n + shape) / (n + 1) * ratio
        left = torch.where(beyond, left, -1.0)
    counts[open_at] = found
    return counts


QUANTILE_STEPS = 64
"""Counts below which `negative_binomial_quantile` is exact."""


def negative_binomial_quantile(mean: Tensor, r: Tensor, normal: Tensor) -> Tensor:
    """The count at the place of a normal number in the negative binomial distribution: all of one shape.

    As a graph without branches, in which a generator is handed over. Below `QUANTILE_STEPS` it is the search of
    `negative_binomial`, with all its steps; above, the gamma distribution of the same mean and variance, by its cube
    root, which is nearly normal (Wilson and Hilferty 1931).
    """
    u = uniform(normal)
    p = torch.exp(-r * torch.log1p(mean / r))
    ratio = mean / (r + mean)
    below, counts = torch.zeros_like(p), torch.zeros_like(p)
    for n in range(QUANTILE_STEPS):
        below = below + p
        counts = counts + (u >= below).to(p.dtype)
        p = p * (n + r) / (n + 1) * ratio
    shape = r * ratio
    cube_root = 1 - 1 / (9 * shape) + normal / (3 * shape.sqrt())
    far = (mean * cube_root.clamp(min=0).pow(3)).round().clamp(QUANTILE_STEPS, 20_000.0)
    return torch.where(counts < QUANTILE_STEPS, counts, far)


def _gamma_poisson(mean: Tensor, r: Tensor, rng: torch.Generator) -> Tensor:
    """Poisson counts whose means are gamma distributed."""
    intensity = torch._standard_gamma(r, generator=rng) / r * mean
    return torch.poisson(intensity.clamp(max=20_000.0), generator=rng)


class Grey:
    """Images in [0, 1]: cross entropy of each pixel's grey value, sampled as its mean (drawing it would add pixel
    noise, as for all VAEs)."""

    channels: ClassVar[int] = 1
    start: ClassVar[tuple[float, ...]] = ()
    empty: ClassVar[bool] = False

    @classmethod
    def negative_log(cls, decoded: Tensor, empty_logit: Tensor | None, samples: Tensor) -> Tensor:
        """(B, channels, H, W) logits and grey values -> (B,)."""
        images = as_images(samples)
        return functional.binary_cross_entropy_with_logits(decoded, images, reduction="none").flatten(1).sum(1)

    @classmethod
    def draw(cls, decoded: Tensor, empty_logit: Tensor | None, rng: torch.Generator) -> Tensor:
        """Grey values, (B, channels, H, W)."""
        return cls.picture(decoded)

    @classmethod
    def picture(cls, decoded: Tensor) -> Tensor:
        """Grey values, (B, channels, H, W)."""
        return decoded.sigmoid()


class GreySquares(Grey):
    """Images in [0, 1] with the squared error, summed over pixels, in place of the cross entropy."""

    @classmethod
    def negative_log(cls, decoded: Tensor, empty_logit: Tensor | None, samples: Tensor) -> Tensor:
        """(B, channels, H, W) logits and grey values -> (B,)."""
        return (decoded.sigmoid() - as_images(samples)).square().flatten(1).sum(1)


class LogSquares:
    """Photon counts with the squared error of log(1 + n), summed over pixels; decoded by rounding."""

    channels: ClassVar[int] = 1
    start: ClassVar[tuple[float, ...]] = (0.0,)
    empty: ClassVar[bool] = False

    @classmethod
    def negative_log(cls, decoded: Tensor, empty_logit: Tensor | None, samples: Tensor) -> Tensor:
        """(B, channels, H, W) values of log(1 + n) and photons -> (B,)."""
        return (decoded - as_images(to_log(samples))).square().flatten(1).sum(1)

    @classmethod
    def draw(cls, decoded: Tensor, empty_logit: Tensor | None, rng: torch.Generator) -> Tensor:
        """Whole photons, (B, 1, H, W)."""
        return from_log(decoded)

    @classmethod
    def picture(cls, decoded: Tensor) -> Tensor:
        """log(1 + n) as it was decoded, (B, 1, H, W)."""
        return decoded


HEADS: dict[tuple[str, bool], type[Head]] = {
    ("counts", True): Counts,
    ("counts", False): Grey,
    ("mse", True): LogSquares,
    ("mse", False): GreySquares,
}
"""By the name of a head, and whether the task counts photons."""


def kl_divergence(mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, variance) from the prior's normal, both diagonal, summed over the latent's dimensions:
    (B, L) each -> (B,)."""
    distance = (log_variance.exp() + (mean - prior_mean).square()) / prior_log_variance.exp()
    return 0.5 * (prior_log_variance - log_variance + distance - 1).sum(1)
