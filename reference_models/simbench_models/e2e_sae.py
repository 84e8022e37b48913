"""The end-to-end Sinkhorn autoencoder with noise generator: the founding paper's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from simbench.tasks.base import Task
from simbench.training.processes import drawn, whole
from simbench.training.protocol import REFINED
from simbench_baselines.autoencoder import Autoencoder
from simbench_baselines.blocks import as_images, dense_layers, to_log
from simbench_baselines.divergences import sinkhorn_divergence
from simbench_baselines.latent import Standardise, refined_as_long
from simbench_models.terms import conditional_divergence, cosine_penalty, independent_divergence, laplacian_distance


class E2eSAE(Autoencoder):
    """End-to-end Sinkhorn autoencoder: Deja et al., arXiv:2006.06704, eqs. (1) to (8).

    Three networks are trained jointly: encoder, decoder, and a noise generator gen(U, Q) (three hidden layers, ReLU)
    that makes codes from noise U ~ N(0, 1) and conditions Q. Encoder and decoder never see Q. Minimised, eq. (7) with
    (8):

        recon(X, dec(E)) + alpha Lap1(X, dec(E)) + beta S(concat(E, s Q), concat(gen(U, Q), s Q)) + delta R(E) + gamma
        |W|^2

    with E = enc(X); S the debiased Sinkhorn divergence, eqs. (3) and (4), whose gradient goes into encoder and noise
    generator; R the mean of masked squared cosines between codes, eqs. (5) and (6), that is p = delta / (N (N - 1));
    W the weights of the encoder's last layer. Batches hold whole conditions with their repeats: else a large scale s
    would make S a regression of each code on its own conditions, and the generator's noise would die.

    Shapes: X (B, *task.shape) in task units, Q (B, C), E (B, latent), U (B, noise). C = 0 makes it unconditional.

    What differs from the paper, and why:
    - recon is the squared error (the paper's, `head="mse"`) or a likelihood (`head="counts"`), see `Autoencoder`;
      squared errors are summed over pixels, so beta, gamma and delta are larger by their number;
    - codes are standardised over the batch (batch normalisation without scale and shift): else the cheapest way to a
      small S is to shrink them, which the decoder undoes, and blur and s have no meaning; the noise generator makes
      codes as moving averages standardise them (`latent.Standardise`);
    - self terms of S are between independent codes, and its cost is the distance, not half its square
      (`terms.independent_divergence`): eq. (4) on batches (`divergence="paper"`) is least for codes that do not vary
      within a condition, and squares see little more of a distribution than its mean where a condition has few events;
      `divergence="conditional"` compares the codes within each condition alone, the limit of a large s;
    - Q beside the codes is standardised; the noise generator is also told where the particle meets which fibre
      (`blocks.Conditions`), as the conditional baselines are;
    - on mnist the noise generator learns on alone after that, as many steps again, of codes that stand still;
    - zn-geant3 is trained with the eight-fold symmetry of the block.

    Args:
        weights: a file that `simbench train e2e_sae` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        head: `counts` or `mse`, see `Autoencoder`.
        latent: dimensions of the codes.
        noise: dimensions of U.
        hidden: units of each hidden layer of the noise generator.
        alpha: weight of Lap1; the paper has it for images of faces.
        beta: weight of the Sinkhorn divergence.
        divergence: `independent`, `conditional` or `paper`, see above.
        draws: of `conditional`, codes that are made for each encoded one.
        blur: its temperature, of `paper` the square root of it, in units of the codes.
        scale: s, the units of a code that a standard deviation of a condition weighs.
        delta: weight of the latent regulariser.
        tau: cosines below it in absolute value are left out of the regulariser.
        gamma: weight of the L2 norm of the encoder's last layer.
        solver: `simbench` or `geomloss`.
    """

    model_name: ClassVar[str] = "e2e_sae"
    folder: ClassVar[Path] = Path(__file__).parent / "weights"
    version: ClassVar[str] = "1"
    informed: ClassVar[bool] = False
    whole_conditions: ClassVar[bool] = True

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        head: Literal["counts", "mse"] | None = None,
        latent: int = 16,
        noise: int = 16,
        hidden: int = 128,
        alpha: float = 0.0,
        beta: float = 30.0,
        divergence: Literal["paper", "independent", "conditional"] = "independent",
        draws: int = 4,
        blur: float = 1.0,
        scale: float = 3.0,
        delta: float = 10.0,
        tau: float = 0.3,
        gamma: float = 1e-3,
        solver: Literal["simbench", "geomloss"] = "simbench",
    ) -> None:
        super().__init__(
            weights,
            preset=preset,
            head=head,
            latent=latent,
            noise=noise,
            hidden=hidden,
            alpha=alpha,
            beta=beta,
            divergence=divergence,
            draws=draws,
            blur=blur,
            scale=scale,
            delta=delta,
            tau=tau,
            gamma=gamma,
            solver=solver,
        )

    def plan(self, preset: str, task_name: str) -> dict[str, Any]:
        """On mnist as many steps again for the prior alone. A particle of zn-geant3 has three showers to learn from:
        there what is refined fits these, and not those of other particles."""
        plan = super().plan(preset, task_name)
        return refined_as_long(plan, preset) if task_name == "mnist" else plan

    def build_latent(self, features: int, task: Task) -> None:
        """The encoder's last layer and the noise generator."""
        latent, noise, hidden = (self.config[name] for name in ("latent", "noise", "hidden"))
        self.posterior = nn.Linear(features, latent)
        self.standardise = Standardise(latent)
        self.noise_generator = dense_layers(noise + self.conditions.out_features, hidden, hidden, hidden, latent)

    def refined(self) -> list[nn.Parameter]:
        """The noise generator's."""
        return [*self.noise_generator.parameters(), *self.conditions.parameters()]

    def encode(self, samples: Tensor, told: Tensor) -> Tensor:
        """enc(X), standardised: (B, *shape) -> (B, latent)."""
        codes: Tensor = self.standardise(super().encode(samples, told))
        return codes

    def draw_prior(self, conditions: Tensor, rng: torch.Generator | None = None, times: int = 1) -> Tensor:
        """gen(U, Q): (B, C) -> (B, latent). `times`: see `simbench.training.processes.drawn`."""
        inputs, device = self.config["noise"], conditions.device
        u = drawn(lambda n: torch.randn(n, inputs, generator=rng, device=device), len(conditions), times)
        codes: Tensor = self.noise_generator(torch.cat([u, self.conditions(conditions)], 1))
        return codes

    def losses(self, samples: Tensor, conditions: Tensor, player: str | None = None) -> dict[str, Tensor]:
        """The terms of eq. (7), with their weights; refined, those of the prior alone, of codes that stand still."""
        config = self.config
        told = self.conditions(conditions)
        if player == REFINED:
            self.standardise.eval()
            return self.prior_terms(self.encode(samples, told), conditions)
        real = self.encode(samples, told)
        codes, decoded = whole(real), self.decode(real, told)
        terms = {
            "reconstruction": self.head.negative_log(*decoded, samples).mean(),
            **self.prior_terms(real, conditions),
            "cosines": config["delta"] * cosine_penalty(codes, config["tau"]) / max(len(codes) * (len(codes) - 1), 1),
            "weights": config["gamma"] * self.posterior.weight.square().sum(),
        }
        if config["alpha"]:
            images = as_images(to_log(samples) if self.counts else samples)
            terms["lap1"] = config["alpha"] * laplacian_distance(images, self.head.picture(decoded[0])).mean()
        return terms

    def prior_terms(self, real: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """What brings encoded and made codes together: (B, latent), (B, C)."""
        return {"sinkhorn": self.config["beta"] * self.divergence(real, conditions)}

    def divergence(self, real: Tensor, conditions: Tensor) -> Tensor:
        """S of eq. (8): codes (B, latent), conditions (B, C) -> ()."""
        config = self.config
        if config["divergence"] == "conditional":
            draws = config["draws"]
            made = self.standardise.to_batch(self.draw_prior(conditions.repeat(draws, 1), times=draws))
            return conditional_divergence(whole(real), whole(made, draws), whole(conditions))
        q = config["scale"] * self.conditions.standardised(conditions)
        made = self.standardise.to_batch(self.draw_prior(conditions))
        joint = whole(torch.cat([real, q], 1)), whole(torch.cat([made, q], 1))
        if config["divergence"] == "paper":
            return sinkhorn_divergence(*joint, config["blur"], config["solver"])
        return independent_divergence(*joint, whole(conditions), config["blur"], config["solver"])
