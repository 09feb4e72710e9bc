from collections.abc import Sequence

import numpy as np
import pytest

from cmt_search.stats import (
    BaseCorrection,
    GaussianProcess,
    GradientTest,
    Trainings,
    correct_base,
    fit_gaussian_process,
    simplex_grid,
)
from cmt_search.stats.gradient import MAX_MOVE, PLANE, STEP

Floats = np.ndarray
CURVATURE = 0.01  # of the truth, down from the best place in the plane
EXPONENTS = (0.9, 1.9, 2.1)


def study(
    gains: Sequence[float],
    *,
    seed: int = 0,
    noise: float = 0.003,
    seeds: int = 2,
    budgets: Sequence[float] = (3.0, 6.0, 12.0),
    curvature: float = CURVATURE,
) -> tuple[Trainings, Floats, Floats]:
    """Rules all over the triangle, off their shares as rounding leaves them."""
    rng = np.random.default_rng(seed)
    log_macs_ratio = np.log(np.repeat(budgets, 10))
    shares = np.tile(simplex_grid(3), (len(budgets), 1)) + rng.normal(
        0, 0.015, (len(log_macs_ratio), 3)
    )
    parts = log_macs_ratio[:, None] * (shares / shares.sum(axis=1, keepdims=True))
    place = parts @ PLANE
    value = 0.5 + 0.04 * log_macs_ratio - 0.004 * log_macs_ratio**2 + parts @ gains
    value += rng.normal(0, 0.001, len(log_macs_ratio)) - curvature * (place**2).sum(axis=1)
    value = np.repeat(value, seeds) + rng.normal(0, noise, seeds * len(log_macs_ratio))
    network = np.repeat(np.arange(len(log_macs_ratio)), seeds)
    data = Trainings(value=value, network=network.tolist(), seed=range(len(value)))
    return data, np.repeat(parts, seeds, axis=0), np.repeat(budgets, 10 * seeds)


def fit(gains: Sequence[float], **options: object) -> GaussianProcess:
    data, parts, budget = study(gains, **options)
    log_macs_ratio = parts.sum(axis=1)
    return fit_gaussian_process(
        data.value,
        shares=parts / log_macs_ratio[:, None],
        log_macs_ratio=log_macs_ratio,
        budget=budget,
        network=data.network,
        seed=0,
        draws=1500,
    )


def gradient_test(gains: Sequence[float], **options: object) -> GradientTest:
    process = fit(gains, **options)
    first, _ = process.derivatives()
    return GradientTest.from_draws(first, log_macs_ratio=float(process.log_macs_ratios[-1]))


def correction(gains: Sequence[float], **options: object) -> BaseCorrection:
    process = fit(gains, **options)
    first, second = process.derivatives()
    return correct_base(
        first,
        second=second,
        log_macs_ratio=float(process.log_macs_ratios[-1]),
        exponents=EXPONENTS,
    )


def test_first_order_gains_are_recovered_per_unit_of_log_macs() -> None:
    found = gradient_test([0.0, 0.03, 0.0], noise=0.0005)
    per_log_macs = np.array(found.gains.values) / found.log_macs_ratio
    np.testing.assert_allclose(per_log_macs, [-0.01, 0.02, -0.01], atol=0.003)
    assert found.log_macs_ratio == pytest.approx(np.log(12))
    assert found.leader == 1
    assert sum(found.gains.values) == pytest.approx(0)


@pytest.mark.parametrize(
    ("studies", "most", "least"), [(30, 1, 4), pytest.param(60, 2, 10, marks=pytest.mark.slow)]
)
def test_equal_gains_are_hardly_ever_called_unequal(studies: int, most: int, least: int) -> None:
    found = [gradient_test([0.02] * 3, seed=seed) for seed in range(studies)]
    assert sum(one.unbalanced for one in found) <= most
    assert sum(one.p_value < 0.5 for one in found) >= least  # and yet the test says something


@pytest.mark.parametrize("studies", [8, pytest.param(15, marks=pytest.mark.slow)])
def test_unequal_gains_are_called_so(studies: int) -> None:
    found = [gradient_test([0.0, 0.03, 0.0], seed=seed) for seed in range(studies)]
    assert sum(one.unbalanced for one in found) >= studies - 1
    assert all(one.leader == 1 for one in found)


@pytest.mark.parametrize("studies", [20, pytest.param(40, marks=pytest.mark.slow)])
def test_intervals_of_gains_cover_them_about_as_often_as_they_say(studies: int) -> None:
    covered = 0
    for seed in range(studies):
        found = gradient_test([0.01, 0.0, -0.01], seed=seed)
        low, high = np.array(found.gains.low), np.array(found.gains.high)
        true = np.array([0.01, 0.0, -0.01]) * found.log_macs_ratio
        covered += int(((low <= true) & (true <= high)).sum())
    assert 0.9 <= covered / (3 * studies) <= 1


def test_an_interval_of_gains_excludes_zero_only_where_the_test_rejects_equal_gains() -> None:
    rng, excluded = np.random.default_rng(0), 0
    for _ in range(300):
        draws = rng.normal(0.002 * rng.normal(size=3), 0.001, size=(400, 3))
        found = GradientTest.from_draws(draws)
        if max(found.gains.low) > 0 or min(found.gains.high) < 0:
            assert found.p_value <= 0.01  # a draw on the border belongs to both
            excluded += 1
    assert 50 < excluded < 290


def test_gains_of_no_consequence_are_no_imbalance() -> None:
    draws = np.random.default_rng(0).normal([0, 0.0009, 0], 1e-5, size=(500, 3))
    assert GradientTest.from_draws(draws).p_value < 0.01
    assert not GradientTest.from_draws(draws).unbalanced
    assert GradientTest.from_draws(4 * draws).unbalanced


def test_the_better_base_lies_where_gains_balance_to_second_order() -> None:
    gains = np.array([0.0, 0.01, 0.0])
    found = correction(gains, noise=0.0005, seed=1)
    best = PLANE @ (PLANE.T @ gains) / (2 * CURVATURE)
    assert found.order == 2
    np.testing.assert_allclose(found.contributions, best, atol=0.08)
    assert not found.shortened
    assert found.gain == pytest.approx(CURVATURE * float(best @ best), rel=0.3)


def test_a_correction_keeps_the_macs() -> None:
    found = correction([0.0, 0.01, 0.0])
    assert sum(found.contributions) == pytest.approx(0, abs=1e-12)
    assert np.dot(found.x, EXPONENTS) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(np.array(found.x) * EXPONENTS, found.contributions)


def test_without_known_curvature_the_correction_is_a_stated_step_uphill() -> None:
    found = correction([0.0, 0.03, 0.0], curvature=-0.01)
    assert found.order == 1
    assert max(np.abs(found.contributions)) == pytest.approx(STEP)
    assert found.contributions[1] == pytest.approx(STEP)
    np.testing.assert_allclose(found.contributions, [-STEP / 2, STEP, -STEP / 2], atol=0.05)
    assert found.gain == pytest.approx(0.03 * STEP, rel=0.2)


def test_a_distant_optimum_shortens_the_correction() -> None:
    found = correction([0.0, 0.2, 0.0], noise=0.0005)
    assert found.order == 2
    assert found.shortened
    assert max(np.abs(found.contributions)) == pytest.approx(MAX_MOVE)
    uphill = 0.2 * MAX_MOVE - CURVATURE * 1.5 * MAX_MOVE**2
    assert found.gain == pytest.approx(uphill, rel=0.1)
