"""Power of a design, predicted before anything is trained."""

import numpy as np
import pytest

from cmt_search.stats import Power, predict_power, simplex_grid, sufficient_seeds


def plan(*, seeds: int, seed_sd: float = 0.01, steps: int = 3) -> Power:
    shares = simplex_grid(steps)
    log_macs_ratio = np.repeat([np.log(4.0), np.log(9.0)], len(shares))
    return predict_power(
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
    one = plan(seeds=1)
    assert plan(seeds=16).error < 0.6 * one.error
    assert plan(seeds=1, seed_sd=0.002).error < 0.6 * one.error
    assert one.detectable == pytest.approx(2.8 * one.error)


def test_more_rules_find_smaller_differences() -> None:
    assert plan(seeds=1, steps=6).error < plan(seeds=1, steps=3).error


def test_the_fewest_seeds_that_suffice_are_named_or_none() -> None:
    powers = [Power(seeds=1, error=0.01), Power(seeds=4, error=0.003), Power(seeds=8, error=0.002)]
    assert sufficient_seeds(powers, difference=0.01) == 4
    assert sufficient_seeds(powers, difference=0.001) is None
