"""The TOML file that describes a task: its fields, read and checked; docs/own-task.md tells them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, FiniteFloat, StringConstraints, ValidationError, model_validator

from simbench.core.errors import DataError, UsageError
from simbench.core.files import read_bytes
from simbench.core.plugins import did_you_mean
from simbench.core.text import printable
from simbench.results.schema import StrictRecord, first_error

GUIDE = "docs/own-task.md tells its fields; `simbench tasks template` prints one to start from."
MAX_TOML = 2**20
MOST_VALUES = 10**7
"""Values of an event, at most."""

PLACE = "{split}"
"""What stands for the name of a split in the name of a file or the key of an array."""

Rule = Literal["rows", "columns", "layers", "quadrants", "checkerboard", "zn_2x2", "zn_2x2_odd", "zp_2x2", "zp_4x1"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[FiniteFloat, Field(gt=0, lt=1)]


class Condition(StrictRecord):
    """One number of what a generator is asked for."""

    name: Text
    unit: Text


class Deal(StrictRecord):
    """How the events of one file become splits.

    Attributes:
        by: `condition`: all events of a condition are in one split; `event`: each condition has its events in all.
        seed: of the deal.
        train, validation, test: shares of the conditions (of the events of each). What is left is not used.
        floor: whether half of the test events of each condition become the floor.
    """

    by: Literal["condition", "event"] = "condition"
    seed: Annotated[int, Field(ge=0)]
    train: Share
    validation: Share
    test: Share
    floor: bool = True

    @model_validator(mode="after")
    def _coherent(self) -> Deal:
        total = self.train + self.validation + self.test
        if total > 1 + 1e-9:
            raise ValueError(f"train, validation and test are shares, and sum to {total:g}: expected 1 or less")
        return self


class Data(StrictRecord):
    """Where the events are: HDF5 or npz files (npy: an array of samples alone), by path from the TOML file.

    Attributes:
        samples, conditions, seconds: keys of the arrays (N, *shape) or (N, values); (N, conditions); and (N,), the CPU
            seconds of the Monte Carlo for each event. `{split}` stands for the name of the split.
        train, validation, test, floor: a file for each split; or
        file: one for all, `{split}` in its name or in the keys, or dealt by `split`.
    """

    samples: Text
    conditions: Text | None = None
    seconds: Text | None = None
    file: Text | None = None
    train: Text | None = None
    validation: Text | None = None
    test: Text | None = None
    floor: Text | None = None
    split: Deal | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Data:
        named = {name: getattr(self, name) for name in ("train", "validation", "test")}
        if self.file is None:
            missing = [name for name, value in named.items() if value is None]
            if missing:
                raise ValueError(f"no file for {missing[0]}: name files train, validation and test, or one `file`")
            if self.split is not None:
                raise ValueError("`split` deals the events of one `file`, and there are several files")
        elif any(named.values()) or self.floor:
            raise ValueError("`file` and a file for a split are named, and one of them must go")
        elif (self.split is None) != (PLACE in f"{self.file} {self.samples}"):
            raise ValueError("one `file` needs either {split} in its name or in `samples`, or a table [data.split]")
        return self

    def path(self, split: str) -> str | None:
        """The file of a split, as the description names it; None where it names none."""
        return self.file.replace(PLACE, split) if self.file is not None else getattr(self, split)

    def key(self, name: Literal["samples", "conditions", "seconds"], split: str) -> str | None:
        """The key of an array of a split."""
        value = getattr(self, name)
        return value.replace(PLACE, split) if value is not None else None


class Channels(StrictRecord):
    """Which values are summed to which channel.

    Attributes:
        rule: `rows`, `columns`: `count` equal bands along the last axis but one, along the last; `layers`: each index
            of the first of three axes; `quadrants`: of the last two; `checkerboard`: even and odd values; or a variant
            of `simbench.metrics.channels.channel_masks`.
        file, key: or an array (channels, *shape) of 0 and 1.
    """

    rule: Rule | None = None
    count: Annotated[int, Field(ge=2, le=10_000)] | None = None
    file: Text | None = None
    key: Text = "samples"

    @model_validator(mode="after")
    def _coherent(self) -> Channels:
        if (self.rule is None) == (self.file is None):
            raise ValueError("channels come from a `rule` or from a `file`: give one of them")
        if (self.count is not None) != (self.rule in ("rows", "columns")):
            raise ValueError("`count` is the number of rows or columns: it goes with these two rules, and they need it")
        return self


class Cost(StrictRecord):
    """What the Monte Carlo costs that made the events: see `simbench.tasks.base.MonteCarlo`.

    `seconds_per_event` may be left out where `seconds` names them for each event.
    """

    engine: Text
    cpu: Text
    seconds_per_event: Annotated[FiniteFloat, Field(gt=0)] | None = None
    physics: Text = "not told"
    cuts: Text = "not told"
    measured: Text = "not told"
    threads: Positive = 1


class Recorded(StrictRecord):
    """What `simbench tasks import` adds: the folders that paths start from, and the sha256 of each file."""

    folders: Annotated[list[Text], Field(min_length=1)]
    sha256: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]


class Description(StrictRecord):
    """A described task."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
    version: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    summary: Text
    shape: Annotated[list[Positive], Field(min_length=1, max_length=4)]
    unit: Annotated[str, StringConstraints(min_length=1, max_length=30)]
    maximum: Annotated[FiniteFloat, Field(gt=0)]
    data: Data
    conditions: Annotated[list[Condition], Field(default_factory=list)]
    channels: Channels | None = None
    metrics: list[Text] | None = None
    primary: list[Text] | None = None
    block_size: Positive = 256
    monte_carlo: Cost | None = None
    recorded: Recorded | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Description:
        if math.prod(self.shape) > MOST_VALUES:
            raise ValueError(f"an event has {math.prod(self.shape)} values: at most {MOST_VALUES}")
        names = [condition.name for condition in self.conditions]
        if len(set(names)) < len(names):
            raise ValueError("two conditions have one name")
        if bool(names) != (self.data.conditions is not None):
            raise ValueError("[[conditions]] names and units, and the key `conditions` in [data], go together")
        if self.channels is not None and self.channels.rule is not None:
            _check_rule(self.channels.rule, self.channels.count, self.shape)
        cost = self.monte_carlo
        if cost is not None and (cost.seconds_per_event is None) == (self.data.seconds is None):
            raise ValueError("[monte_carlo] takes `seconds_per_event`, or [data] the key `seconds` of each event's")
        if cost is None and self.data.seconds is not None:
            raise ValueError("`seconds` needs a table [monte_carlo], which says what was measured where")
        return self


def _check_rule(rule: Rule, count: int | None, shape: list[int]) -> None:
    """Refuse a rule that events of this shape cannot follow. Raises ValueError."""
    needs = {"columns": 1, "checkerboard": 1, "rows": 2, "quadrants": 2, "layers": 3}.get(rule, 2)
    exact = rule == "layers" or rule not in ("rows", "columns", "checkerboard", "quadrants")
    if len(shape) < needs or (exact and len(shape) != needs):
        words = "exactly" if exact else "at least"
        raise ValueError(f"channels by {rule} need {words} {needs} axes, and an event has {len(shape)}")
    along = {"rows": -2, "columns": -1}.get(rule)
    if along is not None and count is not None and count > shape[along]:
        raise ValueError(f"{count} {rule} of {shape[along]} values: at most one for each value")


def read_description(path: Path) -> tuple[Description, bytes]:
    """The description in a TOML file, and its bytes.

    Raises:
        UsageError: there is no such file.
        DataError: it is no TOML, or a field is missing, unknown or wrong.
    """
    if not path.exists():
        near = [entry.name for entry in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise UsageError("no such file", got=str(path), expected="a TOML file", fix=did_you_mean(path.name, near))
    content = read_bytes(path, MAX_TOML)
    try:
        return Description.model_validate(tomllib.loads(content.decode("utf-8"))), content
    except ValidationError as error:
        raise _wrong_field(path, error) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise DataError(f"{path} is no TOML", got=printable(str(error)), fix=GUIDE) from error


def _wrong_field(path: Path, error: ValidationError) -> DataError:
    """The first thing that is wrong; unknown keys first, since a typo makes another field missing."""
    errors = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    first = errors[0]
    where, key = ".".join(map(str, first["loc"][:-1])), str(first["loc"][-1]) if first["loc"] else ""
    table = f"[{where}]" if where else "the file"
    if first["type"] == "extra_forbidden":
        known = [name for name in fields_at(Description, first["loc"][:-1]) if name != "recorded"]
        fix = did_you_mean(key, known) or GUIDE
        return DataError(f"{path}: {table} has no field {printable(key, 60)!r}", expected=", ".join(known), fix=fix)
    if first["type"] == "missing":
        return DataError(f"{path}: {table} lacks the field {key!r}", fix=GUIDE)
    if first["type"] == "value_error":
        place = ".".join(map(str, first["loc"]))
        what = f"{path}: {f'[{place}] ' if place else ''}{first['ctx']['error']}"
        return DataError(what, fix=GUIDE)
    place, found = first_error(error)
    return DataError(f"{path}: the field {printable(place, 100)!r} is wrong", **found, fix=GUIDE)


def fields_at(model: type[BaseModel], place: tuple[Any, ...]) -> list[str]:
    """The names of the fields in a table of the file, by the keys that lead there."""
    for key in place:
        if isinstance(key, str) and key in model.model_fields:
            model = next(_models(model.model_fields[key].annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The records in an annotation, such as `Data | None` or `list[Condition]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
