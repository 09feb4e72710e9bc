import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.stats import (
    SMALLEST_EFFECT,
    Conclusion,
    GradientTest,
    assess,
    equivalence_set,
    simplex_grid,
    simultaneous_contrasts,
    summarize_contrast,
)
from cmt_search.stats.equivalence import Assessment, required_margin
from tests.stats.simulation import LARGEST, PAPER, flat, simulate_process, slope

GRID = simplex_grid(15)


def test_the_grid_holds_every_multiple_and_sums_to_one() -> None:
    grid = simplex_grid(4)
    assert grid.shape == (15, 3)
    np.testing.assert_allclose(grid.sum(axis=1), 1)
    assert len({tuple(row) for row in grid.tolist()}) == 15
    assert grid.min() == 0


def test_the_equivalence_set_holds_what_is_near_the_best_in_a_twentieth_of_the_draws() -> None:
    draws = np.zeros((100, 3))
    draws[:, 0] = SMALLEST_EFFECT * 1.1  # the best everywhere
    draws[:5, 1] = SMALLEST_EFFECT  # near it in 5 draws of 100
    draws[:4, 2] = SMALLEST_EFFECT  # near it in 4
    assert equivalence_set(draws).tolist() == [True, True, False]


@given(seed=st.integers(0, 1000), draws=st.integers(20, 130), margin=st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_a_rule_is_in_the_set_when_its_probability_is_a_twentieth_or_more(
    seed: int, draws: int, margin: float
) -> None:
    values = np.random.default_rng(seed).normal(size=(draws, 7))
    regret = values.max(axis=1, keepdims=True) - values
    expected = (regret <= margin).mean(axis=0) >= 0.05 - 1e-12
    assert equivalence_set(values, margin=margin).tolist() == expected.tolist()


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_rule_enters_the_set_at_its_required_margin(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(100, 7))
    for i, needed in enumerate(required_margin(values)):
        assert equivalence_set(values, margin=needed)[i]
        assert needed == 0 or not equivalence_set(values, margin=np.nextafter(needed, 0))[i]


@pytest.mark.parametrize(
    ("area", "error", "p_flat", "conclusion"),
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
def test_the_conclusion_follows_from_area_error_and_p(
    area: float, error: float, p_flat: float, conclusion: Conclusion
) -> None:
    assessment = Assessment(
        best=0,
        error=error,
        p_flat=p_flat,
        required_margin=np.where(np.arange(1000) < round(1000 * area), 0.0, 1.0),
        margin=SMALLEST_EFFECT,
    )
    assert assessment.area == pytest.approx(area, abs=1e-3)
    assert assessment.status == conclusion


@pytest.mark.parametrize("studies", [20, pytest.param(40, marks=pytest.mark.slow)])
def test_the_interval_of_a_selected_winner_holds_although_it_was_selected(studies: int) -> None:
    held = naive = 0
    for seed in range(studies):
        surface = simulate_process(flat, noise=0.008, nugget=0.002, seed=seed)
        to_paper = surface.effect(GRID) - surface.effect(PAPER)
        winner = int(to_paper.mean(axis=0).argmax())
        wide, narrow = (
            simultaneous_contrasts(to_paper, indices=[winner])[0],
            summarize_contrast(to_paper[:, winner]),
        )
        assert wide.mean == pytest.approx(narrow.mean)
        assert wide.high - wide.low > narrow.high - narrow.low
        held += wide.low <= 0 <= wide.high
        naive += wide.mean > 0
    assert held >= 0.95 * studies
    assert naive == studies  # the winner always looks better than the paper's rule


def test_the_reference_less_itself_is_exactly_nothing() -> None:
    draws = np.random.default_rng(0).normal(size=(500, 3))
    draws[:, 1] = 0
    found = simultaneous_contrasts(draws, indices=[1])[0]
    assert (found.mean, found.se, found.low, found.high) == (0, 0, 0, 0)


def test_an_unbalanced_base_is_found_with_its_leading_dimension() -> None:
    found = GradientTest.from_draws(
        simulate_process(slope, noise=0.001, nugget=0.0003, seed=7).derivatives()[0]
    )
    assert found.unbalanced
    assert found.leader == 1
    assert sum(found.gains.values) == pytest.approx(0)
    assert found.gains.low[1] < 0.04 * 2 / 3 < found.gains.high[1]


@pytest.mark.parametrize("studies", [12, pytest.param(20, marks=pytest.mark.slow)])
def test_a_balanced_base_is_hardly_ever_called_unbalanced(studies: int) -> None:
    processes = [
        simulate_process(peak_from_balance, noise=0.003, nugget=0.001, seed=seed)
        for seed in range(studies)
    ]
    found = [GradientTest.from_draws(process.derivatives()[0]) for process in processes]
    assert sum(one.unbalanced for one in found) <= 1


def peak_from_balance(shares: np.ndarray, log_macs_ratio: float) -> float:
    # Second order alone: the gradient at the base is the same along every dimension.
    quadratic = shares[0] * shares[1] + shares[1] * shares[2] + shares[0] * shares[2]
    return flat(shares, log_macs_ratio) + 0.1 * (log_macs_ratio / LARGEST) ** 2 * float(quadratic)


RNG = np.random.default_rng(0)
TRUTH = np.array([0.0, -0.002, -0.01, -0.02])
EFFECT = TRUTH + RNG.normal(0, 0.001, (4000, 4))
REFERENCE = RNG.normal(-0.005, 0.001, (4000, 1))


def test_the_set_and_the_best_are_those_of_the_draws() -> None:
    found = assess(EFFECT, reference=REFERENCE)
    assert found.best == 0
    assert found.equivalent.tolist() == equivalence_set(EFFECT).tolist() == [1, 1, 0, 0]
    assert found.area == 0.5


def test_the_error_is_that_of_contrasts_to_the_reference() -> None:
    found = assess(EFFECT, reference=REFERENCE)
    assert found.error == pytest.approx(0.001 * np.sqrt(2), rel=0.05)
    assert found.detectable == pytest.approx(2.8 * found.error)
    assert found.status == "resolved"


def test_the_bests_own_error_counts_where_it_is_larger() -> None:
    wide = EFFECT.copy()
    wide[:, 0] += RNG.normal(0, 0.01, 4000)
    assert assess(wide, reference=REFERENCE).error == pytest.approx(0.01, rel=0.05)
    assert assess(wide, reference=REFERENCE).status == "unresolved"


def test_a_larger_margin_holds_more_rules() -> None:
    wide = assess(EFFECT, reference=REFERENCE, margin=0.0105)
    assert wide.equivalent.tolist() == [1, 1, 1, 0]
    assert wide.margin == 0.0105
    assert assess(EFFECT, reference=REFERENCE).margin == SMALLEST_EFFECT


def test_rules_that_are_all_within_the_smallest_effect_are_a_tie() -> None:
    found = assess(0.05 * EFFECT, reference=0.05 * REFERENCE)
    assert (found.status, found.area) == ("tie", 1.0)
