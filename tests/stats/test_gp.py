import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.stats import multivariate_normal

from cmt_search.errors import AnalysisError
from cmt_search.stats import (
    SMALLEST_EFFECT,
    Conclusion,
    GaussianProcess,
    assess,
    fit_gaussian_process,
    simplex_grid,
    summarize_contrast,
)
from cmt_search.stats.gp import build_mixture, factorise
from cmt_search.stats.kernel import build_basis
from cmt_search.stats.noise import NETWORKS_NEEDED, Design, reduce_repeats
from tests.stats.simulation import (
    LARGEST,
    PAPER,
    Truth,
    flat,
    measurements,
    peak,
    simulate_process,
    slope,
)

GRID = simplex_grid(12)


def cubic(shares: np.ndarray, log_macs_ratio: float) -> float:
    """Two hills and a valley, which no quadratic follows."""
    d, w, r = np.asarray(shares) * log_macs_ratio / LARGEST
    return flat(shares, log_macs_ratio) + 0.9 * d * w * r + 0.15 * d * w * (d - w)


def contrasts(truth: Truth) -> np.ndarray:
    values = np.array([truth(shares, LARGEST) for shares in GRID])
    return values - values.mean()


def rms_deviation(process: GaussianProcess, truth: Truth) -> float:
    found = process.effect(GRID).mean(axis=0)
    return float(np.sqrt(np.mean((found - found.mean() - contrasts(truth)) ** 2)))


def conclusions(
    truth: Truth, *, noise: float, nugget: float, studies: int, **design
) -> list[Conclusion]:
    found = []
    for seed in range(studies):
        process = simulate_process(truth, noise=noise, nugget=nugget, seed=seed, **design)
        found.append(assess(process.effect(GRID), reference=process.effect(PAPER)).status)
    return found


def small_design() -> tuple[Design, np.ndarray, np.ndarray]:
    study = measurements(peak, noise=0.004, nugget=0.002, seed=3, order=2, budgets=(4.0, 9.0))
    names = ("shares", "log_macs_ratio", "budget", "network")
    return reduce_repeats(study["accuracy"], **{name: study[name] for name in names})


class Nothing:
    """Draws zeros where normals are asked for, so that a draw is the mean."""

    def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


@pytest.fixture(scope="module")
def brute():
    """The model written out as one normal distribution, for fixed hyperparameters."""
    design, mean, _ = small_design()
    relative, ratio = np.array([1.3, 0.8]), 0.5
    basis = build_basis(length=0.5, u=[0.6, 1.0])
    columns = basis.columns(design.shares, u=design.u)
    model = factorise(design, basis=basis, columns=columns, ratio=ratio, relative=relative)
    ask = model.basis.columns(GRID, u=1.0)
    level = np.eye(2)[design.level]

    def covariance(noise: float, scale: float, level_sd: float) -> np.ndarray:
        spread = noise**2 * (ratio**2 + relative[design.level] ** 2 / design.count)
        signal = scale**2 * columns @ columns.T + level_sd**2 * level @ level.T
        return signal + np.diag(spread)

    return model, mean, columns, ask, covariance


def test_given_hyperparameters_the_draws_are_those_of_a_conditioned_normal(brute) -> None:
    model, mean, columns, ask, covariance = brute
    noise, scale = np.array([0.004]), np.array([0.03])
    total = covariance(0.004, 0.03, 100.0)  # so wide a level is as good as a flat one
    gain = np.linalg.solve(total, scale[0] ** 2 * columns @ ask.T).T
    expected = gain @ mean
    spread = scale[0] ** 2 * (ask @ ask.T - gain @ columns @ ask.T)

    one = np.zeros(1, dtype=int)
    weights, _ = model.draw(mean[:, None], study=one, noise=noise, scale=scale, rng=Nothing())
    np.testing.assert_allclose((weights @ ask.T)[0], expected, atol=1e-7)

    many = np.zeros(20000, dtype=int)
    rng = np.random.default_rng(0)
    weights, _ = model.draw(
        mean[:, None], study=many, noise=noise[many], scale=scale[many], rng=rng
    )
    found = np.cov((weights @ ask.T).T)
    np.testing.assert_allclose(found, spread, atol=0.03 * spread.max())


def test_levels_are_drawn_with_what_the_effects_leave_of_the_means(brute) -> None:
    model, mean, _, _, covariance = brute
    noise, scale, wide = 0.004, 0.03, 100.0
    level = model.member.T
    gain = np.linalg.solve(covariance(noise, scale, wide), wide**2 * level).T
    many = np.zeros(20000, dtype=int)
    _, levels = model.draw(
        mean[:, None],
        study=many,
        noise=np.full(20000, noise),
        scale=np.full(20000, scale),
        rng=np.random.default_rng(0),
    )
    # The exact moments, from the limit of a wide prior.
    inverse = np.linalg.inv(covariance(noise, scale, 0.0))
    spread = np.linalg.inv(level.T @ inverse @ level)
    np.testing.assert_allclose(gain @ mean, spread @ level.T @ inverse @ mean, atol=1e-6)
    np.testing.assert_allclose(levels.mean(axis=0), gain @ mean, atol=4e-4)
    np.testing.assert_allclose(np.cov(levels.T), spread, atol=0.04 * spread.max())


def test_likelihoods_of_hyperparameters_are_those_of_the_normal_with_levels_left_out(brute) -> None:
    model, mean, _, _, covariance = brute
    noise, scale = np.array([0.002, 0.004, 0.02]), np.array([0.01, 0.05, 0.03])
    level = model.member.T
    without = null_space(level.T)  # contrasts of networks in which no level shows
    expected = [
        multivariate_normal(cov=without.T @ covariance(a, b, 0.0) @ without).logpdf(
            without.T @ mean
        )
        for a, b in zip(noise, scale, strict=True)
    ]
    found = model.log_likelihood(mean[:, None], noise=noise, scale=scale)[:, 0]
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-7)


def test_studies_fitted_together_are_weighed_as_each_alone() -> None:
    design, mean, within = small_design()
    model = build_mixture(design, within=within, relative=np.ones(2))
    other = mean + np.linspace(0, 0.02, len(mean))
    means, squares = np.stack([mean, other], axis=1), np.stack([within, 2 * within], axis=1)
    both = model.masses(means, within=squares)
    np.testing.assert_allclose(both.sum(axis=(0, 1)), 1)
    for r in range(2):
        alone = model.masses(means[:, r : r + 1], within=squares[:, r : r + 1])
        np.testing.assert_allclose(both[:, :, r], alone[:, :, 0], atol=1e-12)


@pytest.mark.parametrize("truth", [flat, peak, slope, cubic])
def test_the_process_recovers_the_truth_at_every_budget(truth: Truth) -> None:
    process = simulate_process(truth, noise=0.0005, nugget=0.0002, seed=1, order=4)
    grid = simplex_grid(6)
    for times in (3.0, 6.0, 12.0):
        L = float(np.log(times))
        predicted = process.draws(grid, log_macs_ratio=L).mean(axis=0)
        np.testing.assert_allclose(predicted, [truth(point, L) for point in grid], atol=0.003)


@pytest.mark.parametrize("truth", [peak, slope, cubic])  # interior, corner, interior of three
def test_the_best_rule_is_found_when_there_is_little_noise(truth: Truth) -> None:
    values = contrasts(truth)
    for seed in range(5):
        process = simulate_process(truth, noise=0.001, nugget=0.0005, seed=seed, order=4)
        found = assess(process.effect(GRID), reference=process.effect(PAPER))
        assert values.max() - values[found.best] <= SMALLEST_EFFECT
        assert found.equivalent[values.argmax()]
        assert found.status == "resolved"


def test_first_and_second_order_at_the_base_are_recovered() -> None:
    process = simulate_process(slope, noise=0.0005, nugget=0.0002, seed=2, order=4)
    first, _ = process.derivatives()
    gains = first - first.mean(axis=1, keepdims=True)
    expected = 0.04 * (np.array([0, 1, 0]) - 1 / 3)
    np.testing.assert_allclose(gains.mean(axis=0), expected, atol=3 * gains.std(axis=0).max())
    assert gains.std(axis=0).max() < 0.006

    process = simulate_process(peak, noise=0.0005, nugget=0.0002, seed=2, order=4)
    plane = np.eye(3) - 1 / 3
    _, second = process.derivatives()
    full = plane @ second[:, [[0, 3, 4], [3, 1, 5], [4, 5, 2]]] @ plane
    np.testing.assert_allclose(full.mean(axis=0), -0.1 * plane, atol=4 * full.std(axis=0).max())
    assert full.std(axis=0).max() < 0.01


def test_a_rung_that_is_noisier_is_found_to_be() -> None:
    process = simulate_process(flat, noise=[0.016, 0.008, 0.004], nugget=0.001, seed=3, seeds=5)
    found = np.median(process.noise) * process.model.relative_noise
    np.testing.assert_allclose(found, [0.016, 0.008, 0.004], rtol=0.25)


def test_a_noisy_rung_does_not_spoil_a_precise_one() -> None:
    def mean_error(noise: float | list[float]) -> float:
        studies = [
            simulate_process(peak, noise=noise, nugget=0.0005, seed=seed, seeds=3)
            for seed in range(5)
        ]
        return float(np.mean([rms_deviation(study, peak) for study in studies]))

    assert mean_error([0.03, 0.03, 0.002]) < mean_error(0.03) / 4


def test_the_nugget_does_not_swallow_the_signal() -> None:
    for truth in (peak, cubic):
        process = simulate_process(truth, noise=0.001, nugget=0.0003, seed=4, order=4)
        assert np.median(process.nugget) < 0.001
        found = process.effect(GRID).mean(axis=0)
        slope_of_fit = np.polyfit(contrasts(truth), found, 1)[0]
        assert slope_of_fit == pytest.approx(1, abs=0.05)


def test_nugget_effects_are_told_from_noise_by_repeats() -> None:
    process = simulate_process(flat, noise=0.002, nugget=0.008, seed=5, seeds=4, order=4)
    assert np.median(process.noise) == pytest.approx(0.002, rel=0.25)
    assert np.median(process.nugget) == pytest.approx(0.008, rel=0.4)


def test_a_flat_truth_measured_well_is_a_tie_and_any_rule_may_be_best() -> None:
    assert conclusions(flat, noise=0.0015, nugget=0.0005, studies=10).count("tie") >= 9
    process = simulate_process(flat, noise=0.0015, nugget=0.0005, seed=0)
    assert assess(process.effect(GRID), reference=process.effect(PAPER)).area == 1


@pytest.mark.parametrize(("noise", "nugget"), [(0.005, 0.002), (0.016, 0.003)])
def test_a_flat_truth_is_hardly_ever_resolved(noise: float, nugget: float) -> None:
    assert conclusions(flat, noise=noise, nugget=nugget, studies=20).count("resolved") <= 1


def test_few_noisy_trainings_are_never_resolved() -> None:
    assert set(conclusions(peak, noise=0.016, nugget=0.003, studies=10, seeds=1)) == {"unresolved"}


def test_intervals_of_a_contrast_cover_the_truth_about_as_often_as_they_say() -> None:
    rule = np.array([0.5, 0.2, 0.3])
    expected = peak(rule, LARGEST) - peak(PAPER, LARGEST)
    covered = 0
    for seed in range(60):
        both = simulate_process(peak, noise=0.006, nugget=0.002, seed=seed).effect([rule, PAPER])
        found = summarize_contrast(both[:, 0] - both[:, 1])
        covered += found.low <= expected <= found.high
    assert 52 <= covered <= 60


def test_repeats_that_are_all_alike_are_no_obstacle() -> None:
    process = simulate_process(peak, noise=0.0, nugget=0.0005, seed=6, order=4)
    assert np.median(process.noise) < 5e-4
    assert rms_deviation(process, peak) < 0.001


def test_a_single_seed_at_a_single_budget_is_enough_for_a_fit() -> None:
    process = simulate_process(peak, noise=0.001, nugget=0.0, seed=7, seeds=1, budgets=[9.0])
    assert process.levels.shape == (1500, 1)
    assert np.isfinite(process.effect(GRID)).all()


def test_the_same_seed_gives_the_same_draws() -> None:
    first, second = (simulate_process(peak, noise=0.004, nugget=0.001, seed=6) for _ in range(2))
    np.testing.assert_array_equal(first.effect(PAPER), second.effect(PAPER))


def test_draws_are_of_one_function_whichever_rules_are_asked_for() -> None:
    process = simulate_process(peak, noise=0.004, nugget=0.001, seed=6)
    together = process.effect(GRID)
    np.testing.assert_allclose(process.effect(GRID[5]), together[:, 5:6], atol=1e-9)


def test_a_growth_outside_the_budgets_is_refused_for_levels_but_not_for_effects() -> None:
    process = simulate_process(flat, noise=0.002, nugget=0.001, seed=5)
    with pytest.raises(
        AnalysisError, match=r"log_macs_ratio=3.4 is outside the measured 1.1 to 2.48"
    ):
        process.draws(PAPER, log_macs_ratio=3.4)
    far, near = (
        process.effect([1, 0, 0], log_macs_ratio=L).std() for L in (LARGEST + 0.7, LARGEST)
    )
    assert far > near


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(AnalysisError, match=f"needs {NETWORKS_NEEDED} distinct networks"):
        fit_gaussian_process([], shares=[], log_macs_ratio=[], budget=[], network=[], seed=0)
