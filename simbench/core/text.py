"""Numbers and names as people read them, alike in the terminal, the report and the leaderboard."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

THIN = "\u202f"
"""The narrow no-break space between thousands."""

TINY = 1e-300
"""What is smaller is written as 0: it could not be scaled by a power of ten."""

_ZERO = f"-0.{THIN}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _fixed(value: float, decimals: int) -> str:
    """`value` with that many decimals (-1: rounded to tens), thousands apart, a true minus, no negative zero."""
    if decimals < 0:
        value = round(value / 10**-decimals) * 10.0**-decimals
    text = f"{value:,.{max(decimals, 0)}f}".replace(",", THIN)
    if text[0] != "-":
        return text
    return f"−{text[1:]}" if text.strip(_ZERO) else text[1:]


def _decimals(value: float, digits: int) -> int:
    """Decimals that show `digits` significant digits of a value that is not 0 (0.0996 to 2 digits is 0.10)."""
    return digits - 1 - int(f"{abs(value):.{digits - 1}e}".partition("e")[2])


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def number(value: float, digits: int = 3) -> str:
    """`value` to `digits` significant digits: 0.0123, 12.3, 1 230, 1.23·10⁻⁷."""
    if abs(value) < TINY:
        return "0"
    decimals = _decimals(value, digits)
    exponent = digits - 1 - decimals
    if not -4 <= exponent < 7:
        return f"{_fixed(value / 10.0**exponent, digits - 1)}·{_power(exponent)}"
    return _fixed(value, decimals)


def with_error(value: float, error: float | None, digits: int = 2) -> str:
    """`value ± error`, the error to `digits` significant digits: 9.13 ± 0.42, 1 234 ± 67, (1.2 ± 0.3)·10⁻⁵."""
    if error is None:
        return number(value, 4)
    error = abs(error)
    if error <= max(1e-9 * abs(value), TINY):
        return f"{number(value, 4)} ± 0"
    exponent = math.floor(math.log10(max(abs(value), error)))
    if not -4 <= exponent < 7:
        scale = 10.0**exponent
        return f"({with_error(value / scale, error / scale, digits)})·{_power(exponent)}"
    decimals = _decimals(error, digits)
    return f"{_fixed(value, decimals)} ± {_fixed(error, decimals)}"


def matching(other: float, value: float, error: float | None) -> str:
    """`other` with as many decimals as `with_error(value, error)` shows: a floor beside its score.

    What they would show as 0, or as no more than one step of the last decimal, keeps two digits of its own.
    """
    if error is None or "·" in (text := with_error(value, error)):
        return number(other)
    decimals = len(text.partition(" ")[0].partition(".")[2])
    return number(other, 2) if TINY < abs(other) < 10.0**-decimals else _fixed(other, decimals)


def count(value: float) -> str:
    """A whole number with its thousands apart: 4 000."""
    return _fixed(value, 0)


def times(value: float) -> str:
    """A ratio to two significant digits: 0.93x, 2.1x, 1 900x."""
    return f"{number(value, 2)}x"


def sigmas(value: float) -> str:
    """A signed distance in standard errors: +2.3σ, −14σ."""
    text = _fixed(value, 0 if abs(value) >= 9.95 else 1)
    return f"{text if text.startswith('−') else '+' + text}σ"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: 12 µs, 3.4 ms, 8.1 s, 2 min 5 s, 1 h 30 min."""
    if seconds >= 3599.5:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{count(hours)} h {minutes} min" if minutes else f"{count(hours)} h"
    if seconds >= 99.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * size:
            return f"{number(seconds / size, 3 if unit != 's' else 2)} {unit}"
    return f"{number(seconds / 1e-9, 3)} ns" if seconds > TINY else "0 s"


def megabytes(size: float) -> str:
    """Bytes as 0.12 MB, 31 MB, 1 200 MB."""
    return f"{number(size / 1e6, 2)} MB"


def percent(share: float) -> str:
    """A share as a percentage: 4.6 %."""
    return f"{_fixed(100 * share, 1)} %"


def thread_count(count: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count} thread{'s' * (count != 1)}"


def printable(text: str, limit: int = 200) -> str:
    """A stranger's text made safe to show on one line: no control, escape or direction characters, at most `limit`."""
    if len(text) <= limit and text.isprintable() and "  " not in text:
        return text.strip()
    flat = re.sub(r"\s+", " ", text).strip()
    safe = "".join(character if character.isprintable() else "\ufffd" for character in flat)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def listed(texts: Sequence[str], separator: str = "; ", most: int = 5) -> str:
    """The first few texts on one line, and how many more there are: `a; b; and 3 more`."""
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return separator.join([*(text.rstrip(".") for text in texts[:most]), *more])


def engine_name(engine: str) -> str:
    """The short name of a Monte Carlo: `GEANT 3.21/11` is GEANT3, `Geant4 11.4` is Geant4."""
    found = re.match(r"(geant)\s*([34])", engine, re.IGNORECASE)
    if found:
        return f"{'GEANT' if found[2] == '3' else 'Geant'}{found[2]}"
    return printable(engine, 40) or "Monte Carlo"


def toml_text(value: Any) -> str:
    """A string, number or list of strings, as TOML: what JSON writes is TOML, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def no_formula(text: str) -> str:
    """Text that a spreadsheet shows instead of computing it."""
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@", "|", "%") else text
