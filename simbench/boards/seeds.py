"""Training seeds: entries of one model that differ in the seed of its training alone are one model on a board.

The lowest seed has the row, the rank and the speeds; the others say how far the scores spread over trainings. The seed
is the generator's own word (`GeneratorRecord.training_seed`); an entry without one stands alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from simbench.boards.board import Entry


def by_model(entries: Sequence[Entry]) -> tuple[list[Entry], list[list[Entry]]]:
    """The entries that have a row, and for each model with several seeds one entry a seed, in their order.

    Of entries of one model and one seed the newest counts; all of the lowest seed have a row.
    """
    shown = [entry for entry in entries if entry.training_seed is None]
    models: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        if entry.training_seed is not None:
            models.setdefault(entry.configuration, []).append(entry)
    several = []
    for found in models.values():
        newest = {entry.training_seed or 0: entry for entry in sorted(found, key=lambda entry: entry.created)}
        seeds = tuple(sorted(newest))
        shown += [replace(entry, seeds=seeds) for entry in found if entry.training_seed == seeds[0]]
        if len(seeds) > 1:
            several.append([replace(newest[seed], seeds=(seed,)) for seed in seeds])
    return shown, several


def telling_first(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with the parameters first in which those of one name differ: what is cut off tells nothing apart."""
    values: dict[tuple[str, str], set[object]] = {}
    for entry in entries:
        for key, value in entry.parameters.items():
            values.setdefault((entry.name, key), set()).add(value)
    return [
        replace(
            entry, parameters=dict(sorted(entry.parameters.items(), key=lambda p: len(values[entry.name, p[0]]) < 2))
        )
        for entry in entries
    ]
