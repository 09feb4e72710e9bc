"""The learning rate over the steps of a training."""

import pytest

from cmt_search.proxy import Recipe


def test_the_rate_rises_to_its_peak_and_falls_to_near_zero() -> None:
    recipe = Recipe(lr=0.01, warmup_fraction=0.2)
    rates = [recipe.lr_at(step, steps=50) for step in range(50)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == rates[10] == pytest.approx(0.01)
    assert 0 < rates[0] < 0.001
    assert 0 < rates[-1] < 0.0001


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert Recipe(lr=0.01, warmup_fraction=0.0).lr_at(0, steps=10) == 0.01


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_even_the_shortest_training_has_a_rate_above_zero(steps: int) -> None:
    assert all(Recipe().lr_at(step, steps=steps) > 0 for step in range(steps))
