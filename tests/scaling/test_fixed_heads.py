"""Widening a stage keeps its number of heads, or the channels of each head."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import Budget, Fixed, Grid, ScalingRule, Shares, resize

pytestmark = pytest.mark.filterwarnings("error")

PICO = PRESETS["cmt_pico"]
PICO_MACS = cost(PICO).macs
MIXED = Shares(depth=0.3, width=0.4, resolution=0.3)


def _rule(base: Arch, **changes: object) -> ScalingRule:
    return ScalingRule(base=base, shares=MIXED, grid=Grid(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cmt_s", "cmt_nano"])
@pytest.mark.parametrize("growth", [3, 5, 8])
def test_heads_stay_or_channels_in_a_head_do(name: str, growth: float) -> None:
    base = PRESETS[name]
    budget = growth * cost(base).macs
    by_heads = _rule(base, fixed="num_heads").member(budget)
    by_dim = _rule(base, fixed="head_dim").member(budget)
    assert [s.heads for s in by_heads.arch.stages] == [s.heads for s in base.stages]
    assert [s.head_dim for s in by_dim.arch.stages] == [s.head_dim for s in base.stages]
    assert sum(s.heads for s in by_dim.arch.stages) > sum(s.heads for s in base.stages)
    for member in (by_heads, by_dim):
        assert member.cost == cost(member.arch)
        assert member.cost.macs == pytest.approx(budget, rel=0.01)


def test_heads_are_what_is_kept_unless_asked_otherwise() -> None:
    budget = 5 * PICO_MACS
    assert _rule(PICO).member(budget) == _rule(PICO, fixed="num_heads").member(budget)
    assert _rule(PICO).member(budget) != _rule(PICO, fixed="head_dim").member(budget)


@settings(max_examples=20)
@given(width_step=st.integers(1, 2), growth=st.floats(2, 12))
def test_widths_of_kept_channels_are_whole_heads_on_the_step(
    width_step: int, growth: float
) -> None:
    rule = _rule(PICO, fixed="head_dim", width_step=width_step)
    budget = Budget(macs=growth * PICO_MACS, tolerance=0.05)
    member = rule.member(budget)
    assert member == rule.member(budget)
    assert all(s.width % (8 * width_step) == 0 for s in member.arch.stages)
    assert [s.width for s in member.arch.stages] == [8 * s.heads for s in member.arch.stages]


def test_a_cap_counts_the_position_tables_of_the_heads_that_there_are() -> None:
    rule = _rule(PICO, fixed="head_dim")
    free = rule.member(5 * PICO_MACS)
    assert rule.member(Budget(macs=5 * PICO_MACS, params=free.cost.params)).arch == free.arch
    capped = rule.member(Budget(macs=5 * PICO_MACS, params=free.cost.params - 1))
    assert capped.cost.params < free.cost.params


def test_a_budget_between_whole_heads_is_refused_with_their_channels() -> None:
    rule = _rule(PICO, fixed="head_dim", width_step=4)
    with pytest.raises(BudgetError) as caught:
        rule.member(2 * PICO_MACS)
    assert str(caught.value) == (
        "budget 886,320 MACs: the nearest network is +13.4% off; raise the tolerance to 0.135, or "
        "use finer steps or wider ranges (fixed: head_dim widens stages by 32, 32, 32, 32 channels)"
    )


def test_a_range_between_whole_heads_is_refused_with_their_channels() -> None:
    rule = _rule(PICO, fixed="head_dim", width_min=9, width_max=15)
    with pytest.raises(BudgetError) as caught:
        rule.member(10 * PICO_MACS)
    assert str(caught.value) == (
        "the budget asks for 14.0 blocks, first width 13.2 and 19.6 pixels, outside depth 4..any, "
        "width 9..15 in steps of 8 or resolution 1..any; widen that knob or ask for a budget "
        "nearer to the base"
    )


@pytest.mark.parametrize(
    ("fixed", "widths", "heads"),
    [
        ("num_heads", [100, 200, 400, 800], [1, 2, 4, 8]),
        ("head_dim", [128, 192, 384, 768], [2, 3, 6, 12]),
    ],
)
def test_a_free_shape_keeps_either_too(fixed: Fixed, widths: list[int], heads: list[int]) -> None:
    arch = resize(PRESETS["cmt_s"], width=100, depth=30, fixed=fixed)
    assert [s.width for s in arch.stages] == widths
    assert [s.heads for s in arch.stages] == heads
    assert (arch.stem_width, arch.depth) == (50, 30)


@pytest.mark.parametrize("fixed", ["num_heads", "head_dim"])
def test_a_stage_never_loses_its_last_head(fixed: Fixed) -> None:
    arch = resize(PICO, width=1, fixed=fixed)
    assert [s.heads for s in arch.stages] == (
        [1, 2, 4, 8] if fixed == "num_heads" else [1, 1, 1, 1]
    )
    assert replace(arch, stages=PICO.stages, stem_width=PICO.stem_width) == PICO
