"""What a Result tells against its own speed: pure functions of it, for the run that makes it and for boards."""

from __future__ import annotations

from simbench.core.text import count, duration, number, thread_count
from simbench.results.schema import Result

NOT_TIMED = " not timed: "
"""In a warning of a batch size that was left out for want of time."""

MOST_APART = 3.0
"""Times that the scored events may take longer, or shorter, than timed ones."""
SLACK_SECONDS = 0.002
"""Less for a block is no difference: scored events are kept, so that each block needs memory that is new."""


def scored_sentence(result: Result) -> str:
    """`12 000 scored events took 27 s (440 a second, 2 threads); setup took 0.1 s`; empty where it is not known."""
    timing = result.timing
    if timing is None or timing.scored_seconds <= 0:
        return ""
    rate = number(timing.scored_events / timing.scored_seconds)
    return (
        f"{count(timing.scored_events)} scored events took {duration(timing.scored_seconds)} ({rate} a second, "
        f"{thread_count(timing.scored_threads)}); setup took {duration(timing.setup_seconds)}"
    )


def timing_findings(result: Result) -> list[str]:
    """Why the speeds of a Result may not be those of its scored events, in sentences."""
    timing, found = result.timing, []
    if timing is None or not result.throughput:
        return []
    if timing.differs_by_seed is False and result.generator.stochastic:
        found.append("timed calls gave the same events for every seed, scored ones do not: were they kept from before?")
    if not timing.agrees:
        found.append(f"timed events are not like the scored ones of the same rows: {timing.reason}")
    scored = timing.scored_block_seconds
    if scored is None:
        return found
    where = f"the scoring block ({count(timing.scored_batch)} events, {thread_count(timing.scored_threads)})"
    on = timing.scored_on
    rows = [
        row
        for row in result.throughput
        if (row.batch, row.threads) == (timing.scored_batch, timing.scored_threads)
        and (on is None or (row.device, row.precision, row.compiled) == (on.device, on.precision, on.compiled))
    ]
    if not rows:
        found.append(f"{where} was not timed, so that the speeds cannot be held against the time of the scored events")
    for row in rows:
        timed = row.batch / row.events_per_s.p50
        fast, slow = sorted((timed, scored))
        if slow > MOST_APART * fast + SLACK_SECONDS:
            found.append(
                f"{where} took {duration(scored)} where it was scored and {duration(timed)} where it was timed: "
                f"more than {MOST_APART:g}x apart"
            )
    return found
