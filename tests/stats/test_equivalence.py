import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.stats import (
    EPS,
    Surface,
    Word,
    balance,
    contrast,
    equivalence_set,
    flatness,
    needed_eps,
    selected_contrasts,
    simplex_grid,
    typical_error,
    verdict_word,
    within_eps,
)
from tests.stats.simulation import LARGEST, PAPER, Truth, flat, peak, simulate, slope

GRID = simplex_grid(15)


def judged(surface: Surface) -> Word:
    effect = surface.effect(GRID)
    to_paper = effect - surface.effect(PAPER)
    winner = int(effect.mean(axis=0).argmax())
    return verdict_word(
        coverage=float(equivalence_set(effect).mean()),
        error=max(typical_error(to_paper), float(to_paper[:, winner].std())),
        flat=flatness(effect),
    )


def words(truth: Truth, *, noise: float, lattice: float, seeds: int, studies: int) -> list[Word]:
    return [
        judged(simulate(truth, noise=noise, lattice=lattice, seeds=seeds, seed=100 + seed))
        for seed in range(studies)
    ]


def test_the_grid_holds_every_multiple_and_sums_to_one() -> None:
    grid = simplex_grid(4)
    assert grid.shape == (15, 3)
    np.testing.assert_allclose(grid.sum(axis=1), 1)
    assert len({tuple(row) for row in grid.tolist()}) == 15
    assert grid.min() == 0


def test_the_equivalence_set_holds_what_is_near_the_best_in_a_twentieth_of_the_draws() -> None:
    draws = np.zeros((100, 3))
    draws[:, 0] = EPS * 1.1  # the best everywhere
    draws[:5, 1] = EPS  # near it in 5 draws of 100
    draws[:4, 2] = EPS  # near it in 4
    assert equivalence_set(draws).tolist() == [True, True, False]


@given(seed=st.integers(0, 1000), draws=st.integers(20, 130), eps=st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_a_rule_is_in_the_set_when_its_probability_is_a_twentieth_or_more(
    seed: int, draws: int, eps: float
) -> None:
    values = np.random.default_rng(seed).normal(size=(draws, 7))
    expected = within_eps(values, eps=eps) >= 0.05 - 1e-12
    assert equivalence_set(values, eps=eps).tolist() == expected.tolist()


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_rule_enters_the_set_at_the_eps_that_it_needs(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(100, 7))
    for i, needed in enumerate(needed_eps(values)):
        assert equivalence_set(values, eps=needed)[i]
        assert needed == 0 or not equivalence_set(values, eps=np.nextafter(needed, 0))[i]


@pytest.mark.parametrize(
    ("coverage", "error", "flat", "word"),
    [
        (0.95, 0.001, 0.5, "tie"),
        (0.80, 0.003, 0.0001, "tie"),
        (0.20, 0.001, 0.001, "resolved"),
        (0.20, 0.001, 0.2, "unresolved"),  # a small set, and yet no rule shown to differ
        (0.20, 0.0031, 0.001, "unresolved"),
        (0.95, 0.0031, 0.5, "unresolved"),  # noise is no proof of equality
        (0.95, float("nan"), 0.5, "unresolved"),
    ],
)
def test_the_word_follows_from_coverage_error_and_flatness(
    coverage: float, error: float, flat: float, word: Word
) -> None:
    assert verdict_word(coverage=coverage, error=error, flat=flat) == word


@pytest.mark.parametrize(("noise", "lattice"), [(0.005, 0.002), (0.003, 0.003), (0.016, 0.003)])
def test_a_flat_truth_is_hardly_ever_resolved(noise: float, lattice: float) -> None:
    found = words(flat, noise=noise, lattice=lattice, seeds=2, studies=20)
    assert found.count("resolved") <= 1


def test_a_flat_truth_measured_well_is_a_tie() -> None:
    assert words(flat, noise=0.0015, lattice=0.0005, seeds=2, studies=10).count("tie") >= 9


def test_few_noisy_trainings_are_never_resolved() -> None:
    assert set(words(peak, noise=0.016, lattice=0.003, seeds=1, studies=15)) == {"unresolved"}


def test_a_strong_truth_with_little_noise_is_resolved_near_its_optimum() -> None:
    for seed in range(10):
        surface = simulate(peak, noise=0.002, lattice=0.0005, seed=seed)
        best = GRID[surface.effect(GRID).mean(axis=0).argmax()]
        assert judged(surface) == "resolved"
        assert np.abs(best - [0.6, 0.2, 0.2]).max() <= 0.1


def test_the_interval_of_a_selected_winner_holds_although_it_was_selected() -> None:
    held = naive = 0
    for seed in range(40):
        surface = simulate(flat, noise=0.008, lattice=0.002, seed=seed)
        to_paper = surface.effect(GRID) - surface.effect(PAPER)
        winner = int(to_paper.mean(axis=0).argmax())
        wide, narrow = (
            selected_contrasts(to_paper, indices=[winner])[0],
            contrast(to_paper[:, winner]),
        )
        assert wide.mean == pytest.approx(narrow.mean)
        assert wide.high - wide.low > narrow.high - narrow.low
        held += wide.low <= 0 <= wide.high
        naive += wide.mean > 0
    assert held >= 38
    assert naive == 40  # the winner always looks better than the paper's rule


def test_the_reference_less_itself_is_exactly_nothing() -> None:
    draws = np.random.default_rng(0).normal(size=(500, 3))
    draws[:, 1] = 0
    found = selected_contrasts(draws, indices=[1])[0]
    assert (found.mean, found.se, found.low, found.high) == (0, 0, 0, 0)


def test_an_unbalanced_base_is_found_with_its_leading_dimension() -> None:
    found = balance(simulate(slope, noise=0.001, lattice=0.0003, seed=7).first)
    assert found.unbalanced
    assert found.leader == 1
    assert sum(found.gains) == pytest.approx(0)
    assert found.low[1] < 0.04 * 2 / 3 < found.high[1]


def test_a_balanced_base_is_hardly_ever_called_unbalanced() -> None:
    found = [
        balance(simulate(peak_from_balance, noise=0.003, lattice=0.001, seed=seed).first)
        for seed in range(20)
    ]
    assert sum(one.unbalanced for one in found) <= 1


def peak_from_balance(shares: np.ndarray, growth: float) -> float:
    # Second order alone: the gradient at the base is the same along every dimension.
    quadratic = shares[0] * shares[1] + shares[1] * shares[2] + shares[0] * shares[2]
    return flat(shares, growth) + 0.1 * (growth / LARGEST) ** 2 * float(quadratic)
