import json
from dataclasses import replace

import numpy as np
import pytest

from cmt_search.analysis import Analysis, analyse, explanation, headline, summary
from tests.analysis.studies import (
    BASE_MACS,
    LARGEST,
    NAMED,
    PAPER,
    flat,
    measurement,
    peak,
    record,
    rule_study,
    rung,
    slope,
)


def analysed(records, **more) -> Analysis:
    return analyse(records, base_macs=BASE_MACS, paper=PAPER, named=NAMED, seed=0, **more)


@pytest.fixture(scope="module")
def resolved() -> Analysis:
    return analysed(rule_study(peak, noise=0.002))


def test_a_strong_truth_is_resolved_and_its_difference_is_the_true_one(resolved: Analysis) -> None:
    verdict = resolved.verdict
    assert verdict is not None
    assert verdict.status == "resolved"
    np.testing.assert_allclose(verdict.best.values, (0.6, 0.2, 0.2), atol=0.1)
    truth = peak(np.array(verdict.best.values), LARGEST) - peak(np.array(PAPER.values), LARGEST)
    assert verdict.difference.low < truth < verdict.difference.high
    assert verdict.beats_paper
    assert not verdict.paper_equivalent
    assert verdict.nearest == "uniform"
    assert verdict.detectable == pytest.approx(2.8 * verdict.error)
    assert (verdict.trials, verdict.networks, verdict.budget) == (17, 51, 12 * BASE_MACS)
    assert verdict.noise is not None
    assert verdict.noise.dof == 51
    assert verdict.noise.low < 0.002 < verdict.noise.high


def test_the_winner_is_not_reported_with_its_own_measurement(resolved: Analysis) -> None:
    verdict = resolved.verdict
    assert verdict is not None
    top = resolved.front.networks.query("budget == @verdict.budget")
    papers = top[top["name"] == "cmt-paper"]["top1"].iloc[0]
    assert verdict.difference.mean != pytest.approx(top["top1"].max() - papers, abs=1e-6)


def test_an_effect_is_also_a_factor_of_compute_with_the_same_conclusion(resolved: Analysis) -> None:
    verdict = resolved.verdict
    assert verdict is not None
    multiplier = verdict.multiplier
    assert multiplier is not None
    below = peak(np.array(PAPER.values), LARGEST) - peak(np.array(PAPER.values), np.log(6))
    expected = np.exp(verdict.difference.mean / (below / np.log(2)))
    assert multiplier.value == pytest.approx(expected, rel=0.15)
    assert (multiplier.low > 1) == (verdict.difference.low > 0)
    assert "times the MACs" in " ".join(explanation(verdict))
    one = analysed(rule_study(peak, noise=0.002, budgets=(12.0,))).verdict
    assert one is not None
    assert one.multiplier is None


def test_noise_alone_is_unresolved_and_says_why() -> None:
    analysis = analysed(rule_study(flat, noise=0.016, seeds=1, budgets=(3.0, 12.0)))
    verdict = analysis.verdict
    assert verdict is not None
    assert verdict.status == "unresolved"
    assert headline(verdict).startswith("Unresolved: the study is too noisy to say")
    says = " ".join(explanation(verdict))
    assert "The best guess" in says
    assert "no evidence that it outperforms the paper's rule" in says
    assert "no training was repeated" in says


def test_equal_rules_measured_well_are_a_tie() -> None:
    verdict = analysed(rule_study(flat, noise=0.0015)).verdict
    assert verdict is not None
    assert verdict.status == "tie"
    assert headline(verdict).startswith("Tie: ")
    assert verdict.tied_fraction >= 0.8
    assert verdict.paper_equivalent


def test_a_rule_has_one_interval_in_verdict_and_comparison() -> None:
    analysis = analysed(rule_study(slope, noise=0.001))
    assert analysis.verdict is not None
    assert analysis.verdict.best == NAMED["width-only"]
    last = {rule.name: rule.predicted for rule in analysis.rules}["width-only"]
    assert (last.low, last.high) == pytest.approx(
        (analysis.verdict.difference.low, analysis.verdict.difference.high), abs=1e-12
    )
    better = {r.name for r in analysis.rules[-len(NAMED) :] if r.predicted.low > 0}
    assert set(analysis.verdict.better_named) == better


def test_the_text_names_better_rules_where_the_best_guess_is_uncertain() -> None:
    verdict = analysed(rule_study(flat, noise=0.004)).verdict
    assert verdict is not None
    assert "no evidence" in " ".join(explanation(verdict))
    text = " ".join(explanation(replace(verdict, better_named=("dwr",))))
    assert "no evidence" not in text
    assert "difference of dwr does" in text


def test_a_linear_truth_is_an_unbalanced_base_and_its_best_rule_a_corner() -> None:
    verdict = analysed(rule_study(slope, noise=0.001)).verdict
    assert verdict is not None
    assert verdict.corner
    assert verdict.best.width >= 0.9
    assert verdict.base_unbalanced
    assert headline(verdict).startswith("Unbalanced base: the best rule is the width corner")
    assert "recentre on a base with more width" in explanation(verdict)[-1]


def test_one_budget_leaves_the_balance_untested() -> None:
    verdict = analysed(rule_study(slope, noise=0.001, budgets=(12.0,))).verdict
    assert verdict is not None
    assert verdict.gradient_test is None
    assert not verdict.base_unbalanced


def test_rules_beyond_the_native_resolution_are_never_best() -> None:
    def sides(shares: np.ndarray) -> np.ndarray:
        return 14 * np.exp(shares[:, 0] * 1.2)  # as if depth were resolution

    analysis = analysed(rule_study(peak, noise=0.002), native_resolution=20, sides=sides)
    verdict, triangle = analysis.verdict, analysis.triangle
    assert verdict is not None
    assert triangle is not None
    assert 14 * np.exp(verdict.best.depth * 1.2) <= 20
    assert not (triangle.equivalent & ~triangle.feasible).any()
    assert 0 < triangle.feasible.mean() < 1


def test_a_triangle_wholly_beyond_the_native_resolution_has_no_verdict() -> None:
    analysis = analysed(
        rule_study(peak, noise=0.002), native_resolution=8, sides=lambda s: 0 * s[:, 0] + 9
    )
    assert analysis.verdict is None
    assert "every rule exceeds the data's native resolution of 8 px" in analysis.no_verdict


def test_too_small_a_study_has_a_reason_in_place_of_a_verdict() -> None:
    analysis = analysed(rule_study(flat, noise=0.01)[:4])
    assert analysis.verdict is None
    assert analysis.no_verdict.startswith("No verdict: a model of the triangle")
    assert "has 4; run at least 2 more trials" in analysis.no_verdict


def test_an_empty_study_and_a_search_without_rules_have_a_reason() -> None:
    assert "has 0" in analysed([]).no_verdict
    trial = record(0, (rung(), [measurement(0.5)]))
    assert analyse([trial]).no_verdict == "This search compares networks, not scaling rules."


def test_named_rules_are_compared_with_the_papers_at_every_budget(resolved: Analysis) -> None:
    assert len(resolved.rules) == len(NAMED) * 3
    at = {(rule.name, rule.budget): rule for rule in resolved.rules}
    paper = at["cmt-paper", 12 * BASE_MACS]
    assert (paper.predicted.mean, paper.predicted.se, paper.measured) == (0, 0, 0)
    depth = at["depth-only", 12 * BASE_MACS]
    rows = resolved.frame[resolved.frame["budget"] == 12 * BASE_MACS]
    means = rows.groupby("name")["top1"].mean()
    assert depth.measured == pytest.approx(means["depth-only"] - means["cmt-paper"])
    assert depth.measurements == 2


def test_named_rules_of_a_flat_truth_are_hardly_ever_called_different() -> None:
    wrong = 0
    for seed in range(8):
        rules = analysed(rule_study(flat, noise=0.01, seed=seed)).rules
        at_largest = [rule for rule in rules if rule.budget == 12 * BASE_MACS]
        wrong += any(rule.predicted.low > 0 or rule.predicted.high < 0 for rule in at_largest)
    assert wrong <= 1


def test_the_summary_is_json_and_holds_the_same_numbers(resolved: Analysis) -> None:
    verdict = resolved.verdict
    assert verdict is not None
    read = json.loads(json.dumps(summary(resolved)))
    assert read["verdict"]["status"] == "resolved"
    assert read["verdict"]["best"]["depth"] == verdict.best.depth
    assert read["verdict"]["difference"]["mean"] == verdict.difference.mean
    assert read["verdict"]["headline"] == headline(verdict)
    assert read["hypervolume"]["value"] == resolved.front.hypervolume
    assert read["trials"] == {"complete": 17}
    json.dumps(summary(analysed([])))
