"""Ranks: shared by evidence of being equal alone, and never against the order of the values."""

from __future__ import annotations

import math
import random

import pytest

from simbench.results.ranking import WIDEST, Score, ranks


def score(value: float, error: float = 1.0) -> Score:
    return Score(value, error, "", ())


def test_entries_share_a_rank_unless_their_difference_is_significant() -> None:
    assert ranks([score(5.0), score(5.0 + 1.95 * math.sqrt(2)), score(5.0 + 1.97 * math.sqrt(2))]) == [1, 1, 3]


def test_a_group_is_held_against_its_best_entry() -> None:
    """Else a chain of small steps would share a rank from end to end."""
    assert ranks([score(0.0), score(2.0), score(4.0), score(6.0)]) == [1, 1, 3, 3]


def test_a_score_that_nobody_knows_shares_no_rank() -> None:
    """The mean response with one event of 1e5 photons a pixel: 9758 +- 9176 is not significantly worse than
    anything."""
    assert ranks([score(11.9, 1.4), score(9758.0, 9176.0), score(4.3, 0.5)]) == [2, 3, 1]
    assert ranks([score(5.0, 1.0), score(5.1, 0.99 * WIDEST), score(5.1, 1.01 * WIDEST)]) == [1, 1, 3]


def test_a_worse_value_never_ranks_above_a_better_one() -> None:
    rng = random.Random(0)
    scores = [score(rng.gauss(0, 3), rng.expovariate(10)) for _ in range(300)]
    found = ranks(scores)
    ordered = [rank for _, rank in sorted(zip([s.badness for s in scores], found, strict=True))]
    assert ordered == sorted(ordered)
    assert 20 < len(set(found)) < 300
    assert ranks(scores[::-1]) == found[::-1]


def test_replicates_find_what_independent_errors_hide() -> None:
    def paired(shift: float, kind: str) -> Score:
        wobble = [math.sin(7 * place) for place in range(20)]
        return Score(shift, 3.0, kind, tuple(shift + x for x in wobble))

    for kind in ("jackknife", "bootstrap"):
        near = [paired(0.0, kind), paired(0.1, kind)]
        assert ranks(near) == [1, 2]
        assert ranks([score(s.badness, s.stderr) for s in near]) == [1, 1]
    assert ranks([]) == []
    assert ranks([score(1.0, 0.0), score(1.0, 0.0)]) == [1, 1]


@pytest.mark.parametrize(("kind", "error"), [("jackknife", math.sqrt(19)), ("bootstrap", math.sqrt(20 / 19))])
def test_the_error_of_paired_replicates(kind: str, error: float) -> None:
    """Differences of 1 and -1 in turn, 20 of them."""
    one = Score(0.0, 9.0, kind, (0.0,) * 20)
    spread = tuple((-1.0) ** place for place in range(20))
    assert ranks([one, Score(1.95 * error, 9.0, kind, spread)]) == [1, 1]
    assert ranks([one, Score(1.97 * error, 9.0, kind, spread)]) == [1, 2]
