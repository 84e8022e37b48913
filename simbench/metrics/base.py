"""What a metric is: a function of a Comparison of two sets of events that gives an Estimate, with its description."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor

from simbench.core.cache import Once
from simbench.core.events import Events
from simbench.metrics.direction import Direction, Way

if TYPE_CHECKING:
    from simbench.metrics.streams import Stream

T = TypeVar("T")


@dataclass(frozen=True)
class Replicates:
    """The metric on resampled events: what its standard error comes from, and the error of a difference of two
    generators.

    All resampling has fixed seeds, so replicate i of two generators scored on the same events has the same units in it.
    """

    kind: Literal["bootstrap", "jackknife"]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Estimate:
    """A metric's value and how sure of it we are.

    Attributes:
        value: the number.
        stderr: its standard error from sampling alone (None where the metric has no estimator for it). 95 % interval:
            value ± 1.96 stderr.
        n: generated events that entered.
        parts: the metric on parts of the event (`ch1`), or side numbers that explain it (`sd`).
        strata: the metric within strata of events (`species=neutron`).
        replicates: the metric on resampled events, where it was resampled.
    """

    value: float
    stderr: float | None
    n: int
    parts: Mapping[str, float] = field(default_factory=dict)
    strata: Mapping[str, Estimate] = field(default_factory=dict)
    replicates: Replicates | None = None


@dataclass(frozen=True)
class Comparison:
    """Generated events against reference events, row-paired: row i of both answers the same condition.

    `memo` keeps what several metrics share (a distance matrix's summary, say) for the life of the comparison. Where
    `stratify` is False metrics leave their strata out.
    """

    generated: Events
    reference: Events
    stratify: bool = True
    _memo: Once = field(default_factory=Once, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not torch.equal(self.generated.condition_id, self.reference.condition_id):
            raise ValueError("generated and reference events must answer the same conditions in the same order")

    def __len__(self) -> int:
        return len(self.generated)

    def derived(self, name: str) -> tuple[Tensor, Tensor]:
        """The derived quantity `name` of the generated and of the reference events."""
        return self.generated.derived(name), self.reference.derived(name)

    def memo(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` gave when it was first asked for under this key."""
        return self._memo.get(key, compute)

    def take(self, index: Tensor) -> Comparison:
        """The rows at `index` of both sides."""
        return Comparison(self.generated.take(index), self.reference.take(index), self.stratify)


MetricFunction = Callable[[Comparison], Estimate]


@dataclass(frozen=True)
class Metric:
    """A registered metric: the function with what must be known to read its number.

    Attributes:
        name, version: of its key `name/version`; values of different keys are never compared.
        direction, target: which way is better.
        ranks: whether it may order models.
        slow: left out by `--fast`.
        reads_train: whether the value depends on the training split.
        trains: whether it fits a network or trees, so that the last digits depend on the machine.
        share: whether it is a share of events, or the difference of two: where none or all count, no spread is seen.
        label: the name people use, in tables and figures.
        summary: the docstring's first line; `meaning`: what the number says, in one sentence for a reader of a report.
        of: the pure function of arrays that the metric makes an Estimate from; its docstring defines the number.
        example: computes a text that shows what the number does.
        stream: how it is made of more events than memory holds; None: of a fixed subsample of them.
    """

    name: str
    version: str
    unit: str
    direction: Way
    target: float | None
    ranks: bool
    slow: bool
    reads_train: bool
    trains: bool
    share: bool
    label: str
    summary: str
    meaning: str
    function: MetricFunction
    of: Callable[..., object] | None = None
    example: Callable[[], str] | None = None
    stream: Stream | None = None

    @property
    def key(self) -> str:
        """`name/version`."""
        return f"{self.name}/{self.version}"

    @property
    def definition(self) -> str:
        """What the number is, in full: the docstrings of the metric and of the function that it is made from."""
        texts = (inspect.getdoc(function) for function in (self.function, self.of) if function is not None)
        return "\n\n".join(text for text in texts if text)

    def __call__(self, pair: Comparison) -> Estimate:
        """The metric of a comparison."""
        return self.function(pair)


def metric(
    key: str,
    *,
    unit: str = "",
    direction: Way = "lower",
    target: float | None = None,
    ranks: bool = True,
    slow: bool = False,
    reads_train: bool = False,
    trains: bool = False,
    share: bool = False,
    label: str = "",
    meaning: str = "",
    of: Callable[..., object] | None = None,
    example: Callable[[], str] | None = None,
    stream: Stream | None = None,
) -> Callable[[MetricFunction], Metric]:
    """Make a function of a Comparison into a Metric; `key` is `name/version`.

    The docstring's first line is the summary, and the meaning where none is given; the label is the name unless given.

    A package offers its own through the entry-point group `simbench.metrics`:

        @metric("mean_photons/1", unit="photons", direction="target", target=0.0, ranks=False)
        def mean_photons(pair):
            '''Mean photon sum, generated minus real.'''
            difference = pair.generated.samples.sum((1, 2)) - pair.reference.samples.sum((1, 2))
            return bootstrap_mean(difference, pair.generated.unit_id)
    """
    name, _, version = key.partition("/")
    if not name or not version:
        raise ValueError(f"a metric's key is 'name/version', got {key!r}")
    Direction(direction, target).check(key)

    def register(function: MetricFunction) -> Metric:
        summary = (function.__doc__ or "").strip().split("\n")[0]
        words = (label or name.replace("_", " "), summary, meaning or summary)
        flags = (ranks, slow, reads_train, trains, share)
        return Metric(name, version, unit, direction, target, *flags, *words, function, of, example, stream)

    return register
