"""Results with repetitions, drawn from normal distributions that the tests of the gates know."""

from __future__ import annotations

import numpy as np
from factories import make_measurement, make_result

from simbench.results.schema import Result

METRICS = {"channel_wasserstein": ("lower", None), "precision": ("higher", None), "diversity_ratio": ("target", 1.0)}
CENTRES = {"channel_wasserstein": 9.0, "precision": 0.8, "diversity_ratio": 0.9}
SPREADS = {"channel_wasserstein": 0.2, "precision": 0.01, "diversity_ratio": 0.02}


def run(repetitions: int = 1, seed: int = 0, shifts: dict[str, float] | None = None, **changes: object) -> Result:
    """A result whose metrics are normal around CENTRES, moved by `shifts` spreads."""
    rng = np.random.default_rng(seed)
    measurements = []
    for name, (direction, target) in METRICS.items():
        numbers = rng.normal(
            CENTRES[name] + (shifts or {}).get(name, 0.0) * SPREADS[name], SPREADS[name], repetitions
        ).tolist()
        measurements.append(
            make_measurement(name, float(np.mean(numbers)), per_repetition=numbers, direction=direction, target=target)
        )
    measurements.append(make_measurement("sinkhorn", 60.0, per_repetition=[60.0] * repetitions, ranks=False))
    result = make_result(measurements=measurements)
    spec = result.spec.model_copy(update={"repetitions": repetitions})
    return result.model_copy(update={"spec": spec} | changes)


def with_first(result: Result, **changes: object) -> Result:
    first, *others = result.measurements
    return result.model_copy(update={"measurements": [first.model_copy(update=changes), *others]})
