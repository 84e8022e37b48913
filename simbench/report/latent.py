"""Latent space in two dimensions: codes of real events by class, codes of the prior over them, and a linear probe.

After Deja et al., arXiv:2006.06704, figs. 1 and 8. For any generator that is an `Encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from simbench.core.errors import GeneratorError
from simbench.core.events import Events
from simbench.core.text import number, with_error
from simbench.generators.session import Session
from simbench.report.features import overlaid, tsne
from simbench.report.style import (
    CLASS_COLOURS,
    COUNTS,
    Series,
    as_array,
    legend_above,
    paired_panels,
    plain,
    styled,
    unscaled,
)
from simbench.tasks.base import Task

Array = NDArray[np.float64]
PROBED = 2000
"""Events of each split that the probe is trained and scored on, spread over the split."""

DRAWN = 300
"""Codes of real events, and as many of the prior, that are drawn."""

CLASSES = ("label", "energy")
"""The stratification that is the class of an event: the first of these that a task has."""


@dataclass(frozen=True)
class Probe:
    """The share of events whose class a linear classifier reads from the code, with its standard error, and the share
    of the commonest class, which a guess would get."""

    accuracy: float
    error: float
    chance: float


@dataclass(frozen=True)
class LatentSpace:
    """Codes in one plane: of real events with their classes, and of the prior where the generator gives them."""

    kind: str
    real: Array
    classes: NDArray[np.str_]
    prior: Array | None
    probe: Probe


def class_name(events: Events) -> str | None:
    """The stratification that gives the classes; None where the task has none."""
    return next((name for name in CLASSES if name in events.strata), None)


def linear_probe(
    train: Array, train_classes: NDArray[np.str_], test: Array, test_classes: NDArray[np.str_], units: NDArray[np.int64]
) -> Probe:
    """Logistic regression on standardised codes (N, d), trained on `train`, scored on `test`.

    The standard error is that of the mean over `units`: events that belong together count as one.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _, counts = np.unique(test_classes, return_counts=True)
    if len(np.unique(train_classes)) < 2:
        right = test_classes == train_classes[0]
    else:
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, train_classes)
        right = probe.predict(test) == test_classes
    _, unit = np.unique(units, return_inverse=True)
    sizes = np.bincount(unit)
    means = np.bincount(unit, weights=right) / sizes
    error = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")
    return Probe(float(right.mean()), error, float(counts.max() / counts.sum()))


def spread(events: Events, count: int) -> Events:
    """Up to `count` events, evenly spread over all."""
    return events.take(torch.linspace(0, len(events) - 1, min(count, len(events))).long())


def latent_space(session: Session, task: Task, seed: int = 0) -> LatentSpace:
    """The latent space of a generator that encodes, on a task with classes. Raises GeneratorError where it fails."""
    train, test = (spread(task.load(split), PROBED) for split in ("train", "test"))
    kind = class_name(test) or ""
    train_codes, test_codes = (as_array(session.codes(events)) for events in (train, test))
    units = test.unit_id.numpy()
    probe = linear_probe(train_codes, train.strata[kind], test_codes, test.strata[kind], units)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(test))[:DRAWN])
    prior = session.prior_codes(test.conditions[torch.from_numpy(rows)], session.seed("prior codes"))
    sets = [test_codes[rows]] + ([] if prior is None else [as_array(prior)])
    if len({values.shape[1] for values in sets}) > 1:
        got = f"{sets[1].shape[1]} numbers a code, and {sets[0].shape[1]} of `latent_codes`"
        raise GeneratorError(f"{session.who}: `prior_codes` are other codes", got=got, expected="as many")
    codes = np.concatenate(sets)
    plane = tsne(codes, rng.permutation(len(codes)), seed)
    real, drawn = plane[: len(rows)], plane[len(rows) :]
    return LatentSpace(kind, real, test.strata[kind][rows], drawn if len(drawn) else None, probe)


def latent_maps(spaces: Sequence[tuple[Series, LatentSpace]]) -> Figure:
    """Two panels for each generator: codes of real events by class, and codes of the prior over them."""
    classes = sorted({str(name) for _, space in spaces for name in space.classes})
    palette: Sequence[str] = CLASS_COLOURS
    if spaces[0][1].kind == "energy":  # classes with an order
        palette = [to_hex(colour) for colour in colormaps[COUNTS](np.linspace(0.15, 0.82, len(classes)))]
    colours = {name: palette[at % len(palette)] for at, name in enumerate(classes)}
    with styled():
        figure, panels = paired_panels([one for one, _ in spaces])
        for (one, space), (by_class, over) in zip(spaces, panels, strict=True):
            for name in classes:
                points = space.real[space.classes == name].T
                by_class.plot(*points, ls="", color=colours[name], mew=0, **_marker(name))
            by_class.set_xlabel(f"linear probe {_probe_text(space.probe)}", loc="center")
            unscaled(by_class)
            if space.prior is None:
                over.set_axis_off()
            else:
                overlaid(over, space.real, space.prior, one.colour)
                over.set_xlabel("grey: real events, encoded; colour: the prior", loc="center")
        handles = [Line2D([], [], ls="", marker="o", color=colours[name]) for name in classes]
        legend_above(figure, handles, [plain(name, 12) for name in classes], columns=10)
    return figure


def _marker(name: str) -> dict[str, Any]:
    """The digit that a class ends on, else a dot."""
    return {"marker": f"${name[-1]}$", "ms": 5.5} if name[-1:].isdecimal() else {"marker": "o", "ms": 3.5}


def _probe_text(probe: Probe) -> str:
    return f"{with_error(probe.accuracy, probe.error)} (a guess: {number(probe.chance, 2)})"


def probe_sentence(spaces: Sequence[tuple[Series, LatentSpace]]) -> str:
    """The accuracies of the linear probe, in words."""
    found = ", ".join(f"{one.label} {_probe_text(space.probe)}" for one, space in spaces)
    return f"Accuracy of the linear probe: {found}."
