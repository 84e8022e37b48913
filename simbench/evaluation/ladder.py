"""The ladder: the clock's events per second over batch sizes and numbers of threads, of one generator or of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from simbench.core.errors import SimbenchError
from simbench.core.text import duration, thread_count
from simbench.core.threads import torch_threads
from simbench.core.user_code import is_out_of_memory
from simbench.evaluation.throughput import FEWEST_REPEATS, REPEATS, SIZES, Clock, Measurement, Rounds
from simbench.evaluation.witness import Witness
from simbench.results.schema import Throughput
from simbench.results.timing import NOT_TIMED
from simbench.tasks.base import Task

LADDER = (1, 100, 1000, 10_000)


def ladder(task: Task) -> tuple[int, ...]:
    """The batch sizes to time: the scoring block is one of them."""
    return tuple(sorted({*LADDER, task.block_size}))


@dataclass
class Ladder:
    """The speeds that were measured, with the repeats behind them and who saw the events; why others were not (`notes`:
    no time for them; `errors`: they failed)."""

    rows: list[Throughput] = field(default_factory=list)
    rounds: list[Rounds] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def take(self, other: Ladder) -> None:
        """Add what another ladder of the same generator found: on another device, in another mode."""
        for name in ("rows", "rounds", "witnesses", "notes", "errors"):
            getattr(self, name).extend(getattr(other, name))

    @property
    def error(self) -> str | None:
        """All errors, as a Result records them."""
        return "; ".join(self.errors)[:5000] or None


@dataclass
class Pace:
    """The time that one number of threads has left for its ladder, and what calls took, by size. `sharing` clocks have
    the deadline together."""

    clock: Clock
    deadline: float
    sharing: int = 1
    known: list[tuple[int, float]] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds."""
        return (self.deadline - self.clock.wall()) / self.sharing

    def learn(self, batch: int, seconds: float) -> None:
        """Note what a call took."""
        self.known = [known for known in self.known if known[0] < batch] + [(batch, seconds)]

    def bound(self, batch: int) -> float:
        """Seconds of a call if its cost is proportional to its size: at least what a larger batch than known takes."""
        return self.known[-1][1] * batch / self.known[-1][0] if self.known else 0.0

    def expected(self, batch: int) -> float:
        """The same on the line through the last two sizes known."""
        if len(self.known) < 2:
            return self.bound(batch)
        (size, seconds), (larger, more) = self.known[-2:]
        line = more + max(more - seconds, 0.0) / (larger - size) * (batch - larger)
        return min(line, self.bound(batch))

    def judge(self, conditions: Tensor, batch: int, allowed: float) -> float:
        """Seconds of a call; where its bound does not fit into the time allowed, a smaller call tells its slope."""
        if self.bound(batch) * _FEWEST_CALLS > allowed and self.known:
            size, seconds = self.known[-1]
            probe = min(batch, max(size + 1, int(size * self.left / 8 / seconds)))
            if size < probe and self.bound(probe) <= self.left / 2:
                self.known.append((probe, self.clock.probe(conditions, probe)))
            return self.expected(batch)
        return self.bound(batch)


_FEWEST_CALLS = FEWEST_REPEATS + SIZES


def measure_ladders(
    lanes: Sequence[tuple[Clock, Witness]],
    conditions: Tensor,
    *,
    batches: Sequence[int] = LADDER,
    budget_s: float = 40.0,
    block: tuple[int, float] | None = None,
    on_batch: Callable[[int], None] = lambda batch: None,
) -> list[Ladder]:
    """The ladder of batch sizes of each clock, all on one device: with one thread and with all of them on a CPU.

    The repeats of the clocks alternate, in an order that turns round each time: what drifts hits all alike. The first
    batch is timed in any case; one that does not fit into what is left of `budget_s`, for each clock, is left out, and
    `notes` say so. One that fails ends that clock's ladder of that number of threads, and `errors` say so: timing
    raises nothing.

    Args:
        lanes: clocks, each with the witness that sees all its events.
        block: a batch size, with the seconds that it may take beyond the budget with all threads: the scoring block's.
    """
    device = lanes[0][0].session.device
    everything = torch.get_num_threads()
    ladders = [Ladder(rounds=clock.rounds, witnesses=[witness]) for clock, witness in lanes]
    thread_counts = sorted({1, everything}) if device == "cpu" else [everything]
    for threads in thread_counts:
        deadline = lanes[0][0].wall() + len(lanes) * budget_s / len(thread_counts)
        paces = {place: Pace(clock, deadline, len(lanes)) for place, (clock, _) in enumerate(lanes)}
        with torch_threads(threads):
            for rung, batch in enumerate(batches):
                where = f"batch {batch} on {device} with {thread_count(threads)}"
                extra = block[1] if block is not None and threads == everything and batch == block[0] else 0.0
                running: dict[int, Measurement] = {}
                for place in list(paces):
                    clock, witness = lanes[place]
                    with _recorded(ladders[place], where, paces, place):
                        on_device = conditions.to(device)
                        pace, allowed = paces[place], max(paces[place].left, extra)
                        single = pace.judge(on_device, batch, allowed)
                        if rung and single * _FEWEST_CALLS > allowed:
                            told = duration(single * _FEWEST_CALLS)
                            ladders[place].notes.append(
                                f"{where}{NOT_TIMED}it would take about {told}, and there is no time left"
                            )
                            continue
                        within = max(pace.left / (len(batches) - rung), extra)
                        running[place] = Measurement(clock, on_device, batch, witness, REPEATS, within)
                order = list(running)
                while any(running[place].repeats_left for place in order):
                    for place in order:
                        if place in paces and running[place].repeats_left:
                            with _recorded(ladders[place], where, paces, place):
                                running[place].repeat()
                    order = [place for place in reversed(order) if place in paces]
                for place in sorted(order):
                    with _recorded(ladders[place], where, paces, place):
                        row = running[place].row(threads)
                        lanes[place][1].end(where)
                        ladders[place].rows.append(row)
                        paces[place].learn(batch, row.latency_ms.p50 / 1000)
                on_batch(batch)
    return ladders


@contextmanager
def _recorded(ladder: Ladder, where: str, paces: dict[int, Pace], place: int) -> Iterator[None]:
    """Record what fails as an error of the ladder, which ends there. Anything else than a generator's error passes."""
    try:
        yield
    except (SimbenchError, MemoryError, RuntimeError) as error:
        if not isinstance(error, SimbenchError) and not is_out_of_memory(error):
            raise
        ladder.errors.append(f"{where}: {str(error) or 'out of memory'}")
        del paces[place]
