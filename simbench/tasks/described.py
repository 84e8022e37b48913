"""A task that a TOML file describes, and whose events are in files of arrays.

Files of strangers: no pickle is loaded, and sizes are looked at before memory is taken.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simbench.core.containers import Source, opened
from simbench.core.errors import DataError
from simbench.core.events import Derivation, Events
from simbench.core.files import candidates, file_sha256
from simbench.core.plugins import did_you_mean, entry_points
from simbench.core.seeds import derive_seed
from simbench.core.text import listed
from simbench.metrics.base import Metric
from simbench.metrics.registry import metric_named
from simbench.tasks import GROUP
from simbench.tasks import controls as spoilt
from simbench.tasks.base import Equivalent, MonteCarlo, Split, Task, energy_quintiles
from simbench.tasks.checks import check_events
from simbench.tasks.description import PLACE, Deal, read_description
from simbench.tasks.masks import ChannelSums, masks_by_rule, masks_of
from simbench.tasks.measures import allowed_by, number_objection, objection

Rows = NDArray[np.int64]
SPLITS: tuple[Split, ...] = get_args(Split)
MAX_BYTES = 8 * 2**30
"""The largest file, and the largest array in one."""

MIN_ENERGIES = 50
"""Test energies that quintiles need: ten in each."""


@dataclass(frozen=True)
class Part:
    """The events of a split: rows of its file, and the number of each one's condition, (n,) each."""

    rows: Rows
    condition: Rows


class DescribedTask(Task):
    """A task as its description says; docs/own-task.md.

    Events with equal conditions (in single precision) answer one condition. Where every test condition is in `train`
    too, an event is what errors are computed over, as for digits; elsewhere it is the condition with all its events.
    """

    def __init__(self, path: Path, data_dir: Path | None = None, source: str | None = None) -> None:
        described, content = read_description(path)
        if described.name in entry_points(GROUP):
            what = f"{path}: {described.name!r} is the name of an installed task"
            raise DataError(what, fix="Give yours another `name`.")
        self.described, self.data_dir = described, data_dir
        self._files: dict[str, Path] = {}
        self.folders = [*map(Path, described.recorded.folders)] if described.recorded else [path.absolute().parent]
        vars(self).update(
            name=described.name,
            version=described.version,
            summary=described.summary,
            shape=tuple(described.shape),
            unit=described.unit,
            maximum=described.maximum,
            condition_names=tuple(condition.name for condition in described.conditions),
            condition_units=tuple(condition.unit for condition in described.conditions),
            block_size=described.block_size,
        )
        self.has = self._quantities()
        metrics = self._metrics(described.metrics) if described.metrics else allowed_by(self.has)
        primary = self._metrics(described.primary) if described.primary else _primary(metrics)
        stray = [key for key in primary if key not in metrics]
        if stray:
            what = f"{path}: `primary` holds {stray[0]}, which is not among the metrics"
            raise DataError(what, expected=f"one of {', '.join(metrics)}")
        vars(self).update(
            metrics=metrics,
            primary=primary,
            equivalents=(Equivalent("in its values", "energy_distance/1"),),
            controls=(
                spoilt.Control("values x 0.83", primary, spoilt.scaled(0.83)),
                spoilt.Control("constant median", primary, spoilt.constant_median),
            ),
        )
        if source is not None:
            vars(self).update(source=source[:500], source_sha256=self._source_sha256(content))
        self._loaded: dict[Split, Events] = {}

    def _source_sha256(self, content: bytes) -> str:
        """The checksum of the description, with that of the file of its channels."""
        digest = hashlib.sha256(content)
        if self.described.channels is not None and self.described.channels.file is not None:
            digest.update(file_sha256(self.find_file(self.described.channels.file)).encode())
        return digest.hexdigest()

    def _quantities(self) -> set[str]:
        """What its events have, of the words in `measures.Need`."""
        has = {"features"}
        if self.described.channels is not None:
            has.add("channels")
        if len(self.shape) > 1:
            has.add("image")
        if len(self.shape) == 2:
            has.add("physics")
        if self.condition_names[:1] == ("Energy",):
            has.add("energy")
        return has

    def _metrics(self, names: list[str]) -> tuple[str, ...]:
        """The keys of metrics that the description names. Raises UsageError, DataError."""
        keys = tuple(metric_named(name, allowed_by(self.has)).key for name in names)
        for key in keys:
            why = objection(key, self.has)
            if why:
                raise DataError(f"{self.name} cannot be measured by {key}", got=why, fix="Leave it out of `metrics`.")
        return tuple(dict.fromkeys(keys))

    def unit_of(self, metric: Metric) -> str:
        """See Task."""
        return metric.unit.replace("photons", self.unit)

    # --- files --------------------------------------------------------------------------------------------------------

    def find_file(self, name: str) -> Path:
        """A file of the description, found, and verified where its checksum is recorded. Raises DataError."""
        if name not in self._files:
            self._files[name] = self._verified(name)
        return self._files[name]

    def _verified(self, name: str) -> Path:
        path = self._search(name)
        if path is None:
            searched = ", ".join(map(str, self._folders()))
            what = f"the file {name} of the task {self.name} is missing (searched {searched})"
            raise DataError(what, fix="Put it there, or pass --data-dir FOLDER.")
        recorded = self.described.recorded
        if recorded is not None and (got := file_sha256(path)) != recorded.sha256[name]:
            raise DataError(
                f"{path} is not the file that was imported",
                got=f"sha256 {got[:12]}…",
                expected=f"{recorded.sha256[name][:12]}…",
                fix=f"Bring that one back, or give the new one a new `version`: simbench tasks remove {self.name}, "
                "then import again.",
            )
        return path

    def find_data(self) -> str:
        """See Task. The events may be too many to be read for a look."""
        return f"Found in {', '.join(sorted({str(self.find_file(name).parent) for name in self.files()}))}."

    def files(self) -> list[str]:
        """The files that hold its events and channels, as the description names them; those of `floor` if there."""
        paths = [self.described.data.path(split) for split in self._parts]
        channels = self.described.channels
        return list(dict.fromkeys(filter(None, [*paths, channels.file if channels else None])))

    def _folders(self) -> list[Path]:
        own = [self.data_dir / self.name, self.data_dir] if self.data_dir else []
        return list(dict.fromkeys([*own, *self.folders, *candidates(self.name, None)]))

    def _search(self, name: str) -> Path | None:
        recorded = self.described.recorded
        if recorded is not None and name not in recorded.sha256:
            return None
        return next((path for folder in self._folders() if (path := folder / name).is_file()), None)

    def _values(self, source: Source, path: Path, key: str, shapes: list[tuple[int, ...]]) -> int:
        """The number of events in an array, once its header has shown one of these shapes of an event.

        Raises DataError.
        """
        found = source.shape(key)
        wanted = " or ".join(f"(N, {', '.join(map(str, shape))})" if shape else "(N,)" for shape in shapes)
        if found is None:
            known = source.names()
            fix = did_you_mean(key, known) or f"It holds {listed(known, ', ') or 'nothing'}."
            raise DataError(f"{path} has no array {key!r}", fix=fix)
        if not found or found[0] == 0 or found[1:] not in shapes:
            raise DataError(f"{path}: {key!r} is not what {self.name} says", got=f"shape {found}", expected=wanted)
        if 8 * math.prod(found) > MAX_BYTES:
            raise DataError(f"{path}: {key!r} is too large", got=f"shape {found}", expected=f"{MAX_BYTES} bytes")
        return found[0]

    def _key(self, name: Literal["samples", "conditions", "seconds"], split: Split) -> str:
        key = self.described.data.key(name, split)
        assert key is not None
        return key

    def _sample_shapes(self) -> list[tuple[int, ...]]:
        """An event as it may be stored: in its shape, or flat."""
        return list(dict.fromkeys([self.shape, (math.prod(self.shape),)]))

    def _read_conditions(self, split: Split) -> NDArray[np.float32]:
        """The conditions of all events in the file of a split, (N, C). Raises DataError."""
        path = self.find_file(str(self.described.data.path(split)))
        width, samples = len(self.condition_names), self._key("samples", split)
        keys = [self._key("conditions", split)] if width else []
        with opened(path, MAX_BYTES, keys) as source:
            events = self._values(source, path, samples, self._sample_shapes())
            if not width:
                return np.zeros((events, 0), np.float32)
            shapes: list[tuple[int, ...]] = [(width,), *([()] if width == 1 else [])]
            if self._values(source, path, keys[0], shapes) != events:
                got = f"{events} events and {source.shape(keys[0])} conditions"
                raise DataError(f"{path}: {samples!r} and {keys[0]!r} do not belong together", got=got)
            values = source.read(keys[0]).reshape(events, width)
        with np.errstate(over="ignore"):
            conditions = values.astype(np.float32) + np.float32(0)  # no -0
        wrong = np.flatnonzero(~np.isfinite(conditions).all(1))
        if len(wrong):
            got = f"{len(wrong)} of {events} events, the first in row {wrong[0]}"
            raise DataError(f"{path}: {keys[0]!r} holds NaN or infinite values", got=got, expected="finite numbers")
        return conditions

    def _read_samples(self, split: Split) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """All events in the file of a split, (N, *shape), and the seconds of each, (N,). Raises DataError."""
        path = self.find_file(str(self.described.data.path(split)))
        key = self._key("samples", split)
        told = self.described.data.seconds is not None
        seconds_key = self._key("seconds", split) if told else ""
        with opened(path, MAX_BYTES, [key, *([seconds_key] if told else [])]) as source:
            events = self._values(source, path, key, self._sample_shapes())
            if told and self._values(source, path, seconds_key, [()]) != events:
                got = f"{events} events and {source.shape(seconds_key)} seconds"
                raise DataError(f"{path}: {key!r} and {seconds_key!r} do not belong together", got=got)
            with np.errstate(over="ignore"):
                values = source.read(key).astype(np.float32).reshape(events, *self.shape)
            seconds = source.read(seconds_key).astype(np.float64) if told else None
        if seconds is not None and not (np.isfinite(seconds).all() and seconds.min() >= 0):
            raise DataError(f"{path}: {seconds_key!r} holds what are no seconds", expected="finite numbers from 0 on")
        flat = values.reshape(events, -1)
        low, high = flat.min(1), flat.max(1)
        for bad, what, expected in (
            (~np.isfinite(low + high), "holds NaN or infinite values", "finite numbers"),
            (low < 0, f"holds negative {self.unit}", f"0 to {self.maximum:g}"),
            (high > self.maximum, "holds values above `maximum`", f"0 to {self.maximum:g}"),
        ):
            rows = np.flatnonzero(bad)
            if len(rows):
                got = (
                    f"{len(rows)} of {events} events, the first in row {rows[0]}: {low[rows[0]]:g} to {high[rows[0]]:g}"
                )
                raise DataError(f"{path}: {key!r} {what}", got=got, expected=expected)
        return values, seconds

    # --- splits -------------------------------------------------------------------------------------------------------

    def load_split(self, split: Split) -> Events:
        """All events of a split. Raises DataError for a floor where there is none."""
        if split not in self._parts:
            what = f"{self.name} has no {split}: no independent events answer its test conditions"
            raise DataError(what, fix="docs/own-task.md tells when there is one.")
        if split not in self._loaded:
            events = self._events(split)
            check_events(events, self, split)
            self._loaded[split] = events
        return self._loaded[split]

    @functools.cached_property
    def _all_conditions(self) -> dict[Split, NDArray[np.float32]]:
        """The conditions in the file of each split; under `train` those of the whole file that is dealt."""
        data = self.described.data
        if data.split is not None:
            return {"train": self._read_conditions("train")}
        named: list[Split] = [split for split in SPLITS if data.path(split) is not None]
        if data.file is not None and not self._holds_floor():
            named.remove("floor")
        return {split: self._read_conditions(split) for split in named}

    def _holds_floor(self) -> bool:
        """Whether what `{split}` names is there for `floor`."""
        data = self.described.data
        path = self._search(str(data.path("floor")))
        if path is None or PLACE not in data.samples:
            return path is not None
        with opened(path, MAX_BYTES, ()) as source:
            return source.shape(self._key("samples", "floor")) is not None

    @functools.cached_property
    def _parts(self) -> dict[Split, Part]:
        """The events of each split, in order. Raises DataError."""
        conditions = self._all_conditions
        _, number = np.unique(np.concatenate(list(conditions.values())), axis=0, return_inverse=True)
        ends = np.cumsum([len(values) for values in conditions.values()])
        of_file = dict(zip(conditions, np.split(number.reshape(-1).astype(np.int64), ends[:-1]), strict=True))
        deal = self.described.data.split
        if deal is not None:
            rows = dealt(of_file["train"], deal, derive_seed(deal.seed, self.name, "split"), self.name)
            parts = {split: Part(found, of_file["train"][found]) for split, found in rows.items()}
        else:
            parts = {split: Part(np.arange(len(found)), found) for split, found in of_file.items()}
        shared = bool(np.isin(parts["test"].condition, parts["train"].condition).all())
        for split in ("test", "floor"):
            if split in parts:
                order = _arranged(parts[split].condition, in_turn=shared)
                parts[split] = Part(parts[split].rows[order], parts[split].condition[order])
        if "floor" in parts and not np.array_equal(parts["test"].condition, parts["floor"].condition):
            counts = [len(parts[split].condition) for split in ("test", "floor")]
            raise DataError(
                f"{self.name}: the events of `floor` do not answer the conditions of `test`",
                got=f"{counts[0]} test events and {counts[1]} of the floor",
                expected="equally many events of each condition",
                fix="Leave `floor` out where there are no such events.",
            )
        self._shared = shared
        return parts

    @property
    def units_are_events(self) -> bool:
        """Whether errors are computed over events, not over conditions: all test conditions are in `train`, too."""
        assert self._parts
        return self._shared

    @functools.cached_property
    def counts(self) -> NDArray[np.int64]:
        """The test events of each condition, (conditions,)."""
        return np.unique(self._parts["test"].condition, return_counts=True)[1].astype(np.int64)

    @functools.cached_property
    def repeats(self) -> int:  # type: ignore[override]
        """See Task; 1 where the number differs, or where events of several conditions come in turn."""
        return int(self.counts[0]) if len(set(self.counts)) == 1 and not self.units_are_events else 1

    @functools.cached_property
    def test_events(self) -> int:
        """See Task."""
        return len(self._parts["test"].rows)

    @functools.cached_property
    def smoke_events(self) -> int:
        """See Task: of whole conditions, so many as 400 events hold, one at least."""
        conditions = self.test_events // self.repeats
        return self.repeats * min(max(400 // self.repeats, 1), conditions)

    @functools.cached_property
    def has_floor(self) -> bool:
        """See Task."""
        return "floor" in self._parts

    def left_out(self) -> dict[str, str]:
        """Those of `metrics` that the test events do not allow, with the reason."""
        limits = (int(self.counts.min()), int(self.counts.max()))
        reasons = {key: number_objection(key, limits, len(self.counts), self.test_events) for key in self.metrics}
        return {key: why for key, why in reasons.items() if why}

    def measured(self) -> tuple[str, ...]:
        """See Task."""
        without = self.left_out()
        return tuple(key for key in self.metrics if key not in without)

    @functools.cached_property
    def _whole(self) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """The events of the one file that is dealt."""
        return self._read_samples("train")

    def _events(self, split: Split) -> Events:
        part, is_dealt = self._parts[split], self.described.data.split is not None
        conditions = self._all_conditions["train" if is_dealt else split][part.rows]
        values, seconds = self._whole if is_dealt else self._read_samples(split)
        condition = torch.from_numpy(part.condition)
        return Events(
            samples=torch.from_numpy(values[part.rows]),
            conditions=torch.from_numpy(conditions),
            condition_id=condition,
            unit_id=torch.arange(len(condition)) if self.units_are_events else condition,
            strata=self._strata(conditions),
            derivations=self._derivations,
            mc_seconds=None if seconds is None else torch.from_numpy(seconds[part.rows]),
            other_split=lambda name: self.load_split(name),  # type: ignore[arg-type]
        )

    def _strata(self, conditions: NDArray[np.float32]) -> Mapping[str, NDArray[np.str_]]:
        if "energy" not in self.has:
            return {}
        test = self._parts["test"]
        of_test = self._all_conditions["train" if self.described.data.split is not None else "test"]
        energies = np.unique(of_test[test.rows, 0])
        if len(energies) < MIN_ENERGIES:
            return {}
        edges = np.quantile(energies.astype(np.float64), [0.2, 0.4, 0.6, 0.8])
        return {"energy": energy_quintiles(conditions[:, 0].astype(np.float64), edges)}

    @functools.cached_property
    def channel_masks(self) -> Tensor:
        """See Task. Raises DataError where the file of the channels is not what it should be."""
        channels = self.described.channels
        assert channels is not None
        if channels.rule is not None:
            return masks_by_rule(self.shape, channels.rule, channels.count)
        path = self.find_file(str(channels.file))
        with opened(path, MAX_BYTES, [channels.key]) as source:
            self._values(source, path, channels.key, [self.shape])
            planes = source.read(channels.key)
        if not np.isin(planes, (0, 1)).all() or not planes.reshape(len(planes), -1).any(1).all():
            what = f"{path}: {channels.key!r} holds what are no channels"
            raise DataError(what, expected="(channels, *shape) of 0 and 1, at least a 1 in each")
        return masks_of(planes == 1)

    @functools.cached_property
    def _derivations(self) -> Mapping[str, Derivation]:
        from simbench.metrics.physics import physics_features

        found: dict[str, Derivation] = {"features": lambda samples: samples.flatten(1)}
        if "channels" in self.has:
            found["channels"] = ChannelSums(self.channel_masks)
        if "physics" in self.has:
            found["physics"] = physics_features
        return found

    @property
    def monte_carlo(self) -> MonteCarlo | None:
        """See Task."""
        cost = self.described.monte_carlo
        if cost is None:
            return None
        values = cost.model_dump()
        if cost.seconds_per_event is None:
            seconds = self.load_split("test").mc_seconds
            assert seconds is not None
            values["seconds_per_event"] = float(seconds.mean())
        return MonteCarlo(**values)


def _primary(metrics: tuple[str, ...]) -> tuple[str, ...]:
    """What a run must have measured, where the description does not say it."""
    return next(((key,) for key in ("channel_wasserstein/1", "energy_distance/1") if key in metrics), metrics[:1])


def _arranged(condition: Rows, *, in_turn: bool) -> Rows:
    """An order of events: those of a condition side by side, or one of each condition in turn."""
    order = np.argsort(condition, kind="stable")
    if not in_turn:
        return order
    rank = _ranks(condition[order])
    return order[np.lexsort((condition[order], rank))]


def _ranks(condition: Rows) -> Rows:
    """The place of each event among those of its condition, which are side by side."""
    counts = np.unique(condition, return_counts=True)[1]
    return np.concatenate([np.arange(count) for count in counts]).astype(np.int64)


def dealt(condition: Rows, deal: Deal, seed: int, name: str) -> dict[Split, Rows]:
    """The rows of each split. `condition` (N,) numbers the condition of each event.

    Raises:
        DataError: there are too few conditions, or events of one.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(condition))
    rows = rows[np.argsort(condition[rows], kind="stable")]
    of_row = condition[rows]
    unique, place, counts = np.unique(of_row, return_inverse=True, return_counts=True)
    shares: dict[Split, float] = {"test": deal.test, "validation": deal.validation, "train": deal.train}
    found: dict[Split, Rows] = {}
    if deal.by == "condition":
        order = rng.permutation(len(unique))
        start = 0
        for split, share in shares.items():
            number = min(max(round(share * len(unique)), 1), len(unique) - start)
            found[split] = rows[np.isin(place, order[start : start + number])]
            start += number
    else:
        rank, start_of = _ranks(of_row), np.zeros(len(unique), np.int64)
        for split, share in shares.items():
            number_of = np.floor(share * counts + 1e-9).astype(np.int64)
            chosen = (rank >= start_of[place]) & (rank < (start_of + number_of)[place])
            found[split] = rows[chosen] if number_of.min() > 0 else rows[:0]
            start_of += number_of
    short = next((split for split, these in found.items() if not len(these)), None)
    if short is not None:
        got = f"{len(unique)} conditions, of {counts.min()} to {counts.max()} events each"
        other = "event" if deal.by == "condition" else "condition"
        raise DataError(f"{name}: by {deal.by}, nothing is left for {short}", got=got, fix=f'Try by = "{other}".')
    test = found["test"]
    if deal.floor and np.unique(condition[test], return_counts=True)[1].min() > 1:
        of_test = condition[test]
        rank, totals = _ranks(of_test), np.unique(of_test, return_counts=True)[1]
        paired = rank < np.repeat(totals - totals % 2, totals)
        found |= {"test": test[paired & (rank % 2 == 0)], "floor": test[paired & (rank % 2 == 1)]}
    return found
