"""Learning-rate scaling on data whose truth is known."""

import numpy as np
import pytest

from cmt_search.errors import AnalysisError
from cmt_search.stats import find_best_lr, fit_lr_scaling
from cmt_search.stats.scaling_law import BestLr


@pytest.mark.parametrize("top", [0.7, 1.0, 1.6])
def test_the_best_rate_lies_at_the_top_of_the_parabola(top: float) -> None:
    factors = np.array([2.0, 0.5, 1.0])
    values = 0.8 - 0.05 * (np.log(factors) - np.log(top)) ** 2
    found = find_best_lr(values, factors=factors)
    assert found.factor == pytest.approx(top, rel=0.02)
    assert not found.at_edge


def test_a_best_rate_at_an_end_is_flagged() -> None:
    assert find_best_lr([0.5, 0.6, 0.7], factors=[0.5, 1, 2]) == BestLr(factor=2.0, at_edge=True)


def test_the_law_of_rates_recovers_its_slopes() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 3))
    rates = [
        BestLr(factor=float(np.exp(value)), at_edge=i == 0)
        for i, value in enumerate(0.1 + x @ [-0.3, -0.8, 0.05] + 0.01 * rng.normal(size=12))
    ]
    found = fit_lr_scaling(rates, x=x)
    assert found.slope.values == pytest.approx((-0.3, -0.8, 0.05), abs=0.02)
    assert found.level == pytest.approx(0.1, abs=0.02)
    assert found.slope.high[1] < 0 < found.slope.high[2]
    assert (found.edges, found.networks) == (1, 12)
    assert found.p_value < 1e-6


def test_a_law_of_rates_needs_more_networks_than_it_has_terms() -> None:
    with pytest.raises(AnalysisError, match="learning-rate scaling needs more than 4"):
        fit_lr_scaling([BestLr(factor=1.0, at_edge=False)] * 4, x=np.eye(4, 3))
