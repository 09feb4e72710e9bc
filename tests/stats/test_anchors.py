"""Length and learning rate against shape: known effects come back, noise claims nothing."""

import numpy as np
import pytest

from cmt_search.errors import AnalysisError
from cmt_search.stats import BestRate, best_rate, length_effect, rate_law

CORNERS = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3], [0.2, 0.5, 0.3], [0.5, 0.5, 0]]
)


def anchors(
    noise: float, *, effect: tuple[float, float, float], seed: int = 0
) -> dict[str, object]:
    """Two budgets; a gain of length that hangs on where growth went."""
    rng = np.random.default_rng(seed)
    parts = np.vstack([np.log(3) * CORNERS, np.log(9) * CORNERS])
    group = ["3x"] * 6 + ["9x"] * 6
    level = np.repeat([0.05, 0.08], 6)
    gain = level + parts @ np.array(effect) + noise * rng.normal(size=12)
    return length_effect(gain, contributions=parts, group=group)


def test_what_short_trainings_undervalue_is_found() -> None:
    found = anchors(0.001, effect=(0.02, -0.01, -0.01))
    assert found.effect.values == pytest.approx((0.02, -0.01, -0.01), abs=0.003)
    assert found.effect.low[0] > 0
    assert found.tail < 0.01
    assert found.favoured in (1, 2)
    assert sum(found.effect.values) == pytest.approx(0)


def test_a_gain_that_is_the_same_for_all_shapes_is_no_effect() -> None:
    small = [anchors(0.01, effect=(0, 0, 0), seed=seed).tail < 0.05 for seed in range(200)]
    assert np.mean(small) < 0.11  # 5% are expected


def test_too_few_anchors_are_refused() -> None:
    with pytest.raises(AnalysisError, match="needs more than 3 networks of different shapes"):
        length_effect([0.1] * 3, contributions=CORNERS[:3], group=["a"] * 3)


@pytest.mark.parametrize("top", [0.7, 1.0, 1.6])
def test_the_best_rate_lies_at_the_top_of_the_parabola(top: float) -> None:
    factors = np.array([2.0, 0.5, 1.0])
    values = 0.8 - 0.05 * (np.log(factors) - np.log(top)) ** 2
    found = best_rate(values, factors=factors)
    assert found.factor == pytest.approx(top, rel=0.02)
    assert not found.at_edge


def test_a_best_rate_at_an_end_is_flagged() -> None:
    assert best_rate([0.5, 0.6, 0.7], factors=[0.5, 1, 2]) == BestRate(factor=2.0, at_edge=True)


def test_the_law_of_rates_recovers_its_slopes() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 3))
    rates = [
        BestRate(factor=float(np.exp(value)), at_edge=i == 0)
        for i, value in enumerate(0.1 + x @ [-0.3, -0.8, 0.05] + 0.01 * rng.normal(size=12))
    ]
    found = rate_law(rates, x=x)
    assert found.slope.values == pytest.approx((-0.3, -0.8, 0.05), abs=0.02)
    assert found.level == pytest.approx(0.1, abs=0.02)
    assert found.slope.high[1] < 0 < found.slope.high[2]
    assert found.edges == 1
    assert found.tail < 1e-6


def test_a_law_of_rates_needs_more_networks_than_it_has_terms() -> None:
    with pytest.raises(AnalysisError, match="the law of learning rates needs more than 4"):
        rate_law([BestRate(factor=1.0, at_edge=False)] * 4, x=np.eye(4, 3))
