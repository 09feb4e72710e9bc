"""Constant exponents against the truth, for the paper's base and for those of proxies."""

import math

import numpy as np
import pytest

from cmt_search.presets import PRESETS
from cmt_search.scaling import ScalingRule, Shares, SmoothFamily, named_rule

CORNERS = {
    "depth": Shares(depth=1, width=0, resolution=0),
    "width": Shares(depth=0, width=1, resolution=0),
    "resolution": Shares(depth=0, width=0, resolution=1),
}


def _corner(base: str, dimension: str) -> ScalingRule:
    return ScalingRule(base=PRESETS[base], shares=CORNERS[dimension])


def _ratio(rule: ScalingRule, *, promised: float) -> float:
    """Growth in MACs of the network that constant exponents place at `promised` times the base."""
    x = np.log(rule.constants(macs_ratio=promised))
    return float(rule.smooth.macs_at(x) / rule.smooth.macs_at(np.zeros(3)))


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
    exponents = named_rule("cmt-paper", base=PRESETS["cmt_s"]).exponents
    assert exponents == pytest.approx((0.93, 1.94, 2.15), abs=0.07)
    assert exponents[1] > 1.9


@pytest.mark.parametrize("name", ["cmt_s", "cmt_micro", "cmt_pico"])
@pytest.mark.parametrize("promised", [2.0, 8.0, 30.0])
def test_depth_alone_costs_what_a_straight_line_says(name: str, promised: float) -> None:
    """MACs are linear in depth, so what constant exponents miss has a closed form."""
    rule = _corner(name, "depth")
    exponent = rule.exponents[0]
    true = 1 + exponent * (promised ** (1 / exponent) - 1)
    assert _ratio(rule, promised=promised) == pytest.approx(true, rel=1e-9)
    assert promised < true
    x = np.log(rule.constants(macs_ratio=promised))
    path = exponent * math.log(true) / math.log(promised)
    assert rule.smooth.path_exponents(x)[0] == pytest.approx(path, rel=1e-9)


@pytest.mark.parametrize("name", ["cmt_s", "cmt_pico"])
def test_the_truth_is_the_path_exponents_growth(name: str) -> None:
    rule = _corner(name, "resolution")
    doubled = rule.smooth.path_exponents(np.array([0, 0, math.log(2)]))[2]
    promised = 2.0 ** rule.exponents[2]
    assert _ratio(rule, promised=promised) == pytest.approx(2**doubled, rel=1e-9)


def test_the_depth_exponent_of_pico_drifts_and_its_promise_fails_by_half() -> None:
    rule = _corner("cmt_pico", "depth")
    path = [
        rule.smooth.path_exponents(np.log(rule.constants(macs_ratio=promised)))[0]
        for promised in (2.0, 4.0, 8.0, 16.0, 30.0)
    ]
    assert path == sorted(path)
    assert rule.exponents[0] < 0.75
    assert path[-1] > 0.93
    assert _ratio(rule, promised=30.0) > 2 * 30


@pytest.mark.parametrize("name", ["cmt_s", "cmt_micro", "cmt_nano", "cmt_pico"])
@pytest.mark.parametrize("dimension", CORNERS)
def test_errors_grow_with_the_distance_and_vanish_at_the_base(name: str, dimension: str) -> None:
    rule = _corner(name, dimension)
    errors = [abs(p / _ratio(rule, promised=p) - 1) for p in (1.0, 2.0, 8.0, 30.0)]
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
