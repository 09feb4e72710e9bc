import json

import pytest
from plotly.utils import PlotlyJSONEncoder

from cmt_search.cost import cost
from cmt_search.explorer import Study
from cmt_search.explorer.triangle_view import (
    asked_macs,
    budget_range,
    chosen_shares,
    clicked_shares,
    solved_panel,
)
from cmt_search.presets import PRESETS
from cmt_search.scaling import Member, ScalingRule, Shares

BASE = PRESETS["cmt_pico"]


def solve(shares: Shares, macs: float) -> Member:
    return ScalingRule(base=BASE, shares=shares).member(macs)


def test_sliders_leave_the_rest_to_resolution_and_width_gives_way() -> None:
    assert chosen_shares(0.5, 0.2) == Shares(depth=0.5, width=0.2, resolution=pytest.approx(0.3))
    assert chosen_shares(0.7, 0.6).values == pytest.approx((0.7, 0.3, 0.0))
    assert chosen_shares(None, 0.2) is None


def test_a_click_on_the_map_is_its_point() -> None:
    clicked = clicked_shares({"points": [{"a": 0.1, "b": 0.6, "c": 0.3}]})
    assert clicked.values == pytest.approx((0.6, 0.3, 0.1))
    assert clicked_shares({"points": [{"x": 1}]}) is clicked_shares(None) is None


def test_the_network_of_a_point_is_the_rules_member_with_its_costs() -> None:
    macs, shares = 4.0 * cost(BASE).macs, Shares(depth=0.2, width=0.6, resolution=0.2)
    member = solve(shares, macs)
    panel = solved_panel(Study(name="a", load=lambda: None, solve=solve), shares, macs=macs)
    shown = json.dumps(panel, cls=PlotlyJSONEncoder)
    assert f"{member.cost.macs:,} MACs, {member.cost.params:,} parameters" in shown
    assert member.arch.key in shown
    assert "realised shares" in shown


def test_a_point_without_a_network_says_why() -> None:
    shares = Shares(depth=1.0, width=0.0, resolution=0.0)
    panel = solved_panel(Study(name="a", load=lambda: None, solve=solve), shares, macs=1.0)
    assert panel.children.startswith("No network: ")


def test_the_slider_has_a_mark_at_both_of_its_ends_and_asks_for_nothing_beyond() -> None:
    study = Study(name="a", load=lambda: None, macs=(50e6, 500e6))
    found = budget_range(study)
    assert next(iter(found["marks"])) == found["min"]
    assert list(found["marks"])[-1] == found["max"]
    assert asked_macs(study, budget=3.0) == 50e6
    assert asked_macs(study, budget=8.0) == 1e8
    assert asked_macs(study, budget=found["max"]) == 500e6
