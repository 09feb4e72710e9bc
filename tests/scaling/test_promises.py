"""What solving promises of any rule at any budget, a test for each promise.

The samples here are small; over larger ones with the same ranges and other seeds, budgets were hit
by 1680 of 1690 rules around cmt_s (the others ask for fewer than one block per stage, all below
0.16 times the base), by all of 2040 around cmt_micro and by all of 1518 around cmt_nano, none of
them with an adjustment of mlp_ratio. Shares were off by 0.025, 0.039 and 0.036 (root mean square).
"""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cmt_search.arch import Arch, Stage
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import Budget, Fixed, Grid, Member, ScalingRule, Shares

pytestmark = pytest.mark.filterwarnings("error")

SAMPLES = {"cmt_s": (0.1, 10.0), "cmt_micro": (1.0, 30.0), "cmt_nano": (1.0, 30.0)}
PICO = PRESETS["cmt_pico"]
PICO_MACS = cost(PICO).macs


@dataclass(frozen=True, kw_only=True)
class Solved:
    """A random rule at a random budget, and its member if there is one."""

    rule: ScalingRule
    growth: float
    member: Member | None


def _solved(base: Arch, *, low: float, high: float, count: int) -> Iterator[Solved]:
    numbers = random.Random(f"promises {base.key}")
    for _ in range(count):
        shares = _random_shares(numbers)
        growth = math.exp(numbers.uniform(math.log(low), math.log(high)))
        rule = ScalingRule(base=base, shares=shares)
        try:
            member = rule.member(growth * cost(base).macs)
        except BudgetError:
            member = None
        yield Solved(rule=rule, growth=growth, member=member)


def _random_shares(numbers: random.Random) -> Shares:
    low, high = sorted((numbers.random(), numbers.random()))
    return Shares(depth=low, width=high - low, resolution=1 - high)


@st.composite
def rules(draw: st.DrawFn, *, base: Arch = PICO) -> ScalingRule:
    low, high = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    shares = Shares(depth=low, width=high - low, resolution=1 - high)
    return ScalingRule(base=base, shares=shares)


@pytest.fixture(
    scope="module",
    params=[
        *((name, 25) for name in SAMPLES),
        *(pytest.param((name, 100), marks=pytest.mark.slow) for name in SAMPLES),
    ],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def sample(request: pytest.FixtureRequest) -> list[Solved]:
    name, count = request.param
    low, high = SAMPLES[name]
    return list(_solved(PRESETS[name], low=low, high=high, count=count))


def test_99_of_100_random_rules_hit_their_budget_within_one_percent(sample: list[Solved]) -> None:
    hit = [s.member for s in sample if s.member]
    assert len(hit) >= 0.99 * len(sample)
    assert not any(member.mlp_adjustment for member in hit)
    for member in hit:
        assert member.cost == cost(member.arch)
        assert abs(member.cost.macs / member.budget.macs - 1) <= 0.01


def test_realised_shares_are_those_asked_for_within_0_05_from_three_times_the_base_on(
    sample: list[Solved],
) -> None:
    assert _share_error(sample) <= 0.05


def _share_error(sample: list[Solved]) -> float:
    """Root mean square over members that are three times larger or smaller than the base."""
    gaps = [
        np.subtract(s.member.realised.values, s.rule.shares.values)
        for s in sample
        if s.member and s.member.realised and abs(math.log(s.growth)) >= math.log(3)
    ]
    assert len(gaps) >= 10
    return float(np.sqrt(np.mean(np.square(gaps))))


def test_realised_shares_and_the_reported_residual_sum_to_one(sample: list[Solved]) -> None:
    for solved in sample:
        if solved.member and solved.member.realised:
            total = math.fsum([*solved.member.realised.values, solved.member.residual])
            assert total == pytest.approx(1, abs=1e-9)
            assert abs(solved.member.residual) < 1e-9  # the IRFFN ratio of these bases is whole


def test_members_keep_what_a_rule_does_not_scale(sample: list[Solved]) -> None:
    for solved in (s for s in sample if s.member):
        arch, base = solved.member.arch, solved.rule.base
        sizes = [(s.heads, s.kv_stride, s.mlp_ratio) for s in base.stages]
        assert [(s.heads, s.kv_stride, s.mlp_ratio) for s in arch.stages] == sizes
        ends = {"resolution": arch.resolution, "stem_width": arch.stem_width}
        assert replace(base, stages=arch.stages, **ends) == arch


def test_the_same_rule_and_budget_give_the_same_member(sample: list[Solved]) -> None:
    for solved in sample[::10]:
        if solved.member:
            assert replace(solved.rule).member(solved.member.budget) == solved.member


@settings(max_examples=25)
@given(rule=rules(), growth=st.floats(1, 20), tolerance=st.sampled_from([0.01, 0.03]))
def test_macs_grow_between_budgets_whose_tolerances_do_not_meet(
    rule: ScalingRule, growth: float, tolerance: float
) -> None:
    apart = 1.0001 * (1 + tolerance) / (1 - tolerance)
    less = Budget(macs=growth * PICO_MACS, tolerance=tolerance)
    more = replace(less, macs=apart * less.macs)
    try:
        first, second = rule.member(less), rule.member(more)
    except BudgetError:
        assume(False)
    assert first.cost.macs < second.cost.macs
    assert (rule.ideal(less.macs) <= rule.ideal(more.macs) + 1e-9).all()


@settings(max_examples=25)
@given(
    rule=rules(),
    growth=st.floats(2, 12),
    parts=st.fixed_dictionaries(
        {}, optional={"params": st.floats(0.5, 1.5), "activations": st.floats(0.5, 1.5)}
    ),
)
def test_caps_are_respected_or_the_ones_that_bind_are_named(
    rule: ScalingRule, growth: float, parts: dict[str, float]
) -> None:
    budget = Budget(macs=growth * PICO_MACS, tolerance=0.02)
    free = rule.member(budget)
    caps = {name: int(getattr(free.cost, name) * part) for name, part in parts.items()}
    try:
        capped = rule.member(replace(budget, **caps))
    except BudgetError as error:
        match = re.fullmatch(
            r"budget [\d,]+ MACs exceeds the cap on (.*); raise the cap or lower the budget",
            str(error),
        )
        broken = [name for name, cap in caps.items() if getattr(free.cost, name) > cap]
        assert match is not None
        assert any(name in match[1] for name in broken)  # the free member breaks one that is named
    else:
        assert all(getattr(capped.cost, name) <= cap for name, cap in caps.items())
        assert abs(capped.cost.macs / budget.macs - 1) <= 0.02
        if all(getattr(free.cost, name) <= cap for name, cap in caps.items()):
            assert capped.arch == free.arch


@settings(max_examples=25)
@given(
    ratio=st.floats(0, 1),
    base=st.sampled_from(["cmt_s", "cmt_pico"]),
    growth=st.floats(2, 8),
    width=st.floats(0, 0.5),
)
def test_the_stage_ratio_asked_for_is_the_one_realised_within_a_block(
    ratio: float, base: str, growth: float, width: float
) -> None:
    rule = ScalingRule(
        base=PRESETS[base],
        shares=Shares(depth=1 - width, width=width, resolution=0),
        stage_ratio=ratio,
    )
    member = rule.member(growth * cost(rule.base).macs)
    added = member.arch.depth - rule.base.depth
    assert added > 0
    in_third = member.arch.stages[2].depth - rule.base.stages[2].depth
    assert abs(in_third - ratio * added) < 1 + 1e-9


def test_without_a_stage_ratio_added_blocks_keep_the_proportions_of_the_base() -> None:
    base = PRESETS["cmt_s"]
    deep = ScalingRule(base=base, shares=Shares(depth=1, width=0, resolution=0))
    member = deep.member(6 * cost(base).macs)
    in_third = member.arch.stages[2].depth - base.stages[2].depth
    assert in_third / (member.arch.depth - base.depth) == pytest.approx(16 / 25, abs=0.01)


def _of_widths(widths: tuple[int, ...], *, heads: tuple[int, ...]) -> Arch:
    """cmt_micro with other widths."""
    rows = zip(PRESETS["cmt_micro"].stages, widths, heads, strict=True)
    stages = tuple(replace(stage, width=w, heads=h) for stage, w, h in rows)
    return replace(PRESETS["cmt_micro"], stages=stages)


# Over larger samples: all of 317, 335 and 394 rules solved; shares off by 0.031, 0.048 and 0.027.
OTHER_WIDTHS = {
    "by 1.5": _of_widths((24, 36, 54, 80), heads=(1, 2, 3, 4)),
    "by 2.5": _of_widths((24, 60, 152, 368), heads=(1, 2, 4, 8)),
    "not at all": _of_widths((24, 24, 24, 24), heads=(1, 1, 1, 1)),
}


@pytest.mark.parametrize("base", OTHER_WIDTHS.values(), ids=OTHER_WIDTHS)
def test_widths_that_do_not_double_are_solved_too_and_keep_their_proportions(base: Arch) -> None:
    sample = list(_solved(base, low=3, high=30, count=25))
    assert all(s.member for s in sample)
    assert _share_error(sample) <= 0.05
    for solved in sample:
        stages = solved.member.arch.stages
        factors = [now.width / then.width for now, then in zip(stages, base.stages, strict=True)]
        steps = [stage.heads / stage.width for stage in base.stages]
        assert max(factors) - min(factors) <= 2 * max(steps)  # each is a step from the ideal


@pytest.mark.parametrize("fixed", ["num_heads", "head_dim"])
def test_a_base_of_uneven_heads_is_solved_with_either_fixed(fixed: Fixed) -> None:
    base = OTHER_WIDTHS["by 1.5"]
    shares = Shares(depth=0.2, width=0.5, resolution=0.3)
    rule = ScalingRule(base=base, shares=shares, grid=Grid(fixed=fixed))
    arch = rule.member(Budget(macs=6.0 * cost(base).macs, tolerance=0.02)).arch
    name = {"num_heads": "heads", "head_dim": "head_dim"}[fixed]
    assert [getattr(s, name) for s in arch.stages] == [getattr(s, name) for s in base.stages]
    assert all(isinstance(stage, Stage) and stage.width % stage.heads == 0 for stage in arch.stages)
