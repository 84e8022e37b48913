"""Quality against time per event: what each generator takes for an event, and which are beaten by none in both.

The rule of `places`: of two generators one beats the other where it is faster and as good for all that is known (its
value is better, or the 95 % interval of their difference holds zero: `simbench.results.ranking`), or as fast and
significantly better. So two scores that are tied never beat each other on quality alone: time decides, and where the
times are equal too, neither is beaten. Times are compared by their medians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from simbench.core.text import count, engine_name, printable, thread_count
from simbench.metrics.direction import Direction
from simbench.results.ranking import Score, as_good, surely_worse
from simbench.results.schema import Measurement, MonteCarloRecord, Plain, Result, Throughput
from simbench.results.words import way_of

TIES = (
    "On the front (●): no faster one is as good, and none as fast is better. Two scores are tied where the 95 % "
    "interval of their difference holds zero; they do not beat each other on quality alone, so that the faster one is "
    "on the front. ○: off it by such a tie alone; its value is better than that of all faster ones, by no more than "
    "chance."
)

Device = Literal["all", "cpu", "cuda"]
Place = Literal["front", "tied", "beaten"]
"""On the front; beaten only by a tie with a faster one, which has the worse value; beaten."""


@dataclass(frozen=True)
class Pace:
    """Seconds per event: the median of the clock's repeats, and its 5 and 95 % percentiles, None where not known.

    `batch` None: not in batches, the Monte Carlo.
    """

    seconds: float
    low: float | None
    high: float | None
    device: str
    batch: int | None
    gpu: bool = False

    @classmethod
    def of(cls, row: Throughput) -> Pace:
        """The pace of a row of a speed table."""
        rates, gpu = row.events_per_s, row.device != "cpu"
        parts = [printable(row.device.partition(" ")[2] or row.device, 60) if gpu else "cpu"]
        parts += [] if gpu else [thread_count(row.threads)]
        parts += [way_of(row)] if way_of(row) else []
        return cls(1 / rates.p50, 1 / rates.p95, 1 / rates.p5, ", ".join(parts), row.batch, gpu)

    @property
    def where(self) -> str:
        """`batch 100, cpu, 1 thread`."""
        return self.device if self.batch is None else f"batch {count(self.batch)}, {self.device}"


@dataclass(frozen=True)
class Trade:
    """A generator, or the Monte Carlo, with its score and its seconds per event at batch 1 and at its best batch.

    `label` is its name; `named` adds of the `parameters` what tells it from others; `ranked`: it may be on the front;
    `weights` are the name and the checksum of one training; `key` is what the caller knows it by.
    """

    label: str
    value: float
    error: float | None
    score: Score
    single: Pace | None
    best: Pace | None
    ranked: bool = True
    monte_carlo: bool = False
    weights: tuple[str, str] | None = None
    note: str = ""
    key: str = ""
    parameters: Mapping[str, Plain] = field(default_factory=dict)

    @classmethod
    def of(cls, result: Result, measurement: Measurement, single: Pace | None, best: Pace | None) -> Trade:
        """The trade of a result, by a measurement that has a value."""
        assert measurement.value is not None
        return cls(
            printable(result.label, 60) or "unnamed",
            measurement.value,
            measurement.stderr,
            Score.of(measurement),
            single,
            best,
            weights=trained_weights(result),
            parameters=result.generator.trained_parameters,
        )

    @classmethod
    def of_monte_carlo(
        cls, record: MonteCarloRecord, floor: float, floor_sd: float | None, direction: Direction
    ) -> Trade:
        """The Monte Carlo: as good as independent real events, at its seconds per event."""
        pace = Pace(record.seconds_per_event, None, None, f"cpu, {thread_count(record.threads)}", None)
        score = Score(direction.badness(floor), floor_sd or 0.0, "", ())
        return cls(engine_name(record.engine), floor, floor_sd, score, pace, pace, monte_carlo=True)


def trained_weights(result: Result) -> tuple[str, str] | None:
    """The name and the checksum of the training that a result is of, where there was one."""
    made = result.generator
    return (printable(made.name, 60), made.weights_sha256) if made.weights_sha256 else None


def monte_carlo(results: Sequence[Result], measurement: Measurement) -> list[Trade]:
    """The Monte Carlo at the floor of a measurement, as the first result that knows its cost has it; else nothing."""
    record = next((result.speedup.monte_carlo for result in results if result.speedup), None)
    if record is None or record.seconds_per_event <= 0 or measurement.floor is None:
        return []
    return [Trade.of_monte_carlo(record, measurement.floor, measurement.floor_sd, Direction.of(measurement))]


def paces(
    rows: Sequence[Throughput], device: Device = "all", threads: int | None = None
) -> tuple[Pace | None, Pace | None]:
    """The pace at batch 1 and at the best batch: of all rows on `device`, the one with the highest median rate.

    CPU rows are those of so many `threads`; None: one thread, as the Monte Carlo ran, or all where one was not timed.
    """
    usable = [row for row in rows if row.events_per_s.p5 > 0]
    cpu = [row for row in usable if row.device == "cpu"]
    one = [row for row in cpu if row.threads == (threads or 1)]
    found = (one or cpu if threads is None else one) if device != "cuda" else []
    if device != "cpu":
        found = [*found, *(row for row in usable if row.device != "cpu")]

    def fastest(of: Sequence[Throughput]) -> Pace | None:
        return Pace.of(max(of, key=lambda row: row.events_per_s.p50)) if of else None

    return fastest([row for row in found if row.batch == 1]), fastest(found)


def places(points: Sequence[tuple[float, Score]]) -> list[Place]:
    """Whether each of the points (seconds per event, score) is on the front, from the fastest to the slowest.

    A point is held against those on the front alone: a chain of ties leads nowhere.
    """
    found: list[Place] = ["beaten"] * len(points)
    leaders: list[tuple[float, Score]] = []  # the best at each time on the front
    lowest = float("inf")
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], points[i][1].badness)):
        point = points[index]
        if not any(_beats(leader, point) for leader in reversed(leaders)):
            found[index] = "front"
            if not leaders or leaders[-1][0] < point[0]:
                leaders.append(point)
        elif point[1].badness < lowest:
            found[index] = "tied"
        lowest = min(lowest, point[1].badness)
    return found


def _beats(one: tuple[float, Score], other: tuple[float, Score]) -> bool:
    """Whether `one`, which is not the slower, beats the other."""
    if one[0] < other[0]:
        return one[1].badness <= other[1].badness or as_good(one[1], other[1])
    return surely_worse(other[1], one[1])


@dataclass(frozen=True)
class Placed:
    """A trade with its place at batch 1 and at the best batch; None where it was not timed, or is not ranked."""

    trade: Trade
    single: Place | None
    best: Place | None


def placed(trades: Sequence[Trade]) -> list[Placed]:
    """The places of all trades among those that are ranked, the Monte Carlo's too, in their order."""
    single, best = (_marks(trades, [getattr(trade, at) for trade in trades]) for at in ("single", "best"))
    return [Placed(*each) for each in zip(trades, single, best, strict=True)]


def _marks(trades: Sequence[Trade], found: Sequence[Pace | None]) -> list[Place | None]:
    timed = {
        at: (pace.seconds, trade.score)
        for at, (trade, pace) in enumerate(zip(trades, found, strict=True))
        if trade.ranked and pace is not None
    }
    marks = dict(zip(timed, places(list(timed.values())), strict=True))
    return [marks.get(at) for at in range(len(trades))]


MOST = 20
"""Generators in a figure: names of more cannot be read."""


def drawn(trades: Sequence[Placed]) -> list[Placed]:
    """What a figure shows, in its order: ranked and timed, those on a front and the Monte Carlo first, then the best,
    `MOST` in all."""
    timed = [at for at, one in enumerate(trades) if one.single or one.best]

    def wanted(at: int) -> tuple[bool, bool, bool, float]:
        one = trades[at]
        marks = one.single, one.best
        return not one.trade.monte_carlo, "front" not in marks, "tied" not in marks, one.trade.score.badness

    return [trades[at] for at in sorted(sorted(timed, key=wanted)[:MOST])]


def quality_caption(trades: Sequence[Trade]) -> str:
    """What the figure shows, in a few sentences."""
    single = any(trade.single and not trade.monte_carlo for trade in trades)
    caption = (
        f"{'Left one event at a time, right the' if single else 'The'} fastest batch of each; bars: ± 1 standard "
        "error, and 5 to 95 % of the clock's repeats. The dashed line joins what is on the front, in bold: no faster "
        "one is as good or tied."
    )
    if any(pace and pace.gpu for trade in trades for pace in (trade.single, trade.best)):
        caption += " Hollow: on a GPU, which is no fair race against one core."
    known = [trade.weights for trade in trades if trade.weights]
    if len(set(known)) < len(known):
        caption += " A solid line joins one training, sampled in several ways."
    if any(trade.monte_carlo for trade in trades):
        caption += " The Monte Carlo stands at the floor: independent real events against real events."
    return caption


def named(trades: Sequence[Placed]) -> list[Placed]:
    """The trades with as few parameters in their labels as tell those of one name apart: `vae (head=mse)`.

    A number does where no parameter does. Takes the square of their number: for those of a figure.
    """
    labels = []
    for place, one in enumerate(trades):
        mine, label = one.trade.parameters, one.trade.label
        others = [o.trade.parameters for at, o in enumerate(trades) if o.trade.label == label and at != place]
        chosen: list[str] = []
        for key in sorted(mine, key=lambda key: sum(theirs.get(key) == mine[key] for theirs in others)):
            alike = [theirs for theirs in others if theirs.get(key) == mine[key]]
            if len(alike) < len(others):
                chosen.append(f"{printable(key, 20)}={printable(str(mine[key]), 20)}")
                others = alike
        labels.append(f"{label} ({', '.join(chosen)})" if chosen else label)
    unique = [
        label if labels.count(label) == 1 else f"{label} #{labels[: at + 1].count(label)}"
        for at, label in enumerate(labels)
    ]
    return [replace(one, trade=replace(one.trade, label=label)) for one, label in zip(trades, unique, strict=True)]
