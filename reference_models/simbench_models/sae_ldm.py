"""The latent diffusion in the space of a Sinkhorn autoencoder, trained jointly: the second founding paper's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from simbench.tasks.base import Task
from simbench.training.processes import drawn
from simbench.training.protocol import REFINED
from simbench_baselines.autoencoder import Autoencoder
from simbench_baselines.blocks import Conditions
from simbench_baselines.latent import ASKED_WIDTH, LatentNetwork, Process, Standardise, refined_as_long
from simbench_models.e2e_sae import E2eSAE


class SAELDM(E2eSAE):
    """SAE-LDM: papers/sae-ldm.txt, of which the abstract is public; the reading below is ours.

    The abstract fixes: no KL term and no reparameterisation; the autoencoder minimises the Wasserstein distance between
    encoded data and a learned prior; the diffusion runs in that latent space; both are optimised jointly with the
    Sinkhorn algorithm. Here the learned prior is the conditional latent diffusion itself. Minimised:

        recon(X, dec(E, Q)) + alpha Lap1(X, dec(E, Q)) + beta S(concat(E, s Q), concat(S_k(U, Q), s Q))
        + zeta |f(E_t, t, Q) - target|^2 + delta R(E) + gamma |W|^2

    with E = enc(X, Q), f the latent network (`latent.LatentNetwork`), and S_k its k-step deterministic sampler,
    unrolled with gradient: the Sinkhorn term trains exactly the few steps that are taken when events are generated,
    and the encoder to give codes that these steps can reach. S, R and W are those of `E2eSAE`. After as many steps as
    all autoencoders have, the latent network learns on alone, by the denoising error of codes that stand still.

    Shapes: X (B, *task.shape) in task units, Q (B, C), E (B, latent). C = 0 makes it unconditional.

    Args:
        weights: a file that `simbench train sae_ldm` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        head: `counts` or `mse`, see `Autoencoder`.
        latent: dimensions of the codes.
        process: of the latent network, `flow` or `diffusion`.
        steps: k, steps of the sampler, in training and, where nothing else is asked for, afterwards; None: 4.
        zeta: weight of the denoising error.
        through: whether the denoising error has a gradient into the encoder, too.
        jitter: standard deviation of noise on the codes of a training batch, before anything is done with them.
        alpha, beta, divergence, draws, blur, scale, delta, tau, gamma, solver: see `E2eSAE`.
    """

    model_name: ClassVar[str] = "sae_ldm"
    version: ClassVar[str] = "1"
    informed: ClassVar[bool] = True
    slim: ClassVar[bool] = True
    sampling: ClassVar[Mapping[str, Any]] = {"steps": 4}

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        head: Literal["counts", "mse"] | None = None,
        latent: int = 16,
        process: Process = "flow",
        steps: int | None = None,
        zeta: float = 1.0,
        through: bool = False,
        jitter: float = 0.0,
        alpha: float = 0.0,
        beta: float = 30.0,
        divergence: Literal["paper", "independent", "conditional"] = "conditional",
        draws: int = 4,
        blur: float = 1.0,
        scale: float = 3.0,
        delta: float = 10.0,
        tau: float = 0.3,
        gamma: float = 1e-3,
        solver: Literal["simbench", "geomloss"] = "simbench",
    ) -> None:
        Autoencoder.__init__(
            self,
            weights,
            head=head,
            preset=preset,
            latent=latent,
            process=process,
            steps=steps,
            zeta=zeta,
            through=through,
            jitter=jitter,
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
        """With a denoising error, as many steps again for the latent network alone."""
        plan = Autoencoder.plan(self, preset, task_name)
        return refined_as_long(plan, preset) if self.config["zeta"] else plan

    def losses(self, samples: Tensor, conditions: Tensor, player: str | None = None) -> dict[str, Tensor]:
        """All terms; refined, the denoising error alone, of codes that stand still: there S would fit the few events of
        each particle."""
        if player != REFINED:
            return super().losses(samples, conditions)
        self.standardise.eval()
        return {"denoising": self.network.denoising(self.encode(samples, self.conditions(conditions)), conditions)}

    def build_latent(self, features: int, task: Task) -> None:
        """The encoder's last layer and the latent network."""
        latent = self.config["latent"]
        self.posterior = nn.Linear(features, latent)
        self.standardise = Standardise(latent)
        self.network = LatentNetwork(
            latent, Conditions(task, ASKED_WIDTH), self.config["preset"], self.config["process"]
        )

    def encode(self, samples: Tensor, told: Tensor) -> Tensor:
        """enc(X, Q), standardised, in training with noise: (B, *shape), (B, told) -> (B, latent)."""
        codes = super().encode(samples, told)
        if not self.training:
            return codes
        noise = drawn(lambda n: torch.randn(n, codes.shape[1], device=codes.device), len(codes))
        jittered: Tensor = codes + self.config["jitter"] * noise
        return jittered

    def refined(self) -> list[nn.Parameter]:
        """The latent network's."""
        return list(self.network.parameters())

    def draw_prior(self, conditions: Tensor, rng: torch.Generator | None = None, times: int = 1) -> Tensor:
        """S_k(U, Q): (B, C) -> (B, latent). `times`: see `simbench.training.processes.drawn`."""
        return self.network.draw(conditions, self.config["steps"], rng, times)

    def prior_terms(self, real: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """The Sinkhorn divergence and the denoising error."""
        codes = self.standardise.to_usual(real if self.config["through"] else real.detach())
        terms = super().prior_terms(real, conditions) if self.config["beta"] else {}
        if self.config["zeta"]:
            terms["denoising"] = self.config["zeta"] * self.network.denoising(codes, conditions)
        return terms
