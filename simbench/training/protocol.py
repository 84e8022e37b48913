"""What a model must offer to be trained: its losses for a batch, beside being a generator."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

REFINED = "refined"
"""The player of the last steps of a training, where the plan has `refine`."""


@runtime_checkable
class Trainable(Protocol):
    """A `torch.nn.Module` that generates events and gives its losses for a batch.

    Ten lines are enough for `simbench train mypkg:Model --task T`: `sample`, `losses`, and a constructor. During
    training, `sample` is called without `setup` (there are no weights to load yet), in evaluation mode, to score the
    model on the validation split.

    Optional members, looked up by name:

    `model_name: str`
        what the weights file calls the model, in place of the class's or the entry point's name.
    `prepare(task, events)`
        called once before training with the training split: build what depends on the task's shape, take the
        conditions' moments.
    `players() -> dict[str, list[Parameter]]`
        the parameters of each player of a game, in the order in which they step (a GAN: critic, then generator).
        `losses` is then called once for each, with `player=name`, and only that player's parameters have gradients.
        Without it, one optimiser steps them all.
    `refined() -> list[Parameter]`
        the parameters that learn on, alone, in the last steps where the plan has `refine` (a prior, once the codes
        stand still). `losses` is then called with `player="refined"`.
    `augment(samples, conditions) -> (samples, conditions)`
        a random symmetry of the data, applied to every training batch (see `simbench.training.augment`).
    `whole_conditions: bool`
        batches hold all repeats of each condition in them, side by side.
    `shared_batches: bool`
        the losses are right where several processes share a batch: they are means over events, random numbers of events
        come from `simbench.training.processes.drawn`, and what looks at several events at once is computed of `whole`
        rows. Without it, a model is trained on one device.
    `plan(preset, task_name) -> dict`
        fields of `simbench.training.plan.Plan` that this model wants otherwise.
    """

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """See `simbench.generators.protocol.Generator`."""
        ...

    def losses(self, samples: Tensor, conditions: Tensor) -> dict[str, Tensor]:
        """The terms of the loss, named for the training curve; their sum is minimised.

        Args:
            samples: (B, *task.shape) float32 in task units.
            conditions: (B, C) float32 in task units.

        Returns:
            scalars by name, weights included.
        """
        ...
