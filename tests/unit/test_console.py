import io
from pathlib import Path

import pytest
from factories import equivalent_to, make_measurement, make_result, zn_measurements
from rich.console import Console

from simbench.core.text import THIN
from simbench.report.terminal import print_result
from simbench.results.schema import Bound, EquivalentCount, EquivalentEvents, Measurement, Result, StratumValue
from simbench.results.words import (
    equivalent_sentence,
    floor_test,
    meaning,
    score_text,
    speed_sentence,
    standing,
    verdict,
)

HOSTILE = "<script>alert(1)</script>[red]\x1b[31m$\\frac"


def shown(result: Result, path: Path | None = None, width: int = 80) -> str:
    file = io.StringIO()
    print_result(result, path, Console(file=file, width=width))
    return file.getvalue()


def test_equivalent_events_come_first_and_the_verdict_last() -> None:
    lines = shown(make_result(), Path("/runs/x.json")).strip().splitlines()
    assert lines[0] == f"As close to the truth as 1{THIN}000 GEANT3 events in its channels (900 to 1{THIN}100)"
    assert (
        " ".join(line.strip() for line in lines[-2:])
        == f"channel Wasserstein 2.0x the floor; 1{THIN}900x GEANT3 per core; weakest: energy distance 0.0062 ± 0.0002"
    )
    assert "Written to /runs/x.json" in lines


def test_eighty_columns_are_enough_and_no_colour_is_needed() -> None:
    text = shown(make_result(warnings=["a warning"]), Path("/runs/zn-geant3/vae/20260102T030405Z-0a1b2c3d.json"))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    row = next(line for line in text.splitlines() if "channel Wasserstein" in line)
    assert row.split("  ")[0] == "↓"
    for cell in ("8.80 ± 0.44", "photons", "4.40", "2.0x", "6.21"):
        assert cell in row


def test_a_target_metric_stands_in_errors_from_its_target() -> None:
    row = next(line for line in shown(make_result()).splitlines() if "dispersion" in line)
    assert row.startswith("→1 dispersion")
    assert "−13σ" in row


def test_reported_metrics_come_after_those_that_rank() -> None:
    text = shown(make_result())
    assert text.index("coverage") < text.index("reported only") < text.index("sinkhorn")


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_what_was_not_measured_is_listed_with_its_reason(status: str) -> None:
    failed = make_measurement("kid", None, status=status, error="ValueError: too few events")
    assert f"kid/1 {status}: ValueError: too few events" in shown(
        make_result(measurements=[*zn_measurements(), failed])
    )


def test_strangers_text_is_shown_and_not_obeyed() -> None:
    failed = make_measurement(HOSTILE, None, status="failed", error=HOSTILE)
    text = shown(
        make_result(HOSTILE, measurements=[failed], warnings=[HOSTILE], parameters={HOSTILE: HOSTILE}), width=400
    )
    assert "\x1b" not in text
    assert text.count("[red]") >= 4
    assert "<script>alert(1)</script>" in text


def test_nothing_measured_and_nothing_timed_still_prints() -> None:
    failed = make_measurement("channel_wasserstein", None, status="failed", error="x")
    result = make_result(
        measurements=[failed],
        throughput=[],
        throughput_error="out of memory",
        speedup=None,
        equivalent_events=None,
        status="incomplete",
    )
    text = shown(result)
    assert "Incomplete" in text
    assert "Not timed: out of memory" in text
    assert verdict(result) == "no score: channel Wasserstein failed; not timed"
    assert (
        verdict(make_result(measurements=[], throughput=[], speedup=None, equivalent_events=None))
        == "no score; not timed"
    )


# The verdict


def of(*measurements: Measurement) -> Result:
    return make_result(
        measurements=[make_measurement("channel_wasserstein", 9.24, floor=4.4, stderr=0.3), *measurements]
    )


def test_the_line_of_the_design() -> None:
    strata = {
        "species=neutron": StratumValue(value=0.81, stderr=0.03, n=900),
        "species=photon": StratumValue(value=0.99, stderr=0.03, n=2400),
    }
    result = of(
        make_measurement(
            "dispersion_ratio", 0.97, version="2", direction="target", target=1.0, stderr=0.012, strata=strata
        )
    )
    assert verdict(result) == (
        f"channel Wasserstein 2.1x the floor; 1{THIN}900x GEANT3 per core; weakest: "
        "dispersion (species neutron) 0.81 ± 0.03"
    )


def test_a_perfect_model_has_no_weakest_score() -> None:
    perfect = make_measurement("channel_wasserstein", 4.5, floor=4.4, stderr=0.3)
    assert (
        verdict(make_result(measurements=[perfect]))
        == f"at the floor; 1{THIN}900x GEANT3 per core; no other score off by more than 3 errors"
    )


def test_what_only_reports_is_never_the_weakest() -> None:
    assert "sinkhorn" not in verdict(of(make_measurement("sinkhorn", 900.0, floor=58.0, stderr=0.1, ranks=False)))


def test_less_is_worse_where_more_is_better() -> None:
    low, high = (
        make_measurement("recall", value, floor=0.8, stderr=0.01, floor_sd=0.01, direction="higher")
        for value in (0.3, 0.99)
    )
    assert "weakest: recall 0.30 ± 0.01" in verdict(of(low))
    assert "no other score off" in verdict(of(high))


def test_a_score_without_an_error_is_not_called_weak() -> None:
    assert "no other score off" in verdict(of(make_measurement("lenet_fid", 9.0, floor=0.1, stderr=None)))


def test_without_a_cpu_core_the_speed_names_the_device() -> None:
    result = make_result(gpu=True)
    assert result.speedup is not None
    result = result.model_copy(update={"speedup": result.speedup.model_copy(update={"per_core": None})})
    assert f"750{THIN}000x GEANT3 on cuda:0 NVIDIA H100 80GB HBM3" in verdict(result)


def test_the_speed_up_names_both_machines() -> None:
    sentence = speed_sentence(make_result())
    assert "Intel(R) Xeon(R) CPU @ 2.60GHz" in sentence
    assert "GEANT 3.21/11 on Intel Xeon, 1 core of 2 (virtual machine)" in sentence
    assert speed_sentence(make_result(task="mnist")).startswith("No speed-up: what the Monte Carlo takes")
    untimed = make_result(task="mnist", throughput=[])
    assert speed_sentence(untimed) == "No speed-up: the generator was not timed."


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ("exact", "210 GEANT3 events in its channels (190 to 230)"),
        ("at least", "at least 210 GEANT3 events in its channels"),
        ("below", "fewer than 210 GEANT3 events in its channels"),
    ],
)
def test_equivalent_events_say_their_interval_or_their_bound(bound: Bound, expected: str) -> None:
    equivalent = equivalent_to(210.4, "channel_wasserstein/1", bound)
    assert equivalent_sentence(make_result(equivalent_events=equivalent)) == f"as close to the truth as {expected}"


def test_equivalent_events_are_of_the_same_kind_timed_or_not() -> None:
    """Files of samples have no speed-up; a record of another engine is not what the events were scored against."""
    equivalent = equivalent_to(210.4, "channel_wasserstein/1").model_copy(update={"engine": "GEANT 3.21/11"})
    untimed = make_result(equivalent_events=equivalent, speedup=None, throughput=[])
    assert "210 GEANT3 events" in equivalent_sentence(untimed)
    other = make_result().speedup
    assert other is not None
    record = other.monte_carlo.model_copy(update={"engine": "Geant4 11.4"})
    faster = make_result(equivalent_events=equivalent, speedup=other.model_copy(update={"monte_carlo": record}))
    assert "210 GEANT3 events" in equivalent_sentence(faster)
    plain = make_result(equivalent_events=equivalent_to(12.0, "lenet_fid/1"), speedup=None)
    assert "12 real events" in equivalent_sentence(plain)


def test_the_worst_aspect_is_the_headline() -> None:
    channels = equivalent_to(1483.0, "channel_wasserstein/1").counts[0]
    particle = EquivalentCount(
        aspect="per particle", metric="conditional_energy/1", value=1.93, low=1.68, high=None, bound="exact", scored=8.0
    )
    equivalent = EquivalentEvents(counts=[channels, particle], worst="per particle")
    assert equivalent_sentence(make_result(equivalent_events=equivalent)) == (
        f"as close to the truth as 1.9 GEANT3 events per particle (1.7 or more); "
        f"1{THIN}500 in its channels (1{THIN}300 to 1{THIN}600)"
    )


def test_a_copier_gets_no_headline() -> None:
    copier = make_result(
        measurements=[make_measurement("memorisation", 0.4, direction="target", target=0.0, stderr=0.02)]
    )
    assert "too near to the training events (memorisation +20σ)" in equivalent_sentence(copier)
    assert "GEANT3" not in equivalent_sentence(copier)


@pytest.mark.parametrize(
    ("value", "stderr", "answer"),
    [
        (4.5, 0.3, "at the floor"),
        (6.6, 0.3, "worse than the floor"),
        (5.4, 0.6, "too uncertain to say"),
        (9758.0, 9176.0, "too uncertain to say"),
    ],
)
def test_at_the_floor_takes_evidence(value: float, stderr: float, answer: str) -> None:
    """The mean response with one event of 1e5 photons a pixel, 9758 +- 9176, is not as good as the floor because it is
    not known to be worse."""
    measurement = make_measurement("channel_wasserstein", value, floor=4.4, floor_sd=0.3, stderr=stderr)
    assert floor_test(measurement) == answer
    assert answer in verdict(make_result(measurements=[measurement])) or answer == "worse than the floor"


def test_a_floor_of_about_nothing_gives_errors_and_not_a_ratio() -> None:
    place = standing(make_measurement("energy_distance", 0.003, floor=1e-5, floor_sd=0.0003, ratio=None, stderr=0.0004))
    assert place.text == "+6.0σ"
    assert place.factor is None


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_the_factor_counts_how_much_worse(direction: str) -> None:
    value = 2.0 if direction == "lower" else 0.5
    assert standing(make_measurement("x", value, floor=1.0, direction=direction)).factor == pytest.approx(2)


def test_every_shipped_metric_has_a_sentence() -> None:
    from simbench.metrics.registry import SHIPPED

    assert all(metric.meaning != metric.summary for metric in SHIPPED if metric.version == "1")
    assert all(meaning(make_measurement(metric.name, version=metric.version)) for metric in SHIPPED)
    assert meaning(make_measurement("nobody_knows")) == ""


@pytest.mark.parametrize(
    ("metric", "value", "target", "repeats", "text"),
    [
        ("recall", 0.0, None, 1, "<\u00a00.069"),
        ("recall", 1.0, None, 1, ">\u00a00.931"),
        ("recall", 0.0, None, 8, "<\u00a00.45"),
        ("empty_fraction", 0.0, 0.0, 1, "within ±0.069"),
        ("recall", 0.5, None, 1, "0.5000"),
        ("dispersion_ratio", 0.0, 1.0, 1, "0"),
    ],
)
def test_a_share_without_spread_has_the_limit_of_its_binomial(
    metric: str, value: float, target: float | None, repeats: int, text: str
) -> None:
    """None of 42 events: (1 - 0.069)^42 is 5 %; of 5 particles: 0.45."""
    direction = "higher" if target is None else "target"
    one = make_measurement(metric, value, stderr=0.0, n=42, direction=direction, target=target)
    assert score_text(one, repeats=repeats) == text
