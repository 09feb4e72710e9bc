"""Learning rates over the phases of a training, and the parameters that are decayed."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity
from cmt_search.proxy import Dataset, Recipe
from cmt_search.proxy.optim import phase_at, phases
from cmt_search.proxy.trainer import Training
from cmt_search.recipe import TwoPhase


def _rates(recipe: Recipe, *, steps: int, scale: float = 1.0) -> list[float]:
    found = phases(recipe, steps=steps, scale=scale)
    return [phase_at(found, step).lr(step) for step in range(steps)]


@given(steps=st.integers(2, 400), warmup=st.floats(0, 0.9))
def test_the_cosine_rises_to_its_peak_and_then_falls_towards_zero(
    steps: int, warmup: float
) -> None:
    rates = _rates(Recipe(lr=0.01, warmup_fraction=warmup), steps=steps)
    peak = math.ceil(warmup * steps)
    assert all(0 < rate <= 0.01 for rate in rates)
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in pairwise(rates[peak:]))
    if peak < steps:
        assert rates[peak] == 0.01


@given(steps=st.integers(2, 400), warmup=st.integers(0, 3), decay=st.floats(0.01, 1))
def test_wsd_rises_keeps_its_peak_and_falls_in_the_last_steps_alone(
    steps: int, warmup: int, decay: float
) -> None:
    recipe = Recipe(lr=0.01, schedule="wsd", warmup_epochs=warmup, decay_fraction=decay)
    found = phases(recipe, steps=steps, per_epoch=10)[0]
    rates = [found.lr(step) for step in range(steps)]
    risen, falls = min(10 * warmup, steps), max(10 * warmup, steps - found.decay)
    assert all(a < b for a, b in pairwise(rates[: risen + 1])) or risen + 1 > falls
    assert all(rate == 0.01 for rate in rates[risen:falls])
    assert all(a > b > 0 for a, b in pairwise(rates[falls:]))


def test_wsd_comes_down_as_one_minus_a_root() -> None:
    recipe = Recipe(lr=1.0, schedule="wsd", warmup_fraction=0.0, decay_fraction=0.3)
    assert _rates(recipe, steps=10)[6:] == pytest.approx(
        [1, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75)]
    )


def test_the_cosine_is_the_one_by_hand() -> None:
    rates = _rates(Recipe(lr=1.0, warmup_fraction=0.2), steps=10)
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[6] == pytest.approx(0.5)  # half of the eight steps of the cosine
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert _rates(Recipe(lr=0.01, warmup_fraction=0.0), steps=10)[0] == 0.01


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_even_the_shortest_training_has_a_rate_above_zero(steps: int) -> None:
    assert all(rate > 0 for rate in _rates(Recipe(), steps=steps))


def test_one_cycle_rises_along_a_cosine_from_a_twenty_fifth_of_the_peak() -> None:
    rates = _rates(Recipe(lr=1.0, warmup_fraction=0.5, schedule="one-cycle"), steps=200)
    assert rates[0] == pytest.approx(1 / 25, abs=1e-3)
    assert rates[49] == pytest.approx(1 / 25 + 24 / 25 * 0.5, abs=0.01)
    assert max(rates) == rates[100] == 1.0
    assert rates[150] == pytest.approx(0.5)
    assert rates[1] - rates[0] < rates[50] - rates[49]  # a cosine is flat at its ends


def test_a_constant_schedule_stays_at_its_peak_after_the_warm_up() -> None:
    rates = _rates(Recipe(lr=0.5, warmup_fraction=0.1, schedule="constant"), steps=20)
    assert rates[0] < rates[1] < 0.5
    assert set(rates[2:]) == {0.5}


def test_the_final_rate_is_a_part_of_the_peak() -> None:
    rates = _rates(Recipe(lr=0.2, final_lr=0.1), steps=1000)
    assert rates[-1] == pytest.approx(0.02, rel=1e-3)
    assert min(rates[200:]) >= 0.02


def test_every_rate_is_scaled_alike() -> None:
    recipe = Recipe(two_phase=TwoPhase(at=0.5))
    assert _rates(recipe, steps=9, scale=2.0) == [2 * rate for rate in _rates(recipe, steps=9)]


def test_the_second_phase_begins_at_the_step_told_with_its_own_optimiser_and_rate() -> None:
    second = TwoPhase(at=0.6, optimizer="sgd", lr=0.3, momentum=0.8, weight_decay=0.01)
    found = phases(Recipe(lr=0.01, weight_decay=0.05, two_phase=second), steps=10)
    by_step = [phase_at(found, step).recipe.optimizer for step in range(10)]
    assert by_step == ["adamw"] * 6 + ["sgd"] * 4
    assert [found[1].lr(step) for step in range(6, 10)] == [0.3] * 4
    assert (found[1].recipe.momentum, found[1].recipe.weight_decay) == (0.8, 0.01)
    assert phases(Recipe(two_phase=TwoPhase()), steps=8)[1].recipe.weight_decay == 0.05


def test_the_first_phase_ends_its_cosine_before_the_second_begins_its_own() -> None:
    second = TwoPhase(at=0.5, lr=0.3, schedule="cosine")
    recipe = Recipe(lr=0.01, warmup_fraction=0.1, two_phase=second)
    rates = _rates(recipe, steps=200)
    assert rates[:100] == _rates(replace(recipe, two_phase=None), steps=100)
    assert rates[100] == 0.3
    assert rates[150] == pytest.approx(0.15)
    assert rates[199] < 1e-3


@pytest.mark.parametrize("at", [0.001, 0.999])
def test_a_phase_without_a_step_is_left_out(at: float) -> None:
    found = phases(Recipe(two_phase=TwoPhase(at=at)), steps=5)
    assert [phase.steps for phase in found] == [5]


def _decays(arch: Arch, data: Dataset, recipe: Recipe) -> dict[str, float]:
    """The weight decay of every parameter by name."""
    run = Training(arch, data=data, recipe=recipe, fidelity=Fidelity(epochs=1), seed=0)
    by_id = {
        id(p): group["weight_decay"]
        for group in run.optimizer.param_groups
        for p in group["params"]
    }
    return {name: by_id[id(p)] for name, p in run.model.named_parameters()}


@pytest.mark.parametrize("position", ["stage", "block", "none"])
def test_decay_position_moves_the_tables_and_nothing_else(
    tiny: Arch, embedded: Dataset, position: str
) -> None:
    deeper = tuple(replace(stage, depth=2) for stage in tiny.stages)
    arch = replace(tiny, position=position, stages=deeper)
    plain = _decays(arch, embedded, Recipe(weight_decay=0.3))
    asked = _decays(arch, embedded, Recipe(weight_decay=0.3, decay_position=True))
    tables = {name for name in plain if name.endswith("position")}
    count = {"stage": len(arch.stages), "block": arch.depth, "none": 0}[position]
    assert len(tables) == count
    assert {plain[name] for name in tables} <= {0.0}
    assert {asked[name] for name in tables} <= {0.3}
    assert {k: v for k, v in plain.items() if k not in tables} == {
        k: v for k, v in asked.items() if k not in tables
    }
