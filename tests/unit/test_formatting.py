import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simbench.core.text import (
    THIN,
    count,
    duration,
    engine_name,
    matching,
    number,
    percent,
    printable,
    sigmas,
    thread_count,
    times,
    with_error,
)

finite = st.floats(-1e5, 1e5, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-3)


def parse(text: str) -> float:
    return float(text.replace(THIN, "").replace("−", "-"))


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (9.134, 0.4234, "9.13 ± 0.42"),
        (1234.5, 67.8, f"1{THIN}234 ± 68"),
        (12345.0, 678.0, f"12{THIN}340 ± 680"),
        (0.0996, 0.0996, "0.10 ± 0.10"),
        (-0.00001, 0.01, "0.000 ± 0.010"),
        (-3.0, 0.5, "−3.00 ± 0.50"),
        (1.23e-5, 4.5e-6, "(1.23 ± 0.45)·10⁻⁵"),
        (12345678.0, 23456.0, "(1.2346 ± 0.0023)·10⁷"),
        (5.0, None, "5.000"),
        (3.0, 0.0, "3.000 ± 0"),
        (0.0, 0.0, "0 ± 0"),
        (0.02, 5000.0, f"0 ± 5{THIN}000"),
    ],
)
def test_a_value_is_written_to_the_digits_of_its_error(value: float, error: float | None, expected: str) -> None:
    assert with_error(value, error) == expected


@given(finite, st.floats(1e-3, 1e5))
def test_value_and_error_read_back_within_what_the_error_shows(value: float, error: float) -> None:
    left, _, right = with_error(value, error).partition(" ± ")
    step = 10.0 ** (math.floor(math.log10(error)) - 1)
    assert parse(right) == pytest.approx(error, rel=0.051)
    assert abs(parse(left) - value) <= 5.1 * step
    assert len(left.partition(".")[2]) == len(right.partition(".")[2])


@given(finite)
def test_a_number_reads_back_to_its_significant_digits(value: float) -> None:
    assert parse(number(value, 3)) == pytest.approx(value, rel=0.0051)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e300))
def test_every_finite_number_has_a_form(value: float, error: float) -> None:
    for text in (number(value), with_error(value, error), times(value), sigmas(value), matching(value, value, error)):
        assert text
        assert "nan" not in text
        assert "inf" not in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (1234.5, f"1{THIN}230"),
        (999.96, f"1{THIN}000"),
        (1.234e-7, "1.23·10⁻⁷"),
        (9.999e-5, "0.000100"),
    ],
)
def test_number(value: float, expected: str) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(2.08, "2.1x"), (1903.0, f"1{THIN}900x"), (0.934, "0.93x"), (0.0, "0x")]
)
def test_times(value: float, expected: str) -> None:
    assert times(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(2.34, "+2.3σ"), (-13.6, "−14σ"), (0.0, "+0.0σ"), (9.96, "+10σ")])
def test_sigmas(value: float, expected: str) -> None:
    assert sigmas(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0 s"),
        (3.2e-9, "3.20 ns"),
        (12.3e-6, "12.3 µs"),
        (0.00435, "4.35 ms"),
        (8.13, "8.1 s"),
        (125.0, "2 min 5 s"),
        (120.0, "2 min"),
        (5400.0, "1 h 30 min"),
        (3599.9, "1 h"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_floor_that_is_not_zero_is_not_shown_as_zero() -> None:
    assert matching(0.36, 122.0, 12.0) == "0.36"
    assert matching(0.0052, 7.8, 0.7) == "0.0052"
    assert matching(-0.004, 7.8, 0.7) == "−0.0040"
    assert matching(0.0, 122.0, 12.0) == "0"


def test_matching_takes_the_decimals_of_the_score() -> None:
    assert matching(4.4, 9.134, 0.4234) == "4.40"
    assert matching(0.00002, 0.00624, 0.00021) == "0.00002"
    assert matching(1.04, 340.0, 12.0) == "1"
    assert matching(4.4, 9.1, None) == "4.40"


def test_counts_and_shares() -> None:
    assert count(4000) == f"4{THIN}000"
    assert percent(0.0463) == "4.6 %"


@given(st.text(max_size=400))
def test_printable_is_one_short_line_without_control_characters(text: str) -> None:
    shown = printable(text, 50)
    assert len(shown) <= 50
    assert shown.isprintable()


def test_printable_keeps_an_honest_name() -> None:
    assert printable("my model (√2)") == "my model (√2)"
    assert "\x1b" not in printable("\x1b[31mred\u202egnihton")


@pytest.mark.parametrize(
    ("engine", "expected"),
    [("GEANT 3.21/11", "GEANT3"), ("Geant4 11.4", "Geant4"), ("FLUKA 4", "FLUKA 4"), ("", "Monte Carlo")],
)
def test_engine_name(engine: str, expected: str) -> None:
    assert engine_name(engine) == expected


def test_threads_are_counted_in_words() -> None:
    assert [thread_count(threads) for threads in (1, 2, 64)] == ["1 thread", "2 threads", "64 threads"]
