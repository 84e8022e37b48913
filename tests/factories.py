"""Results made by hand, for the tests of whatever shows them."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from simbench.results.pareto import Pace, Trade
from simbench.results.ranking import Score
from simbench.results.schema import (
    Bound,
    EquivalentCount,
    EquivalentEvents,
    GeneratorRecord,
    Latency,
    Measurement,
    MonteCarloRecord,
    Percentiles,
    Provenance,
    Result,
    Spec,
    Speedup,
    StratumValue,
    TaskRecord,
    Throughput,
    Timing,
)

GEANT = MonteCarloRecord(
    engine="GEANT 3.21/11",
    physics="GHEISHA",
    cuts="1 MeV e/gamma, 10 MeV hadrons and muons",
    seconds_per_event=0.81,
    cpu="Intel Xeon, 1 core of 2 (virtual machine)",
    threads=1,
    measured="CPU seconds of GEANT for that event",
)

SPECIES = ("photon", "neutron", "proton", "other")


def make_measurement(metric: str = "channel_wasserstein", value: float | None = 9.1, **changes: Any) -> Measurement:
    """A measurement that went well, or, with `status` and `error`, one that did not."""
    fields: dict[str, Any] = {
        "metric": metric,
        "version": "1",
        "definition": "simbench",
        "status": "ok",
        "value": value,
        "per_repetition": [] if value is None else [value],
        "stderr": None if value is None else abs(value) * 0.05,
        "sd_repetition": None,
        "unit": "",
        "direction": "lower",
        "target": None,
        "ranks": True,
        "n": 4000,
        "floor": None,
        "floor_sd": None,
        "floor_n": None,
        "memoriser": None,
        "ratio": None,
        "p": None,
        "calibrated": None,
        "parts": {},
        "strata": {},
        "seconds": 0.4,
        "error": None,
    }
    if changes.get("floor"):
        fields |= {"floor_sd": abs(changes["floor"]) * 0.1, "floor_n": 4000}
        if changes.get("direction") != "target" and value is not None:
            fields["ratio"] = value / changes["floor"]
    return Measurement(**fields | changes)


def make_strata(value: float, names: tuple[str, ...] = SPECIES, quintiles: bool = True) -> dict[str, StratumValue]:
    """A value in each species and energy quintile, drifting upwards."""
    keys = [f"species={name}" for name in names] + [f"energy=q{index}" for index in range(1, 6) if quintiles]
    return {
        key: StratumValue(value=value * (0.8 + 0.08 * index), stderr=abs(value) * 0.05, n=2400 // (index + 1))
        for index, key in enumerate(keys)
    }


def make_throughput(
    batch: int = 1000, events_per_s: float = 2300.0, device: str = "cpu", threads: int = 1, **changes: Any
) -> Throughput:
    fields: dict[str, Any] = {
        "device": device,
        "threads": threads,
        "batch": batch,
        "precision": "float32",
        "compiled": False,
        "repeats": 10,
        "events_per_s": Percentiles(p5=events_per_s * 0.9, p50=events_per_s, p95=events_per_s * 1.05),
        "latency_ms": Latency(p50=1000 * batch / events_per_s, p95=1100 * batch / events_per_s),
        "first_call_s": 0.2,
        "host_copy_ms": 0.0,
        "peak_mib": 412.0,
        "joules_per_event": None,
        "synchronised": True,
    }
    return Throughput(**fields | changes)


def make_trade(
    label: str, seconds: float | None, value: float, error: float = 0.1, best: float | None = None, **changes: Any
) -> Trade:
    """A generator of which less is better, at `seconds` per event alone, and at `best` (a tenth) in its best batch."""
    single = None if seconds is None else Pace(seconds, 0.9 * seconds, 1.1 * seconds, "cpu, 1 thread", 1)
    fastest = best or (seconds or 1.0) / 10
    pace = Pace(fastest, 0.9 * fastest, 1.1 * fastest, "cpu, 1 thread", 100)
    fields: dict[str, Any] = {"score": Score(value, error, "", ()), "single": single, "best": pace}
    return Trade(label, value, error, **fields | changes)


def make_timing(**changes: Any) -> Timing:
    """A record of scored and timed calls against which nothing speaks: 4600 events a second on two threads."""
    fields: dict[str, Any] = {
        "setup_seconds": 0.1,
        "scored_seconds": 12.0,
        "scored_events": 12_000,
        "scored_threads": 2,
        "scored_batch": 1000,
        "scored_block_seconds": 1000 / 4600,
        "differs_by_seed": True,
        "agrees": True,
        "reason": None,
    }
    return Timing(**fields | changes)


def zn_measurements(quality: float = 2.0) -> list[Measurement]:
    """What a run on zn-geant3 measures; `quality` is about how many times the floor."""
    spread = 1 / quality**0.3
    wasserstein, dispersion = 4.4 * quality, spread
    return [
        make_measurement(
            "channel_wasserstein",
            wasserstein,
            unit="photons",
            floor=4.4,
            memoriser=6.21,
            parts={f"ch{i}": wasserstein * i / 3 for i in range(1, 6)},
            strata=make_strata(wasserstein),
        ),
        make_measurement(
            "conditional_energy",
            0.0421 * quality,
            unit="√photons",
            floor=-0.0012,
            floor_sd=0.004,
            ratio=None,
            memoriser=0.31,
            stderr=0.0051,
            strata=make_strata(0.04 * quality),
        ),
        make_measurement(
            "energy_distance",
            0.00312 * quality,
            floor=0.00002,
            floor_sd=0.0001,
            ratio=None,
            memoriser=0.0004,
            stderr=0.00021,
        ),
        make_measurement("lenet_fid", 0.151 * quality, floor=0.0312, memoriser=0.05),
        make_measurement(
            "diversity_ratio", spread**0.5, direction="target", target=1.0, floor=1.002, stderr=0.011, memoriser=1.08
        ),
        make_measurement(
            "dispersion_ratio",
            dispersion,
            version="2",
            direction="target",
            target=1.0,
            floor=1.001,
            stderr=0.014,
            memoriser=1.31,
            parts={f"ch{i}": dispersion * (1 + 0.02 * i) for i in range(1, 6)},
            strata=make_strata(dispersion),
        ),
        make_measurement(
            "empty_fraction",
            0.0123,
            direction="target",
            target=0.0,
            floor=0.0004,
            stderr=0.0031,
            parts={"generated": 0.06, "real": 0.047},
        ),
        make_measurement("precision", 0.76, direction="higher", floor=0.81, stderr=0.012, memoriser=0.8),
        make_measurement("recall", 0.52, direction="higher", floor=0.82, stderr=0.02, memoriser=0.79),
        make_measurement("coverage", 0.71, direction="higher", floor=0.965, stderr=0.009, memoriser=0.94),
        make_measurement("sinkhorn", 61.2, ranks=False, floor=58.6, stderr=1.4),
        make_measurement("channel_mae", 81.3, unit="photons", ranks=False, floor=74.0, parts={"ch1": 60.0, "sd": 91.0}),
    ]


def mnist_measurements(quality: float = 2.0) -> list[Measurement]:
    """What a run on mnist measures."""
    digits = {f"digit {digit}": 0.99 - 0.01 * digit for digit in range(10)}
    strata = {
        f"label={digit}": StratumValue(value=0.1 * quality + 0.01 * digit, stderr=0.008, n=1000) for digit in range(10)
    }
    return [
        make_measurement("lenet_fid", 0.2 * quality, floor=0.2, memoriser=0.21, strata=strata),
        make_measurement(
            "energy_distance", 0.0031 * quality, floor=0.00002, floor_sd=0.0001, ratio=None, stderr=0.0003
        ),
        make_measurement("diversity_ratio", 0.87, direction="target", target=1.0, floor=1.0, stderr=0.01),
        make_measurement("label_accuracy", 0.951, direction="higher", floor=0.989, stderr=0.002, parts=digits),
        make_measurement("sinkhorn", 61.2, ranks=False, floor=58.6, stderr=1.4),
    ]


def equivalent_to(events: float, metric: str, bound: Bound = "exact") -> EquivalentEvents:
    """Equivalent events in the channels alone, with an interval of a tenth to either side."""
    aspect = "in its channels"
    ends = {"low": 0.9 * events, "high": 1.1 * events}
    count = EquivalentCount(aspect=aspect, metric=metric, value=events, bound=bound, scored=4000.0, **ends)
    return EquivalentEvents(counts=[count], worst=aspect)


def make_result(
    name: str = "vae",
    *,
    task: str = "zn-geant3",
    measurements: list[Measurement] | None = None,
    quality: float = 2.0,
    events_per_s: float = 2300.0,
    parameters: dict[str, Any] | None = None,
    gpu: bool = False,
    **changes: Any,
) -> Result:
    """A Result as `simbench run` would make it, about `quality` times the floor at `events_per_s` on one core."""
    zn = task == "zn-geant3"
    if measurements is None:
        measurements = zn_measurements(quality) if zn else mnist_measurements(quality)
    throughput = [
        make_throughput(batch, events_per_s * share, threads=threads)
        for threads in (1, 2)
        for batch, share in ((1, 0.1), (100, 0.8), (1000, threads))
    ]
    hardware = {"cpu": "Intel(R) Xeon(R) CPU @ 2.60GHz", "cores": "2", "memory_gib": "15.6", "system": "Linux x86_64"}
    device, best = "cpu, 2 threads", 2 * events_per_s
    if gpu:
        device, best = "cuda:0 NVIDIA H100 80GB HBM3", 400 * events_per_s
        throughput.append(make_throughput(10_000, best, device=device, threads=0, joules_per_event=0.003))
        hardware["cuda:0"] = "NVIDIA H100 80GB HBM3"
    fields: dict[str, Any] = {
        "id": "20260102T030405Z-0a1b2c3d",
        "created": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "status": "complete",
        "spec": Spec(
            task=task,
            generator=name,
            root_seed=0,
            repetitions=1,
            events=4000,
            block=256,
            dtype="float32",
            definitions="simbench",
        ),
        "task": TaskRecord(
            name=task,
            version="1.0",
            split="test",
            scored_sha256="ed88b7f1b811928b",
            train_sha256="aa" * 32,
            features_sha256="bb" * 32,
            events=4000,
        ),
        "generator": GeneratorRecord(
            name=name,
            version="1.0",
            parameters=parameters or {},
            given=parameters or {},
            weights_sha256="ab" * 32,
            source_sha256="cd" * 32,
            deterministic=True,
            stochastic=True,
        ),
        "samples_sha256": [hashlib.sha256(repr((name, quality, parameters)).encode()).hexdigest()],
        "measurements": measurements,
        "throughput": throughput,
        "throughput_error": None,
        "speedup": Speedup(
            value=best * 0.81, per_core=events_per_s * 0.81, batch=1000, device=device, monte_carlo=GEANT
        )
        if zn
        else None,
        "equivalent_events": equivalent_to(4000 / quality**2, "channel_wasserstein/1" if zn else "lenet_fid/1"),
        "warnings": [],
        "provenance": Provenance(
            simbench="0.1.0",
            git_sha="0123456789abcdef",
            git_dirty=False,
            python="3.12.1",
            packages={"torch": "2.9.0", "numpy": "2.4.6"},
            hardware=hardware,
            host_sha256="a1b2c3",
            flags={"tf32": "False"},
            command=f"simbench run --task {task} --generator {name}",
        ),
    }
    return Result(**fields | changes)
