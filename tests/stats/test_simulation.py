"""Power of designs, and coverage of the equivalence set, by simulated studies."""

import numpy as np
import pytest

from cmt_search.stats import (
    SMALLEST_EFFECT,
    Coverage,
    predict_standard_error,
    simplex_grid,
    simulate_coverage,
    sufficient_seeds,
)
from cmt_search.stats.simulation import NOMINAL, simulate_outcomes
from tests.stats.simulation import flat, simulate_process

RULES = simplex_grid(8)


def covered(process, *, n: int = 60, seed: int = 0) -> Coverage:
    return simulate_coverage(process, rules=RULES, seed=seed, n_simulations=n)


@pytest.fixture(scope="module")
def noisy() -> Coverage:
    design = {"order": 2, "seeds": 1, "budgets": (4.0, 9.0)}
    return covered(simulate_process(flat, noise=0.016, nugget=0.003, seed=1, **design))


@pytest.fixture(scope="module")
def precise() -> Coverage:
    return covered(simulate_process(flat, noise=0.001, nugget=0.0003, seed=1))


def test_a_set_that_covers_too_little_is_widened_until_it_does(noisy: Coverage) -> None:
    assert noisy.widened
    assert noisy.margin > SMALLEST_EFFECT
    assert min(noisy.fit, noisy.null) >= NOMINAL
    # and no further: the binding one of the two is at the nominal coverage
    assert min(noisy.fit, noisy.null) < NOMINAL + 0.03


def test_a_set_that_covers_enough_is_left_alone(precise: Coverage) -> None:
    assert not precise.widened
    assert precise.margin == SMALLEST_EFFECT
    assert min(precise.fit, precise.null) >= 0.95


def test_the_same_seed_gives_the_same_coverage_and_another_seed_another() -> None:
    process = simulate_process(flat, noise=0.01, nugget=0.002, seed=3, order=2)
    first, again, other = (covered(process, n=20, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_simulated_studies_have_the_noise_of_the_fit() -> None:
    process = simulate_process(flat, noise=[0.02, 0.01, 0.005], nugget=0.004, seed=4, seeds=3)
    design, row = process.model.design, np.full(3000, 7)
    truth = np.tile(np.linspace(0, 1, len(design.count)), (3000, 1))
    mean, within = simulate_outcomes(process, truth=truth, row=row, rng=np.random.default_rng(0))
    seeds = process.noise[7] * process.model.relative_noise
    expected = np.sqrt(seeds[design.level] ** 2 / 3 + process.nugget[7] ** 2)
    np.testing.assert_allclose(mean.mean(axis=1), truth[0], atol=5 * expected.max() / 3000**0.5)
    np.testing.assert_allclose(mean.std(axis=1), expected, rtol=0.06)
    np.testing.assert_allclose(within.mean(axis=1), design.dof * seeds**2, rtol=0.03)


def test_a_study_without_repeats_is_simulated_without_them() -> None:
    process = simulate_process(flat, noise=0.005, nugget=0.001, seed=5, seeds=1)
    row = np.arange(10)
    truth = np.zeros((10, len(process.model.design.count)))
    _, within = simulate_outcomes(process, truth=truth, row=row, rng=np.random.default_rng(0))
    assert not within.any()


def plan(*, seeds: int, seed_sd: float = 0.01, steps: int = 3) -> float:
    shares = simplex_grid(steps)
    log_macs_ratio = np.repeat([np.log(4.0), np.log(9.0)], len(shares))
    return predict_standard_error(
        shares=np.vstack([shares, shares]),
        log_macs_ratio=log_macs_ratio,
        budget=np.exp(log_macs_ratio) * 1e6,
        network=list(range(len(log_macs_ratio))),
        paper=(0.2, 0.5, 0.3),
        seed_sd=seed_sd,
        seeds=seeds,
        seed=0,
    )


def test_more_seeds_and_less_noise_find_smaller_differences() -> None:
    error = plan(seeds=1)
    assert plan(seeds=16) < 0.6 * error
    assert plan(seeds=1, seed_sd=0.002) < 0.6 * error


def test_more_rules_find_smaller_differences() -> None:
    assert plan(seeds=1, steps=6) < plan(seeds=1, steps=3)


def test_the_fewest_seeds_that_suffice_are_named_or_none() -> None:
    errors = {1: 0.01, 4: 0.003, 8: 0.002}
    assert sufficient_seeds(errors, difference=0.01) == 4
    assert sufficient_seeds(errors, difference=2.8 * 0.0029) == 8
    assert sufficient_seeds(errors, difference=0.001) is None
