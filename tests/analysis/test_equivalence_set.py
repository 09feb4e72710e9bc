import numpy as np
import pytest

from cmt_search.analysis import (
    Analysis,
    analyse,
    equivalence_set_summary,
    equivalence_set_text,
    tied_rules,
)
from cmt_search.errors import AnalysisError
from cmt_search.scaling.shares import DIMENSIONS
from tests.analysis.studies import BASE_MACS, NAMED, PAPER, flat, peak, rule_study


def analysed(truth, **more) -> Analysis:
    records = rule_study(truth, noise=0.0015)
    return analyse(records, base_macs=BASE_MACS, paper=PAPER, named=NAMED, **more)


@pytest.fixture(scope="module")
def resolved() -> Analysis:
    return analysed(peak)


def test_the_set_is_described_as_the_triangle_draws_it(resolved: Analysis) -> None:
    verdict, triangle = resolved.verdict, resolved.triangle
    assert verdict is not None
    assert triangle is not None
    equals = equivalence_set_summary(resolved)
    inside = triangle.shares[triangle.equivalent]
    assert equals["tied_fraction"] == pytest.approx(triangle.equivalent.mean(), abs=1e-4)
    assert equals["tied_fraction"] < 0.5
    assert equals["margin"] == verdict.margin == 0.003
    for i, name in enumerate(DIMENSIONS):
        low, high = equals["shares"][name]
        assert (low, high) == pytest.approx((inside[:, i].min(), inside[:, i].max()), abs=1e-4)
        assert low <= verdict.best.values[i] <= high
        assert low - 0.1 < (0.6, 0.2, 0.2)[i] < high + 0.1  # the truth's best


def test_the_sentence_states_those_numbers(resolved: Analysis) -> None:
    equals = equivalence_set_summary(resolved)
    text = equivalence_set_text(resolved)
    assert text.startswith("Statistically tied with the best (margin 0.3 pp): ")
    low, high = equals["shares"]["width"]
    assert f"width {low:.2f} to {high:.2f}" in text
    assert f"{equals['tied_fraction']:.0%} of the triangle (depth " in text


def test_the_rules_to_choose_from_are_the_best_and_coarse_ones_of_the_set(
    resolved: Analysis,
) -> None:
    triangle = resolved.triangle
    assert resolved.verdict is not None
    assert triangle is not None
    rules = tied_rules(resolved)
    np.testing.assert_allclose(rules[0], resolved.verdict.best.values)
    np.testing.assert_allclose(rules.sum(axis=1), 1)
    np.testing.assert_allclose(rules[1:] * 10, np.rint(rules[1:] * 10), atol=1e-9)
    inside = {tuple(row) for row in triangle.shares[triangle.equivalent].round(9).tolist()}
    assert {tuple(row) for row in rules.round(9).tolist()} <= inside
    assert 3 <= len(rules) < len(inside)


def test_a_tie_leaves_nearly_all_of_the_coarse_grid_to_choose_from() -> None:
    analysis = analysed(flat)
    assert equivalence_set_summary(analysis)["tied_fraction"] >= 0.8
    assert len(tied_rules(analysis)) > 0.8 * 66


def test_rules_beyond_the_native_resolution_are_not_among_the_equals() -> None:
    analysis = analysed(
        flat, native_resolution=28, sides=lambda s: np.where(s[:, 2] > 0.45, 56, 14)
    )
    assert tied_rules(analysis)[:, 2].max() <= 0.45
    assert equivalence_set_summary(analysis)["shares"]["resolution"][1] <= 0.45


@pytest.mark.parametrize("function", [equivalence_set_summary, equivalence_set_text, tied_rules])
def test_without_a_verdict_there_are_no_equals(function) -> None:
    with pytest.raises(
        AnalysisError, match=r"the study has no best rule yet\. This search compares"
    ):
        function(analyse([]))
