"""Rank agreement, variance components and regret on tables whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from cmt_search.errors import AnalysisError
from cmt_search.stats import (
    VarianceComponents,
    compare_rankings,
    estimate_variance_components,
    selection_regret,
)

RNG = np.random.default_rng(0)
GROUPS = ["a"] * 10 + ["b"] * 10


def test_correlations_are_those_of_scipy() -> None:
    x = RNG.normal(size=20)
    y = x + RNG.normal(size=20)
    found = compare_rankings(x, reference=y, group=GROUPS)
    assert found.overall.value == pytest.approx(stats.kendalltau(x, y).statistic)
    assert found.overall.low < found.overall.value < found.overall.high


def test_ties_are_counted_as_tau_b_counts_them() -> None:
    x = np.array([1, 1, 2, 3, 3, 4.0])
    y = np.array([1, 2, 2, 3, 4, 4.0])
    found = compare_rankings(x, reference=y, group=["a"] * 6)
    assert found.overall.value == pytest.approx(stats.kendalltau(x, y).statistic)


def test_budgets_that_differ_make_a_correlation_that_vanishes_within_them() -> None:
    level = np.repeat([0.0, 5.0], 10)
    found = compare_rankings(
        level + RNG.normal(size=20), reference=level + RNG.normal(size=20), group=GROUPS
    )
    assert found.overall.positive
    assert found.within is not None
    assert not found.within.positive


@pytest.mark.parametrize("trials", [80, pytest.param(200, marks=pytest.mark.slow)])
def test_an_interval_holds_the_truth_about_as_often_as_it_says(trials: int) -> None:
    truth = 2 / np.pi * np.arcsin(0.7)  # Kendall's tau of a normal pair of this correlation
    covered = 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        x = rng.normal(size=30)
        y = 0.7 * x + np.sqrt(1 - 0.49) * rng.normal(size=30)
        found = compare_rankings(x, reference=y, group=["a"] * 30, seed=trial, draws=300).overall
        covered += found.low <= truth <= found.high
    assert 0.85 <= covered / trials <= 0.99


def test_a_few_networks_in_perfect_order_may_be_chance() -> None:
    few = compare_rankings(np.arange(4.0), reference=np.arange(4.0), group=["a"] * 4).overall
    assert (few.value, few.low) == pytest.approx((1, 1))
    assert few.p_value == pytest.approx(1 / 24, abs=0.02)
    assert not few.positive
    assert compare_rankings(
        np.arange(6.0), reference=np.arange(6.0), group=["a"] * 6
    ).overall.positive


def test_networks_without_a_peer_in_their_budget_have_no_correlation_within() -> None:
    x = np.arange(4.0)
    assert compare_rankings(x, reference=x, group=["a", "b", "c", "d"]).within is None


def test_three_networks_are_too_few() -> None:
    with pytest.raises(AnalysisError, match="needs 4 networks, and 3 were measured"):
        compare_rankings([1, 2, 3], reference=[1, 2, 3], group=["a"] * 3)


def simulated(seed: int) -> VarianceComponents:
    """Forty networks in four budgets, whose reliability is 0.8."""
    rng = np.random.default_rng(seed)
    level = np.arange(40) % 4
    effect = 0.02 * rng.normal(size=40)
    y = (level + effect)[:, None] + 0.01 * rng.normal(size=(40, 3))
    return estimate_variance_components(y, group=level.tolist())


def test_the_noise_between_seeds_and_the_effect_between_networks_are_recovered() -> None:
    found = [simulated(seed) for seed in range(200)]
    assert np.mean([one.seed_sd for one in found]) == pytest.approx(0.01, rel=0.02)
    assert np.mean([one.network_sd for one in found]) == pytest.approx(0.02, rel=0.03)
    assert np.mean([one.reliability for one in found]) == pytest.approx(0.8, abs=0.02)
    assert 0.9 <= np.mean([one.low <= 0.8 <= one.high for one in found]) <= 0.99


def test_pure_noise_is_not_reliable() -> None:
    found = estimate_variance_components(
        np.random.default_rng(2).normal(size=(30, 2)), group=["a"] * 30
    )
    assert found.low == 0
    assert found.reliability < 0.4


def test_nothing_repeated_tells_no_noise() -> None:
    with pytest.raises(AnalysisError, match=r"20 networks with 1 seed\(s\); measure more"):
        estimate_variance_components(RNG.normal(size=(20, 1)), group=GROUPS)


def test_regret_is_what_the_cheap_choice_loses_in_each_budget() -> None:
    reference = [0.5, 0.6, 0.7, 0.9, 0.8, 0.1]
    cheap = [3, 2, 1, 3, 2, 1]
    group = ["a", "a", "a", "b", "b", "b"]
    assert selection_regret(cheap, reference=reference, group=group) == pytest.approx((0.2 + 0) / 2)
    assert selection_regret(cheap, reference=reference, group=group, best=2) == pytest.approx(
        (0.1 + 0) / 2
    )
    assert selection_regret(cheap, reference=reference, group=group, best=3) == 0
