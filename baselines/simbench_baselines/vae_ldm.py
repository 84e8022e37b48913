"""The latent diffusion model: a variational autoencoder whose prior is a diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from simbench.tasks.base import Task
from simbench.training.protocol import REFINED
from simbench_baselines.autoencoder import Autoencoder
from simbench_baselines.blocks import Conditions
from simbench_baselines.latent import ASKED_WIDTH, LatentNetwork, Process, Standardise, refined_as_long
from simbench_baselines.vae import VAE


class VAELDM(VAE):
    """Latent diffusion: Rombach et al., arXiv:2112.10752; ref. of papers/sae-ldm.txt.

    Minimised: the VAE's bound with a small weight of the KL term, which only keeps the codes in bounds, plus the
    denoising error of a diffusion in the space of the codes (`latent.LatentNetwork`), which is the prior in the KL
    term's place. The autoencoder has no gradient of the diffusion: as in the paper the one knows nothing of the other.

    Shapes: x (B, *task.shape) in task units, c (B, C), z (B, latent). C = 0 makes it unconditional.

    What differs from the paper, and why:
    - a code is a vector, not a map: an event on these calorimeters is one shower, with few degrees of freedom;
    - both stages are trained in one run: in the first half of the steps, as many as all autoencoders have, the two
      learn side by side, in the second half the latent network alone;
    - v-prediction and the cosine schedule (arXiv:2202.00512) in place of linear noise and its prediction, for few
      steps;
    - the decoder, as in all autoencoders here, draws events from a likelihood (`head`), and is told the conditions;
    - zn-geant3 is trained with the eight-fold symmetry of the block.

    Args:
        weights: a file that `simbench train vae_ldm` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        latent: dimensions of z.
        beta: weight of the KL term.
        process: `diffusion`, or `flow` for flow matching.
        steps: of the sampler; None: 8.
        head: `counts` or `mse`, see `Autoencoder`.
    """

    model_name: ClassVar[str] = "vae_ldm"
    version: ClassVar[str] = "1"
    slim: ClassVar[bool] = True
    sampling: ClassVar[Mapping[str, Any]] = {"steps": 8}

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        latent: int = 16,
        beta: float = 0.1,
        process: Process = "diffusion",
        steps: int | None = None,
        head: Literal["counts", "mse"] | None = None,
    ) -> None:
        config = {"preset": preset, "latent": latent, "beta": beta, "process": process, "steps": steps}
        Autoencoder.__init__(self, weights, head=head, **config)

    def build_latent(self, features: int, task: Task) -> None:
        """The posterior's layer and the latent network."""
        self.posterior, self.prior = nn.Linear(features, 2 * self.config["latent"]), None
        self.standardise = Standardise(self.config["latent"])
        asked = Conditions(task, ASKED_WIDTH)
        self.network = LatentNetwork(self.config["latent"], asked, self.config["preset"], self.config["process"])

    def plan(self, preset: str, task_name: str) -> dict[str, Any]:
        """As many steps for the prior alone as for all together."""
        return refined_as_long(super().plan(preset, task_name), preset)

    def refined(self) -> list[nn.Parameter]:
        """The latent network."""
        return list(self.network.parameters())

    def losses(self, samples: Tensor, conditions: Tensor, player: str | None = None) -> dict[str, Tensor]:
        """The bound and the denoising error; refined, the latter alone, of codes that stand still."""
        if player != REFINED:
            return super().losses(samples, conditions)
        self.standardise.eval()
        told = self.conditions(conditions)
        return self.prior_terms(self.draw_posterior(samples, told)[0], conditions)

    def prior_terms(self, z: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """The denoising error of codes as they are."""
        codes = self.standardise.to_usual(self.standardise(z.detach()))
        return {"denoising": self.network.denoising(codes, conditions)}

    def draw_prior(self, conditions: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """z by the steps of the sampler."""
        return self.standardise.undo(self.network.draw(conditions, self.config["steps"], rng))
