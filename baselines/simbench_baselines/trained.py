"""What every shipped network has in common: arguments, first building, and loading from one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from simbench.core.errors import DataError, UsageError
from simbench.core.events import Events
from simbench.generators.noise import is_given
from simbench.tasks.base import Task
from simbench.training.augment import mirror_exchange
from simbench.training.weights import fill, load_weights, read_config, read_seconds, read_seed
from simbench_baselines.blocks import Conditions

FOLDER = Path(__file__).parent / "weights"
"""The shipped weights, all of training seed 0: `<model>-<task>.safetensors`, of models with heads one for each."""

AT_ONCE = {"cpu": 256}
"""Events that are made at once, by device; a GPU has room for more. On a CPU the arrays of a piece then stay below the
32 MB above which malloc maps memory anew for each array: at 1000 events the kernel's clearing of those pages took more
than half of the time."""
AT_ONCE_ELSEWHERE = 8192


def in_pieces(values: Tensor) -> tuple[Tensor, ...]:
    """The rows of `values`, as many together as are made at once on their device; all of them, where noise is given."""
    if is_given():
        return (values,)
    return torch.split(values, AT_ONCE.get(values.device.type, AT_ONCE_ELSEWHERE))


class TrainedModel(nn.Module):
    """A generator whose networks depend on the task: built by `prepare` to be trained, or by `setup` from weights.

    A subclass names itself in `model_name`, hands its constructor arguments to `super().__init__`, and adds its
    networks in `build`.
    """

    model_name: ClassVar[str]
    folder: ClassVar[Path] = FOLDER
    """Where the weights are that this class ships."""
    whole_conditions: ClassVar[bool] = False
    """Batches hold all repeats of each condition in them."""
    shared_batches: ClassVar[bool] = True
    """Losses are right where several processes share a batch."""

    sampling: ClassVar[Mapping[str, Any]] = {}
    """Arguments on which no weight's shape depends, so that they may be chosen anew for weights that are there, with
    the values for a new model: one that is given as None takes the file's, any other counts before it."""

    def __init__(self, weights: str | None, **config: Any) -> None:
        super().__init__()
        self.weights = weights
        self.given = {name: config[name] for name in self.sampling if config[name] is not None}
        self.config = {**config, **self.sampling, **self.given}
        if self.config.get("steps", 1) < 1:
            raise UsageError(f"{self.model_name} needs steps of at least 1", got=str(self.config["steps"]))
        self.weights_path: Path | None = None
        self.training_seed: int | None = None
        self.training_seconds: float | None = None

    @property
    def effective_parameters(self) -> dict[str, Any]:
        """The constructor's arguments, after `setup` those that the weights were trained with; see `sampling`."""
        return self.config

    def build(self, task: Task) -> None:
        """Make the networks for the events and conditions of `task`, from `self.config`. Subclasses call this first.

        Values beyond 1 are taken as counts, of photons or of the task's unit (whole MeV); others as grey values.
        """
        self.task_shape, self.counts, self.condition_names = task.shape, task.maximum > 1, task.condition_names
        self.symmetric = task.fibres is not None
        self.conditions = Conditions(task)

    def fit(self, events: Events) -> None:
        """Take from the training split what is not learned: the conditions' moments."""
        for module in self.modules():
            if isinstance(module, Conditions):
                module.fit(events.conditions)

    def augment(self, samples: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Mirror and exchange x and y where the block is symmetric; whole conditions stay whole."""
        if not self.symmetric:
            return samples, conditions
        return mirror_exchange(samples, conditions, self.condition_names, together=self.whole_conditions)

    def prepare(self, task: Task, events: Events) -> None:
        """Untrained networks for `task`; the loop calls it."""
        self.build(task)
        self.fit(events)

    def shipped(self, task: Task) -> Path:
        """The file of the shipped weights of a task."""
        return self.folder / f"{self.model_name}-{task.name}.safetensors"

    def setup(self, task: Task, device: str) -> Self:
        """Load the weights of the constructor's `weights`, or the shipped ones of the task.

        Raises:
            DataError: there are none, or they are damaged or another model's.
        """
        path = Path(self.weights) if self.weights is not None else self.shipped(task)
        if self.weights is None and not path.is_file():
            raise DataError(
                f"no weights of {self.model_name} for {task.name} are shipped",
                got=f"no file {path}",
                fix=f"Train them, `simbench train {self.model_name} --task {task.name}`; then --param weights=FILE.",
            )
        state, metadata = load_weights(path)
        config = read_config(path, metadata, model=self.model_name, task_name=task.name)
        kinds = {key: type(value) for key, value in (self.config | dict(self.sampling)).items()}
        if any(kinds.get(key) is not type(value) for key, value in config.items()):
            raise DataError(
                f"{path} was written by another version of {self.model_name}",
                got=f"config {config}"[:300],
                expected=", ".join(f"{key} ({kind.__name__})" for key, kind in kinds.items()),
                fix=f"Train again: `simbench train {self.model_name} --task {task.name}`.",
            )
        self.config |= config | self.given  # an argument that is younger than the file keeps its default
        try:
            with torch.device("meta"):
                self.build(task)
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{path} is damaged", got=f"config {config}"[:300], fix="Fetch the file again.") from error
        fill(self, state, path)
        self.weights_path = path
        self.training_seed, self.training_seconds = read_seed(metadata), read_seconds(metadata)
        self.to(device).eval()
        return self
