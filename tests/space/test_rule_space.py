"""In a rule search two parameters choose shares, and shares choose a ladder of members."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling import Shares, named_rule
from cmt_search.space import Parameter, parse_space
from cmt_search.space.candidates import shares_from_params

SPACE = parse_space(
    """
kind: rule
base: {preset: cmt_pico}
budgets: {times_base: [8, 3]}
proxy: {epochs: 2, data_fraction: 0.5}
knobs: {resolution: {max: 28}}
sampler: {rules: [dwr, uniform], points: [{name: mine, depth: 0.5, width: 0.25, resolution: 0.25}]}
""",
    source="test",
)


def test_the_parameters_are_shares() -> None:
    assert SPACE.parameters() == (
        Parameter(name="depth_quantile", low=0, high=1),
        Parameter(name="width_of_rest", low=0, high=1),
    )


def test_a_candidate_has_a_rung_for_each_budget_at_one_fidelity() -> None:
    shares = Shares(depth=0.3, width=0.5, resolution=0.2)
    candidate = SPACE.candidate(SPACE.params_of_shares(shares), "mine")
    assert (candidate.name, candidate.shares) == ("mine", shares)
    assert [rung.budget for rung in candidate.rungs] == list(SPACE.budget_macs)
    assert [rung.budget for rung in candidate.rungs] == [1329480, 3545280]
    for rung in candidate.rungs:
        member = SPACE.rule(shares).member(rung.budget)
        assert (rung.arch, rung.realised) == (member.arch, member.realised)
        measured = cost(rung.arch)
        assert (rung.macs, rung.params, rung.activations) == (
            measured.macs,
            measured.params,
            measured.activations,
        )
        assert (rung.fidelity.epochs, rung.fidelity.data_fraction) == (2, 0.5)
        assert rung.arch.resolution <= 28


def test_candidates_are_deterministic_and_have_a_default_name() -> None:
    params = {"depth_quantile": 0.4, "width_of_rest": 0.6}
    assert SPACE.candidate(params) == SPACE.candidate(params)
    assert SPACE.candidate(params).name == "sampled"


@settings(max_examples=200)
@given(cuts=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_shares_survive_a_round_trip_through_parameters(cuts: tuple[int, int]) -> None:
    low, high = sorted(cuts)
    shares = Shares(
        depth=low / 10**6, width=round((high - low) / 10**6, 6), resolution=1 - high / 10**6
    )
    params = SPACE.params_of_shares(shares)
    assert all(0 <= value <= 1 for value in params.values())
    assert shares_from_params(params).values == pytest.approx(shares.values, abs=1.1e-9)


@settings(max_examples=200)
@given(first=st.floats(0, 1), second=st.floats(0, 1))
def test_any_parameters_are_a_point_of_the_triangle(first: float, second: float) -> None:
    params = {"depth_quantile": first, "width_of_rest": second}
    shares = shares_from_params(params)
    assert min(shares.values) >= 0
    assert sum(shares.values) == pytest.approx(1, abs=1e-9)


def test_uniform_parameters_cover_the_triangle_evenly() -> None:
    numbers = random.Random(3)
    drawn = []
    for _ in range(4000):
        params = {"depth_quantile": numbers.random(), "width_of_rest": numbers.random()}
        drawn.append(shares_from_params(params).values)
    for i in range(3):
        assert sum(values[i] for values in drawn) / 4000 == pytest.approx(1 / 3, abs=0.015)
        # Halving the sides cuts the triangle into four equal ones.
        assert sum(values[i] > 0.5 for values in drawn) / 4000 == pytest.approx(0.25, abs=0.025)
    assert sum(max(values) <= 0.5 for values in drawn) / 4000 == pytest.approx(0.25, abs=0.025)


def test_sides_at_a_budget_are_those_of_the_ideal_members() -> None:
    rules = [Shares(depth=0.3, width=0.5, resolution=0.2), Shares(depth=1, width=0, resolution=0)]
    sides = SPACE.sides_at(3e6, shares=np.array([shares.values for shares in rules]))
    ideals = [14 * math.exp(SPACE.rule(shares).ideal(3e6)[2]) for shares in rules]
    assert sides == pytest.approx(ideals)
    assert sides[1] == pytest.approx(14)


def test_named_shares_hold_the_papers_rule_the_listed_rules_and_points() -> None:
    named = SPACE.named_shares()
    assert list(named) == ["cmt-paper", "dwr", "uniform", "mine"]
    assert named["cmt-paper"] == named_rule("cmt-paper", base=SPACE.arch).shares
    assert named["mine"].values == (0.5, 0.25, 0.25)


def test_members_keep_the_stage_ratio_and_the_caps_of_the_space() -> None:
    text = "kind: rule\nbase: {preset: cmt_pico}\nbudgets: [4M]\n"
    limits = "knobs: {stage_ratio: 1}\ncaps: {params: 150k}\n"
    space = parse_space(text + limits, source="test")
    corner = Shares(depth=1, width=0, resolution=0)
    with pytest.raises(
        BudgetError, match=r"^at 4,000,000 MACs budget .* exceeds the cap on params"
    ):
        space.candidate(space.params_of_shares(corner))
    free = parse_space(text + "knobs: {stage_ratio: 1}", source="test")
    stages = free.candidate(free.params_of_shares(corner)).rungs[0].arch.stages
    assert [stage.depth for stage in stages if stage is not stages[2]] == [1, 1, 1]
    assert stages[2].depth > 20


def test_a_rule_out_of_reach_is_refused_at_its_budget() -> None:
    corner = Shares(depth=0, width=0, resolution=1)  # past 28 pixels
    with pytest.raises(BudgetError, match=r"^at 3,545,280 MACs the budget asks for 6\.0 blocks"):
        SPACE.candidate(SPACE.params_of_shares(corner))
