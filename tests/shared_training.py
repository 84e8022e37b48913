"""Every shipped model trained for a few steps, by the processes that have joined. As a program: another process of
them.

In float64: codes that are standardised over the batch leave their bias without a gradient, and Adam makes steps of full
size out of float32's rounding errors in its place.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from toys import ToyTask

from simbench.core.events import Events
from simbench.tasks.base import Split
from simbench.training.launch import together
from simbench.training.loop import train
from simbench.training.plan import Plan
from simbench_baselines.dcgan import DCGAN
from simbench_baselines.ddpm import DDPM
from simbench_baselines.flow_matching import FlowMatching
from simbench_baselines.latent_flow_matching import LatentFlowMatching
from simbench_baselines.sae import SAE
from simbench_baselines.sdi_gan import SDIGAN
from simbench_baselines.swae import SWAE
from simbench_baselines.trained import TrainedModel
from simbench_baselines.vae import VAE
from simbench_baselines.vae_ldm import VAELDM
from simbench_baselines.wae_gan import WAEGAN
from simbench_baselines.wae_mmd import WAEMMD
from simbench_models.e2e_sae import E2eSAE
from simbench_models.sae_ldm import SAELDM

MODELS: dict[str, tuple[type[TrainedModel], dict[str, Any]]] = {
    "vae": (VAE, {}),
    "wae_mmd": (WAEMMD, {}),
    "wae_gan": (WAEGAN, {}),
    "swae": (SWAE, {}),
    "sae": (SAE, {}),
    "dcgan": (DCGAN, {}),
    "sdi_gan": (SDIGAN, {}),
    "vae_ldm": (VAELDM, {}),
    "latent_flow_matching": (LatentFlowMatching, {}),
    "ddpm": (DDPM, {}),
    "flow_matching": (FlowMatching, {}),
    "e2e_sae": (E2eSAE, {}),
    "e2e_sae, conditional": (E2eSAE, {"divergence": "conditional"}),
    "e2e_sae, paper": (E2eSAE, {"divergence": "paper"}),
    "sae_ldm": (SAELDM, {"jitter": 0.1}),
}
STEPS = 4


class Showers(ToyTask):
    """Photon counts (12, 12) around eight times the first condition, each particle twice."""

    name = "showers"
    shape = (12, 12)
    block_size = 64

    def load_split(self, split: Split) -> Events:
        rng = torch.Generator().manual_seed(len(split))
        unit = torch.arange(60).repeat_interleave(2)
        conditions = torch.rand(60, 2, generator=rng)[unit]
        samples = torch.poisson(8 * conditions[:, :1, None] * torch.ones(120, 12, 12), generator=rng)
        return Events(samples=samples.double(), conditions=conditions.double(), condition_id=unit, unit_id=unit)


def train_one(name: str, out: Path) -> None:
    """Four steps of a model, the last half of them of its prior alone where it has one of its own."""
    torch.set_default_dtype(torch.float64)
    try:
        kind, parameters = MODELS[name]
        model = kind(**parameters)
        refine = model.plan("cpu", "mnist").get("refine", 0.0)
        plan = Plan(steps=STEPS, batch_size=16, validate_every=2, validation_events=16, warmup=0, refine=refine)
        train(model, Showers(), plan, out=out, seed=3, progress=False)
    finally:
        torch.set_default_dtype(torch.float32)


def train_all(folder: Path) -> None:
    """All models, each in a folder of its own."""
    for name in MODELS:
        train_one(name, folder / name)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with together(None, "cpu", []):
        train_all(Path(sys.argv[1]))
