"""The tables of the founding paper measured anew: `simbench table1`. Results -> Tables -> Markdown, LaTeX or JSON.

The paper is Deja et al., "End-to-end Sinkhorn Autoencoder with Noise Generator", arXiv:2006.06704. Its numbers stand
here as they are printed; every other number comes from a Result, or is "not measured".
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from simbench.boards.table import Cell, Column, Row, Table, escape_markdown, to_latex, to_markdown
from simbench.core.errors import DataError
from simbench.core.text import listed, number, printable, with_error
from simbench.results.comparable import Basis
from simbench.results.frame import find_files
from simbench.results.schema import GeneratorRecord, Measurement, Result, many_results, read_result
from simbench.results.words import equivalent_number, equivalent_text

ENTRIES = "leaderboards/*/entries/*.json"
TITLE = "Table 1 of the founding paper, measured anew"
PAPER = "Deja et al., arXiv:2006.06704"
MNIST, ZN, CELEBA = "mnist", "zn-geant3", "celeba64"
NOT_MEASURED, NOT_PRINTED = "not measured", "not in print"
UNKNOWN = -1
"""The key of a result that does not say its training seed."""
ORIGINAL = "floor"
"""The generator that stands for the paper's "original data": independent real events."""


@dataclass(frozen=True)
class Model:
    """A row: the paper's name, the generator's, and the paper's numbers by task and metric. `only`: its parameters."""

    label: str
    generator: str
    printed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)


FID, SINKHORN, MAE, WASSERSTEIN = (
    (MNIST, "lenet_fid/1"),
    (MNIST, "sinkhorn/1"),
    (ZN, "channel_mae/1"),
    (ZN, "channel_wasserstein/1"),
)
INCEPTION = (CELEBA, "inception_fid/1")


def _table1(label: str, generator: str, *printed: str) -> Model:
    return Model(label, generator, dict(zip((FID, SINKHORN, MAE, WASSERSTEIN), printed, strict=True)))


def _table6(label: str, generator: str, printed: str, **only: str) -> Model:
    return Model(label, generator, {INCEPTION: printed}, only)


TABLE_1 = (
    _table1("cond VAE", "vae", "6.61", "30.13", "23.13 ± 65.53", "14.92"),
    _table1("cond WAE (MMD)", "wae_mmd", "34.73", "30.44", "43.54 ± 55.23", "34.46"),
    _table1("cond e2e SAE", "e2e_sae", "4.11", "24.92", "13.50 ± 29.82", "7.91"),
    _table1("cond DCGAN", "dcgan", "0.93", "22.23", "68.27 ± 180.45", "6.95"),
    _table1("original data", ORIGINAL, "0.33", "0", "6.59", "2.89"),
)
FURTHER = (
    Model("cond WAE (GAN)", "wae_gan"),
    Model("cond SWAE", "swae"),
    Model("cond SAE", "sae"),
    Model("SDI-GAN", "sdi_gan"),
)
"""Models that the paper's Table 1 does not have: rows where they are measured."""

TABLE_6 = (
    _table6("VAE", "vae", "55"),
    _table6("WAE (MMD)", "wae_mmd", "55"),
    _table6("SWAE", "swae", "64"),
    _table6("SAE (hypersphere)", "sae", "56", prior="hypersphere"),
    _table6("e2e SAE", "e2e_sae", "54.5"),
)

SEEDS = (
    "`(n seeds)`: mean ± sample standard deviation over n training seeds; `(1 seed)`, and original data: ± is from "
    "sampling alone."
)
CAPTION_1 = (
    f"Table 1 of {PAPER}, measured with simbench, beside the numbers in print: those are of other HEP data, another "
    f"LeNet and other Sinkhorn settings. Autoencoders with the paper's head=mse. {SEEDS} The ± in print behind the MAE "
    "is the sd over events. Sinkhorn and MAE rank nothing: they prefer samples shrunk towards their mean."
)
CAPTION_2 = (
    f"The same models in metrics that can rank. {SEEDS} Equivalent events: how many real events are as far from the "
    "truth, where it is fewest, with the 95 % interval, of the lowest seed; behind it those of all seeds."
)
CAPTION_HEADS = (
    "Models measured with both heads: mse, the paper's squared error, and counts, a likelihood of photon counts (of "
    f"grey values: the cross entropy). {SEEDS}"
)
NO_HEADS = "No model here is measured with both heads, mse and counts."
CAPTION_6 = f"Table 6 of {PAPER}: Inception-FID on CelebA, 64 x 64."
LEFT_OUT = "Results left out: another head, other parameters with fewer seeds, or an older run of a seed"


@dataclass(frozen=True)
class Founding:
    """What `simbench table1` shows.

    Attributes:
        tables: Table 1, what can rank, the two heads, Table 6.
        used: the results of each row, in words.
        left_out: results that no row uses, and why, in words.
        results: the ids of those used.
    """

    tables: tuple[Table, ...]
    used: tuple[str, ...]
    left_out: tuple[str, ...]
    results: tuple[str, ...]


# Reading


@many_results()
def read_results(patterns: Sequence[str]) -> list[Result]:
    """The results that files, folders or globs name, those of the models and tasks of the tables alone; the boards'
    entries without patterns.

    Raises:
        DataError: there are no files, one is no result, none is of the tables, or two of a task do not compare.
    """
    read = {path: read_result(path, of_many=True) for path in _files(patterns)}
    generators = {model.generator for model in (*TABLE_1, *FURTHER)}
    wanted = {
        path: result
        for path, result in read.items()
        if result.generator.name in generators and result.task.name in (MNIST, ZN, CELEBA)
    }
    if not wanted:
        what = f"none of {len(read)} results is of a model and a task of the tables"
        found = sorted({f"{printable(r.generator.name, 40)} on {printable(r.task.name, 40)}" for r in read.values()})
        expected = f"{', '.join(sorted(generators))} on {MNIST}, {ZN} or {CELEBA}"
        fix = f"Measure one: simbench run -g vae --task {MNIST} --repetitions 3 --param weights=FILE."
        raise DataError(what, got=listed(found, ", "), expected=expected, fix=fix)
    _check_comparable(wanted)
    return list(wanted.values())


def _files(patterns: Sequence[str]) -> list[Path]:
    if not patterns and not list(Path().glob(ENTRIES)):
        raise DataError(
            "there are no entries of boards here",
            got=f"no file {ENTRIES} below {Path.cwd().name or 'the root folder'}",
            expected="results of `simbench run`",
            fix="Run it where the folder leaderboards is, or name results: simbench table1 runs.",
        )
    return find_files(patterns or [ENTRIES])


def _check_comparable(read: Mapping[Path, Result]) -> None:
    first: dict[str, tuple[Path, Basis]] = {}
    for path, result in read.items():
        basis = Basis.of(result.task, result.spec.definitions)
        other_path, other = first.setdefault(result.task.name, (path, basis))
        for name, mine, theirs in basis.unlike(other):
            what = f"{path} and {other_path} differ in {name} and cannot stand in one table"
            raise DataError(what, got=f"{mine} and {theirs}", fix="Name the results of one kind alone.")


# Results -> tables


@dataclass(frozen=True)
class Trainings:
    """The results of one model on one task, one for each training seed, the lowest first."""

    results: tuple[Result, ...]

    @property
    def trained(self) -> bool:
        """Whether there is a training that could have had another seed."""
        return self.results[0].generator.name != ORIGINAL

    def cell(self, key: str, part: str = "") -> Cell:
        """A metric's value, or that of a part of it, with its error over the seeds, or of the one result."""
        found = [m for result in self.results if (m := result.measurement(key)) is not None]
        values = [value for m in found if (value := m.parts.get(part) if part else m.value) is not None]
        if not values:
            return Cell("failed" if any(m.status == "failed" for m in found) else NOT_MEASURED)
        mean = fmean(values)
        error = stdev(values) if len(values) > 1 else None if part else _error(found)
        text = number(mean) if error is None else with_error(mean, error)
        return Cell(f"{text}{self._seeds(len(values))}", mean, error)

    def _seeds(self, count: int) -> str:
        return f" ({count} seed{'s' * (count != 1)})" if self.trained else ""

    def equivalent(self) -> Cell:
        """The equivalent events of the lowest seed with their interval, and of all seeds."""
        first, numbers = self.results[0], [equivalent_number(result) or "not known" for result in self.results]
        found = first.equivalent_events
        text = numbers[0] if found is None or numbers[0] == "copies" else equivalent_text(found.headline)
        seeds = f"; all {len(numbers)} seeds: {', '.join(numbers)}" if len(numbers) > 1 else ""
        return Cell(f"{text}{seeds}", found.headline.value if found and numbers[0] != "copies" else None)


def _error(found: Sequence[Measurement]) -> float | None:
    return next((m.stderr for m in found if m.value is not None), None)


def founding(results: Sequence[Result]) -> Founding:
    """The tables of these results, as `read_results` gives them."""
    rows = _Rows(results)
    further = [model for model in FURTHER if any(rows.find(model, task) for task in (MNIST, ZN))]
    models = (*TABLE_1, *further)
    tables = (_first(rows, models), _ranking(rows, models), _heads(rows, models), _celeba(rows))
    return Founding(tables, tuple(rows.used), tuple(rows.left_out()), tuple(rows.ids))


class _Rows:
    """Which results a row is made of: those of one configuration, the one with the most training seeds."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = results
        self.used: list[str] = []
        self.ids: list[str] = []

    def find(self, model: Model, task: str, head: str = "mse") -> Trainings | None:
        """The trainings of a model with a head (a model without heads has that of the paper); None: there are none."""
        found: dict[Hashable, dict[int, Result]] = {}
        for result in sorted(self.results, key=lambda result: result.created):
            generator = result.generator
            if (generator.name, result.task.name) != (model.generator, task) or _head(generator) != head:
                continue
            if all(generator.parameters.get(name) == value for name, value in model.only.items()):
                seed = UNKNOWN if generator.training_seed is None else generator.training_seed
                found.setdefault(generator.configuration, {})[seed] = result
        if not found:
            return None
        most = max(found.values(), key=lambda seeds: len(seeds.keys() - {UNKNOWN}))  # the first, the oldest, of equals
        return Trainings(tuple(most[seed] for seed in sorted(most.keys() - {UNKNOWN} or most)))

    def of(self, model: Model, task: str, head: str = "mse") -> Trainings | None:
        """As `find`, and the results are used."""
        found = self.find(model, task, head)
        if found is not None:
            self._note(task, found)
        return found

    def _note(self, task: str, trainings: Trainings) -> None:
        record = trainings.results[0].generator
        parameters = ", ".join(f"{name}={value}" for name, value in record.trained_parameters.items())
        each = ", ".join(
            f"{result.id}{'' if (seed := result.generator.training_seed) is None else f' (training seed {seed})'}"
            for result in trainings.results
        )
        line = f"{record.name} on {task}{f', {printable(parameters)}' if parameters else ''}: {each}"
        if line not in self.used:
            self.used.append(line)
            self.ids += [result.id for result in trainings.results]

    def left_out(self) -> list[str]:
        """The results that no row used."""
        rest = [result for result in self.results if result.id not in self.ids]
        return [f"{result.generator.name} on {result.task.name}: {result.id}" for result in rest]


def _head(generator: GeneratorRecord) -> str:
    return str(generator.parameters.get("head", "mse"))


def _cell(trainings: Trainings | None, key: str, part: str = "") -> Cell:
    return Cell(NOT_MEASURED) if trainings is None else trainings.cell(key, part)


def _equivalent(trainings: Trainings | None) -> Cell:
    return Cell(NOT_MEASURED) if trainings is None else trainings.equivalent()


def _row(model: Model, *cells: Cell) -> Row:
    return Row(
        (Cell(model.label, note=model.generator), *cells), "reference" if model.generator == ORIGINAL else "entry"
    )


def _printed(model: Model, column: tuple[str, str]) -> Cell:
    return Cell(model.printed.get(column, NOT_PRINTED))


NAME = Column("model", "model", words=True)


def _pair(title: str, column: tuple[str, str]) -> tuple[Column, Column]:
    return Column(title, column[1]), Column("in print", f"{column[1]} in print")


def _first(rows: _Rows, models: Sequence[Model]) -> Table:
    columns = (
        NAME,
        *_pair("MNIST LeNet-FID", FID),
        *_pair("MNIST Sinkhorn", SINKHORN),
        Column("HEP MAE", MAE[1]),
        Column("sd over events", f"{MAE[1]} sd"),
        Column("in print", f"{MAE[1]} in print"),
        *_pair("HEP Wasserstein", WASSERSTEIN),
    )
    lines = []
    for model in models:
        mnist, zn = rows.of(model, MNIST), rows.of(model, ZN)
        cells = (
            *(_cell(mnist, FID[1]), _printed(model, FID)),
            *(_cell(mnist, SINKHORN[1]), _printed(model, SINKHORN)),
            *(_cell(zn, MAE[1]), _cell(zn, MAE[1], "sd"), _printed(model, MAE)),
            *(_cell(zn, WASSERSTEIN[1]), _printed(model, WASSERSTEIN)),
        )
        lines.append(_row(model, *cells))
    return Table("table-1", "Table 1", CAPTION_1, columns, tuple(lines))


RANKING = (
    ("MNIST energy distance", MNIST, "energy_distance/1"),
    ("MNIST class energy", MNIST, "class_energy/1"),
    ("HEP conditional energy", ZN, "conditional_energy/1"),
)


def _ranking(rows: _Rows, models: Sequence[Model]) -> Table:
    columns = (
        NAME,
        *(Column(title, f"{task} {key}") for title, task, key in RANKING),
        Column("MNIST equivalent real images", f"{MNIST} equivalent events"),
        Column("HEP equivalent GEANT3 events", f"{ZN} equivalent events"),
    )
    lines = []
    for model in models:
        of = {task: rows.of(model, task) for task in (MNIST, ZN)}
        scores = [_cell(of[task], key) for _, task, key in RANKING]
        lines.append(_row(model, *scores, _equivalent(of[MNIST]), _equivalent(of[ZN])))
    return Table("ranking", "What can rank", CAPTION_2, columns, tuple(lines))


COMPARED = (
    ("MNIST LeNet-FID", *FID),
    ("MNIST Sinkhorn", *SINKHORN),
    ("HEP MAE", *MAE),
    ("HEP Wasserstein", *WASSERSTEIN),
    *RANKING,
)


def _heads(rows: _Rows, models: Sequence[Model]) -> Table:
    """A row for each head of the models that are measured with both on a task."""
    columns = (NAME, Column("head", "head", words=True), *(Column(title, f"{t} {key}") for title, t, key in COMPARED))
    heads = ("mse", "counts")
    lines: list[Row] = []
    for model in models:
        if any(all(rows.find(model, task, head) for head in heads) for task in (MNIST, ZN)):
            of = {(task, head): rows.of(model, task, head) for task in (MNIST, ZN) for head in heads}
            lines += [_row(model, Cell(h), *(_cell(of[task, h], key) for _, task, key in COMPARED)) for h in heads]
    return Table("heads", "Both heads", CAPTION_HEADS if lines else NO_HEADS, columns, tuple(lines))


def _celeba(rows: _Rows) -> Table:
    columns = (NAME, *_pair("CelebA Inception-FID", INCEPTION))
    of = [rows.of(model, CELEBA) for model in TABLE_6]
    absent = Cell(NOT_MEASURED if any(of) else f"{NOT_MEASURED}: data absent")
    lines = [
        _row(model, absent if one is None else one.cell(INCEPTION[1]), _printed(model, INCEPTION))
        for model, one in zip(TABLE_6, of, strict=True)
    ]
    return Table("table-6", "Table 6", CAPTION_6, columns, tuple(lines))


# Tables -> text


def as_markdown(found: Founding) -> str:
    """A page."""
    parts = [f"# {TITLE}"]
    for table in found.tables:
        parts += [f"## {table.title}", table.caption]
        parts += [to_markdown(table).rstrip()] if table.rows else []
    for title, lines in (("Results used", found.used), (LEFT_OUT, found.left_out)):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {escape_markdown(line)}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def as_latex(found: Founding) -> str:
    """The tables, for a paper that uses booktabs; the results used as comments."""
    comments = ["% Made by `simbench table1`. Needs \\usepackage{booktabs}."]
    comments += [f"% used: {printable(line, 1000)}" for line in found.used]
    tables = [to_latex(_plain(table), f"simbench-{table.name}") for table in found.tables if table.rows]
    return "\n".join([*comments, *tables])


def _plain(table: Table) -> Table:
    """The table with a caption without Markdown's code marks."""
    return Table(table.name, table.title, table.caption.replace("`", ""), table.columns, table.rows)


def as_json(found: Founding) -> dict[str, Any]:
    """The tables as data: cells by the keys of their columns."""
    tables = [
        {
            "name": table.name,
            "title": table.title,
            "caption": table.caption.replace("`", ""),
            "columns": {column.key: column.title for column in table.columns},
            "rows": [
                {
                    column.key: {"text": cell.display, "value": cell.value, "error": cell.error}
                    for column, cell in zip(table.columns, row.cells, strict=True)
                }
                for row in table.rows
            ],
        }
        for table in found.tables
    ]
    return {"tables": tables, "used": list(found.used), "left_out": list(found.left_out)}
