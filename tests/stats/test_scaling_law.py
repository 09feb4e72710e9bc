"""Laws of accuracy and of the best learning rate, on data whose truth is known."""

import numpy as np
import pytest

from cmt_search.errors import AnalysisError
from cmt_search.stats import Trainings, find_best_lr, fit_accuracy_law, fit_lr_scaling
from cmt_search.stats.noise import percentile_interval
from cmt_search.stats.scaling_law import BestLr

SIZES = np.geomspace(1e6, 3e7, 6)


def truth(macs: np.ndarray | float) -> np.ndarray:
    return 0.8 - 0.3 * (np.asarray(macs) / 1e6) ** -0.4


def family(seed: int, *, noise: float, nugget: float = 0.0, seeds: int = 2) -> Trainings:
    rng = np.random.default_rng(seed)
    network = np.repeat(np.arange(len(SIZES)), seeds)
    value = truth(SIZES) + rng.normal(0, nugget, len(SIZES))
    value = value[network] + rng.normal(0, noise, len(network))
    return Trainings(value=value, network=network.tolist(), seed=range(len(value)))


def test_the_law_is_recovered_from_noiseless_data() -> None:
    law = fit_accuracy_law(family(0, noise=0), macs=np.repeat(SIZES, 2), seed=0, draws=20)
    assert law.floor == pytest.approx(0.2, abs=0.01)
    assert law.power == pytest.approx(0.4, rel=0.03)
    assert law.scale == pytest.approx(0.3 * (law.unit / 1e6) ** -0.4, rel=0.05)
    for macs in (1e6, 1e8):
        assert law.predict(macs).value == pytest.approx(float(truth(macs)), abs=0.003)


def test_intervals_hold_the_curve_and_a_further_network_about_as_often_as_they_say() -> None:
    curve = further = power = 0
    for study in range(60):
        data = family(study, noise=0.004, nugget=0.002)
        law = fit_accuracy_law(data, macs=np.repeat(SIZES, 2), seed=study, draws=150)
        found = law.predict(6e7)
        drawn = truth(6e7) + np.random.default_rng(1000 + study).normal(0, np.hypot(0.004, 0.002))
        curve += found.low <= truth(6e7) <= found.high
        further += found.next_low <= drawn <= found.next_high
        low, high = percentile_interval(law.draws[:, 2])
        power += low <= 0.4 <= high
    assert 50 <= curve <= 60
    assert 50 <= further <= 60
    assert 50 <= power <= 60


def test_a_further_training_is_less_certain_than_the_curve_and_the_far_than_the_near() -> None:
    law = fit_accuracy_law(family(3, noise=0.004), macs=np.repeat(SIZES, 2), seed=3, draws=300)
    near, far = law.predict(5e6), law.predict(3e8)
    for one in (near, far):
        assert one.next_low < one.low < one.value < one.high < one.next_high
    assert far.high - far.low > 2 * (near.high - near.low)


def test_accuracy_is_never_predicted_above_one() -> None:
    value = 1 - 0.1 * (SIZES / 1e6) ** -0.9
    data = Trainings(value=value, network=range(6), seed=[0] * 6)
    found = fit_accuracy_law(data, macs=SIZES, seed=0, draws=50).predict(1e12)
    assert found.next_high <= 1
    assert found.value == pytest.approx(1, abs=0.01)


def test_accuracy_that_does_not_grow_is_a_level() -> None:
    data = Trainings(value=0.6 - 0.01 * np.log(SIZES / 1e6), network=range(6), seed=[0] * 6)
    law = fit_accuracy_law(data, macs=SIZES, seed=0, draws=50)
    assert law.scale == 0
    assert law.predict(1e9).value == pytest.approx(data.value.mean())


def test_three_sizes_are_refused() -> None:
    data = Trainings(value=np.array([0.5, 0.6, 0.7, 0.7]), network=range(4), seed=[0] * 4)
    with pytest.raises(AnalysisError, match="needs 4 sizes of network, and the family has 3"):
        fit_accuracy_law(data, macs=[1e6, 2e6, 4e6, 4e6], seed=0)


@pytest.mark.parametrize("top", [0.7, 1.0, 1.6])
def test_the_best_rate_lies_at_the_top_of_the_parabola(top: float) -> None:
    factors = np.array([2.0, 0.5, 1.0])
    values = 0.8 - 0.05 * (np.log(factors) - np.log(top)) ** 2
    found = find_best_lr(values, factors=factors)
    assert found.factor == pytest.approx(top, rel=0.02)
    assert not found.at_edge


def test_a_best_rate_at_an_end_is_flagged() -> None:
    assert find_best_lr([0.5, 0.6, 0.7], factors=[0.5, 1, 2]) == BestLr(factor=2.0, at_edge=True)


def test_the_law_of_rates_recovers_its_slopes() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 3))
    rates = [
        BestLr(factor=float(np.exp(value)), at_edge=i == 0)
        for i, value in enumerate(0.1 + x @ [-0.3, -0.8, 0.05] + 0.01 * rng.normal(size=12))
    ]
    found = fit_lr_scaling(rates, x=x)
    assert found.slope.values == pytest.approx((-0.3, -0.8, 0.05), abs=0.02)
    assert found.level == pytest.approx(0.1, abs=0.02)
    assert found.slope.high[1] < 0 < found.slope.high[2]
    assert (found.edges, found.networks) == (1, 12)
    assert found.p_value < 1e-6


def test_a_law_of_rates_needs_more_networks_than_it_has_terms() -> None:
    with pytest.raises(AnalysisError, match="learning-rate scaling needs more than 4"):
        fit_lr_scaling([BestLr(factor=1.0, at_edge=False)] * 4, x=np.eye(4, 3))
