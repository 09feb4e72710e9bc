import numpy as np
import pytest

from cmt_search.errors import AnalysisError
from cmt_search.stats import Extrapolation, check_extrapolation, simplex_grid
from tests.stats.simulation import PAPER, peak, simulate_process

NAMES = ("paper", "deep", "wide")


def check(**changes: object) -> Extrapolation:
    draws = np.random.default_rng(0).normal([0, 0.03, 0.01], 0.01, size=(4000, 3))
    given = {
        "reference": "paper",
        "predicted": draws,
        "measured": [0.60, 0.62, 0.63],
        "se": [0.003, 0.004, 0.003],
        "at_largest": [0.50, 0.51, 0.53],
        "span": 2.0,
    }
    return check_extrapolation(NAMES, **{**given, **changes})


def test_a_contrast_is_predicted_and_measured_against_the_reference() -> None:
    deep, wide = check().rules
    assert (deep.name, wide.name) == ("deep", "wide")
    assert deep.predicted.mean == pytest.approx(0.03, abs=0.001)
    assert deep.measured == pytest.approx(0.02)
    assert deep.se == pytest.approx(0.005)
    both = np.sqrt(2 * 0.01**2 + 0.005**2)
    assert deep.z == pytest.approx((0.02 - 0.03) / both, abs=0.1)
    assert deep.inside


def test_a_contrast_far_from_its_prediction_is_outside() -> None:
    found = check(measured=[0.60, 0.60, 0.65])
    deep, wide = found.rules
    assert deep.z == pytest.approx(-0.03 / 0.015, abs=0.1)
    assert wide.z > 2
    assert [deep.inside, wide.inside] == [abs(deep.z) <= 1.96, False]
    assert found.inside == sum(rule.inside for rule in found.rules)


def test_the_nugget_of_both_networks_counts_against_a_contrast() -> None:
    found, near = check(nugget=0.02), check()
    assert abs(found.rules[0].z) < abs(near.rules[0].z)
    spread = np.sqrt(2 * 0.01**2 + 0.005**2 + 2 * 0.02**2)
    assert found.rules[0].z == pytest.approx(-0.01 / spread, abs=0.05)


def test_regret_is_told_of_the_predicted_best_and_of_the_naive_answer() -> None:
    found = check()
    assert found.best == "wide"
    assert (found.predicted.name, found.naive.name) == ("deep", "wide")
    assert found.predicted.regret == pytest.approx(0.01)
    assert found.predicted.se == pytest.approx(0.005)
    assert (found.naive.regret, found.naive.se) == (0, 0)


def test_the_naive_answer_comes_from_the_rules_that_were_measured() -> None:
    assert check(at_largest=[0.5, 0.4, np.nan]).naive.name == "paper"
    with pytest.raises(AnalysisError, match="none of the rules was measured at the largest fitted"):
        check(at_largest=[np.nan] * 3)


def test_a_budget_less_than_twice_the_largest_is_no_extrapolation() -> None:
    with pytest.raises(AnalysisError, match=r"1.95 times the largest .* starts at 2 times"):
        check(span=1.95)
    assert check(span=2).span == 2


def test_a_reference_that_was_not_measured_is_refused() -> None:
    with pytest.raises(AnalysisError, match=r"needs cmt-paper and another rule.*has paper, deep"):
        check(reference="cmt-paper")


def test_a_process_continued_along_growth_holds_what_a_true_process_gives() -> None:
    rules = np.vstack([PAPER, simplex_grid(2)])
    names = ["paper", *(str(i) for i in range(6))]
    log_macs_ratio = float(np.log(24))
    inside = total = 0
    for seed in range(12):
        process = simulate_process(peak, noise=0.004, nugget=0.001, seed=seed)
        rng = np.random.default_rng(500 + seed)
        spread = np.hypot(0.001, 0.004 / np.sqrt(3))
        found = check_extrapolation(
            names,
            reference="paper",
            predicted=process.effect(rules, log_macs_ratio=log_macs_ratio),
            measured=[peak(rule, log_macs_ratio) + rng.normal(0, spread) for rule in rules],
            se=np.full(7, 0.004 / np.sqrt(3)),
            at_largest=[peak(rule, float(np.log(12))) for rule in rules],
            span=2.0,
            nugget=process.nugget,
        )
        inside, total = inside + found.inside, total + len(found.rules)
    assert 0.88 <= inside / total <= 1
