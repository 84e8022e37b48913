"""Boards: what a board asks of a result, its entries, and the rules by which a result becomes one.

`leaderboards/<task>/board.toml` says the rules, `entries/*.json` are the submitted Result files, byte for byte and
never changed, `published.toml` holds numbers in print, and `verified/*.json` say which entries were scored again.
`simbench.boards.pages` renders all else from these.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, FiniteFloat, StringConstraints, ValidationError, model_validator

from simbench.boards.verified import How, verified_how
from simbench.core.errors import DataError, UsageError
from simbench.core.files import read_bytes, safe_name, write_new
from simbench.core.plugins import did_you_mean
from simbench.core.text import listed
from simbench.metrics.direction import Direction, Way
from simbench.results.comparable import Basis
from simbench.results.cost import self_reported
from simbench.results.findings import copying, findings
from simbench.results.pareto import trained_weights
from simbench.results.ranking import Score
from simbench.results.schema import (
    PASS_RESULT,
    Measurement,
    Plain,
    Result,
    Speeds,
    Speedup,
    StrictRecord,
    Throughput,
    first_error,
    parse_result,
    read_result,
)
from simbench.results.timing import timing_findings
from simbench.results.words import ask_repetitions, equivalent_text, standing

DEFAULT_FOLDER = Path("leaderboards")
MAX_TOML = 2**20

Model = TypeVar("Model", bound=BaseModel)
MetricKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]


class MetricColumn(StrictRecord):
    """A metric on the board. Results whose own direction or target say otherwise are refused."""

    metric: MetricKey
    label: str
    direction: Way
    target: FiniteFloat | None = None
    unit: str = ""

    @property
    def name(self) -> str:
        """The metric without its version."""
        return self.metric.partition("/")[0]

    @property
    def version(self) -> str:
        """The metric's version."""
        return self.metric.partition("/")[2]


class Board(StrictRecord):
    """`board.toml`: what is compared, and what an entry must bring.

    Attributes:
        task, task_version, scored_sha256, features_sha256, task_file_sha256, definitions: of the results that belong
            here. Empty: the task has no network, or is offered by name.
        task_source: what names the task, `file.py:Task`, where no package offers it by name.
        events, repetitions: exactly so many events, at least so many repetitions.
        primary: the metric that ranks.
        equivalent: what the equivalent events are events of, for the head of their column.
        columns: the metrics shown, in order; a new entry must have measured each.
        readme: keys of the columns in the project's README.
        unranked: generators by name that are shown but never ranked, each with what it is.
    """

    task: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    task_version: str
    scored_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    features_sha256: str = ""
    task_source: str = ""
    task_file_sha256: str = ""
    title: str
    summary: str
    definitions: str
    events: Annotated[int, Field(gt=0)]
    repetitions: Annotated[int, Field(gt=0)]
    primary: MetricKey
    equivalent: str
    columns: Annotated[list[MetricColumn], Field(min_length=1)]
    readme: list[str]
    unranked: dict[str, str]

    @model_validator(mode="after")
    def _coherent(self) -> Board:
        keys = [column.metric for column in self.columns]
        if len(set(keys)) < len(keys):
            raise ValueError("a metric has two columns")
        if self.primary not in keys:
            raise ValueError(f"the primary metric {self.primary} has no column")
        for column in self.columns:
            Direction.of(column).check(column.metric)
        if self.primary_column.direction == "target":
            raise ValueError("the primary metric must be one of which less or more is better")
        return self

    @property
    def basis(self) -> Basis:
        """What the scores of all entries depend on."""
        data_set, network, file = (
            sha256[:12] or None for sha256 in (self.scored_sha256, self.features_sha256, self.task_file_sha256)
        )
        return Basis(self.task, "test", self.events, data_set or "", network, self.definitions, file)

    @property
    def primary_column(self) -> MetricColumn:
        """The column of the metric that ranks."""
        return next(column for column in self.columns if column.metric == self.primary)


class PrintedRow(StrictRecord):
    """A model in a paper: its numbers as printed, by the paper's column."""

    model: str
    source: str
    url: Annotated[str, StringConstraints(pattern=r"^https://")] | None = None
    data: str
    values: dict[str, str]


class Published(StrictRecord):
    """`published.toml`: numbers in print, of other data or other definitions. Context, never ranked."""

    note: str
    columns: list[str]
    rows: list[PrintedRow]

    @model_validator(mode="after")
    def _coherent(self) -> Published:
        for row in self.rows:
            strangers = row.values.keys() - set(self.columns)
            if strangers:
                raise ValueError(f"{row.model}: no column is called {sorted(strangers)[0]!r}")
        return self


@dataclass(frozen=True)
class Scored:
    """A metric of an entry, as far as a board shows it. `value` is None where it failed, for the reason `error`."""

    value: float | None
    stderr: float | None
    standing: str
    floor: float | None
    floor_sd: float | None
    memoriser: float | None
    error: str


@dataclass(frozen=True)
class Entry:
    """A submitted result, as far as a board shows it: a tenth of the memory that the Result takes.

    `parameters` are without the file of weights where `training_seed` says which they are. `seeds` are the training
    seeds that the model has entries of, in a row that stands for them all. `self_reported` is what its files of samples
    say of their speed: it is shown, and enters no rank and no front. `elsewhere` are speeds on other devices than
    the entry's own run had.
    """

    file: str
    name: str
    version: str
    parameters: Mapping[str, Plain]
    configuration: Hashable
    training_seed: int | None
    id: str
    created: datetime
    ranked: bool
    note: str
    primary: Score
    scores: Mapping[str, Scored]
    equivalent: float | None
    equivalent_text: str
    speedup: Speedup | None
    self_reported: str
    throughput: tuple[Throughput, ...]
    hardware: Mapping[str, str]
    weights: tuple[str, str] | None
    verified: How | None
    seeds: tuple[int, ...] = ()
    elsewhere: tuple[Throughput, ...] = ()

    @classmethod
    def of(
        cls,
        result: Result,
        file: str,
        board: Board,
        verified: How | None = None,
        elsewhere: Mapping[tuple[str, str], Sequence[Throughput]] = MappingProxyType({}),
    ) -> Entry:
        """The entry of an admissible result; `verified`: how it was scored again; `elsewhere`: see `read_speeds`."""
        found = {measurement.key: measurement for measurement in result.measurements}
        generator, primary = result.generator, found[board.primary]
        equivalent, copies = result.equivalent_events, copying(result)
        return cls(
            file=file,
            name=result.label,
            version=generator.version or "",
            parameters=generator.trained_parameters,
            configuration=generator.configuration,
            training_seed=generator.training_seed,
            id=result.id,
            created=result.created,
            ranked=generator.name not in board.unranked,
            note=board.unranked.get(generator.name, ""),
            primary=Score.of(primary),
            scores={column.metric: _scored(found[column.metric]) for column in board.columns if column.metric in found},
            equivalent=equivalent.headline.value if equivalent and not copies else None,
            equivalent_text="copies" if copies else equivalent_text(equivalent.headline) if equivalent else "",
            speedup=result.speedup,
            self_reported=self_reported(result.self_reported_seconds),
            throughput=tuple(result.throughput),
            hardware=result.provenance.hardware,
            weights=trained_weights(result),
            verified=verified,
            elsewhere=tuple(elsewhere.get((generator.name, generator.weights_sha256 or ""), ())),
        )


def _scored(m: Measurement) -> Scored:
    return Scored(m.value, m.stderr, standing(m).text, m.floor, m.floor_sd, m.memoriser, m.error or "")


# Reading


def board_names(boards: Path) -> list[str]:
    """The boards below a folder, by name. Raises DataError where there is none."""
    names = sorted(path.parent.name for path in boards.glob("*/board.toml"))
    if not names:
        raise DataError(f"{boards} holds no boards", expected="folders with a board.toml", fix="Pass --boards FOLDER.")
    return names


def read_board(folder: Path) -> Board:
    """The board of a folder; the folder has the name of its task. Raises DataError."""
    board = _read_toml(folder / "board.toml", Board)
    if board.task != folder.name:
        what = f"{folder / 'board.toml'} is of another task than its folder"
        raise DataError(what, got=board.task, expected=folder.name)
    return board


def read_published(folder: Path) -> Published | None:
    """The numbers in print beside a board, if there are any. Raises DataError."""
    path = folder / "published.toml"
    return _read_toml(path, Published) if path.exists() else None


def _read_toml(path: Path, model: type[Model]) -> Model:
    try:
        text = read_bytes(path, MAX_TOML, "Restore it from version control.").decode("utf-8")
        return model.model_validate(tomllib.loads(text))
    except ValidationError as error:
        where, found = first_error(error)
        raise DataError(f"{path}: the field {where or 'file'!r} is wrong", **found) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise DataError(f"{path} is no TOML", got=str(error)[:200]) from error


def entry_files(folder: Path) -> list[Path]:
    """The files of a board's entries, by name."""
    return sorted(folder.glob("entries/*.json"))


def read_entries(folder: Path, board: Board) -> list[Entry]:
    """All entries of a board, each held to the rules again. Raises DataError that names those that break them."""
    entries, broken, elsewhere = [], [], read_speeds(folder, board)
    for path in entry_files(folder):
        try:
            content = read_bytes(path, fix=PASS_RESULT)
            result = parse_result(content, path, of_many=True)
            how = verified_how(path, content)
            _refuse(path, [*objections(board, result, entry=True), *_misnamed(path, result)])
        except DataError as error:
            broken.append(str(error))
            continue
        entries.append(Entry.of(result, path.name, board, how, elsewhere))
    if broken:
        raise DataError(
            f"{len(broken)} of {len(broken) + len(entries)} entries of {folder} are not what "
            f"`simbench leaderboard add` accepts: {listed(broken)}",
            fix="Restore them from version control, or remove them.",
        )
    return entries


def read_speeds(folder: Path, board: Board) -> dict[tuple[str, str], list[Throughput]]:
    """Speeds on GPUs, of `speeds/*.json` (`simbench bench --out`), by the generator's name and its weights' checksum.

    An entry of the very weights shows them beside its own. Those of a CPU are left out: a row does not name its CPU.

    Raises:
        DataError: a file is not what `simbench bench --out` wrote, or is of another task.
    """
    found: dict[tuple[str, str], list[Throughput]] = {}
    for path in sorted(folder.glob("speeds/*.json")):
        fix = "Write it again: `simbench bench --out FILE`."
        try:
            made = Speeds.model_validate_json(read_bytes(path, fix=fix))
        except ValidationError as error:
            where, wrong = first_error(error)
            raise DataError(f"{path}: the field {where or 'file'!r} is wrong", **wrong, fix=fix) from error
        if (made.task, made.task_version) != (board.task, board.task_version):
            got, expected = f"{made.task} {made.task_version}", f"{board.task} {board.task_version}"
            raise DataError(f"{path} is of another task", got=got, expected=expected)
        for each in made.speeds:
            rows = [row for row in each.throughput if row.device != "cpu"]
            found.setdefault((each.generator.name, each.generator.weights_sha256 or ""), []).extend(rows)
    return found


def _misnamed(path: Path, result: Result) -> Iterator[str]:
    if path.name != entry_name(result):
        yield f"its file should be called {entry_name(result)}"


# The rules


def objections(board: Board, result: Result, *, entry: bool = False) -> list[str]:
    """Why a result may not stand on a board, in words; an empty list where it may.

    An `entry` stands there already: a metric that does not rank may have got a new version since; its cell is empty.
    """
    return [*_objections_to_run(board, result), *_objections_to_measurements(board, result, entry)]


def _objections_to_run(board: Board, result: Result) -> Iterator[str]:
    task, spec = result.task, result.spec
    for what, got, expected in Basis.of(task, spec.definitions).unlike(board.basis):
        if what != "number of events":
            yield f"other {what}: {got!r} instead of {expected!r}"
    if spec.task != board.task:
        yield f"other task in its spec: {spec.task!r} instead of {board.task!r}"
    for events in {task.events, spec.events} - {board.events}:
        yield f"{'too few' if events < board.events else 'too many'} events: {events} instead of {board.events}"
    if spec.repetitions < board.repetitions:
        asked = board.repetitions
        yield f"missing repetitions: {spec.repetitions} instead of {asked} ({ask_repetitions(result, asked)})"
    if result.status != "complete":
        yield "an incomplete result: a primary metric has no value"
    if len(result.samples_sha256) != spec.repetitions:
        yield (
            f"{len(result.samples_sha256)} checksums of samples instead of one for each of {spec.repetitions} "
            "repetitions: nobody could verify it (`simbench leaderboard verify`)"
        )
    if not result.provenance.git_sha:
        yield "made outside of git, so that nobody knows which code it is of (commit the code, and run in its tree)"
    elif result.provenance.git_dirty is not False:
        yield "made in a git tree with uncommitted changes"
    if result.generator.name not in board.unranked:
        yield from findings(result)
        yield from timing_findings(result)


def _objections_to_measurements(board: Board, result: Result, entry: bool) -> Iterator[str]:
    found = {measurement.key: measurement for measurement in result.measurements}
    if len(found) < len(result.measurements):
        yield "a metric is listed twice"
    versions = {measurement.metric: measurement.version for measurement in result.measurements}
    for column in board.columns:
        measurement = found.get(column.metric)
        if measurement is None:
            other = versions.get(column.name)
            if other is None:
                yield f"{column.metric} was not measured"
            elif not entry or column.metric == board.primary or not _older(other, column.version):
                yield f"version {other} of {column.name} instead of {column.version}"
            continue
        if measurement.status == "skipped":
            yield f"{column.metric} was skipped (run without --fast)"
        if (measurement.direction, measurement.target) != (column.direction, column.target):
            yield f"{column.metric} has another direction or target than on the board"
        if measurement.definition != board.definitions:
            yield f"{column.metric} by the definitions {measurement.definition!r} instead of {board.definitions!r}"
        yield from _contradictions(measurement, result)
    primary = found.get(board.primary)
    if primary is not None and (primary.value is None or primary.stderr is None):
        yield f"the primary metric {board.primary} has no value with an error"


def _older(version: str, than: str) -> bool:
    return version.isdecimal() and int(version) < int(than)


def _contradictions(measurement: Measurement, result: Result) -> Iterator[str]:
    """What no run could have written, but a hand could."""
    value, each = measurement.value, measurement.per_repetition
    if (measurement.status == "ok") != (value is not None):
        yield f"{measurement.key} is {measurement.status} {'without' if value is None else 'with'} a value"
    if value is None:
        return
    if len(each) != result.spec.repetitions:
        yield f"{measurement.key} has {len(each)} values for {result.spec.repetitions} repetitions"
    elif not math.isclose(value, fmean(each), rel_tol=1e-9, abs_tol=1e-12):
        yield f"{measurement.key} is not the mean of its repetitions"
    if measurement.n != result.task.events:
        yield f"{measurement.key} was measured on {measurement.n} events instead of {result.task.events}"
    if measurement.stderr is not None and measurement.stderr < 0:
        yield f"{measurement.key} has a negative error"


def _refuse(path: Path, reasons: Sequence[str]) -> None:
    if reasons:
        raise DataError(f"{path} is refused: {'; '.join(reasons)}")


def entry_name(result: Result) -> str:
    """The name of a result's file among the entries."""
    return f"{safe_name(result.label)}-{result.id}.json"


@dataclass(frozen=True)
class Admitted:
    """A result that a board takes: its bytes, the board in its `folder`, and the entry that it becomes."""

    result: Result
    content: bytes
    board: Board
    folder: Path
    entry: Path


def admit(path: Path, boards: Path = DEFAULT_FOLDER) -> Admitted:
    """Hold a result to the rules of its task's board; nothing is written.

    Raises:
        DataError: the file is no result, has no board, or breaks a rule of it (all are named).
    """
    content = read_bytes(path, fix=PASS_RESULT)
    result = parse_result(content, path)
    if result.task.absent:
        raise DataError(f"{path} has no task", got="samples held against other samples", expected="a board's task")
    names = board_names(boards)
    if result.task.name not in names:
        what, known = f"there is no board for the task {result.task.name!r} in {boards}", f"one of {', '.join(names)}"
        raise DataError(what, expected=known, fix=did_you_mean(result.task.name, names))
    folder = boards / result.task.name
    board = read_board(folder)
    _refuse(path, objections(board, result))
    _refuse(path, _other_floors(board, result, folder))
    return Admitted(result, content, board, folder, folder / "entries" / entry_name(result))


def add(path: Path, boards: Path = DEFAULT_FOLDER) -> Path:
    """Make a result an entry of its task's board: copy its file, byte for byte. Returns the entry's path.

    Adding never touches another entry, so that any number may be added at once; pages are made by `render`.

    Raises:
        DataError: as `admit`, or it is an entry already.
        UsageError: it cannot be written.
    """
    admitted = admit(path, boards)
    target, ending = admitted.entry, f"-{admitted.result.id}.json"
    twins = [entry for entry in entry_files(admitted.folder) if entry == target or entry.name.endswith(ending)]
    if twins:
        fix = "Entries are immutable; run again for a new one."
        raise DataError(f"{path} is an entry already: {twins[0]}", fix=fix)
    try:
        write_new(target, admitted.content.decode("utf-8"))
    except UsageError as error:
        if target.exists():  # somebody else added it in this very moment
            raise DataError(f"{path} is an entry already: {target}") from error
        raise
    return target


def _other_floors(board: Board, result: Result, folder: Path) -> list[str]:
    """Metrics with another floor than an entry on the board has: floors depend on task, metric version and N alone."""
    files = entry_files(folder)
    if not files:
        return []
    other = read_result(files[-1])
    reasons = []
    for column in board.columns:
        mine, theirs = result.measurement(column.metric), other.measurement(column.metric)
        if mine is None or theirs is None or mine.floor is None or theirs.floor is None:
            continue
        if not math.isclose(mine.floor, theirs.floor, rel_tol=1e-4, abs_tol=1e-9):
            floors = f"{mine.floor:.6g} instead of {theirs.floor:.6g} as in {files[-1].name}"
            reasons.append(f"other floor of {column.metric}: {floors}")
    return reasons
