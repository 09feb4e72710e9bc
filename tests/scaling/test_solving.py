"""Solving makes the nearest integers of a rule that meet the budget, or says what binds."""

import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import Budget, Grid, ScalingRule, Shares, named_rule

pytestmark = pytest.mark.filterwarnings("error")

PICO = PRESETS["cmt_pico"]
PICO_MACS = cost(PICO).macs
MIXED = Shares(depth=0.3, width=0.4, resolution=0.3)
BASES = ("cmt_s", "cmt_micro", "cmt_nano", "cmt_pico")


def test_solving_is_deterministic_in_this_process_and_in_another() -> None:
    rule = ScalingRule(base=PICO, shares=MIXED)
    here = rule.member(5 * PICO_MACS)
    assert here == rule.member(5 * PICO_MACS)
    code = (
        "from cmt_search.presets import PRESETS; from cmt_search.scaling import *;"
        f"shares = Shares(depth={MIXED.depth}, width={MIXED.width}, resolution={MIXED.resolution});"
        "rule = ScalingRule(base=PRESETS['cmt_pico'], shares=shares);"
        f"print(rule.member({5 * PICO_MACS}).arch.key, end='')"
    )
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout == here.arch.key


@pytest.mark.parametrize("name", BASES)
def test_growing_budgets_give_growing_macs(name: str) -> None:
    macs = cost(PRESETS[name]).macs
    rule = named_rule("cmt-paper", base=PRESETS[name])
    members = [rule.member(growth * macs) for growth in (1.5, 2, 3, 5, 9, 16)]
    costs = [m.cost.macs for m in members]
    assert costs == sorted(set(costs))
    first, last = members[0].arch, members[-1].arch
    assert first.depth < last.depth
    assert first.resolution < last.resolution
    assert first.stages[0].width < last.stages[0].width


@pytest.mark.parametrize("name", BASES)
def test_depth_only_growth_is_realised_as_depth_alone(name: str) -> None:
    base = PRESETS[name]
    member = named_rule("depth-only", base=base).member(3 * cost(base).macs)
    assert member.realised is not None
    assert member.realised.values == pytest.approx((1, 0, 0), abs=0.02)


@pytest.mark.parametrize(("name", "corner"), [("width-only", 1), ("resolution-only", 2)])
def test_other_corners_realise_their_dimension(name: str, corner: int) -> None:
    base = PRESETS["cmt_s"]
    member = named_rule(name, base=base).member(10 * cost(base).macs)
    assert member.realised is not None
    assert member.realised.values == pytest.approx(np.eye(3)[corner], abs=0.02)
    assert member.arch.depth == base.depth


def test_a_rule_shrinks_its_base_below_it() -> None:
    base = PRESETS["cmt_s"]
    member = ScalingRule(base=base, shares=MIXED).member(0.3 * cost(base).macs)
    assert member.cost.macs == pytest.approx(0.3 * cost(base).macs, rel=0.01)
    assert member.arch.depth < base.depth
    assert member.arch.resolution < base.resolution
    assert member.arch.stages[0].width < base.stages[0].width
    assert max(ScalingRule(base=base, shares=MIXED).ideal(member.budget.macs)) < 0
    assert member.realised is not None
    assert member.realised.values == pytest.approx(MIXED.values, abs=0.1)


def test_at_the_base_the_member_is_the_base_and_shares_are_undefined() -> None:
    member = ScalingRule(base=PICO, shares=MIXED).member(PICO_MACS)
    assert member.arch == PICO
    assert member.realised is None
    assert member.residual == 0
    assert member.notes == ("same MACs as the base: shares are undefined",)
    assert ScalingRule(base=PICO, shares=MIXED).ideal(PICO_MACS).tolist() == [0, 0, 0]


def test_shares_are_warned_about_below_twice_the_base_only() -> None:
    rule = ScalingRule(base=PICO, shares=MIXED)
    assert rule.member(1.8 * PICO_MACS).notes == (
        "less than a factor of two from the base: shares are mostly rounding",
    )
    assert rule.member(2.2 * PICO_MACS).notes == ()


# Grids, caps and the last resort


@settings(max_examples=20)
@given(
    resolution_step=st.integers(1, 6),
    width_step=st.integers(1, 2),
    limits=st.tuples(st.integers(14, 18), st.integers(8, 11), st.integers(6, 9)),
    growth=st.floats(3, 12),
)
def test_members_keep_to_steps_and_ranges(
    resolution_step: int, width_step: int, limits: tuple[int, int, int], growth: float
) -> None:
    side, width, depth = limits
    grid = Grid(
        resolution_step=resolution_step,
        width_step=width_step,
        resolution_min=side,
        resolution_max=side + 12,
        width_min=width,
        width_max=width + 8,
        depth_min=depth,
        depth_max=depth + 20,
    )
    rule = ScalingRule(base=PICO, shares=MIXED, grid=grid)
    try:
        arch = rule.member(Budget(macs=growth * PICO_MACS, tolerance=0.05)).arch
    except BudgetError:
        return
    assert arch.resolution % resolution_step == 0
    assert all(s.width % (s.heads * width_step) == 0 for s in arch.stages)
    assert side <= arch.resolution <= side + 12
    assert width <= arch.stages[0].width <= width + 8
    assert depth <= arch.depth <= depth + 20


def test_the_default_grid_has_even_sides_and_widths_that_heads_divide() -> None:
    arch = ScalingRule(base=PRESETS["cmt_nano"], shares=MIXED).member(2e7).arch
    assert arch.resolution % 2 == 0
    assert all(s.width % s.heads == 0 for s in arch.stages)


@pytest.mark.parametrize("cap", ["params", "activations"])
def test_a_cap_is_respected_by_another_rounding(cap: str) -> None:
    rule = ScalingRule(base=PRESETS["cmt_micro"], shares=MIXED)
    macs = 5.0 * cost(rule.base).macs
    free = rule.member(macs)
    limit = getattr(free.cost, cap) - 1
    capped = rule.member(Budget(macs=macs, **{cap: limit}))
    assert getattr(capped.cost, cap) <= limit
    assert capped.cost.macs == pytest.approx(macs, rel=0.01)
    assert rule.member(Budget(macs=macs, **{cap: limit + 1})) == replace(
        free, budget=Budget(macs=macs, **{cap: limit + 1})
    )


@pytest.mark.parametrize("cap", ["params", "activations"])
def test_a_cap_that_no_rounding_meets_is_refused_by_name(cap: str) -> None:
    rule = ScalingRule(base=PRESETS["cmt_micro"], shares=MIXED)
    macs = 5.0 * cost(rule.base).macs
    limit = getattr(rule.member(macs).cost, cap) // 2
    with pytest.raises(BudgetError) as caught:
        rule.member(Budget(macs=macs, **{cap: limit}))
    assert re.fullmatch(
        rf"budget 62,696,960 MACs exceeds the cap on {cap} "
        rf"\([\d,]+ needed, {limit:,} allowed\); raise the cap or lower the budget",
        str(caught.value),
    )


def test_a_cap_raised_to_what_the_message_needs_is_met() -> None:
    rule = ScalingRule(base=PICO, shares=MIXED)
    with pytest.raises(BudgetError) as caught:
        rule.member(Budget(macs=5 * PICO_MACS, params=1000))
    needed = re.search(r"\(([\d,]+) needed", str(caught.value))
    assert needed is not None
    cap = int(needed[1].replace(",", ""))
    assert rule.member(Budget(macs=5 * PICO_MACS, params=cap)).cost.params <= cap


def test_two_broken_caps_are_both_named() -> None:
    rule = ScalingRule(base=PICO, shares=MIXED)
    with pytest.raises(BudgetError, match=r"exceeds the cap on params \(.*\), activations \(.*\);"):
        rule.member(Budget(macs=5 * PICO_MACS, params=1000, activations=10))


COARSE = Grid(width_step=4, resolution_step=8)


def test_mlp_ratio_is_adjusted_as_a_last_resort_and_reported() -> None:
    rule = ScalingRule(base=PICO, shares=MIXED, grid=COARSE)
    member = rule.member(Budget(macs=5 * PICO_MACS, tolerance=0.0005))
    assert 0 < abs(member.mlp_adjustment) <= 0.03
    assert member.cost.macs == pytest.approx(5 * PICO_MACS, rel=0.0005)
    ratios = {stage.mlp_ratio for stage in member.arch.stages}
    assert ratios == {4.0 * (1 + member.mlp_adjustment)}
    assert member.notes == (
        f"mlp_ratio adjusted by {member.mlp_adjustment:+.1%} to meet the budget",
    )
    assert member.realised is not None
    assert member.residual != 0
    assert math.fsum([*member.realised.values, member.residual]) == pytest.approx(1, abs=1e-9)
    assert member.to_dict()["notes"] == list(member.notes)


def test_mlp_ratio_is_unchanged_where_the_tolerance_can_be_met() -> None:
    rule = ScalingRule(base=PICO, shares=MIXED, grid=COARSE)
    member = rule.member(Budget(macs=5 * PICO_MACS, tolerance=0.02))
    assert member.mlp_adjustment == 0
    assert {stage.mlp_ratio for stage in member.arch.stages} == {4.0}


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_added_blocks_follow_the_stage_ratio(ratio: float) -> None:
    shares = Shares(depth=1, width=0, resolution=0)
    rule = ScalingRule(base=PICO, shares=shares, stage_ratio=ratio)
    arch = rule.member(6 * PICO_MACS).arch
    added = arch.depth - PICO.depth
    assert added > 10
    assert abs(arch.stages[2].depth - PICO.stages[2].depth - ratio * added) < 1


def test_a_base_of_two_stages_is_solved_too() -> None:
    base = replace(PICO, stages=PICO.stages[:2])
    member = ScalingRule(base=base, shares=MIXED).member(5 * cost(base).macs)
    assert member.cost.macs == pytest.approx(5 * cost(base).macs, rel=0.01)


def test_members_are_plain_values() -> None:
    member = ScalingRule(base=PICO, shares=MIXED).member(5 * PICO_MACS)
    data = member.to_dict()
    assert Arch.from_dict(data["arch"]).key == data["key"] == member.arch.key
    assert data["macs"] == member.cost.macs
    assert data["budget"] == 5 * PICO_MACS
    assert data["notes"] == []
