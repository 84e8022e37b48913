"""Training: one loop for every model, shipped or a stranger's. `protocol` says what a model must offer, `loop` trains it, `weights` stores it."""

from simbench.training.protocol import Trainable

__all__ = ["Trainable"]
