import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.errors import AnalysisError
from cmt_search.stats import Trainings, bootstrap_fit, unpack_bits
from cmt_search.stats.bootstrap import LinearFit, resample
from cmt_search.stats.noise import percentile_interval

DRAWS = 4000


def trainings(networks: int, *, seeds: int = 1, rungs: int = 1, **more: object) -> Trainings:
    rows = [(n, s) for n in range(networks) for s in range(seeds) for _ in range(rungs)]
    values = np.random.default_rng(0).uniform(size=len(rows))
    network, seed = zip(*rows, strict=True)
    return Trainings(**{"value": values, "network": network, "seed": seed, **more})


def on_images(correct: np.ndarray) -> Trainings:
    rows = range(len(correct))
    return Trainings(
        value=correct.mean(axis=1), network=rows, seed=[0] * len(rows), correct=correct
    )


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    return ((weights * values).sum(axis=1) / weights.sum(axis=1))[:, None]


def test_a_network_of_one_seed_weighs_as_an_exponential_variable() -> None:
    weights, _ = resample(trainings(3), draws=DRAWS, seed=0)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(weights.var(axis=0), 1, atol=0.15)
    np.testing.assert_allclose(np.corrcoef(weights.T), np.eye(3), atol=0.06)


def test_seeds_share_their_networks_weight_and_divide_it_anew() -> None:
    weights, _ = resample(trainings(2, seeds=2), draws=DRAWS, seed=1)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.08)
    # Exp(1) times twice a uniform variable: E w^2 = 2 * 4/3.
    np.testing.assert_allclose(weights.var(axis=0), 8 / 3 - 1, rtol=0.2)
    networks = weights.reshape(DRAWS, 2, 2).mean(axis=2)
    np.testing.assert_allclose(networks.var(axis=0), 1, rtol=0.15)
    assert abs(np.corrcoef(networks.T)[0, 1]) < 0.06
    assert not np.allclose(weights[:, 0], weights[:, 1])


def test_the_rungs_of_one_seed_have_one_weight() -> None:
    weights, _ = resample(trainings(2, seeds=2, rungs=3), draws=50, seed=2)
    by_seed = weights.reshape(50, 4, 3)
    np.testing.assert_allclose(by_seed, np.repeat(by_seed[:, :, :1], 3, axis=2))


def test_images_are_redrawn_once_for_all_networks() -> None:
    rng = np.random.default_rng(3)
    right = rng.uniform(size=800) < 0.7
    _, values = resample(on_images(np.stack([right, right, ~right])), draws=DRAWS, seed=3)
    np.testing.assert_array_equal(values[:, 0], values[:, 1])
    np.testing.assert_allclose(values[:, 0] + values[:, 2], 1)
    p = right.mean()
    np.testing.assert_allclose(values.mean(axis=0), [p, p, 1 - p], atol=0.002)
    np.testing.assert_allclose(values.std(axis=0), np.sqrt(p * (1 - p) / 800), rtol=0.06)


def test_what_networks_share_on_images_cancels_in_their_difference() -> None:
    rng = np.random.default_rng(4)
    right = rng.uniform(size=2000) < 0.6
    flips = rng.uniform(size=2000) < 0.02
    _, values = resample(on_images(np.stack([right, right ^ flips])), draws=500, seed=4)
    assert (values[:, 0] - values[:, 1]).std() < 0.4 * values[:, 0].std()


def test_without_images_values_stay() -> None:
    data = trainings(5)
    _, values = resample(data, draws=3, seed=0)
    np.testing.assert_array_equal(values, np.tile(data.value, (3, 1)))


def test_values_are_not_bootstrapped_on_the_images_of_others() -> None:
    with pytest.raises(AnalysisError, match=r"not the accuracies on the images.*correct=None"):
        trainings(2, correct=np.ones((2, 8), dtype=bool))


@given(st.lists(st.lists(st.booleans(), min_size=11, max_size=11), min_size=1, max_size=4))
def test_bits_survive_packing(rows: list[list[bool]]) -> None:
    packed = [np.packbits(row).tobytes() for row in rows]
    np.testing.assert_array_equal(unpack_bits(packed, images=[11] * len(rows)), rows)


@pytest.mark.parametrize(
    ("correct", "images"),
    [([b"ab", b"a"], [16, 8]), ([b"ab", b""], [16, 16]), ([], []), ([b""], [0])],
)
def test_measurements_that_do_not_share_their_images_have_no_bits(
    correct: list[bytes], images: list[int]
) -> None:
    assert unpack_bits(correct, images=images) is None


def test_failed_fits_are_counted_and_left_out() -> None:
    def fails_for_one_in_ten(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = mean(weights, values)
        found[9::10] = np.nan
        return found

    found = bootstrap_fit(fails_for_one_in_ten, trainings(30), draws=200, seed=0)
    assert found.failed == 20
    assert found.draws.shape == (180, 1)
    assert np.isfinite(found.draws).all()


def test_too_many_failed_fits_are_an_error() -> None:
    def fails_for_one_in_three(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = mean(weights, values)
        found[2::3] = np.nan
        return found

    with pytest.raises(AnalysisError, match="fails on 33 of 100 resamples, more than 20%"):
        bootstrap_fit(fails_for_one_in_three, trainings(30), draws=100, seed=0)


def test_a_fit_that_fails_on_the_data_is_an_error() -> None:
    with pytest.raises(AnalysisError, match="fails on the data themselves; measure more networks"):
        bootstrap_fit(lambda w, _: np.full((len(w), 1), np.nan), trainings(3), draws=10, seed=0)


def test_the_same_seed_gives_the_same_bootstrap() -> None:
    first, again, other = (bootstrap_fit(mean, trainings(9), draws=20, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.draws, again.draws)
    assert not np.array_equal(first.draws, other.draws)


@pytest.mark.parametrize(("seeds", "least", "most"), [(1, 85, 99), (3, 93, 100)])
def test_intervals_of_a_mean_cover_it_about_as_often_as_they_say(
    seeds: int, least: int, most: int
) -> None:
    covered = 0
    for study in range(100):
        rng = np.random.default_rng(study)
        value = np.repeat(rng.normal(0, 1, 15), seeds) + rng.normal(0, 1, 15 * seeds)
        network = np.repeat(np.arange(15), seeds).tolist()
        data = Trainings(value=value, network=network, seed=range(len(value)))
        found = bootstrap_fit(mean, data, draws=300, seed=study)
        low, high = percentile_interval(found.draws[:, 0])
        covered += low <= 0 <= high
    assert least <= covered <= most


def test_intervals_of_many_coefficients_are_not_narrowed_by_fitting_them() -> None:
    covered = 0
    for study in range(100):
        rng = np.random.default_rng(study)
        design = rng.normal(size=(16, 8))
        fit = LinearFit.from_design(design, network=range(16))
        data = Trainings(value=rng.normal(size=16), network=range(16), seed=[0] * 16)
        found = bootstrap_fit(fit, data, draws=200, seed=study)
        low, high = percentile_interval(found.draws)
        covered += int(((low <= 0) & (high >= 0)).sum())
    assert 0.88 <= covered / 800 <= 0.98


def test_a_linear_fit_to_the_data_is_ordinary_least_squares() -> None:
    rng = np.random.default_rng(7)
    design, values = rng.normal(size=(12, 3)) * [1, 1e-3, 1e3], rng.normal(size=12)
    found = LinearFit.from_design(design, network=range(12))(np.ones((1, 12)), values[None])
    np.testing.assert_allclose(found[0], np.linalg.lstsq(design, values, rcond=None)[0])
