import numpy as np
import pytest

from cmt_search.errors import AnalysisError
from cmt_search.stats import contrast, fit_surface, simplex_grid
from tests.stats.simulation import LARGEST, PAPER, flat, peak, simulate, slope


@pytest.mark.parametrize("truth", [flat, peak, slope])
def test_the_surface_recovers_the_truth_at_every_budget(truth) -> None:
    surface = simulate(truth, noise=0.0005, lattice=0.0002, seed=1)
    grid = simplex_grid(6)
    for times in (3.0, 6.0, 12.0):
        L = float(np.log(times))
        predicted = surface.draws(grid, growth=L).mean(axis=0)
        expected = [truth(point, L) for point in grid]
        np.testing.assert_allclose(predicted, expected, atol=0.0025)


def test_first_order_gains_are_recovered_up_to_their_common_part() -> None:
    surface = simulate(slope, noise=0.0005, lattice=0.0002, seed=2)
    gains = surface.first - surface.first.mean(axis=1, keepdims=True)
    expected = 0.04 * (np.array([0, 1, 0]) - 1 / 3)
    np.testing.assert_allclose(gains.mean(axis=0), expected, atol=3 * gains.std(axis=0).max())
    assert gains.std(axis=0).max() < 0.006


def test_noise_and_lattice_effects_are_told_apart_by_repeats() -> None:
    surface = simulate(flat, noise=0.010, lattice=0.002, seed=3, seeds=5)
    assert np.median(surface.noise) == pytest.approx(0.010, rel=0.2)
    assert np.median(surface.lattice) < 0.006


def test_a_level_between_two_budgets_lies_between_theirs() -> None:
    surface = simulate(flat, noise=0.0005, lattice=0.0002, seed=4)
    middle = surface.draws(PAPER, growth=float(np.log(4.0))).mean()
    assert flat(PAPER, np.log(3.0)) < middle < flat(PAPER, np.log(6.0))


def test_a_growth_outside_the_budgets_is_refused() -> None:
    surface = simulate(flat, noise=0.002, lattice=0.001, seed=5)
    with pytest.raises(AnalysisError, match=r"growth=3.4 is outside the measured 1.1 to 2.48"):
        surface.draws(PAPER, growth=3.4)


def test_the_same_seed_gives_the_same_draws() -> None:
    first, second = (simulate(peak, noise=0.004, lattice=0.001, seed=6) for _ in range(2))
    np.testing.assert_array_equal(first.effect(PAPER), second.effect(PAPER))


def test_intervals_of_a_contrast_cover_the_truth_about_as_often_as_they_say() -> None:
    rule = np.array([0.5, 0.2, 0.3])
    expected = peak(rule, LARGEST) - peak(PAPER, LARGEST)
    covered = 0
    for seed in range(100):
        surface = simulate(peak, noise=0.006, lattice=0.002, seed=seed)
        both = surface.effect([rule, PAPER])
        found = contrast(both[:, 0] - both[:, 1])
        covered += found.low <= expected <= found.high
    assert 88 <= covered <= 100


def test_too_few_networks_are_refused_with_how_many_trials_are_missing() -> None:
    shares = simplex_grid(2)[:4]
    with pytest.raises(AnalysisError, match=r"largest budget \(12 MACs\).*holds 4; run at least 2"):
        fit_surface(
            [0.5] * 4,
            shares=shares,
            growth=[2.4] * 4,
            budget=[12.0] * 4,
            network=[*"abcd"],
            seed=0,
        )


def test_an_empty_study_is_refused() -> None:
    with pytest.raises(AnalysisError, match="the study holds 0; run at least 6 more trials"):
        fit_surface([], shares=[], growth=[], budget=[], network=[], seed=0)


def test_a_network_as_small_as_the_base_is_refused() -> None:
    with pytest.raises(AnalysisError, match=r"no larger than the base.*use budgets above"):
        fit_surface(
            [0.5] * 6,
            shares=simplex_grid(2),
            growth=[0.0] * 6,
            budget=[1.0] * 6,
            network=[*"abcdef"],
            seed=0,
        )
