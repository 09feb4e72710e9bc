"""A budget that no network meets is refused with the limit that binds and a way out."""

import math
import re
from collections.abc import Callable

import pytest

from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import Budget, Grid, Member, ScalingRule, Shares, named_rule

pytestmark = pytest.mark.filterwarnings("error")

PICO = PRESETS["cmt_pico"]
PICO_MACS = cost(PICO).macs
MIXED = Shares(depth=0.3, width=0.4, resolution=0.3)


def _member(**changes: object) -> Callable[[float], Member]:
    return ScalingRule(base=PICO, shares=MIXED, grid=Grid(**changes)).member  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        ({"depth_max": 6}, "depth 4..6, width 1..any or resolution 1..any"),
        ({"width_max": 8}, "depth 4..any, width 1..8 or resolution 1..any"),
        ({"width_min": 99}, "depth 4..any, width 99..any or resolution 1..any"),
        ({"resolution_max": 14}, "depth 4..any, width 1..any or resolution 1..14"),
        ({"resolution_min": 90}, "depth 4..any, width 1..any or resolution 90..any"),
    ],
)
def test_a_rule_beyond_the_ranges_is_refused_with_what_it_asks_for(
    changes: dict[str, int], limits: str
) -> None:
    with pytest.raises(BudgetError) as caught:
        _member(**changes)(10 * PICO_MACS)
    assert str(caught.value) == (
        "the budget asks for 14.0 blocks, first width 13.2 and 19.6 pixels, outside "
        f"{limits}; widen that knob or ask for a budget nearer to the base"
    )


def test_a_budget_between_the_steps_is_refused_with_a_tolerance_that_works() -> None:
    member = _member(resolution_step=64)
    with pytest.raises(BudgetError) as caught:
        member(1.5 * PICO_MACS)
    match = re.fullmatch(
        r"budget 664,740 MACs: the nearest network is \+(\d+\.\d)% off; raise the tolerance to "
        r"(0\.\d+), or use finer steps or wider ranges",
        str(caught.value),
    )
    assert match is not None
    budget = Budget(macs=1.5 * PICO_MACS, tolerance=float(match[2]))
    rule = ScalingRule(base=PICO, shares=MIXED, grid=Grid(resolution_step=64))
    off = rule.member(budget).cost.macs / budget.macs - 1
    assert off == pytest.approx(float(match[1]) / 100, abs=1e-3)


def test_a_budget_that_no_sensible_tolerance_saves_is_refused_without_that_advice() -> None:
    with pytest.raises(BudgetError) as caught:
        named_rule("width-only", base=PICO).member(0.01 * PICO_MACS)
    assert re.fullmatch(
        r"budget 4,432 MACs: the nearest network is \+3\d\d\.\d% off; "
        "use finer steps or wider ranges",
        str(caught.value),
    )


@pytest.mark.parametrize("name", ["cmt_s", "cmt_nano", "cmt_pico"])
@pytest.mark.parametrize("growth", [0.1, 0.01])
def test_what_fewer_blocks_cannot_save_is_refused(name: str, growth: float) -> None:
    base = PRESETS[name]
    with pytest.raises(BudgetError) as caught:
        named_rule("depth-only", base=base).member(growth * cost(base).macs)
    assert str(caught.value) == (
        f"shares [1.0, 0.0, 0.0] reach no point at {growth} times the base; "
        "use a budget nearer to the base"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"macs": 0}, "budget.macs=0 must be a positive number of MACs"),
        ({"macs": math.inf}, "budget.macs=inf must be a positive number of MACs"),
        (
            {"macs": 1e6, "tolerance": 1},
            "budget.tolerance=1 is outside 0..1; use 0.01 for 1%",
        ),
        (
            {"macs": 1e6, "params": 0},
            "budget.params=0 admits no network; use a positive cap",
        ),
        (
            {"macs": 1e6, "activations": -5},
            "budget.activations=-5 admits no network; use a positive cap",
        ),
    ],
)
def test_an_impossible_budget_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(BudgetError) as caught:
        Budget(**values)  # type: ignore[arg-type]
    assert str(caught.value) == message
