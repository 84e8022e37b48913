"""Shipped diffusion models in half precision and compiled: the scores must stay within their errors.

`pytest -m slow tests/perf/test_samplers.py -s` prints the scores of each way and its speed over the plain one's.
"""

import time
from typing import Any

import pytest
import torch

from simbench.core.events import Events
from simbench.generators.session import Mode, Session
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
MODES = (Mode(), Mode("bf16"), Mode(compiled=True))


@pytest.mark.parametrize("model_class", [SAELDM, LatentFlowMatching, VAELDM, FlowMatching, DDPM])
def test_scores_in_half_precision_and_compiled(model_class: type[Any]) -> None:
    task = get_task("zn-geant3")
    reference = task.load("validation")
    plain = Session(model_class(), task, model_class.model_name)
    blocks = list(enumerate(reference.conditions.split(task.block_size)))

    def generate(session: Session) -> tuple[Events, float]:
        session.call_bare(blocks[0][1], 0)  # compiles
        start = time.perf_counter()
        made = [session.call_bare(some, session.seed("block", block)) for block, some in blocks]
        return reference.with_samples(torch.cat(made).float()), time.perf_counter() - start

    scores, seconds = {}, {}
    for mode in MODES:
        events, seconds[mode] = generate(plain.in_mode(mode))
        pair = Comparison(events, reference)
        scores[mode] = {key: metrics()[key](pair) for key in KEYS}
        shown = ", ".join(f"{key} {found.value:.3f} ± {found.stderr:.3f}" for key, found in scores[mode].items())
        print(f"\n{model_class.model_name}, {mode}: {shown}; {seconds[MODES[0]] / seconds[mode]:.2f}x as fast")
    for mode in MODES[1:]:
        for key in KEYS:
            off = abs(scores[mode][key].value - scores[MODES[0]][key].value)
            assert off < float(scores[MODES[0]][key].stderr or 0), (mode, key)
