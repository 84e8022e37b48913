"""Training: one loop for every model, shipped or a stranger's.

`protocol` says what a model must offer, `loop` trains it, `weights` stores what it learnt.
"""

from simbench.core.lazy import public_names

__getattr__, __dir__, __all__ = public_names(
    __name__, {"Trainable": "protocol", "Plan": "plan", "train": "loop", "load_weights": "weights"}
)
