"""Sampling for the scores: fixed blocks, each with a seed of its own, so that nothing depends on how fast or in what batches we time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simbench.core.seeds import derive_seed
from simbench.generators.preflight import call
from simbench.generators.protocol import Generator
from simbench.tasks.base import Task


def sample_blocks(
    generator: Generator,
    conditions: Tensor,
    task: Task,
    *,
    root_seed: int,
    repetition: int,
    device: str,
    who: str,
    on_block: Callable[[int], None] = lambda events: None,
) -> Tensor:
    """One event per row of `conditions`, (N, *task.shape) float32 on the CPU, checked block by block.

    Block b holds rows [b * task.block_size, (b + 1) * task.block_size) and has the seed of (root_seed, task, "sample", repetition, b).

    Raises:
        GeneratorError: the generator raised, or returned something that is not a block of events of the task.
    """
    blocks = []
    for block, rows in enumerate(conditions.split(task.block_size)):
        seed = derive_seed(root_seed, task.name, "sample", repetition, block)
        samples = call(generator, rows.to(device), seed, who)
        blocks.append(task.check_samples(samples, len(rows), who))
        on_block(len(rows))
    return torch.cat(blocks)
