import numpy as np
import pytest

from cmt_search.stats import SMALLEST_EFFECT, assess, equivalence_set

RNG = np.random.default_rng(0)
TRUTH = np.array([0.0, -0.002, -0.01, -0.02])
EFFECT = TRUTH + RNG.normal(0, 0.001, (4000, 4))
REFERENCE = RNG.normal(-0.005, 0.001, (4000, 1))


def test_the_set_and_the_best_are_those_of_the_draws() -> None:
    found = assess(EFFECT, reference=REFERENCE)
    assert found.best == 0
    assert found.equivalent.tolist() == equivalence_set(EFFECT).tolist() == [1, 1, 0, 0]
    assert found.area == 0.5


def test_the_error_is_that_of_contrasts_to_the_reference() -> None:
    found = assess(EFFECT, reference=REFERENCE)
    assert found.error == pytest.approx(0.001 * np.sqrt(2), rel=0.05)
    assert found.detectable == pytest.approx(2.8 * found.error)
    assert found.status == "resolved"


def test_the_bests_own_error_counts_where_it_is_larger() -> None:
    wide = EFFECT.copy()
    wide[:, 0] += RNG.normal(0, 0.01, 4000)
    assert assess(wide, reference=REFERENCE).error == pytest.approx(0.01, rel=0.05)
    assert assess(wide, reference=REFERENCE).status == "unresolved"


def test_a_larger_margin_holds_more_rules() -> None:
    narrow, wide = (assess(EFFECT, reference=REFERENCE, margin=margin) for margin in (None, 0.0105))
    assert wide.equivalent.tolist() == [1, 1, 1, 0]
    assert (narrow.margin, wide.margin) == (SMALLEST_EFFECT, 0.0105)


def test_rules_that_are_all_within_the_smallest_effect_are_a_tie() -> None:
    found = assess(0.05 * EFFECT, reference=0.05 * REFERENCE)
    assert (found.status, found.area) == ("tie", 1.0)
