from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from cmt_search.errors import AnalysisError
from cmt_search.stats import PowerLaws, Trainings, fit_power_laws
from cmt_search.stats.gradient import PLANE
from cmt_search.stats.power_law import optima_slopes
from cmt_search.stats.scaling_law import AdditiveLaw, fit_additive_law

Floats = np.ndarray
BUDGETS = (2.0, 6.0, 18.0, 54.0)  # MACs over the base's
LARGEST = float(np.log(54))
LAW = AdditiveLaw(
    floor=np.array(0.1), scales=np.array([0.12, 0.15, 0.15]), powers=np.array([0.8, 0.5, 0.6])
)


def shapes(count: int, *, spread: float) -> Floats:
    """Points of a disc, the middle first."""
    turn, radius = np.arange(count) * 2.399963, np.sqrt(np.arange(count) / (count - 1))
    return spread * np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius[:, None]


def study(
    truth: Callable[[Floats], Floats] = LAW.error,
    *,
    seed: int = 0,
    noise: float = 0.0,
    budgets: Sequence[float] = BUDGETS,
    count: int = 10,
    spread: float = 1.2,
    centre: Callable[[float], Floats] = LAW.allocation,
) -> tuple[Trainings, Floats, Floats]:
    """Trainings around `centre` at every budget, their contributions and their budgets."""
    rng = np.random.default_rng(seed)
    around = shapes(count, spread=spread) @ PLANE.T
    parts = np.vstack([centre(float(np.log(budget))) + around for budget in budgets])
    error = truth(parts) + rng.normal(0, noise, len(parts))
    data = Trainings(value=1 - error, network=range(len(parts)), seed=[0] * len(parts))
    return data, parts, np.repeat(budgets, count)


def fitted(parts: Floats, top1: Floats) -> Floats:
    return fit_additive_law(parts, weights=np.ones(len(parts)), error=1 - top1)


def judged(
    truth: Callable[[Floats], Floats] = LAW.error, *, draws: int = 60, **of: object
) -> PowerLaws:
    data, parts, budget = study(truth, **of)
    return fit_power_laws(data, contributions=parts, budget=budget, seed=0, draws=draws)


def bowl(shares: Sequence[float], start: Sequence[float]) -> Callable[[Floats], Floats]:
    """Errors of one curvature around a line of optima with these shares of growth."""

    def error(parts: Floats) -> Floats:
        log_macs_ratio = parts.sum(axis=1, keepdims=True)
        best = np.array(start) + log_macs_ratio * np.array(shares)
        off = ((parts - best) @ PLANE) ** 2
        return 0.2 + 0.2 * np.exp(-0.3 * log_macs_ratio[:, 0]) + 0.02 * off.sum(axis=1)

    return error


positive = st.floats(0.1, 2.0)
triples = st.tuples(positive, positive, positive)


@given(triples, triples, st.floats(0.5, 4.0))
@settings(max_examples=25)
def test_the_closed_allocation_is_the_best_at_its_macs(
    scales: tuple[float, ...], powers: tuple[float, ...], log_macs_ratio: float
) -> None:
    law = AdditiveLaw(floor=np.array(0.1), scales=np.array(scales), powers=np.array(powers))
    best = law.allocation(log_macs_ratio)
    assert best.sum() == pytest.approx(log_macs_ratio)
    at_best = law.error(best[None])[0]
    found = minimize(lambda z: law.error((best + PLANE @ z)[None])[0], [0.3, -0.2], tol=1e-12)
    assert at_best <= found.fun + 1e-9
    np.testing.assert_allclose(best + PLANE @ found.x, best, atol=0.02)


def test_local_shares_are_the_slope_of_the_closed_allocation() -> None:
    slope = (LAW.allocation(3.0) - LAW.allocation(2.0)) / 1.0
    np.testing.assert_allclose(slope, LAW.shares)
    assert LAW.shares.sum() == pytest.approx(1)
    assert LAW.shares.argmax() == LAW.powers.argmin()


def test_the_law_is_recovered_from_noiseless_data_by_its_own_starts() -> None:
    data, parts, _ = study()
    found = AdditiveLaw.from_theta(
        fit_additive_law(parts, weights=np.ones(40), error=1 - data.value)
    )
    np.testing.assert_allclose(found.powers, LAW.powers, rtol=1e-3)
    np.testing.assert_allclose(found.scales, LAW.scales, rtol=1e-3)
    assert not found.at_edge


def test_an_outlier_hardly_moves_the_law() -> None:
    data, parts, _ = study(noise=0.001)
    clean = AdditiveLaw.from_theta(
        fit_additive_law(parts, weights=np.ones(40), error=1 - data.value)
    )
    data.value[7] -= 0.2  # a training that diverged
    found = AdditiveLaw.from_theta(
        fit_additive_law(parts, weights=np.ones(40), error=1 - data.value)
    )
    np.testing.assert_allclose(found.shares, clean.shares, atol=0.04)


def test_a_weight_of_nine_is_a_training_told_nine_times() -> None:
    data, parts, _ = study(noise=0.005)
    weights = np.r_[np.full(10, 9), np.ones(30, dtype=int)]
    plain = fit_additive_law(parts, weights=np.ones(40), error=1 - data.value)
    weighted = fit_additive_law(
        parts, weights=weights.astype(float), error=1 - data.value, start=plain
    )
    told = np.repeat(parts, weights, axis=0), np.repeat(1 - data.value, weights)
    repeated = fit_additive_law(told[0], weights=np.ones(len(told[0])), error=told[1], start=plain)
    shares, again, before = (
        AdditiveLaw.from_theta(one).shares for one in (weighted, repeated, plain)
    )
    # Not quite the same: the threshold of the Huber loss knows no weights.
    assert np.abs(shares - again).max() < 0.25 * np.abs(shares - before).max()


def test_slopes_weigh_budgets_and_sum_to_one() -> None:
    log_macs_ratio = np.array([1.0, 2.0, 3.0, 4.0])
    line = log_macs_ratio[:, None] * [0.2, 0.5, 0.3] + [0.4, -0.1, -0.3]
    bent = line.copy()
    bent[-1] += [0.5, -0.5, 0]  # an optimum nobody knows
    found = optima_slopes(
        bent[None], log_macs_ratio=log_macs_ratio, weights=np.array([1, 1, 1, 1e-9])
    )
    np.testing.assert_allclose(found[0], [0.2, 0.5, 0.3], atol=1e-6)
    even = optima_slopes(bent[None], log_macs_ratio=log_macs_ratio, weights=np.ones(4))[0]
    assert even.sum() == pytest.approx(1)
    assert even[0] > 0.3


def test_both_estimators_recover_the_rule_within_their_intervals() -> None:
    found = judged(noise=0.002, count=14, draws=120)
    assert found.reasons == ()
    average = LAW.allocation(LARGEST) / LARGEST
    for rule in (found.by_optima, found.by_law):
        assert rule.average is not None
        for estimate, true in ((rule.local, LAW.shares), (rule.average, average)):
            assert sum(estimate.values) == pytest.approx(1)
            np.testing.assert_allclose(estimate.values, true, atol=0.06)
            assert (np.array(estimate.low) - 0.02 < true).all()
            assert (true < np.array(estimate.high) + 0.02).all()
    assert [one.budget for one in found.optima] == list(BUDGETS)
    assert not any(one.at_edge for one in found.optima)
    assert found.failed == 0


def test_intervals_of_shares_cover_them_about_as_often_as_they_say() -> None:
    covered = np.zeros((2, 3))
    for seed in range(12):
        found = judged(noise=0.002, count=12, seed=seed, spread=1.0, draws=50)
        for i, rule in enumerate((found.by_optima, found.by_law)):
            low, high = np.array(rule.local.low), np.array(rule.local.high)
            covered[i] += (low <= LAW.shares) & (LAW.shares <= high)
    assert (covered.mean(axis=1) >= 9).all()


def test_the_average_slope_from_an_unbalanced_base_is_not_the_local_one() -> None:
    found = judged(bowl([0.2, 0.5, 0.3], [0.8, -0.4, -0.4]), centre=lambda g: aim(g, 0.8))
    average = found.by_optima.average
    assert average is not None
    np.testing.assert_allclose(found.by_optima.local.values, [0.2, 0.5, 0.3], atol=0.01)
    expected = np.array([0.2, 0.5, 0.3]) + np.array([0.8, -0.4, -0.4]) / LARGEST
    # A bowl is no sum of power laws, so the law must not correct its optima.
    np.testing.assert_allclose(average.values, expected, atol=0.01)


def test_repeats_do_not_hide_that_the_law_does_not_fit() -> None:
    truth = bowl([0.2, 0.5, 0.3], [0.8, -0.4, -0.4])
    _, parts, budget = study(truth, centre=lambda g: aim(g, 0.8))
    noise = np.random.default_rng(0).normal(0, 0.0005, 80)
    data = Trainings(
        value=1 - np.tile(truth(parts), 2) - noise,
        network=[*range(40)] * 2,
        seed=np.repeat([0, 1], 40).tolist(),
    )
    found = fit_power_laws(
        data, contributions=np.tile(parts, (2, 1)), budget=np.tile(budget, 2), seed=0, draws=20
    )
    best = np.log(BUDGETS)[:, None] * [0.2, 0.5, 0.3] + [0.8, -0.4, -0.4]
    optima = [optimum.contributions.values for optimum in found.optima]
    np.testing.assert_allclose(optima, best, atol=0.02)


def aim(log_macs_ratio: float, depth: float) -> Floats:
    return log_macs_ratio * np.array([0.2, 0.5, 0.3]) + [depth, -depth / 2, -depth / 2]


def off(log_macs_ratio: float) -> Floats:
    return LAW.allocation(log_macs_ratio) + np.array([1.5, -1.5, 0])


def test_optima_are_corrected_for_the_bias_of_a_quadratic() -> None:
    law = AdditiveLaw(
        floor=np.array(0.1), scales=np.array([0.12, 0.15, 0.15]), powers=np.array([1.6, 0.4, 0.8])
    )
    around = shapes(10, spread=0.5) @ PLANE.T
    log_macs_ratios = np.log(BUDGETS)  # the range grows with the budget, and so does the bias
    parts = np.vstack(
        [
            law.allocation(log_macs_ratio) + log_macs_ratio * around
            for log_macs_ratio in log_macs_ratios
        ]
    )
    error = law.error(parts)
    data = Trainings(value=1 - error, network=range(40), seed=[0] * 40)
    found = fit_power_laws(
        data, contributions=parts, budget=np.repeat(BUDGETS, 10), seed=0, draws=40
    )
    assert found.reasons == ()
    for rule in (found.by_optima, found.by_law):
        np.testing.assert_allclose(rule.local.values, law.shares, atol=0.002)
    for optimum, log_macs_ratio in zip(found.optima, log_macs_ratios, strict=True):
        best = law.allocation(log_macs_ratio)
        np.testing.assert_allclose(optimum.contributions.values, best, atol=0.005)


def test_an_optimum_at_the_edge_of_its_range_is_not_identified() -> None:
    found = judged(noise=0.001, centre=off)
    assert found.reasons
    assert all(one.at_edge for one in found.optima)
    assert "the best shape at 2 MACs is at the edge of the measured range" in found.reasons[0]


def test_estimators_that_disagree_are_not_identified() -> None:
    # Depth shrinks along these optima, which no sum of power laws can do.
    shares = np.array([-0.5, 1.0, 0.5])
    found = judged(bowl(shares, [0, 0, 0]), noise=0.001, centre=lambda g: g * shares)
    assert found.reasons
    assert found.p_value < 0.05
    assert any("the estimators disagree" in reason for reason in found.reasons)
    np.testing.assert_allclose(found.by_optima.local.values, shares, atol=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_noise_identifies_nothing(seed: int) -> None:
    found = judged(lambda parts: np.full(len(parts), 0.4), noise=0.01, seed=seed)
    assert found.reasons


def test_a_dimension_that_does_nothing_has_no_power() -> None:
    idle = AdditiveLaw(
        floor=LAW.floor, scales=np.array([0.12, 0.0, 0.15]), powers=np.array([0.8, 0.5, 0.6])
    )
    found = judged(idle.error, noise=0.001, centre=lambda g: np.full(3, g / 3))
    assert found.reasons
    assert any("a term of the parametric law vanishes" in reason for reason in found.reasons)


def test_a_base_near_the_largest_budget_has_no_average_slope() -> None:
    found = judged(budgets=(0.1, 0.3, 0.6, 1.0), noise=0.001)
    assert found.by_optima.average is None
    assert found.by_law.average is None
    np.testing.assert_allclose(found.by_law.local.values, LAW.shares, atol=0.05)


def test_accuracies_on_images_give_the_rule_that_their_errors_give() -> None:
    rng = np.random.default_rng(0)
    _, parts, budget = study(count=8)
    hard = rng.uniform(size=4000)  # an image is wrong where its hardness is below the error
    correct = hard[None] >= LAW.error(parts)[:, None]
    data = Trainings(value=correct.mean(axis=1), network=range(32), seed=[0] * 32, correct=correct)
    found = fit_power_laws(data, contributions=parts, budget=budget, seed=0, draws=40)
    np.testing.assert_allclose(found.by_law.local.values, LAW.shares, atol=0.1)


@pytest.mark.parametrize(
    ("budgets", "held"),
    [((2.0, 8.0, 32.0), "has 3 that span 16x"), ((2.0, 3.0, 4.0, 8.0), "has 4 that span 4x")],
)
def test_too_few_or_too_near_budgets_are_refused(budgets: tuple[float, ...], held: str) -> None:
    with pytest.raises(AnalysisError, match=rf"4 budgets or more that span 8x.*{held} \(2, "):
        judged(budgets=budgets)


def test_too_few_shapes_at_a_budget_are_refused() -> None:
    with pytest.raises(AnalysisError, match=r"at 2 MACs needs 7 networks of different.*has 6"):
        judged(count=6)


def test_shapes_along_a_line_are_refused() -> None:
    data, parts, budget = study()
    along = np.outer(np.tile(np.linspace(-1, 1, 10), 4), PLANE[:, 0])
    log_macs_ratio = parts.sum(axis=1, keepdims=True) / 3
    with pytest.raises(AnalysisError, match="not along one line"):
        fit_power_laws(data, contributions=log_macs_ratio + along, budget=budget, seed=0)


def test_shapes_along_a_circle_are_refused() -> None:
    angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    around = np.tile(np.stack([np.cos(angle), np.sin(angle)], axis=1) @ PLANE.T, (4, 1))
    budget = np.repeat(BUDGETS, 10)
    data = Trainings(value=np.linspace(0.5, 0.6, 40), network=range(40), seed=[0] * 40)
    with pytest.raises(AnalysisError, match="not along one line or curve"):
        fit_power_laws(
            data, contributions=np.log(budget)[:, None] / 3 + around, budget=budget, seed=0
        )
