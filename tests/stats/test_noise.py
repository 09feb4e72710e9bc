import numpy as np
import pytest
from scipy.stats import chi2

from cmt_search.stats.noise import pooled_noise, relative_noise


def test_noise_is_the_pooled_standard_deviation_within_groups() -> None:
    a, b = [0.70, 0.72, 0.71], [0.60, 0.64]
    noise = pooled_noise([*a, *b, 0.9], groups=[*"aaabbc"])
    assert noise is not None
    expected = np.sqrt((2 * np.var(a, ddof=1) + np.var(b, ddof=1)) / 3)
    assert noise.sd == pytest.approx(expected)
    assert noise.dof == 3


def test_the_interval_of_the_noise_is_the_chi_square_one() -> None:
    noise = pooled_noise([0.0, 1.0, 3.0], groups=["a"] * 3)
    assert noise is not None
    assert noise.low == pytest.approx(noise.sd * np.sqrt(2 / chi2.ppf(0.975, 2)))
    assert noise.high == pytest.approx(noise.sd * np.sqrt(2 / chi2.ppf(0.025, 2)))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.6]])
def test_there_is_no_noise_without_a_repeat(values: list[float]) -> None:
    assert pooled_noise(values, groups=list(range(len(values)))) is None


def test_a_rung_without_repeats_has_the_pooled_noise() -> None:
    assert relative_noise([4.0, 0.0], dof=[4, 0]).tolist() == [1, 1]


def test_a_rung_with_many_repeats_has_its_own_noise_and_one_with_few_is_shrunk() -> None:
    # Variances 1 and 4 in both; their pool is 2.5.
    many = relative_noise([1e4, 4e4], dof=[1e4, 1e4])
    np.testing.assert_allclose(many, np.sqrt([1 / 2.5, 4 / 2.5]), rtol=1e-3)
    few = relative_noise([1.0, 4.0], dof=[1, 1])
    np.testing.assert_allclose(few, np.sqrt([(4 + 1 / 2.5) / 5, (4 + 4 / 2.5) / 5]))


def test_alike_repeats_say_nothing_of_how_rungs_differ() -> None:
    assert relative_noise([0.0, 0.0, 0.0], dof=[3, 2, 0]).tolist() == [1, 1, 1]
