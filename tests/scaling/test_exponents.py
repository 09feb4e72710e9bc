"""Constant exponents against the truth, for the paper's base and for those of proxies."""

import math

import numpy as np
import pytest

from cmt_search.arch import Arch
from cmt_search.presets import PRESETS
from cmt_search.scaling import (
    NAMED_RULES,
    ScalingRule,
    Shares,
    SmoothFamily,
    exponent_table,
    named_rule,
    named_rules,
)

CORNERS = {
    "depth": Shares(depth=1, width=0, resolution=0),
    "width": Shares(depth=0, width=1, resolution=0),
    "resolution": Shares(depth=0, width=0, resolution=1),
}


def _corners(base: Arch) -> dict[str, ScalingRule]:
    return {name: ScalingRule(base=base, shares=shares) for name, shares in CORNERS.items()}


@pytest.mark.parametrize(
    ("dimension", "factor", "gmacs"),  # of cmt_s with one change, counted on the official code
    [(0, 2, 7.685), (1, 2, 15.524), (2, 2, 18.218), (2, 256 / 224, 5.335), (2, 288 / 224, 6.852)],
)
def test_path_exponents_of_cmt_s_are_those_measured_on_the_official_code(
    dimension: int, factor: float, gmacs: float
) -> None:
    x = math.log(factor) * np.eye(3)[dimension]
    exponent = SmoothFamily(base=PRESETS["cmt_s"]).path_exponents(x)[dimension]
    measured = math.log(gmacs * 1e9 / 4_031_742_464) / math.log(factor)
    assert exponent == pytest.approx(measured, abs=0.002)


def test_local_exponents_of_cmt_s_are_not_the_one_and_a_half_and_two_of_the_paper() -> None:
    row = exponent_table(named_rules(PRESETS["cmt_s"]))[0]
    assert row.local == pytest.approx((0.93, 1.94, 2.15), abs=0.07)
    assert row.local[1] > 1.9


def test_a_table_has_a_row_per_named_rule_and_growth() -> None:
    rows = exponent_table(named_rules(PRESETS["cmt_nano"]), macs_ratios=(2, 8))
    assert [(row.rule, row.promised) for row in rows] == [
        (name, growth) for name in NAMED_RULES for growth in (2, 8)
    ]
    assert all(row.error == row.promised / row.true - 1 for row in rows)


@pytest.mark.parametrize("name", ["cmt_s", "cmt_micro", "cmt_pico"])
def test_depth_alone_costs_what_a_straight_line_says(name: str) -> None:
    """MACs are linear in depth, so what constant exponents miss has a closed form."""
    for row in exponent_table({"depth": _corners(PRESETS[name])["depth"]}):
        exponent = row.local[0]
        true = 1 + exponent * (row.promised ** (1 / exponent) - 1)
        assert row.true == pytest.approx(true, rel=1e-9)
        assert row.error < 0
        assert row.path[0] == pytest.approx(
            exponent * math.log(true) / math.log(row.promised), rel=1e-9
        )


@pytest.mark.parametrize("name", ["cmt_s", "cmt_pico"])
def test_the_truth_is_the_exact_cost_where_the_point_is_a_network(name: str) -> None:
    base = PRESETS[name]
    promised = 2.0 ** ScalingRule(base=base, shares=CORNERS["resolution"]).exponents[2]
    rules = {"resolution": _corners(base)["resolution"]}
    row = exponent_table(rules, macs_ratios=(promised,))[0]
    family = SmoothFamily(base=base)
    doubled = family.path_exponents(np.array([0, 0, math.log(2)]))[2]
    assert row.true == pytest.approx(2**doubled, rel=1e-9)


def test_the_depth_exponent_of_pico_drifts_and_its_promise_fails_by_half() -> None:
    rows = exponent_table(_corners(PRESETS["cmt_pico"]))
    depth = [row for row in rows if row.rule == "depth"]
    assert [row.path[0] for row in depth] == sorted(row.path[0] for row in depth)
    assert depth[0].local[0] < 0.75
    assert depth[-1].path[0] > 0.93
    assert depth[-1].error < -0.5


def test_errors_grow_with_the_distance_and_vanish_at_the_base() -> None:
    for name in ("cmt_s", "cmt_micro", "cmt_nano", "cmt_pico"):
        rows = exponent_table(_corners(PRESETS[name]), macs_ratios=(1, 2, 8, 30))
        for rule in CORNERS:
            errors = [abs(row.error) for row in rows if row.rule == rule]
            assert errors == sorted(errors)
            assert errors[0] == pytest.approx(0, abs=1e-12)
            assert errors[-1] > 0.05


def test_the_paper_s_step_multiplies_macs_by_more_than_it_says() -> None:
    rule = named_rule("cmt-paper", base=PRESETS["cmt_s"])
    x = np.log((1.2, 1.3, 1.15))
    step = math.exp(float(rule.smooth.path_exponents(x) @ x))
    assert step == pytest.approx(2.64, abs=0.03)  # the paper says 2.5
    by_its_own_exponents = math.exp(float(np.dot((1, 1.5, 2), x)))
    assert by_its_own_exponents == pytest.approx(2.352, abs=1e-3)
