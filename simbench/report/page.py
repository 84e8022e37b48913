"""The report: one self-contained page of a run, or of several side by side, with figures, tables and provenance.

The page runs no script and loads nothing: its content policy forbids both, so a hostile name in a Result does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure

from simbench.core.errors import GeneratorError, SimbenchError, UsageError
from simbench.core.events import Events
from simbench.core.files import check_writable, replace_text
from simbench.core.templates import render_template
from simbench.core.text import count, engine_name, listed, matching, number, printable, with_error
from simbench.generators.session import Session
from simbench.metrics.base import Comparison
from simbench.metrics.direction import Direction
from simbench.report.channels import channel_histograms, correlations
from simbench.report.digits import digit_grid, mean_digits
from simbench.report.features import EVENTS, embed, feature_maps
from simbench.report.interpolation import NOISES, Way, interpolations, outside_sentence, walk, ways
from simbench.report.latent import class_name, latent_maps, latent_space, probe_sentence
from simbench.report.layers import feature_histograms, layer_profile, mean_layers
from simbench.report.response import energy_response
from simbench.report.showers import mean_showers, pick_conditions, shower_grid
from simbench.report.speed import quality_against_time
from simbench.report.spread import dispersion
from simbench.report.style import COLOURS, PHONE, Series, largest_reference, narrowest, save_figure, to_svg
from simbench.results.comparable import Group, comparable_groups
from simbench.results.compare import winners
from simbench.results.cost import cost_sentences
from simbench.results.findings import TOO_GOOD
from simbench.results.pareto import Trade, monte_carlo, paces, placed, quality_caption
from simbench.results.schema import Measurement, Result, StratumValue
from simbench.results.timing import NOT_TIMED, scored_sentence
from simbench.results.words import (
    Standing,
    entry_labels,
    equivalent_number,
    equivalent_sentence,
    headline,
    meaning,
    metric_label,
    score_text,
    speed_sentence,
    standing,
    stratum_label,
    verdict,
    way_of,
)
from simbench.tasks.base import Task

Answer = TypeVar("Answer")
Draw = Callable[[Sequence[Series]], Figure | tuple[Figure, str]]
"""Draws generators; may come with a further sentence for the caption."""

FEW = 3
"""More results than these are shown closer together."""

FULL_BAR = 30.0
"""A score this many times worse than its floor, or worse by this many errors, fills the bar; it is logarithmic."""


@dataclass(frozen=True)
class ReportEntry:
    """A Result, and what figures are drawn from.

    Attributes:
        pair: generated events of repetition 0 against the reference; None: figures of events go without.
        session: the generator, set up; None: figures that must ask it go without.
        note: what is to be said of either, such as why it is None.
    """

    result: Result
    pair: Comparison | None
    session: Session | None = None
    note: str = ""


@dataclass(frozen=True)
class Drawn:
    """A figure on the page, or why it is not there; `wide`: it is scrolled on a phone."""

    name: str
    title: str
    caption: str
    svg: str
    missing: str = ""
    wide: bool = False


def write_report(entries: Sequence[ReportEntry], task: Task, path: Path, *, figures: Path | None = None) -> Path:
    """Write the report of one or more results on `task`; returns its path. An old report is replaced.

    Args:
        entries: the results, in the order in which they are shown; their task must be `task`.
        path: the HTML file to write.
        figures: a folder in which every figure is left as PDF and PNG too.

    Raises:
        UsageError: no entries, results of another task, or a file that cannot be written.
    """
    check_task([entry.result for entry in entries], task)
    page = _render(entries, task, figures)
    replace_text(path, page)
    return path


def check_task(results: Sequence[Result], task: Task) -> None:
    """Refuse results that one report cannot show. Raises UsageError where there are none, or some of another task."""
    if not results:
        raise UsageError("a report needs at least one result")
    strangers = sorted({result.task.name for result in results} - {task.name})
    if strangers:
        got = ", ".join(strangers)
        raise UsageError("the results are of another task", got=got, expected=task.name, fix="Make one report a task.")
    for result in results:
        if result.task.source_sha256 != task.source_sha256:
            got, expected = (str(sha and sha[:12]) for sha in (result.task.source_sha256, task.source_sha256))
            what = f"result {result.id} is of another version of the file of the task {task.name}"
            raise UsageError(what, got=got, expected=expected, fix="Bring the file back as it was, or run again.")


def _render(entries: Sequence[ReportEntry], task: Task, folder: Path | None) -> str:
    results = [entry.result for entry in entries]
    labels = entry_labels(results)
    groups = comparable_groups(results)
    series = [
        Series(label, place, entry.pair, entry.session)
        for place, (label, entry) in enumerate(zip(labels, entries, strict=True))
        if entry.pair is not None
    ]
    if folder is not None:
        check_writable(folder)
    where = f"against {task.summary}" if results[0].task.absent else f"on {task.name}"
    return render_template(
        "report.html.j2",
        title=f"{', '.join(labels) if len(labels) <= FEW else f'{len(labels)} generators'} {where}",
        task=task,
        entries=[_entry(*each) for each in zip(results, labels, range(len(results)), strict=True)],
        several=len(entries) > 1,
        many=len(entries) > FEW,
        apart=[(group.words, ", ".join(labels[place] for place in group.places)) for group in groups if group.words],
        sections=[
            (_titled(heading, group), _score_rows(results, group, ranks=ranks, repeats=task.repeats))
            for group in groups
            for heading, ranks in (("Scores that rank", True), ("Reported, not ranked", False))
        ],
        calibration=_calibration(results, labels),
        unmeasured=[
            (label, m.key, m.status, printable(m.error or "no reason recorded", 600))
            for result, label in zip(results, labels, strict=True)
            for m in result.measurements
            if m.value is None
        ],
        groups=_figures(
            series, task, folder, " ".join(filter(None, (_coverage(results, group, labels) for group in groups)))
        ),
        without=[label for label, entry in zip(labels, entries, strict=True) if entry.pair is None],
        notes=_grouped((label, entry.note) for label, entry in zip(labels, entries, strict=True) if entry.note),
        strata=[table for group in groups for table in _strata(results, group, labels, series, task)],
        pareto=[
            drawn
            for place, group in enumerate(groups, 1)
            if (drawn := _pareto(results, group, labels, folder, "speed" if place == 1 else f"speed-{place}"))
        ],
        colours=COLOURS,
        full_bar=f"{FULL_BAR:g}",
        way_of=way_of,
    )


def _grouped(notes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names and what is said of them, those of one note together."""
    names: dict[str, list[str]] = {}
    for label, note in notes:
        names.setdefault(printable(note, 400), []).append(label)
    return [(", ".join(labels), note) for note, labels in names.items()]


# What the template shows of one result


def _entry(result: Result, label: str, place: int) -> dict[str, Any]:
    first = headline(result)
    warnings = [printable(warning, 2000) for warning in result.warnings]
    return {
        "label": label,
        "place": place % len(COLOURS) + 1,
        "result": result,
        "verdict": verdict(result),
        "equivalent": equivalent_number(result),
        "equivalent_sentence": equivalent_sentence(result),
        "engine": engine_name(result.speedup.monte_carlo.engine) if result.speedup else "real",
        "standing": standing(first).text if first else "",
        "standing_of": _standing_of(first) if first else "",
        "speed": speed_sentence(result),
        "costs": cost_sentences(result),
        "scored": scored_sentence(result),
        "measured_energy": any(row.joules_per_event is not None for row in result.throughput),
        "findings": [warning for warning in warnings if warning.startswith(TOO_GOOD)],
        "warnings": [w for w in warnings if not w.startswith(TOO_GOOD) and NOT_TIMED not in w],
        "untimed": [warning for warning in warnings if NOT_TIMED in warning],
        "throughput_error": printable(result.throughput_error or "", 1000),
        "provenance": _provenance(result),
    }


def _standing_of(first: Measurement) -> str:
    """What the headline number beside it is: `the floor, in channel Wasserstein`."""
    if first.ratio is not None and first.target is None:
        return f"the floor, in {metric_label(first)}"
    return f"from the {'floor' if first.target is None else 'target'}, in {metric_label(first)}"


def _provenance(result: Result) -> list[tuple[str, str]]:
    spec, task, generator, origin = result.spec, result.task, result.generator, result.provenance
    known = {True: "yes", False: "no", None: "not known"}

    def listed(pairs: Mapping[str, Any], between: str = "=") -> str:
        return ", ".join(f"{name}{between}{value}" for name, value in pairs.items())

    changed = ", with changes" if origin.git_dirty else ""
    rows = {
        "result": f"{result.id}, {result.created:%Y-%m-%d %H:%M} UTC, {result.status}",
        "task": f"{task.name} {task.version}, split {task.split}, data sha256 {task.scored_sha256[:16]}",
        "task from": f"{task.source}, sha256 {(task.source_sha256 or 'not known')[:16]}" if task.source else "",
        "asked for": f"{spec.generator}: {spec.events} events, {spec.repetitions} × seed {spec.root_seed}, "
        f"block {spec.block}, {spec.dtype}",
        "parameters": listed(generator.parameters),
        "generator": " ".join(part for part in (generator.name, generator.version or "") if part),
        "weights": generator.weights_sha256 or "",
        "training seed": "" if generator.training_seed is None else str(generator.training_seed),
        "source": generator.source_sha256 or "",
        "same seed, same events": known[generator.deterministic],
        "other seed, other events": known[generator.stochastic],
        "simbench": f"{origin.simbench}, git {origin.git_sha[:12]}{changed}" if origin.git_sha else origin.simbench,
        "software": listed({"python": origin.python, **origin.packages}, " "),
        "hardware": listed(origin.hardware, ": "),
        "flags": listed(origin.flags),
        "command": origin.command,
    }
    if result.speedup is not None:
        record = result.speedup.monte_carlo
        rows["Monte Carlo"] = f"{record.engine}, {record.physics}; cuts {record.cuts}; {record.measured}"
    return [(name, printable(value, 2000)) for name, value in rows.items() if value]


# Tables


def _titled(heading: str, group: Group) -> str:
    return f"{heading}: {group.words}" if group.words else heading


def _keys(results: Sequence[Result], group: Group) -> list[str]:
    """The keys of a group's measurements, in the order in which its results have them."""
    return list(dict.fromkeys(m.key for place in group.places for m in results[place].measurements))


def _found(results: Sequence[Result], group: Group, key: str) -> list[tuple[int, Measurement]]:
    """A metric in every result of a group that has it, with the place of the result."""
    return [(place, m) for place in group.places if (m := results[place].measurement(key)) is not None]


def _score_rows(results: Sequence[Result], group: Group, *, ranks: bool, repeats: int) -> list[dict[str, Any]]:
    rows = []
    won = winners([results[place] for place in group.places]) if ranks else {}
    for key in _keys(results, group):
        found = [(place, m) for place, m in _found(results, group, key) if m.value is not None and m.ranks == ranks]
        if found:
            first = found[0][1]
            best = group.places[won[key]] if key in won else None
            rows.append(
                {
                    "label": metric_label(first),
                    "key": key,
                    "unit": first.unit,
                    "arrow": Direction.of(first).arrow,
                    "direction": Direction.of(first).words,
                    "meaning": meaning(first),
                    "cells": [_score_cell(m, place, place == best, repeats) for place, m in found],
                }
            )
    return rows


def _calibration(results: Sequence[Result], labels: Sequence[str]) -> str:
    """By what the photons of each generator were multiplied, and what that does, in a sentence; empty without any."""
    factors, moved = [], False
    for result, label in zip(results, labels, strict=True):
        found = [m for m in result.measurements if m.calibrated is not None]
        if found and found[0].calibrated is not None:
            factors.append(f"{label + ' ' if len(results) > 1 else ''}×\u00a0{number(found[0].calibrated.factor)}")
            moved |= any(_calibration_matters(m) for m in found)
    if not factors:
        return ""
    effect = "its score is given where it moves" if moved else "no score moves"
    return (
        f"Calibrated: photons {listed(factors, ', ')}, so that their mean is right; {effect} by more than the standard "
        "error."
    )


def _calibration_matters(measurement: Measurement) -> bool:
    """Whether the score moves by more than its standard error once the photons are put right."""
    calibrated, value = measurement.calibrated, measurement.value
    return calibrated is not None and value is not None and abs(calibrated.value - value) > (measurement.stderr or 0.0)


def _bar(place_of: Standing) -> float | None:
    """Percent of the bar that a standing fills: by its standard errors where it is told in them, else by its factor."""
    worse = place_of.sigma if place_of.in_errors else place_of.factor
    return None if worse is None else min(100.0, 100 * float(np.log(max(worse, 1.0)) / np.log(FULL_BAR)))


def _score_cell(measurement: Measurement, place: int, best: bool, repeats: int) -> dict[str, Any]:
    value, place_of = measurement.value or 0.0, standing(measurement)

    def beside(other: float | None) -> str:
        return "–" if other is None else matching(other, value, measurement.stderr)

    floor = beside(measurement.floor)
    if measurement.floor is not None and measurement.floor_sd:
        floor = with_error(measurement.floor, measurement.floor_sd)
    notes, spread, calibrated = [], "", ""
    if measurement.sd_repetition is not None:
        spread = f"± {number(measurement.sd_repetition, 2)}"
        notes.append(f"{spread} between {len(measurement.per_repetition)} repetitions")
    if measurement.calibrated is not None and _calibration_matters(measurement):
        calibrated = beside(measurement.calibrated.value)
        notes.append(f"{calibrated} calibrated")
    return {
        "place": place,
        "best": best,
        "value": score_text(measurement, repeats=repeats),
        "floor": floor,
        "standing": place_of.text or "–",
        "bar": _bar(place_of),
        "in_errors": place_of.in_errors,
        "at_floor": place_of.sigma is not None and place_of.sigma < 2,
        "memoriser": beside(measurement.memoriser),
        "notes": notes,
        "spread": spread,
        "calibrated": calibrated,
        "parts": [(printable(name, 40), number(part)) for name, part in measurement.parts.items()],
    }


def _strata(
    results: Sequence[Result], group: Group, labels: Sequence[str], series: Sequence[Series], task: Task
) -> list[dict[str, Any]]:
    """A table for each stratification of a group: rows metric by generator, columns strata."""
    sizes: dict[str, int] = {}
    for key, stratum in (item for p in group.places for m in results[p].measurements for item in m.strata.items()):
        sizes[key] = max(sizes.get(key, 0), stratum.n)
    tables = []
    for kind in dict.fromkeys(key.partition("=")[0] for key in sizes):
        columns = [key for key in sizes if key.partition("=")[0] == kind]
        columns.sort(key=lambda key: _stratum_order(key, sizes[key]))
        rows = []
        for key in _keys(results, group):
            for index, (place, m) in enumerate((place, m) for place, m in _found(results, group, key) if m.strata):
                cells = [m.strata.get(column) for column in columns]
                if any(cells):
                    rows.append(
                        {
                            "metric": f"{Direction.of(m).arrow} {metric_label(m)}" if index == 0 else "",
                            "unit": m.unit if index == 0 else "",
                            "label": labels[place],
                            "place": place,
                            "cells": [
                                "" if cell is None else score_text(m, cell, repeats=task.repeats) for cell in cells
                            ],
                            "all": score_text(m, repeats=task.repeats),
                            "worst": _worst(m, cells),
                        }
                    )
        shown = [one for one in series if one.place in group.places]
        heads = [(*_stratum_head(key, shown, task), count(sizes[key])) for key in columns]
        tables.append({"kind": _titled(printable(kind, 40), group), "heads": heads, "rows": rows})
    return tables


def _stratum_order(key: str, size: int) -> tuple[float, str]:
    """Species by falling size, with `other` last; everything else by name."""
    if not key.startswith("species="):
        return (0.0, key)
    return (1.0 if key.endswith("=other") else -float(size), key)


def _stratum_head(key: str, series: Sequence[Series], task: Task) -> tuple[str, str]:
    """The stratum's name; for an energy quintile its range too, where events are at hand."""
    kind, _, name = key.partition("=")
    if kind == "energy" and series and "Energy" in task.condition_names and kind in series[0].pair.reference.strata:
        column = task.condition_names.index("Energy")
        events = largest_reference(series).reference
        energy = events.conditions[:, column].numpy()[events.strata[kind] == name]
        if len(energy):
            low, high = count(float(energy.min())), count(float(energy.max()))
            return printable(name, 10), f"{low}–{high} {task.condition_units[column]}"
    return (printable(name, 40) if kind == "species" else stratum_label(key)), ""


def _worst(measurement: Measurement, cells: Sequence[StratumValue | None]) -> int | None:
    """The stratum furthest from the target; none without one, since strata have no floor to be held against."""
    if measurement.target is None:
        return None
    off = [-1.0 if cell is None else abs(cell.value - measurement.target) for cell in cells]
    return int(np.argmax(off))


# Figures


CAPTIONS = {
    "showers": (
        "Single showers, real and generated",
        "Each row is one particle; the images in it are answers to that very particle. What differs between real "
        "images is physics.",
    ),
    "mean_shower": ("Mean shower", "Mean over all test events, on one scale, and generated over real."),
    "channels": (
        "Read-out channels",
        "Channels 1–4 are the quadrants, channel 5 every second fibre. Bars are statistical; the last bin holds the "
        "overflow. χ² over its degrees of freedom and separation (0: equal, 1: apart) are of the bins shown; real–real "
        "is what independent real events reach. Both sides answer the same particles, so that χ² falls below its "
        "degrees of freedom. Triangles: the ratio lies above the panel.",
    ),
    "response": (
        "Photon sum against energy",
        "Mean with its standard error, in bins of equal numbers of events, at the mean energy of the bin; horizontal "
        "bars show the bin. Band and lines: 16–84 % of the events. Width: standard deviation over mean of the photon "
        "sum over the energy.",
    ),
    "dispersion": (
        "Spread of the answers to one particle",
        "One point a particle; open circles are medians in bins. Below the line the generator repeats itself too much; "
        "triangles lie below the frame, with hardly any spread. Right the ratio of the two, beside that of independent "
        "real events to real ones.",
    ),
    "correlations": (
        "Rank correlation of the channels",
        "Spearman's correlation over all events, and generated minus real, with its Frobenius norm. Below the real "
        "ones: other real events minus real, which is what chance does.",
    ),
    "mean_layers": (
        "Mean shower, layer by layer",
        "Mean over all test events, seen along the particle, on one scale. Rings are drawn equally wide; voxels that "
        "are always empty are left blank.",
    ),
    "layers": ("Energy in each layer", "Mean over all test events, with its standard error."),
    "high_level": (
        "High-level features",
        "The CaloChallenge's features. Bars are statistical. χ² over its degrees of freedom and separation (0: equal, "
        "1: apart) are of the bins shown, which are not those of the scores. Triangles: the ratio lies outside the "
        "panel.",
    ),
    "images": (
        "Single images, real and generated",
        "The same number of images of each label, the first of the test set.",
    ),
    "mean_images": ("Mean image of each label", "Mean over all test events of a label, and generated minus real."),
    "features": (
        "Principal components and t-SNE",
        f"Up to {count(EVENTS)} events of each set, in the features that scores read (of shipped tasks, those of a "
        "pinned network). Grey with no colour near: kinds of events that the generator misses. The axes of t-SNE mean "
        "nothing; what counts is whether both sets fill the "
        "same places.",
    ),
    "latent": (
        "Codes of real events, and of the prior",
        "t-SNE of the codes that the generator's encoder makes of real test events, by class (the label, else the "
        "quintile of the energy), and of the codes that it draws from its prior. The linear probe is logistic "
        "regression from code to class, trained on the training split and scored on the test split. An encoder that "
        "is told the conditions may write them into the code. Of a random code the mean is shown: a dimension that "
        "the events do not use stays at its middle, while the prior spreads.",
    ),
    "interpolation": (
        "From one condition to another",
        "Each row keeps its noise (one seed) while the condition moves on a straight line; between two labels, or two "
        "species of one energy and direction, it is one that no event has. Curves: what a pinned LeNet-5 reads, mean "
        f"over {NOISES} noises; band: 16–84 %.",
    ),
}
"""Title and caption of each figure of events."""


class Figures:
    """The figures of a page, drawn one after the other; those with a curve or a column a generator in parts."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.groups: dict[str, list[Drawn]] = {}

    def add(self, group: str, name: str, draw: Draw, series: Sequence[Series], most: int = 99) -> None:
        """Draw a figure of up to `most` generators, or as many figures as they take."""
        title, caption = CAPTIONS[name]
        parts = -(-len(series) // most)
        for part, at in enumerate(np.array_split(np.arange(len(series)), parts), 1):
            some = [series[place] for place in at]
            if parts > 1:
                title = f"{CAPTIONS[name][0]}: {', '.join(one.label for one in some)}"
            key = name if part == 1 else f"{name}-{part}"
            drawn = _draw(key, title, caption if part == 1 else "", partial(draw, some), self.folder)
            self.groups.setdefault(group, []).append(drawn)


def _coverage(results: Sequence[Result], group: Group, labels: Sequence[str]) -> str:
    """The metric `coverage` of each result of a group, in a sentence; empty where none has it."""
    found = _found(results, group, "coverage/1")
    values = [f"{labels[place]} {with_error(m.value, m.stderr)}" for place, m in found if m.value is not None]
    floor = f" (floor {number(found[0][1].floor)})" if found and found[0][1].floor is not None else ""
    return f"{_titled('Coverage of all real events', group)}: {', '.join(values)}{floor}." if values else ""


def _figures(series: Sequence[Series], task: Task, folder: Path | None, coverage: str) -> list[tuple[str, list[Drawn]]]:
    """The groups of figures that the task's events allow; `coverage` is said beneath the feature space."""
    if not series:
        return []
    figures, reference = Figures(folder), largest_reference(series).reference
    if "channels" in reference.derivations:
        if len(task.shape) == 2:
            picked = pick_conditions(reference, task)
            figures.add("Showers", "showers", lambda some: shower_grid(some, picked, task.unit), series, 12)
            figures.add("Showers", "mean_shower", lambda some: mean_showers(some, task.unit), series, 4)
        other = _other_real(task, reference)
        figures.add("Channels", "channels", lambda some: channel_histograms(some, task, other), series, 4)
        if "Energy" in task.condition_names:
            figures.add("Channels", "response", lambda some: energy_response(some, task), series, 4)
        if task.repeats > 1:
            figures.add("Channels", "dispersion", lambda some: dispersion(some, task, other), series, 6)
        figures.add("Channels", "correlations", lambda some: correlations(some, other), series, 4)
    elif "high_level" in reference.derivations:
        figures.add("Showers", "mean_layers", mean_layers, series, 4)
        figures.add("Layers", "layers", lambda some: layer_profile(some, task), series, 6)
        figures.add("Layers", "high_level", lambda some: feature_histograms(some, task), series, 4)
    elif len(task.shape) == 3 and task.shape[0] in (1, 3):
        figures.add("Images", "images", digit_grid, series, 4)
        if task.shape[0] == 1 and "label" in reference.strata:
            figures.add("Images", "mean_images", mean_digits, series, 4)
    if "features" in reference.derivations:
        figures.add("Feature space", "features", lambda some: (feature_maps(some, embed(some)), coverage), series)
    opened = [one for one in series if one.session is not None]
    encoders = [one for one in opened if one.session is not None and one.session.encodes]
    if encoders and class_name(reference):
        figures.add("Latent space", "latent", lambda some: _latent(some, task), encoders)
    if opened and (between := ways(reference, task)):
        figures.add("Interpolation", "interpolation", lambda some: _interpolation(some, between, task), opened)
    return list(figures.groups.items())


def _other_real(task: Task, reference: Events) -> Events | None:
    """Independent real events that answer the conditions of the reference: what chance alone does; None without any."""
    try:
        other = task.load("floor", len(reference))
    except SimbenchError:
        return None
    return other if torch.equal(other.condition_id, reference.condition_id) else None


def _latent(encoders: Sequence[Series], task: Task) -> tuple[Figure, str]:
    spaces, left_out = _of_each(encoders, lambda _, session: latent_space(session, task))
    return latent_maps(spaces), f"{probe_sentence(spaces)} {left_out}"


def _interpolation(opened: Sequence[Series], between: Sequence[Way], task: Task) -> tuple[Figure, str]:
    shown = between if len(opened) < 3 else [between[0], between[-1]]
    found, left_out = _of_each(opened, lambda _, session: [walk(session, way, task) for way in shown])
    return interpolations(found, task), f"{outside_sentence(found)} {left_out}"


def _of_each(
    opened: Sequence[Series], ask: Callable[[Series, Session], Answer]
) -> tuple[list[tuple[Series, Answer]], str]:
    """What each generator answers, and which are left out and why. Raises GeneratorError where all are."""
    found, failed = [], []
    for one in opened:
        assert one.session is not None
        try:
            found.append((one, ask(one, one.session)))
        except GeneratorError as error:
            failed.append((one.label, error))
    if not found:
        raise failed[0][1]
    grouped = _grouped((label, str(error)) for label, error in failed)
    return found, " ".join(f"Without {labels}: {printable(reason, 200)}" for labels, reason in grouped)


def _draw(
    name: str, title: str, caption: str, figure: Callable[[], Figure | tuple[Figure, str]], folder: Path | None
) -> Drawn:
    """Draw a figure; events that cannot be drawn, or weights that are not there, leave a note in its place."""
    try:
        made = figure()
    except (SimbenchError, ValueError) as error:
        return Drawn(name, title, caption, "", f"Left out: {printable(str(error), 400)}")
    drawn, sentence = made if isinstance(made, tuple) else (made, "")
    if folder is not None:
        for suffix in ("pdf", "png"):
            save_figure(drawn, folder / f"{name}.{suffix}", suffix)
    wide = narrowest(drawn) > PHONE
    return Drawn(name, title, f"{caption} {sentence}".strip(), to_svg(drawn, name, title), wide=wide)


def _pareto(
    results: Sequence[Result], group: Group, labels: Sequence[str], folder: Path | None, name: str
) -> Drawn | None:
    """The equivalent metric of a group against time, with the Monte Carlo at its floor; None where nothing was
    timed."""
    members = [results[place] for place in group.places]
    first = next((m for result in members if (m := headline(result)) is not None), None)
    if first is None:
        return None
    trades = [
        replace(trade, label=labels[place])
        for place, result in zip(group.places, members, strict=True)
        if (m := result.measurement(first.key)) is not None
        and m.value is not None
        and (trade := Trade.of(result, m, *paces(result.throughput))).best is not None
    ]
    if not trades:
        return None
    colours = [place for place, result in enumerate(results) for trade in trades if trade.label == labels[place]]
    found = [*trades, *monte_carlo(members, first)]
    label = f"{metric_label(first)} [{first.unit}]" if first.unit else metric_label(first)
    caption = quality_caption(found)
    return _draw(
        name,
        _titled("Quality against time", group),
        caption,
        lambda: quality_against_time(placed(found), label, Direction.of(first), floor=first.floor, colours=colours),
        folder,
    )
