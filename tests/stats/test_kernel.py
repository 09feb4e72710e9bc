import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.stats import simplex_grid
from cmt_search.stats.kernel import BEYOND, build_basis, covariance

LENGTHS = (0.25, 0.5, 1.0, 4.0)
BUDGETS = (0.45, 0.7, 1.0)
CENTROID = np.full((1, 3), 1 / 3)


def points(seed: int, count: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 3))


@given(seed=st.integers(0, 1000), length=st.floats(0.25, 4))
@settings(max_examples=30, deadline=None)
def test_the_kernel_is_a_stationary_one_given_no_value_and_no_slope_at_the_base(
    seed: int, length: float
) -> None:
    x = points(seed)
    squares = np.sum((x[:, None] - x[None]) ** 2, axis=2)
    stationary = np.exp(-squares / (2 * length**2))
    fade = np.exp(-np.sum(x**2, axis=1) / (2 * length**2))[:, None]
    with_base = np.hstack([fade, fade * x / length**2])  # with g(0), and with its gradient
    of_base = np.diag([1, *[length**-2] * 3])
    expected = stationary - with_base @ np.linalg.solve(of_base, with_base.T)
    np.testing.assert_allclose(covariance(x, x, length=length), expected, atol=1e-12)


def test_a_long_length_is_the_quadratic() -> None:
    x = points(3)
    quadratic = (x @ x.T) ** 2
    found = covariance(x, x, length=60.0)
    np.testing.assert_allclose(found / found[0, 0], quadratic / quadratic[0, 0], rtol=1e-3)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_reduced_basis_has_the_covariance_of_the_full_one(length: float) -> None:
    functions = build_basis(length=length, u=BUDGETS)
    shares = simplex_grid(11)  # not the lattice that anchors come from
    for u in (*BUDGETS, BEYOND):
        kernels = functions.columns(shares, u=u)[:, 3:]
        x, centre = u * shares, u * CENTROID
        full = (
            covariance(x, x, length=length)
            - covariance(x, centre, length=length)
            - covariance(centre, x, length=length)
            + covariance(centre, centre, length=length)
        )
        left_out = (full / _effects(length) - kernels @ kernels.T).diagonal()
        assert left_out.min() > -1e-9
        assert np.sqrt(left_out.mean()) <= (0.02 if u <= 1 else 0.05)
        assert np.sqrt(left_out.max()) <= (0.04 if u <= 1 else 0.07)


def _effects(length: float) -> float:
    grid = simplex_grid(8)
    spread = covariance(grid, grid, length=length).diagonal()
    middle = covariance(grid, CENTROID, length=length)[:, 0]
    return float(np.mean(spread - 2 * middle) + covariance(CENTROID, CENTROID, length=length)[0, 0])


@pytest.mark.parametrize("length", LENGTHS)
def test_both_parts_have_a_root_mean_square_of_one_over_the_triangle(length: float) -> None:
    columns = build_basis(length=length, u=BUDGETS).columns(simplex_grid(40), u=1.0)
    for part in (columns[:, :3], columns[:, 3:]):
        assert np.sqrt(np.mean(np.sum(part**2, axis=1))) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("length", LENGTHS)
def test_effects_vanish_at_the_base_and_at_the_centroid(length: float) -> None:
    functions = build_basis(length=length, u=BUDGETS)
    np.testing.assert_allclose(functions.columns(simplex_grid(4), u=0.0), 0, atol=1e-12)
    np.testing.assert_allclose(functions.columns(CENTROID, u=1.0), 0, atol=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
def test_derivatives_at_the_base_are_those_of_the_functions(length: float) -> None:
    functions = build_basis(length=length, u=BUDGETS)
    shares, u = simplex_grid(3), 1e-3 * length
    v, A = np.split(functions.derivatives(), [3], axis=1)
    twice = np.array([1, 1, 1, 2, 2, 2])
    pairs = shares[:, [0, 1, 2, 0, 0, 1]] * shares[:, [0, 1, 2, 1, 2, 2]] * twice
    expected = u * (shares - 1 / 3) @ v.T + u**2 * (pairs - twice / 9) @ A.T
    found = functions.columns(shares, u=u)
    np.testing.assert_allclose(found[:, :3], expected[:, :3], atol=1e-12)
    np.testing.assert_allclose(
        found[:, 3:], expected[:, 3:], atol=0.01 * np.abs(expected[:, 3:]).max()
    )
