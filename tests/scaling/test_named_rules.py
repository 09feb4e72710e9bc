"""The published rules are where the design page puts them, and families are plain values."""

import itertools
import json
import math

import pytest

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import (
    CATALOGUE,
    NAMED_RULES,
    Budget,
    Family,
    Grid,
    ScalingRule,
    Shares,
    named_rule,
)
from cmt_search.scaling.catalogue import ALIASES

CMT_S = PRESETS["cmt_s"]
PAPER_BUDGETS = [cost(PRESETS[name]).macs for name in ("cmt_ti", "cmt_xs", "cmt_s", "cmt_b")]


@pytest.mark.parametrize(
    ("name", "shares"),
    [("cmt-paper", (0.17, 0.52, 0.31)), ("efficientnet", (0.26, 0.28, 0.46))],
)
def test_published_rules_have_the_shares_of_the_design_page_around_cmt_s(
    name: str, shares: tuple[float, ...]
) -> None:
    assert named_rule(name, base=CMT_S).shares.values == pytest.approx(shares, abs=0.01)


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("dwr", (0.1, 0.8, 0.1)),
        ("depth-only", (1, 0, 0)),
        ("width-only", (0, 1, 0)),
        ("resolution-only", (0, 0, 1)),
        ("uniform", (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_canonical_rules_have_their_shares_around_any_base(
    name: str, shares: tuple[float, ...]
) -> None:
    for base in PRESETS.values():
        assert named_rule(name, base=base).shares.values == pytest.approx(shares, abs=1e-15)


def test_the_paper_s_constants_come_back_from_its_shares() -> None:
    rule = named_rule("cmt-paper", base=CMT_S)
    depth, width, side = rule.exponents
    ratio = 1.2**depth * 1.3**width * 1.15**side
    assert ratio == pytest.approx(2.64, abs=0.05)  # not the 2.5 of the paper
    assert rule.constants(macs_ratio=ratio) == pytest.approx((1.2, 1.3, 1.15), rel=1e-9)


def test_all_named_rules_are_there_with_their_sources_and_on_the_grid_asked_for() -> None:
    grid = Grid(resolution_step=16)
    rules = {name: named_rule(name, base=CMT_S, grid=grid) for name in NAMED_RULES}
    assert {name: rule.name for name, rule in rules.items()} == {name: name for name in rules}
    assert all(rule.grid == grid and rule.base == CMT_S for rule in rules.values())
    assert all(rule.source for rule in NAMED_RULES.values())


def test_an_unknown_rule_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(BudgetError) as caught:
        named_rule("cmt", base=CMT_S)
    assert str(caught.value) == (
        "rule 'cmt' is unknown; choose from cmt-paper, efficientnet, dwr, depth-only, width-only, "
        "resolution-only, uniform, dw, dr, wr, dwr(alpha)"
    )


def test_a_search_compares_the_same_seven_rules_unless_told_otherwise() -> None:
    seven = "cmt-paper efficientnet dwr depth-only width-only resolution-only uniform"
    assert list(NAMED_RULES) == seven.split()
    assert [*CATALOGUE] == [*NAMED_RULES, "dw", "dr", "wr"]


def test_no_point_of_the_triangle_has_two_names_in_the_catalogue() -> None:
    points = [named_rule(name, base=CMT_S).shares.values for name in CATALOGUE]
    distances = [math.dist(a, b) for a, b in itertools.combinations(points, 2)]
    assert min(distances) > 0.05
    assert not set(ALIASES) & set(CATALOGUE)


@pytest.mark.parametrize(
    ("name", "weights"),  # on depth, width and resolution, as in the paper's own code
    [
        *[("d", (1, 0, 0)), ("w", (0, 1, 0)), ("r", (0, 0, 1))],
        *[("dw", (1, 1, 0)), ("dr", (1, 0, 1)), ("wr", (0, 1, 1))],
        *[("uniform", (1, 1, 1)), ("dWr", (1, 8, 1))],
    ],
)
def test_all_strategies_of_dollar_et_al_are_there(name: str, weights: tuple[int, ...]) -> None:
    shares = named_rule(name, base=CMT_S).shares
    assert shares.values == pytest.approx([w / sum(weights) for w in weights], abs=1e-15)


@pytest.mark.parametrize(
    ("alpha", "same"), [(0.8, "dwr"), (1 / 3, "uniform"), (1, "width-only"), (0, "dr")]
)
def test_their_family_passes_through_the_rules_that_have_a_name(alpha: float, same: str) -> None:
    rule = named_rule(f"dwr({alpha})", base=CMT_S, grid=Grid(resolution_step=16))
    assert rule.shares.values == pytest.approx(
        named_rule(same, base=CMT_S).shares.values, abs=1e-15
    )
    assert (rule.name, rule.grid.resolution_step) == (f"dwr({alpha})", 16)


def test_an_alpha_that_is_no_share_is_refused() -> None:
    message = r"^dwr\(1.5\): alpha is the share of width; use 0..1$"
    with pytest.raises(BudgetError, match=message):
        named_rule("dwr(1.5)", base=CMT_S)
    with pytest.raises(BudgetError, match=r"^rule 'dwr\(x\)' is unknown;"):
        named_rule("dwr(x)", base=CMT_S)


@pytest.fixture(scope="module")
def family() -> Family:
    rule = named_rule("cmt-paper", base=CMT_S)
    return Family.of(rule, budgets=[*reversed(PAPER_BUDGETS[1:]), Budget(macs=PAPER_BUDGETS[0])])


def test_a_family_at_the_paper_s_budgets_grows_and_passes_through_its_base(family: Family) -> None:
    macs = [member.cost.macs for member in family.members]
    assert macs == pytest.approx(PAPER_BUDGETS, rel=0.01)
    assert macs == sorted(macs)
    assert family.members[2].arch.key == CMT_S.key
    sides = [member.arch.resolution for member in family.members]
    assert sides == sorted(set(sides))
    assert [m.arch.depth for m in family.members] == sorted({m.arch.depth for m in family.members})


def test_a_family_is_plain_values_from_which_its_networks_come_back(family: Family) -> None:
    data = json.loads(json.dumps(family.to_dict(), allow_nan=False))
    assert data["rule"] == "cmt-paper"
    assert sum(data["shares"].values()) == pytest.approx(1, abs=2e-6)
    assert list(data["shares"]) == ["depth", "width", "resolution"]
    assert data["stage_ratio"] is None
    alpha, beta, gamma = family.rule.constants()
    assert data["constants"] == pytest.approx(
        {"growth": 2.5, "alpha": alpha, "beta": beta, "gamma": gamma}, abs=1e-6
    )
    assert data["base"]["key"] == Arch.from_dict(data["base"]["arch"]).key == CMT_S.key
    assert data["base"]["macs"] == cost(CMT_S).macs
    for read, member in zip(data["members"], family.members, strict=True):
        arch = Arch.from_dict(read["arch"])
        assert arch == member.arch
        assert (read["params"], read["macs"]) == (cost(arch).params, cost(arch).macs)
        assert read["key"] == arch.key
        assert read["budget"] == member.budget.macs
    assert data["members"][2]["realised_shares"] is None  # the base
    assert sum(data["members"][3]["realised_shares"]) == pytest.approx(1, abs=2e-4)


def test_a_rule_keeps_its_stage_ratio_in_a_family() -> None:
    shares = Shares(depth=1, width=0, resolution=0)
    rule = ScalingRule(base=PRESETS["cmt_pico"], shares=shares, stage_ratio=0.5, name="mine")
    data = Family.of(rule, budgets=[2e6]).to_dict()
    assert (data["rule"], data["stage_ratio"]) == ("mine", 0.5)
