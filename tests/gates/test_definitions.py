"""A metric whose numbers change gets a new version: each is held to what was recorded when its version was new."""

from __future__ import annotations

import re
from typing import Any

import pytest
from definitions import CHANGELOG, Fixed, measured, recorded

from simbench.core.version import __version__
from simbench.metrics.base import Comparison, Estimate, metric
from simbench.metrics.registry import SHIPPED

ROUNDING = 1e-4
"""float32 on another processor moves a feature in the seventh digit."""
TRAINED = 0.2
"""Standard errors by which the last digits of a training may move a metric that `trains`."""
RECORD = recorded()
CHANGED = "A number changed: give the metric a new version, then record it by `python tests/definitions.py`."


@pytest.fixture(scope="module")
def fixed() -> Fixed:
    return Fixed.made()


def agrees(found: dict[str, float | None], record: dict[str, Any], *, trains: bool) -> bool:
    """Whether the numbers are those of the record."""
    slack = TRAINED * (record["stderr"] or 0.0) if trains else 0.0
    for name, value in found.items():
        expected = record[name]
        if value is None or expected is None:
            if value is not expected:
                return False
        elif abs(value - expected) > ROUNDING * abs(expected) + slack + 1e-9:
            return False
    return True


@pytest.mark.parametrize("one", SHIPPED, ids=lambda one: one.key)
def test_a_metric_is_what_its_version_was(one: Any, fixed: Fixed) -> None:
    record = RECORD.get(one.key)
    assert record is not None, f"{one.key} is not recorded: python tests/definitions.py"
    assert "until" not in record, f"{one.key} is back: give it a new version"
    found = measured(one, fixed)
    assert agrees(found, record, trains=one.trains), f"{one.key}: {found}, recorded {record}. {CHANGED}"


def test_the_record_says_which_metrics_are_gone() -> None:
    gone = RECORD.keys() - {one.key for one in SHIPPED}
    assert [key for key in gone if "until" not in RECORD[key]] == []


def test_a_changed_number_is_found(fixed: Fixed) -> None:
    """A formula that is a thousandth off, an error that is, and a value that has none any more."""
    key = "channel_mae/1"
    true = next(one for one in SHIPPED if one.key == key)

    def changed(value: float = 1.0, error: float | None = 1.0) -> dict[str, float | None]:
        @metric(key)
        def other(pair: Comparison) -> Estimate:
            """Another."""
            found = true(pair)
            assert found.stderr is not None
            return Estimate(value * found.value, None if error is None else error * found.stderr, found.n)

        return measured(other, fixed)

    verdicts = [
        agrees(changed(*factors), RECORD[key], trains=False) for factors in ((), (1.001,), (1.0, 1.001), (1.0, None))
    ]
    assert verdicts == [True, False, False, False]


# CHANGELOG.md


def releases() -> dict[str, str]:
    """The text of each release in CHANGELOG.md."""
    parts = re.split(r"^## \[([^\]]+)\][^\n]*\n", CHANGELOG.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_changelog_lists_the_definitions_of_each_release() -> None:
    texts = releases()
    assert __version__ in texts
    missing = [key for key, record in RECORD.items() if f"`{key}`" not in texts.get(record["since"], "")]
    assert missing == []
    gone = [key for key, one in RECORD.items() if "until" in one and f"`{key}`" not in texts.get(one["until"], "")]
    assert gone == []


def test_the_changelog_lists_no_other_definition() -> None:
    listed = re.findall(
        r"`(\w+/\w+)`",
        "".join(re.findall(r"^### Definitions\n(.*?)(?=^##|\Z)", CHANGELOG.read_text(encoding="utf-8"), re.M | re.S)),
    )
    assert sorted(listed) == sorted({*RECORD})
