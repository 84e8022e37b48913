"""The witness of the clock: were the events of timed calls made as the scored ones were?

It compares timed events with scored ones of the same rows, and with timed ones of the same rows and another seed.
"""

from __future__ import annotations

import secrets

import torch
from torch import Tensor

from simbench.core.errors import GeneratorError
from simbench.core.text import number

CHUNK = 1024
"""Events summed at once: a bound on memory."""
ERRORS = 6.0
"""Standard errors between timed and scored events that are a disagreement.

A timed and a scored event of the same row can change places, so their difference is symmetric, and the sum of
independent symmetric numbers exceeds z times the root of the sum of their squares with a probability of at most
2 exp(-z^2 / 2), whatever their distribution: 3e-8 for 6 (B. Efron, J. Am. Stat. Assoc. 64 (1969) 1278).
"""
SMALL = 1e-3
"""A relative difference that is none: rounding differs with the batch size."""
MIN_PAIRS = 20
"""Events, not empty, that must be the same for two seeds before the seed is said to have no effect."""


class Witness:
    """Sees the events of timed calls.

    Args:
        scored: (N, *shape) scored events, if there are some.
        real: (N, *shape) real events. Agreement is asked for apart in the rows whose real event is bright and in the
            others: else right events for the wrong rows would pass.
        unit: of the samples.
    """

    def __init__(self, scored: Tensor | None = None, real: Tensor | None = None, unit: str = "photons") -> None:
        self.scored = None if scored is None else scored.flatten(1).sum(1, dtype=torch.float64)
        self.groups: dict[str, Tensor] = {}
        if scored is not None and real is not None:
            brightness = real.flatten(1).sum(1, dtype=torch.float64)
            bright = brightness > brightness.median()
            self.groups = {"bright": bright, "dim": ~bright}
        self.quantity = "photon sum" if unit == "photons" else "mean grey value"
        self.rng = torch.Generator().manual_seed(secrets.randbits(63))
        self.weights: Tensor | None = None
        self.disagreements: list[str] = []
        self.differ: list[bool] = []
        self.begin()

    @property
    def differs_by_seed(self) -> bool | None:
        """Whether events of the same rows differ with the seed at every batch size; None: too few to tell."""
        return all(self.differ) if self.differ else None

    def begin(self) -> None:
        """Forget the events seen: another batch size comes."""
        events = 0 if self.scored is None else len(self.scored)
        self.totals = torch.full((events,), torch.nan, dtype=torch.float64)
        self.visits = torch.zeros(events, dtype=torch.int64)
        self.pairs = self.equal = 0
        self.last: tuple[Tensor, Tensor] | None = None

    def see(self, samples: Tensor, rows: Tensor) -> None:
        """Take note of a call's events, which answer these rows; if `rows` is that of the call before, compare the two.

        Raises GeneratorError where a sum is not finite, or negative: only the first call is checked value by value.
        """
        totals, marks = self._summary(samples)
        if not bool((totals >= 0).all() & totals.isfinite().all()):
            raise GeneratorError(
                "timed events are not of the task",
                got="a sum that is negative or not finite",
                expected="events as scored",
            )
        if self.last is not None and self.last[0] is rows:
            before = self.last[1]
            alive = (marks != 0) | (before != 0)
            self.pairs += int(alive.sum())
            self.equal += int((alive & (marks == before)).sum())
        self.last = rows, marks
        if self.scored is None:
            return
        rows, totals = rows[: len(self.scored)], totals[: len(self.scored)]  # no row twice
        self.visits[rows] += 1  # of several visits each is kept with the same chance
        kept = torch.rand(len(rows), generator=self.rng) * self.visits[rows] < 1
        self.totals[rows[kept]] = totals[kept]

    def end(self, where: str) -> None:
        """Judge the events seen since `begin`."""
        if self.pairs >= MIN_PAIRS:
            self.differ.append(self.equal < self.pairs)
        if self.scored is None:
            return
        for group, members in self.groups.items():
            seen = members & self.totals.isfinite()
            timed, scored = self.totals[seen], self.scored[seen]
            empty = (timed == 0).double() - (scored == 0).double()
            for what, difference, size in (
                (self.quantity, timed - scored, scored.sum()),
                ("share of empty events", empty, torch.tensor(len(empty))),
            ):
                total, error = float(difference.sum()), float(difference.square().sum().sqrt())
                if abs(total) > ERRORS * error and abs(total) > SMALL * float(size):
                    self.disagreements.append(
                        f"{where}, {group} rows: {what} {number(abs(total) / error, 2)} standard errors "
                        f"{'above' if total > 0 else 'below'}"
                    )

    def _summary(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Of each event the sum, and a random projection that tells events apart, (n,) each."""
        flat = samples.flatten(1)
        if self.weights is None or self.weights.device != flat.device:
            self.weights = torch.rand(flat.shape[1], generator=self.rng).to(flat.device)
        summed = [(chunk.sum(1), chunk @ self.weights) for chunk in (part.float() for part in flat.split(CHUNK))]
        totals, marks = (torch.cat(parts).cpu() for parts in zip(*summed, strict=True))
        return totals.double(), marks
