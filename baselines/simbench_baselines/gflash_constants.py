"""The fitted constants of `gflash`: names, units, meaning, and the file that holds their values."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from simbench.core.errors import DataError
from simbench.core.files import read_bytes, replace_text


def _constant(unit: str, text: str, start: float, low: float, high: float) -> float:
    """A constant with its unit, meaning, where a fit starts, and the bounds outside which it means nothing."""
    metadata = {"unit": unit, "text": text, "start": start, "low": low, "high": high}
    return field(metadata=metadata)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Constants:
    """What the fit has found. The values are in `weights/gflash-zn-geant3.json`; a share p whose unit is `logit` is
    stored as x = ln(p / (1 - p))."""

    light_yield: float = _constant(
        "photons/GeV", "light of electromagnetic energy, were every cell as bright as its fibre", 1.45, 0.1, 10
    )
    photons_per_track: float = _constant("photons", "mean of one charged track that crosses a fibre", 0.7, 0.01, 10)

    core_radius: float = _constant("mm", "R_C at the depth tau = 0 (z1 of GFLASH)", -0.75, -2, 5)
    core_growth: float = _constant("mm", "growth of R_C per unit of tau (z2)", 2.45, 0, 10)
    tail_radius: float = _constant("mm", "R_T at tau = 0 (k1)", 3.8, 0.5, 50)
    tail_growth: float = _constant("1", "R_T grows as exp(k4 tau)", 0.7, 0, 3)
    core_weight: float = _constant("1", "height of the weight of the core over tau (p1)", 2.75, 0, 10)
    core_peak: float = _constant("1", "tau at which the core weighs most (p2)", 0.52, -2, 3)
    core_decline: float = _constant("1", "width in tau of the weight of the core (p3)", 0.97, 0.05, 5)

    grazing_length: float = _constant(
        "cm", "mean way in which an electromagnetic shower that skims a groove's wall enters the metal", 12, 0.1, 100
    )
    quartz_length: float = _constant("cm", "mean way in which one that starts in a fibre does", 50, 0.1, 500)
    release_shape: float = _constant("1", "alpha of the Gamma distribution of the way out of a fibre", 2, 0.3, 10)
    air_share: float = _constant("1", "how much a cm of air counts in it, beside a cm of quartz", 0.3, 0, 1)
    release_spread: float = _constant("1", "spread of the logarithms of these ways", 0.5, 0, 3)
    hadron_grazing_length: float = _constant("cm", "as grazing_length, of hadrons", 12, 0.1, 100)
    hadron_quartz_length: float = _constant("cm", "as quartz_length, of hadrons", 40, 0.1, 500)

    interaction_length: float = _constant("cm", "of baryons in the tungsten alloy", 10.6, 9, 13)
    inelasticity: float = _constant("logit", "share of its energy that the leading hadron loses", 0, -3, 3)
    pion_share: float = _constant("logit", "share of that energy that goes into pi0, median", -2, -4, 3)
    pion_share_slope: float = _constant(
        "logit", "growth of the median per e-fold of the hadron's energy over 1 TeV", 0.7, -1, 1
    )
    cascade_energy: float = _constant(
        "GeV", "energy at which a secondary hadron's cascade makes its first pi0 (E0 of Groom's law)", 3, 0.05, 20
    )
    cascade_power: float = _constant("1", "hadronic share falls as (E/E0)^(m-1): m", 0.97, 0.5, 0.99)
    cascade_spread: float = _constant("logit", "spread of the electromagnetic share of a secondary cascade", 2, 0.02, 4)
    sharing: float = _constant("1", "spread of the logarithms of the secondaries' energies", 2.3, 0, 4)
    secondary_length: float = _constant("cm", "mean way of a secondary to its own interaction", 13, 1, 40)
    transverse_momentum: float = _constant("GeV", "of secondaries, spread on each axis", 0.35, 0.2, 3)
    leading_momentum: float = _constant(
        "GeV", "transverse momentum of the leading hadron, spread on each axis", 0.5, 0, 3
    )

    hadron_light: float = _constant(
        "1", "light of hadronic energy over that of as much electromagnetic energy", 0.6, 0.02, 3
    )
    hadron_core_radius: float = _constant("mm", "inner radius of the hadronic profile", 5, 1, 40)
    hadron_tail_radius: float = _constant("mm", "outer radius of the hadronic profile", 20, 5, 150)
    hadron_core_weight: float = _constant("logit", "share of the inner radius, median", -0.4, -5, 5)
    hadron_core_spread: float = _constant("logit", "its spread", 0.3, 0.0, 3)
    hadron_shape: float = _constant(
        "1", "alpha of the longitudinal Gamma profile of a secondary's hadronic energy", 1.5, 0.5, 8
    )
    hadron_scale: float = _constant("cm", "1/beta of that profile", 10, 1, 60)


LARGEST_FILE = 100_000
"""Bytes of a constants file that are read at most."""


def starting_constants() -> Constants:
    """The values that a fit starts from."""
    return Constants(**{entry.name: entry.metadata["start"] for entry in fields(Constants)})


def read_constants(path: Path) -> Constants:
    """The constants in a JSON file.

    Raises:
        DataError: the file is missing or damaged, a constant is missing, unknown, or out of its bounds.
    """
    fix = "Fetch the file again, or fit it anew: python -m simbench_baselines.gflash_tuning."
    content = read_bytes(path, LARGEST_FILE, fix)
    try:
        values = {name: entry["value"] for name, entry in json.loads(content)["constants"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no constants of gflash", got=type(error).__name__, fix=fix) from error
    known = {entry.name: entry.metadata for entry in fields(Constants)}
    if values.keys() != known.keys():
        got = ", ".join(sorted(values.keys() ^ known.keys()))
        raise DataError(f"{path} has other constants than gflash", got=f"missing or unknown: {got}"[:300], fix=fix)
    for name, value in values.items():
        low, high = known[name]["low"], known[name]["high"]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:
            what = f"{name} in {path} cannot be"
            raise DataError(what, got=repr(value)[:80], expected=f"{low:g} to {high:g} {known[name]['unit']}", fix=fix)
    return Constants(**{name: float(value) for name, value in values.items()})


def write_constants(constants: Constants, path: Path, about: dict[str, object]) -> None:
    """Write the constants, each with its unit and meaning, and what is said `about` the fit."""
    known = {entry.name: entry.metadata for entry in fields(Constants)}
    stored = {
        name: {"value": float(f"{value:.6g}"), "unit": known[name]["unit"], "text": known[name]["text"]}
        for name, value in asdict(constants).items()
    }
    replace_text(path, json.dumps({**about, "constants": stored}, indent=1) + "\n")
