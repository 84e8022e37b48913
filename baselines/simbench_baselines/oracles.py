"""The trivial oracles: generators that hold no model, whose scores say what every other score is worth.

`Floor` answers with independent real events: what a perfect model would score. The others are wrong in one known way
each. They serve any task: what they know of it is its splits, its condition names and whether it has read-out channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from simbench.core.errors import GeneratorError
from simbench.core.events import Events
from simbench.tasks.base import Task

CHUNK = 500
"""Requests that are looked up, or events that are put together, at once: a bound on memory."""

KIND_COLUMNS = ("mass", "charge")
"""Conditions that together say the species. Rounded, so a particle and its neutral antiparticle, and K0L and K0S, are
one kind: the conditions do not tell them apart."""

SHORTEST_RUN = 100
"""Fewer requests than these are not looked for among the consecutive rows of a split (see `Floor`)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Pool:
    """Real events, grouped by condition.

    Attributes:
        samples: (N, *shape).
        conditions: (K, C), one row a condition.
        member: (N,) int64, the row of `conditions` that each event answers.
    """

    samples: Tensor
    conditions: Tensor
    member: Tensor

    @classmethod
    def of(cls, events: Events) -> Pool:
        """The events of a split; those of an unconditional task answer one and the same condition, of no columns."""
        ids = events.condition_id if events.conditions.shape[1] else torch.zeros_like(events.condition_id)
        distinct, member = torch.unique(ids, return_inverse=True)
        conditions = torch.empty(len(distinct), events.conditions.shape[1])
        conditions[member] = events.conditions
        return cls(events.samples, conditions, member)

    def deal(self, wanted: Tensor, seed: int) -> Tensor:
        """The row of one event for each of the `wanted` conditions (n,): in random order, each event once before any
        comes again."""
        shuffled = torch.randperm(len(self.member), generator=torch.Generator().manual_seed(seed))
        by_condition = shuffled[torch.argsort(self.member[shuffled], stable=True)]
        held, first = _counts_and_starts(self.member, len(self.conditions))
        _, first_wanted = _counts_and_starts(wanted, len(self.conditions))
        order = torch.argsort(wanted, stable=True)
        turn = torch.empty_like(wanted)
        turn[order] = torch.arange(len(wanted)) - first_wanted[wanted[order]]
        return by_condition[first[wanted] + turn % held[wanted]]


def _counts_and_starts(index: Tensor, length: int) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(index, minlength=length)
    return counts, counts.cumsum(0) - counts


class Neighbours:
    """The conditions of a pool that are nearest to a request: same species, standardised Euclidean distance.

    Every column is divided by its standard deviation over the pool's events (constant columns by 1). A request of a
    species that the pool does not hold is answered from all species, mass and charge then being columns as the others
    are.
    """

    def __init__(self, pool: Pool, kind_columns: list[int]) -> None:
        sd = pool.conditions[pool.member].double().std(0)
        self.scale = torch.where(sd > 0, sd, torch.ones_like(sd))
        self.conditions = pool.conditions.double() / self.scale
        self.kind_columns = kind_columns
        self.kinds = pool.conditions[:, kind_columns].round()

    def __call__(self, requests: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Distance and index of the nearest conditions, nearest first: (n, C) -> (n, count) each; infinitely far if of
        another species."""
        found = [self._search(chunk, count) for chunk in torch.split(requests, CHUNK)]
        return torch.cat([distance for distance, _ in found]), torch.cat([index for _, index in found])

    def _search(self, requests: Tensor, count: int) -> tuple[Tensor, Tensor]:
        distance = torch.cdist(
            requests.double() / self.scale, self.conditions, compute_mode="donot_use_mm_for_euclid_dist"
        )
        same = torch.ones_like(distance, dtype=torch.bool)
        for column, kind in zip(self.kind_columns, self.kinds.T, strict=True):
            same &= requests[:, column, None].round() == kind
        same |= ~same.any(1, keepdim=True)
        nearest = distance.masked_fill_(~same, torch.inf).topk(count, dim=1, largest=False)
        return nearest.values, nearest.indices


def _kind_columns(task: Task) -> list[int]:
    return [task.condition_names.index(name) for name in KIND_COLUMNS if name in task.condition_names]


def _ready(value: T | None, oracle: object) -> T:
    """What `setup` left behind. Raises GeneratorError where it was not called."""
    if value is None:
        raise GeneratorError(
            f"{type(oracle).__name__} was asked for events before setup",
            got="no task",
            expected="setup(task, device) first",
            fix="Call setup(task, device) once, as `simbench run` does.",
        )
    return value


class Floor:
    """Independent real events of the very conditions asked for: what a perfect model would answer.

    Conditions are matched by the bytes of their float32 values. Within a call the events of a condition come in an
    order set by the seed, each once before any comes again. A call for 100 or more consecutive rows of the test split
    (a block) is answered by the same rows of the split `floor`, shuffled among equal conditions: the blocks of a run
    then share no event. With mnist, whose ten conditions recur in every block, they otherwise would, and 10 000 draws
    with replacement are worth only half as many independent events.
    """

    version = "1"

    def __init__(self) -> None:
        self.pool: Pool | None = None
        self.rows: dict[bytes, int] = {}

    def setup(self, task: Task, device: str | torch.device) -> None:
        """Load the split `floor`, whose rows answer the conditions of the test split in its order."""
        self.pool = Pool.of(task.load("floor"))
        self.rows = {key: row for row, key in enumerate(_keys(self.pool.conditions))}

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Real events of exactly these conditions, on the CPU. Raises GeneratorError for conditions that are not the
        test split's."""
        pool = _ready(self.pool, self)
        found = [self.rows.get(key, -1) for key in _keys(conditions)]
        if -1 in found:
            raise GeneratorError(
                "floor only answers the task's test conditions",
                got=f"{found.count(-1)} of {len(found)} conditions that are not among them",
                expected=f"rows of the {len(pool.conditions)} conditions of the test split, float32",
                fix="Use memoriser for others.",
            )
        wanted = torch.tensor(found, dtype=torch.int64)
        start = _run_start(pool.member, wanted)
        if start is not None:
            run = slice(start, start + len(wanted))
            pool = Pool(pool.samples[run], pool.conditions, pool.member[run])
        return pool.samples[pool.deal(wanted, seed)]


def _keys(conditions: Tensor) -> list[bytes]:
    """The bytes of each row in float32, negative zero made positive."""
    return [row.tobytes() for row in (conditions.detach().cpu().to(torch.float32) + 0.0).numpy()]


def _run_start(sequence: Tensor, wanted: Tensor) -> int | None:
    """Where `wanted` stands in `sequence` as one piece, if it is long enough to be told from chance."""
    if not SHORTEST_RUN <= len(wanted) <= len(sequence):
        return None
    starts = (sequence[: len(sequence) - len(wanted) + 1] == wanted[0]).nonzero().flatten().tolist()
    return next((start for start in starts if torch.equal(sequence[start : start + len(wanted)], wanted)), None)


def _distinct(conditions: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows, so that repeats are looked up once, and which of them each row is."""
    conditions = conditions.detach().cpu()
    if conditions.shape[1] == 0:
        return conditions[:1], torch.zeros(len(conditions), dtype=torch.int64)
    rows, repeat = torch.unique(conditions, dim=0, return_inverse=True)
    return rows, repeat


class Memoriser:
    """Training events replayed: for each request an event of the nearest training condition.

    Nearest: of the same species (where the task has mass and charge) in standardised condition; for one-hot labels the
    label itself. The events of a condition are dealt in an order set by the seed, each once before any comes again, so
    the eight repeats of a `zn-geant3` condition hold the three training events of its neighbour two or three times
    each.
    """

    version = "1"

    def __init__(self) -> None:
        self.pool: Pool | None = None
        self.neighbours: Neighbours | None = None

    def setup(self, task: Task, device: str | torch.device) -> None:
        """Load the training split."""
        self.pool = Pool.of(task.load("train"))
        self.neighbours = Neighbours(self.pool, _kind_columns(task))

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Training events, on the CPU."""
        pool, neighbours = _ready(self.pool, self), _ready(self.neighbours, self)
        requests, repeat = _distinct(conditions)
        _, nearest = neighbours(requests, 1)
        return pool.samples[pool.deal(nearest[repeat, 0], seed)]


class MeanResponse:
    """The mean training event around a condition: right on average, without any spread. The seed has no effect.

    The mean is taken over the nearest training conditions (as in `Memoriser`), whole ones, until they hold `events`
    events or the species has no more: ten conditions of three events for `zn-geant3`, all images of the label for
    `mnist`. Photons are not rounded.
    """

    version = "1"

    def __init__(self, events: int = 30) -> None:
        if events < 1:
            raise GeneratorError(
                "mean_response averages no events", got=f"events={events}", expected="1 or more", fix="Try 30."
            )
        self.events = events
        self.neighbours: Neighbours | None = None
        self.sums = torch.empty(0)
        self.counts = torch.empty(0)
        self.most = 0

    def setup(self, task: Task, device: str | torch.device) -> None:
        """Load the training split and sum its events by condition."""
        pool = Pool.of(task.load("train"))
        self.neighbours = Neighbours(pool, _kind_columns(task))
        self.counts = torch.bincount(pool.member).float()
        self.sums = torch.zeros(len(self.counts), *pool.samples.shape[1:]).index_add_(0, pool.member, pool.samples)
        self.most = min(-(-self.events // int(self.counts.min())), len(self.counts))

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Mean events, on the CPU."""
        neighbours = _ready(self.neighbours, self)
        requests, repeat = _distinct(conditions)
        distance, index = neighbours(requests, self.most)
        held = self.counts[index]
        used = distance.isfinite() & (held.cumsum(1) - held < self.events)
        total = functional.embedding_bag(index, self.sums.flatten(1), per_sample_weights=used.float(), mode="sum")
        return (total / (held * used).sum(1, keepdim=True))[repeat].reshape(-1, *self.sums.shape[1:])


class ChannelMarginals:
    """Every read-out channel from another training event, drawn at random: right marginals, no correlation, no
    condition.

    The pixels of a channel stay together. A task without channels has each pixel from another event.
    """

    version = "1"

    def __init__(self) -> None:
        self.events: Tensor | None = None
        self.source = torch.empty(0, dtype=torch.int64)

    def setup(self, task: Task, device: str | torch.device) -> None:
        """Load the training split; number, for each pixel, the draw that it is taken from."""
        events = task.load("train")
        self.events = events.samples
        pixels = events.samples[0].numel()
        has_channels = "channels" in events.derivations
        self.source = task.channel_masks.argmax(1) if has_channels else torch.arange(pixels)

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Events put together from training events, on the CPU."""
        events = _ready(self.events, self)
        rng = torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(events), (len(conditions), int(self.source.max()) + 1), generator=rng)
        flat, pixel = events.flatten(1), torch.arange(len(self.source))
        mixed = torch.cat([flat[rows[:, self.source], pixel] for rows in torch.split(drawn, CHUNK)])
        return mixed.reshape(-1, *events.shape[1:])


class WrongCondition:
    """A training event drawn at random, whatever was asked: right in every distribution, deaf to the condition.

    A drawn label of `mnist` is right by chance one time in ten; a drawn condition of `zn-geant3` never is.
    """

    version = "1"

    def __init__(self) -> None:
        self.events: Tensor | None = None

    def setup(self, task: Task, device: str | torch.device) -> None:
        """Load the training split."""
        self.events = task.load("train").samples

    def sample(self, conditions: Tensor, *, seed: int) -> Tensor:
        """Training events, on the CPU."""
        events = _ready(self.events, self)
        return events[torch.randint(len(events), (len(conditions),), generator=torch.Generator().manual_seed(seed))]
