"""Shares, constants and exponents are three views of one rule."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.arch import Arch, Stage
from cmt_search.cost import cost, sizes_of
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import Constants, ScalingRule, Shares, SmoothFamily
from cmt_search.scaling.continuous import ideal_point, log_macs

pytestmark = pytest.mark.filterwarnings("error")

BASES = ("cmt_s", "cmt_micro", "cmt_nano", "cmt_pico")
bases = st.sampled_from(BASES).map(PRESETS.__getitem__)
growths = st.floats(1.5, 40)


@st.composite
def triangle(draw: st.DrawFn) -> Shares:
    low, high = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    return Shares(depth=low, width=high - low, resolution=1 - high)


@settings(max_examples=30, deadline=None)
@given(base=bases, shares=triangle(), growth=growths)
def test_shares_survive_the_way_to_constants_and_back(
    base: Arch, shares: Shares, growth: float
) -> None:
    rule = ScalingRule(base=base, shares=shares)
    alpha, beta, gamma = rule.constants(macs_ratio=growth)
    again = ScalingRule.from_constants(base, Constants(alpha, beta, gamma))
    assert again.shares.values == pytest.approx(shares.values, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(base=bases, factors=st.tuples(*[st.floats(1.001, 2)] * 3))
def test_constants_survive_the_way_to_shares_and_back(
    base: Arch, factors: tuple[float, ...]
) -> None:
    alpha, beta, gamma = factors
    rule = ScalingRule.from_constants(base, Constants(alpha, beta, gamma))
    growth = math.prod(f**e for f, e in zip(factors, rule.exponents, strict=True))
    assert rule.constants(macs_ratio=growth) == pytest.approx(factors, rel=1e-9)


@given(shares=triangle())
def test_checked_shares_sum_to_one(shares: Shares) -> None:
    nudged = replace(shares, depth=shares.depth + 5e-4)
    assert math.fsum(nudged.checked().values) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-0.1, 0.6, 0.5), "shares.depth=-0.1 is outside 0..1; use a share of the growth"),
        ((0.1, math.nan, 0.5), "shares.width=nan is outside 0..1; use a share of the growth"),
        (
            (0.1, 0.8, 0.2),
            "shares (0.1, 0.8, 0.2) sum to 1.1, not 1; divide each by their sum",
        ),
    ],
)
def test_shares_outside_the_triangle_are_refused(values: tuple[float, ...], message: str) -> None:
    depth, width, resolution = values
    with pytest.raises(BudgetError) as caught:
        ScalingRule(
            base=PRESETS["cmt_s"], shares=Shares(depth=depth, width=width, resolution=resolution)
        )
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ((0.9, 1.2, 1.1), "alpha=0.9 shrinks the network; use 1 to keep it as it is"),
        ((1.2, 1.2, math.nan), "gamma=nan shrinks the network; use 1 to keep it as it is"),
        ((1, 1, 1), "alpha, beta and gamma are all 1: nothing grows; raise one of them"),
    ],
)
def test_constants_that_are_no_growth_are_refused(factors: tuple[float, ...], message: str) -> None:
    alpha, beta, gamma = factors
    with pytest.raises(BudgetError) as caught:
        ScalingRule.from_constants(PRESETS["cmt_s"], Constants(alpha, beta, gamma))
    assert str(caught.value) == message


def test_exponents_of_cmt_s_are_about_those_of_the_design_page() -> None:
    rule = ScalingRule(base=PRESETS["cmt_s"], shares=Shares(depth=1, width=0, resolution=0))
    assert rule.exponents == pytest.approx((0.93, 1.94, 2.15), abs=0.07)


@pytest.mark.parametrize("name", BASES)
def test_exponents_are_the_slopes_of_the_smooth_cost(name: str) -> None:
    family = SmoothFamily(base=PRESETS[name])
    x, step = np.array([0.3, 0.2, 0.4]), 1e-5
    for i, exponent in enumerate(family.exponents_at(x)):
        nudge = step * np.eye(3)[i]
        rise = log_macs(family.at(x + nudge), like=family.sizes) - log_macs(
            family.at(x - nudge), like=family.sizes
        )
        assert exponent == pytest.approx(float(rise) / (2 * step), rel=1e-6)


@pytest.mark.parametrize(
    ("dimension", "change"),
    [
        (0, lambda s: replace(s, depth=2 * s.depth)),
        (1, lambda s: replace(s, width=2 * s.width)),
        (2, lambda s: s),
    ],
    ids=["depth", "width", "resolution"],
)
def test_path_exponents_are_finite_differences_of_the_exact_cost(
    dimension: int, change: Callable[[Stage], Stage]
) -> None:
    base = PRESETS["cmt_s"]
    grown = replace(
        base,
        resolution=base.resolution * (2 if dimension == 2 else 1),
        stem_width=base.stem_width * (2 if dimension == 1 else 1),
        stages=tuple(map(change, base.stages)),
    )
    doubled = math.log(2) * np.eye(3)[dimension]
    exponent = SmoothFamily(base=base).path_exponents(doubled)[dimension]
    assert exponent == pytest.approx(math.log2(cost(grown).macs / cost(base).macs), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(base=bases, factors=st.tuples(*[st.floats(-1, 1.5)] * 3))
def test_path_exponents_times_coordinates_are_the_growth(
    base: Arch, factors: tuple[float, ...]
) -> None:
    family, x = SmoothFamily(base=base), np.array(factors)
    ends = log_macs(family.at(np.stack([np.zeros(3), x])), like=family.sizes)
    assert family.path_exponents(x) @ x == pytest.approx(float(ends[1] - ends[0]), abs=1e-9)


def test_the_smooth_cost_at_the_base_is_the_exact_one() -> None:
    for base in PRESETS.values():
        family = SmoothFamily(base=base)
        assert math.exp(log_macs(family.at(np.zeros(3)), like=sizes_of(base))) == pytest.approx(
            cost(base).macs, rel=1e-12
        )


@settings(max_examples=25, deadline=None)
@given(base=bases, shares=triangle(), growth=growths)
def test_the_ideal_point_spends_the_budget_as_the_shares_say(
    base: Arch, shares: Shares, growth: float
) -> None:
    family = SmoothFamily(base=base)
    x = ideal_point(family, shares=np.array(shares.values), log_macs_ratio=math.log(growth))
    assert family.path_exponents(x) * x == pytest.approx(
        np.array(shares.values) * math.log(growth), abs=1e-9
    )
    reached = float(log_macs(family.at(x), like=family.sizes))
    assert math.exp(reached) / cost(base).macs == pytest.approx(growth, rel=1e-8)


def test_many_ideal_points_at_once_are_those_of_each_rule_alone() -> None:
    family = SmoothFamily(base=PRESETS["cmt_pico"])
    rules = np.array([[1, 0, 0], [0.2, 0.3, 0.5], [0, 0.9, 0.1]])
    together = ideal_point(family, shares=rules, log_macs_ratio=1.5)
    assert together.shape == (3, 3)
    for shares, x in zip(rules, together, strict=True):
        assert x == pytest.approx(ideal_point(family, shares=shares, log_macs_ratio=1.5), abs=1e-11)


def test_the_depth_exponent_of_a_small_base_rises_along_the_path() -> None:
    family = SmoothFamily(base=PRESETS["cmt_pico"])
    exponents = [family.exponents_at(np.array([x, 0, 0]))[0] for x in (0, 1, 2)]
    assert exponents[0] < exponents[1] < exponents[2] < 1


def test_added_blocks_go_to_stages_as_the_stage_ratio_says() -> None:
    base = PRESETS["cmt_s"]  # 3, 3, 16, 3
    plain = SmoothFamily(base=base).depths_at(np.array(math.log(2)))
    assert plain == pytest.approx([6, 6, 32, 6])
    only_third = SmoothFamily(base=base, stage_ratio=1.0).depths_at(np.array(math.log(2)))
    assert only_third == pytest.approx([3, 3, 41, 3])
    none_third = SmoothFamily(base=base, stage_ratio=0.0).depths_at(np.array(math.log(2)))
    assert none_third == pytest.approx([3 + 25 / 3, 3 + 25 / 3, 16, 3 + 25 / 3])


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_an_impossible_stage_ratio_is_refused_when_the_rule_is_made(ratio: float) -> None:
    with pytest.raises(BudgetError) as caught:
        ScalingRule(
            base=PRESETS["cmt_s"],
            shares=Shares(depth=1, width=0, resolution=0),
            stage_ratio=ratio,
        )
    assert str(caught.value) == (
        f"stage_ratio={ratio} needs three stages or more and a value in 0..1; "
        "leave it out to keep the base's proportions"
    )


def test_a_rule_is_the_same_value_however_often_it_is_made() -> None:
    numbers = random.Random(1)
    low, high = sorted((numbers.random(), numbers.random()))
    shares = Shares(depth=low, width=high - low, resolution=1 - high)
    rules = [ScalingRule(base=PRESETS["cmt_s"], shares=shares) for _ in range(2)]
    assert rules[0] == rules[1]
    assert hash(rules[0]) == hash(rules[1])
    assert json.dumps(rules[0].constants()) == json.dumps(rules[1].constants())
