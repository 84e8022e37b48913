"""Shipped diffusion models in half precision and compiled: the scores must stay within their errors.

`pytest -m slow tests/perf/test_samplers.py -s` prints the scores of each way and its speed over the plain one's.
"""

import contextlib
import time
from typing import Any

import pytest
import torch

from simbench.core.events import Events
from simbench.core.seeds import derive_seed
from simbench.metrics.base import Comparison
from simbench.metrics.registry import metrics
from simbench.tasks import get_task
from simbench_baselines.ddpm import DDPM
from simbench_baselines.flow_matching import FlowMatching
from simbench_baselines.latent_flow_matching import LatentFlowMatching
from simbench_baselines.vae_ldm import VAELDM
from simbench_models.sae_ldm import SAELDM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KEYS = ("conditional_energy/1", "channel_wasserstein/1")


@pytest.mark.parametrize("model_class", [SAELDM, LatentFlowMatching, VAELDM, FlowMatching, DDPM])
def test_scores_in_half_precision_and_compiled(model_class: type[Any]) -> None:
    task = get_task("zn-geant3")
    reference = task.load("validation").take(torch.arange(2000))
    model = model_class().setup(task, "cpu")
    plain_field = model.network.forward
    compiled_field = torch.compile(plain_field)

    def generate() -> tuple[Events, float]:
        blocks = list(enumerate(reference.conditions.split(task.block_size)))
        model.sample(blocks[0][1], seed=0)  # compiles
        start = time.perf_counter()
        made = [model.sample(some, seed=derive_seed(0, "block", block)) for block, some in blocks]
        return reference.with_samples(torch.cat(made).float()), time.perf_counter() - start

    scores, seconds = {}, {}
    for way in ("plain", "half precision", "compiled"):
        model.network.forward = compiled_field if way == "compiled" else plain_field
        half = way == "half precision"
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            events, seconds[way] = generate()
        pair = Comparison(events, reference)
        scores[way] = {key: metrics()[key](pair) for key in KEYS}
        shown = ", ".join(f"{key} {found.value:.3f} ± {found.stderr:.3f}" for key, found in scores[way].items())
        print(f"\n{model.model_name}, {way}: {shown}; {seconds['plain'] / seconds[way]:.2f}x as fast")
    for way in ("half precision", "compiled"):
        for key in KEYS:
            off = abs(scores[way][key].value - scores["plain"][key].value)
            assert off < float(scores["plain"][key].stderr or 0), (way, key)
