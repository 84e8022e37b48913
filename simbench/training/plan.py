"""The plan of a training: how long, how large a batch, which steps of the optimiser."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from simbench.core.errors import UsageError
from simbench.core.plugins import unknown_name


@dataclass(frozen=True)
class Plan:
    """Everything that the loop needs to know beside model, task and seed.

    Attributes:
        steps: batches; with several players, each steps once a batch.
        batch_size: events in a batch.
        learning_rate: the largest: a linear warm-up of `warmup` steps, then a half cosine down to 0 at `steps`; with
            `refine` once down to `turn`, and once more from there.
        refine: share of the steps, the last ones, in which only what the model names as `refined` learns.
        beta1, beta2, weight_decay: of AdamW.
        clip: the largest norm of a player's gradient; inf leaves it as it is.
        ema: decay of the moving average of the weights, which is what is validated and kept.
        validate_every: steps between two validations. Training can be resumed from each.
        validation_events: events of the validation split to sample, at most.
        patience: validations without improvement after which training stops.
        share: of the training split's units (what repeats by design: a particle, an image) that are learned from; a
            smaller share is part of a larger one. For a learning curve.
    """

    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 1e-3
    warmup: int = 50
    refine: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0
    clip: float = math.inf
    ema: float = 0.995
    validate_every: int = 100
    validation_events: int = 2000
    patience: int = 10
    share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every", "validation_events", "patience"):
            if getattr(self, name) < 1:
                raise UsageError(f"a training needs {name} of at least 1", got=str(getattr(self, name)))
        if not (self.learning_rate > 0 and self.clip > 0 and 0 <= self.ema < 1 and self.warmup >= 0):
            expected = "learning_rate > 0, clip > 0, 0 <= ema < 1, warmup >= 0"
            raise UsageError("the plan of the training makes no sense", got=str(self), expected=expected)
        if not (0 < self.share <= 1 and 0 <= self.refine < 1):
            expected = "0 < share <= 1, 0 <= refine < 1"
            raise UsageError("the plan of the training makes no sense", got=str(self), expected=expected)

    @property
    def turn(self) -> int:
        """The step with which the refinement begins, counted from 0; without one `steps`."""
        return max(1, round(self.steps * (1 - self.refine)))

    def rate(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        first, end = (0, self.turn) if step < self.turn else (self.turn, self.steps)
        rise = min(1.0, (step - first + 1) / self.warmup) if self.warmup else 1.0
        done = min((step - first) / (end - first), 1.0) if end > first else 1.0
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))


PRESETS = {
    "cpu": Plan(),
    "paper": Plan(
        steps=50_000, batch_size=1000, warmup=500, ema=0.9995, validate_every=500, validation_events=4000, patience=20
    ),
}
"""`cpu`: minutes on two cores. `paper`: the batch of the founding papers, for a GPU."""


def plan_for(model: object, task_name: str, preset: str = "cpu", **overrides: Any) -> Plan:
    """The plan of a preset, with what the model wants otherwise, then `overrides` that are not None.

    Raises:
        UsageError: no such preset or field, or values that make no sense.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    wishes: dict[str, Any] = model.plan(preset, task_name) if hasattr(model, "plan") else {}
    chosen = {**wishes, **{name: value for name, value in overrides.items() if value is not None}}
    known = [field.name for field in dataclasses.fields(Plan)]
    for name in chosen:
        if name not in known:
            raise unknown_name("field of the training plan", name, known)
    return dataclasses.replace(PRESETS[preset], **chosen)
