"""Rules carry the options of their base: query channels, position tables, key strides, ends."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.arch import POSITIONS, Arch
from cmt_search.cost import cost
from cmt_search.presets import PRESETS
from cmt_search.scaling import Budget, ScalingRule, Shares, SmoothFamily, resize
from cmt_search.scaling.continuous import log_macs

pytestmark = pytest.mark.filterwarnings("error")

MIXED = Shares(depth=0.3, width=0.4, resolution=0.3)


def _with(name: str, **changes: object) -> Arch:
    base = PRESETS[name]
    return replace(base, stages=tuple(replace(s, **changes) for s in base.stages))  # type: ignore[arg-type]


bases = st.builds(
    lambda name, qk_ratio, position, neck: replace(
        _with(name, qk_ratio=qk_ratio), position=position, neck_width=neck
    ),
    st.sampled_from(["cmt_s", "cmt_nano", "cmt_pico"]),
    st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.5]),
    st.sampled_from(POSITIONS),
    st.integers(1, 300),
)


@settings(max_examples=25, deadline=None)
@given(base=bases, factors=st.tuples(*[st.floats(-1, 1.5)] * 3))
def test_the_smooth_cost_passes_through_the_base_and_grows_by_its_exponents(
    base: Arch, factors: tuple[float, ...]
) -> None:
    family, x = SmoothFamily(base=base), np.array(factors)
    start, end = log_macs(family.at(np.stack([np.zeros(3), x])), like=family.sizes)
    assert math.exp(start) == pytest.approx(cost(base).macs, rel=1e-12)
    assert family.path_exponents(x) @ x == pytest.approx(float(end - start), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(base=bases, growth=st.floats(3, 10))
def test_members_meet_the_budget_and_their_shares_and_residual_sum_to_one(
    base: Arch, growth: float
) -> None:
    member = ScalingRule(base=base, shares=MIXED).member(growth * cost(base).macs)
    assert member.cost == cost(member.arch)
    assert member.cost.macs == pytest.approx(growth * cost(base).macs, rel=0.01)
    assert member.realised is not None
    total = math.fsum([*member.realised.values, member.residual])
    assert total == pytest.approx(1, abs=1e-9)
    assert abs(member.residual) < 0.02
    kept = [(s.heads, s.kv_stride, s.mlp_ratio, s.qk_ratio) for s in base.stages]
    assert [(s.heads, s.kv_stride, s.mlp_ratio, s.qk_ratio) for s in member.arch.stages] == kept
    ends = (member.arch.position, member.arch.neck_width)
    assert ends == (base.position, base.neck_width)


def test_query_channels_that_rounding_took_are_the_residual() -> None:
    base = _with("cmt_nano", qk_ratio=0.5)  # 6 of 12 channels in a head
    member = ScalingRule(base=base, shares=MIXED).member(3 * cost(base).macs)
    assert any(s.qk_width < s.width / 2 for s in member.arch.stages)
    lost = math.log(cost(member.arch).macs / _macs_without_rounding(member.arch))
    growth = math.log(cost(member.arch).macs / cost(base).macs)
    assert member.residual < 0
    assert member.residual == pytest.approx(lost / growth, rel=0.2)


def _macs_without_rounding(arch: Arch) -> float:
    """Were half channels possible: cost is linear in each stage's query channels."""
    macs = float(cost(arch).macs)
    for i, stage in enumerate(arch.stages):
        more = replace(stage, qk_ratio=1.0)
        full = replace(arch, stages=(*arch.stages[:i], more, *arch.stages[i + 1 :]))
        slope = (cost(full).macs - cost(arch).macs) / (stage.width - stage.qk_width)
        macs += slope * (stage.width / 2 - stage.qk_width)
    return macs


def test_position_tables_change_no_member_but_may_break_its_cap() -> None:
    base = PRESETS["cmt_pico"]
    budget = 5.0 * cost(base).macs
    rules = {
        position: ScalingRule(base=replace(base, position=position), shares=MIXED)
        for position in POSITIONS
    }
    members = {position: rule.member(budget) for position, rule in rules.items()}
    assert len({replace(m.arch, position="stage") for m in members.values()}) == 1
    params = {position: member.cost.params for position, member in members.items()}
    assert params["none"] < params["stage"] < params["block"]
    cap = Budget(macs=budget, params=params["none"])
    assert rules["none"].member(cap).arch == members["none"].arch
    other = rules["block"].member(cap)
    assert other.cost.params <= params["none"]
    assert replace(other.arch, position="none") != members["none"].arch


def test_widths_that_leave_a_head_no_query_channel_are_passed_over() -> None:
    base = _with("cmt_pico", qk_ratio=0.125)  # one of 8 channels in a head
    budget = Budget(macs=0.5 * cost(base).macs, tolerance=0.05)
    arch = ScalingRule(base=base, shares=MIXED).member(budget).arch
    assert [s.qk_width for s in arch.stages] == [s.heads for s in arch.stages]


def test_a_free_shape_keeps_the_options_of_its_base() -> None:
    base = replace(_with("cmt_nano", qk_ratio=0.5, mlp_ratio=3.0), position="block")
    arch = resize(base, depth=9, width=18, resolution=24)
    assert arch.position == "block"
    assert {(s.qk_ratio, s.mlp_ratio) for s in arch.stages} == {(0.5, 3.0)}
