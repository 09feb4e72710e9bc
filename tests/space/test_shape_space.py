"""In a shape search a candidate is a shape at a budget: its width is solved."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling import Shares, realised_shares
from cmt_search.space import Parameter, SearchSpace, parse_space
from tests.space.broken import says

TEXT = """
kind: shape
base: {preset: cmt_nano, resolution: 16}
knobs:
  depth: {min: 4, max: 16, log: true}
  resolution: {min: 16, max: 32, step: 4}
  stage_ratio: {min: 0.3, max: 0.7}
  width: {min: 5}
budgets: {times_base: [8, 2, 4]}
tolerance: 0.03
trials: 12
"""
SPACE = parse_space(TEXT, source="test")
BROKEN = "kind: shape\nbase: {preset: cmt_pico}\n"
KNOBS = "knobs: {depth: {min: 4, max: 12}}\n"
BUDGETS = "budgets: {times_base: [2, 4]}\n"


def with_(line: str, *, knobs: str = KNOBS, budgets: str = BUDGETS, trials: int | None = 5) -> str:
    return BROKEN + knobs + budgets + (f"trials: {trials}\n" if trials else "") + line


def test_parameters_are_the_budget_and_the_knobs_that_have_a_range() -> None:
    assert SPACE.parameters() == (
        Parameter(name="budget", low=0, high=2, integer=True, group=True),
        Parameter(name="depth", low=4, high=16, log=True, integer=True),
        Parameter(name="resolution", low=16, high=32, step=4, integer=True),
        Parameter(name="stage_ratio", low=0.3, high=0.7),
    )


@settings(max_examples=40, deadline=None)
@given(
    params=st.fixed_dictionaries(
        {
            "budget": st.integers(0, 2),
            "depth": st.integers(4, 16),
            "resolution": st.sampled_from([16, 20, 24, 28, 32]),
            "stage_ratio": st.floats(0.3, 0.7),
        }
    )
)
def test_a_candidate_has_the_shape_and_meets_the_budget(params: dict[str, float | int]) -> None:
    try:
        candidate = SPACE.candidate(params, "mine")
    except BudgetError as error:
        assert "budget" in str(error) or "outside" in str(error)  # noqa: PT017 - either is right
        return
    (rung,) = candidate.rungs
    macs = SPACE.budget_macs[int(params["budget"])]
    assert (rung.arch.depth, rung.arch.resolution) == (params["depth"], params["resolution"])
    assert rung.arch.stages[0].width >= 5
    assert rung.budget == macs
    assert rung.macs == cost(rung.arch).macs
    assert abs(rung.macs / macs - 1) <= 0.03
    assert rung.realised == realised_shares(SPACE.arch, rung.arch)[0]
    assert rung.contributions is not None
    assert sum(rung.contributions) == pytest.approx(rung.log_macs_ratio)
    assert candidate.shares is None
    assert candidate == SPACE.candidate(params, "mine")


def test_budgets_are_sorted_and_rungs_are_the_epochs() -> None:
    space = parse_space(TEXT + "fidelities: {epochs: [2, 6], reduction_factor: 2}", source="test")
    base = cost(space.arch).macs
    assert space.budget_macs == (2 * base, 4 * base, 8 * base)
    params = {"budget": 1, "depth": 6, "resolution": 20, "stage_ratio": 0.5}
    rungs = space.candidate(params).rungs
    assert [rung.fidelity.epochs for rung in rungs] == [2, 6]
    assert {rung.budget for rung in rungs} == {4 * base}
    assert (space.objectives, space.sampler.name) == (("top1",), "tpe")


def test_a_shape_space_survives_a_yaml_round_trip() -> None:
    again = parse_space(SPACE.to_yaml(), source="again")
    assert again == SPACE
    assert again.fingerprint == SPACE.fingerprint
    assert SearchSpace.model_validate(SPACE.model_dump()) == SPACE


def test_analytic_only_shapes_are_not_measured() -> None:
    capped = parse_space(TEXT + "caps: {latency_ms: 5}", source="test")
    measured: list[str] = []

    def meter(arch: object) -> float:
        measured.append(str(arch))
        return 1.0

    params = {"budget": 0, "depth": 6, "resolution": 20, "stage_ratio": 0.5}
    space = capped.with_meters({"latency_ms": meter})
    assert space.analytic_only().candidate(params).rungs[0].latency_ms is None
    assert measured == []
    assert space.candidate(params).rungs[0].latency_ms == 1.0
    assert len(measured) == 1


def test_a_shape_search_has_no_shares() -> None:
    with pytest.raises(BudgetError, match=r"^a shape search has no shares; use kind: rule$"):
        SPACE.params_of_shares(Shares(depth=1, width=0, resolution=0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            with_("objectives: [top1, macs]"),
            "objectives: remove the key",
        ),
        (
            with_("", budgets=""),
            "budgets: write MACs like [1.5M, 3M], or {times_base: [3",
        ),
        (
            with_("", budgets="budgets: {times_base: [2, 2]}\n"),
            "budgets: remove the repeated one",
        ),
        (
            with_("caps: {macs: 3M}"),
            "caps.macs: remove the key",
        ),
        (
            with_("", trials=None),
            "trials: a shape search needs an end, such as 100",
        ),
        (
            with_("", knobs="knobs: {width: {min: 8, max: 16}}\n"),
            "knobs: give one a min and a max",
        ),
        (
            with_("", knobs="knobs: {depth: {min: 4, max: 9}, width: {log: true}}\n"),
            "knobs.width.log: remove the key",
        ),
        (
            with_("", knobs="knobs: {depth: {min: 2, max: 9}}\n"),
            "knobs.depth.min: use 4",
        ),
        (
            with_("", knobs="knobs: {depth: {min: 4, max: 9}, mlp_ratio: {min: 2, max: 4}}\n"),
            "knobs.mlp_ratio: set base.mlp_ratio instead",
        ),
        (
            with_("sampler: {name: design}"),
            "sampler.name: use tpe or random",
        ),
        (
            with_("sampler: {name: grid}", knobs="knobs: {depth: {min: 4, max: 9, log: true}}\n"),
            "sampler.name: give it a step and no log, or use sobol",
        ),
        (
            with_(
                "sampler: {name: grid}",
                knobs="knobs: {depth: {min: 4, max: 5000}, resolution: {min: 14, max: 4000}}\n",
            ),
            "sampler.name: use larger steps, or sobol",
        ),
        (
            with_("sampler: {name: cmaes}"),
            "sampler.name: use tpe",
        ),
        (
            with_("fidelities: {reduction_factor: 2}"),
            "fidelities: write epochs like [1, 3, 9]",
        ),
    ],
)
def test_keys_that_do_not_apply_to_shape_searches_are_refused(text: str, message: str) -> None:
    says(text, message)


def test_a_budget_that_no_shape_meets_is_refused() -> None:
    text = with_("", knobs="knobs: {depth: {min: 4, max: 9}, width: {max: 8}}\n")
    says(
        text.replace("[2, 4]", "[6]"),
        "budgets.times_base[0]: depth 7: at 2,658,960 MACs the budget asks for 7.0 blocks",
    )


def test_shape_searches_that_differ_have_other_fingerprints() -> None:
    others = [
        TEXT.replace("[8, 2, 4]", "[8, 2, 5]"),
        TEXT.replace("max: 16", "max: 17"),
        TEXT + "sampler: {initial_points: 9}",
        TEXT + "sampler: {name: gp}",
    ]
    prints = {parse_space(text, source="x").fingerprint for text in (TEXT, *others)}
    assert len(prints) == 5
    more = parse_space(TEXT.replace("trials: 12", "trials: 99"), source="x")
    assert more.fingerprint == SPACE.fingerprint
