"""Timing on several devices and in several modes, of one generator or of some side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor

from simbench.core.devices import choose_device
from simbench.core.errors import UsageError
from simbench.core.plugins import unknown_name
from simbench.evaluation.ladder import Ladder, measure_ladders
from simbench.evaluation.throughput import Clock
from simbench.evaluation.witness import Witness
from simbench.generators.resolve import Resolved, resolve_again
from simbench.generators.session import PRECISIONS, Mode, Session
from simbench.results.schema import GeneratorRecord


class TimingOptions(TypedDict):
    """What `simbench.evaluation.evaluate.Options` takes of the options of timing."""

    batches: tuple[int, ...]
    devices: tuple[str, ...]
    modes: tuple[Mode, ...]


def read_timing(devices: str, batches: str | None, precision: str, compiled: bool) -> TimingOptions:
    """What is timed, and how: lists with commas. The first device and precision are those of the scored events.

    Raises:
        UsageError: a device or precision that is not there, or no batch size.
    """

    def listed(text: str) -> list[str]:
        return list(dict.fromkeys(word.strip() for word in text.split(",")))

    known: dict[str, Mode] = {name: Mode(name) for name in PRECISIONS}
    for word in listed(precision):
        if word not in known:
            raise unknown_name("precision", word, known)
    sizes = listed(batches) if batches is not None else []
    if not all(size.isdecimal() and 0 < int(size) < 10**9 for size in sizes):
        raise UsageError("--batches are not numbers of events", got=repr(batches), expected="for example 1,100,1000")
    plain = [known[word] for word in listed(precision)]
    modes = [*plain, *(Mode(mode.precision, compiled=True) for mode in plain if compiled)]
    return {
        "batches": tuple(int(size) for size in sizes),
        "devices": tuple(dict.fromkeys(choose_device(name) for name in listed(devices))),
        "modes": tuple(modes),
    }


@dataclass(frozen=True)
class Opening:
    """A generator, set up on the first device, with what a Result records of it: enough to construct it again."""

    resolved: Resolved
    session: Session
    record: GeneratorRecord

    def on(self, device: str) -> Session:
        """A session on a device: this one, or one of the generator constructed anew, which moves nothing away."""
        if device == self.session.device:
            return self.session
        again = resolve_again(self.resolved.spec, self.record)
        return again.set_up(self.session.task, device, self.session.root_seed)


def time_on_devices(
    openings: Sequence[Opening],
    conditions: Tensor,
    devices: Sequence[str],
    modes: Sequence[Mode],
    batches: Sequence[int],
    *,
    witness: Callable[[], Witness] = Witness,
    block: tuple[int, float] | None = None,
    on_batch: Callable[[int], None] = lambda batch: None,
) -> list[Ladder]:
    """The ladders of each generator, one after the other device; on a device all generators and modes alternate.

    `witness` makes one for each generator and mode; `block` and `on_batch` are those of `measure_ladders`.

    Raises:
        GeneratorError: a generator cannot be set up on one of the devices.
    """
    found = [Ladder() for _ in openings]
    for device in devices:
        sessions = [opening.on(device) for opening in openings]
        lanes = [(Clock(session.in_mode(mode)), witness()) for session in sessions for mode in modes]
        ladders = measure_ladders(lanes, conditions, batches=batches, block=block, on_batch=on_batch)
        for place, ladder in enumerate(ladders):
            found[place // len(modes)].take(ladder)
    return found
