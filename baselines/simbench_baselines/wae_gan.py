"""The Wasserstein autoencoder with an adversarial critic, conditional where the task has conditions."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import softplus

from simbench.tasks.base import Task
from simbench_baselines.autoencoder import Autoencoder
from simbench_baselines.blocks import dense_layers


class WAEGAN(Autoencoder):
    """WAE-GAN: Tolstikhin, Bousquet, Gelly and Schoelkopf, arXiv:1711.01558, algorithm 1; the prior is N(0, 1).

    Minimised by encoder and decoder: E -log p(x|enc(x),c) - beta E log D(enc(X), Q); by the critic D, a classifier of
    three hidden layers: -E log D(Z, Q) - E log(1 - D(enc(X), Q)). Q are the standardised conditions of the batch, times
    `scale`.

    Args:
        weights: a file that `simbench train wae_gan` wrote; None takes the one shipped for the task.
        preset: sizes of the networks, `cpu` or `paper`.
        head: `counts` or `mse`, see `Autoencoder`.
        latent: dimensions of z.
        beta: weight of the adversarial term.
        scale: what a standard deviation of a condition weighs beside the codes.
        hidden: units of each hidden layer of the critic.
    """

    model_name: ClassVar[str] = "wae_gan"
    version: ClassVar[str] = "1"

    def __init__(
        self,
        weights: str | None = None,
        preset: Literal["cpu", "paper"] = "cpu",
        head: Literal["counts", "mse"] | None = None,
        latent: int = 8,
        beta: float = 10.0,
        scale: float = 1.0,
        hidden: int = 64,
    ) -> None:
        super().__init__(weights, preset=preset, head=head, latent=latent, beta=beta, scale=scale, hidden=hidden)

    def build_latent(self, features: int, task: Task) -> None:
        """The encoder's last layer and the critic of codes."""
        super().build_latent(features, task)
        hidden = self.config["hidden"]
        self.critic = dense_layers(self.config["latent"] + len(self.condition_names), hidden, hidden, hidden, 1)

    def players(self) -> dict[str, list[Parameter]]:
        """The critic, then encoder and decoder."""
        critic = {id(parameter) for parameter in self.critic.parameters()}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in critic]
        return {"critic": list(self.critic.parameters()), "autoencoder": rest}

    def losses(self, samples: Tensor, conditions: Tensor, *, player: str) -> dict[str, Tensor]:
        """What the critic tells apart; reconstruction and what fools the critic."""
        told = self.conditions(conditions)
        q = self.config["scale"] * self.conditions.standardised(conditions)
        z = self.encode(samples, told)
        encoded = self.critic(torch.cat([z, q], 1))
        if player == "critic":
            prior = self.critic(torch.cat([self.draw_prior(conditions), q], 1))
            return {"prior": softplus(-prior).mean(), "codes": softplus(encoded).mean()}
        return {
            "reconstruction": self.reconstruction(z, told, samples).mean(),
            "fooling": self.config["beta"] * softplus(-encoded).mean(),
        }
