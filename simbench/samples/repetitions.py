"""The way from a Result to its events, and from files to repetitions.

A file that `simbench run` kept names its result; the Result of `simbench score` knows its files by checksum.
So no file is ever shown, or scored, as another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from simbench.core.errors import DataError, UsageError
from simbench.core.progress import Progress
from simbench.metrics.base import Comparison
from simbench.results.schema import Result
from simbench.samples.files import HDF5_SUFFIXES, SampleSet, read_samples
from simbench.tasks.base import Task

SUFFIXES = (*HDF5_SUFFIXES, ".npz")


def read_pair(path: Path, task: Task) -> tuple[SampleSet, Comparison]:
    """The samples of a file, and the same beside the real events of the same test rows. Raises as `read_samples`."""
    samples = read_samples(path, task)
    reference = task.load("test").take(samples.index)
    return samples, Comparison(reference.with_samples(samples.samples), reference)


def read_repetitions(paths: Sequence[Path], task: Task, progress: Progress) -> tuple[list[SampleSet], list[Comparison]]:
    """Files that are repetitions: one generator answered the same test rows in each, with other events.

    Raises:
        DataError: they are no repetitions, or as `read_samples`.
        UsageError: there are none.
    """
    if not paths:
        raise UsageError("no file of samples is named")
    sets: list[SampleSet] = []
    pairs: list[Comparison] = []
    with progress.step("reading", len(paths)) as advance:
        for path in paths:
            samples, pair = read_pair(path, task)
            for earlier, other in zip(paths, sets, strict=False):
                check_repetition(earlier, other, path, samples)
            sets.append(samples)
            pairs.append(pair)
            advance(1)
    return sets, pairs


def check_repetition(first: Path, one: SampleSet, second: Path, two: SampleSet) -> None:
    """Refuse sets that are no repetitions of one generator. Raises DataError."""
    both = f"{first} and {second}"
    if (one.named or two.named) and one.generator != two.generator:
        got = " and ".join(repr(samples.generator) if samples.named else "no name" for samples in (one, two))
        fix = "Score them apart, or write one name into the attribute `generator` of each."
        raise DataError(f"{both} are of different generators", got=got, expected="the repetitions of one", fix=fix)
    if not torch.equal(one.index, two.index):
        what, fix = f"{both} answer different test rows", "Answer the same conditions in every repetition."
        raise DataError(what, got=f"{_rows(one)} and {_rows(two)}", expected="the same rows in each", fix=fix)
    if torch.equal(one.samples, two.samples):
        fix = "Generate each with a seed of its own."
        raise DataError(f"{both} hold the same samples", expected="other events in each repetition", fix=fix)


def _rows(samples: SampleSet) -> str:
    return f"{len(samples.index)} rows from {int(samples.index[0])} to {int(samples.index[-1])}"


def find_pairs(
    results: Sequence[Result], paths: Sequence[Path], files: Sequence[Path], task: Task
) -> list[Comparison | None]:
    """The events of each result, from `files` or from the file beside it (`paths`); None where there is neither.

    Raises:
        DataError: a file is damaged, or belongs to none of the results.
        GeneratorError: its samples are not events of the task.
    """
    beside = {path.with_suffix(suffix) for path in paths for suffix in SUFFIXES}
    found: list[Comparison | None] = [None] * len(results)
    for file in dict.fromkeys([*files, *sorted(file for file in beside if file.is_file())]):
        samples, pair = read_pair(file, task)
        owners = [place for place, result in enumerate(results) if _belongs(samples, pair, result)]
        further = any(samples.sha256 in result.provenance.flags.values() for result in results)
        if not owners and not further:  # a further repetition is the result's too, but figures show the first
            names = [f"{of.label} {of.id}, {of.task.events} events" for of in results[:5]]
            what, got = f"{file} holds the samples of none of the results", _described(samples, pair)
            fix = "Pass the file that `simbench run` kept, or `simbench score` took, for one of them, or leave it out."
            raise DataError(what, got=got, expected=" or ".join(names), fix=fix)
        for place in owners:
            found[place] = found[place] or pair
    return found


def _belongs(samples: SampleSet, pair: Comparison, result: Result) -> bool:
    known = samples.result == result.id or samples.sha256 == result.generator.source_sha256
    return known and len(pair) == result.task.events


def _described(samples: SampleSet, pair: Comparison) -> str:
    of = f"those of result {samples.result}" if samples.result else f"sha256 {samples.sha256[:12]}…"
    return f"{samples.generator}, {of}, {len(pair)} events"
