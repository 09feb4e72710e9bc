"""In a Pareto search a candidate is a free shape within the knobs, trained ever longer."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling import Shares, resize
from cmt_search.space import Parameter, parse_space

SPACE = parse_space(
    """
kind: pareto
base: {preset: cmt_pico, in_chans: 1}
trials: 10
knobs:
  depth: {min: 5, max: 20}
  width: {min: 4, max: 15, step: 4}
  resolution: {min: 14, max: 28, log: true}
  stage_ratio: {min: 0.2, max: 0.8}
caps: {macs: 6M, params: 0.4M}
fidelities: {epochs: [1, 3]}
proxy: {data_fraction: 0.5}
""",
    source="test",
)


def test_parameters_are_the_knobs_that_have_a_range() -> None:
    assert SPACE.parameters() == (
        Parameter(name="depth", low=5, high=20, step=1, integer=True),
        Parameter(name="width", low=4, high=12, step=4, integer=True),  # 15 is on no step
        Parameter(name="resolution", low=14, high=28, log=True, integer=True),
        Parameter(name="stage_ratio", low=0.2, high=0.8),
    )


@settings(max_examples=100)
@given(
    params=st.fixed_dictionaries(
        {
            "depth": st.integers(5, 20),
            "width": st.sampled_from([4, 8, 12]),
            "resolution": st.integers(14, 28),
            "stage_ratio": st.floats(0.2, 0.8),
        }
    )
)
def test_candidates_have_the_sampled_sizes_and_meet_the_caps(
    params: dict[str, float | int],
) -> None:
    arch = resize(
        SPACE.arch,
        depth=int(params["depth"]),
        width=int(params["width"]),
        resolution=int(params["resolution"]),
        stage_ratio=params["stage_ratio"],
    )
    measured = cost(arch)
    if measured.macs > 6e6 or measured.params > 4e5:
        with pytest.raises(BudgetError, match=r"^caps\.(macs|params): .* is above .*; raise the"):
            SPACE.candidate(params)
        return
    candidate = SPACE.candidate(params)
    assert candidate == SPACE.candidate(params)
    assert {rung.arch for rung in candidate.rungs} == {arch}
    assert (arch.depth, arch.stages[0].width) == (params["depth"], params["width"])
    assert (arch.resolution, arch.in_chans) == (params["resolution"], 1)


def test_a_candidate_has_a_rung_for_each_number_of_epochs() -> None:
    params = {"depth": 6, "width": 8, "resolution": 14, "stage_ratio": 0.5}
    candidate = SPACE.candidate(params, "first")
    assert candidate.name == "first"
    assert candidate.shares is None
    assert [rung.fidelity.epochs for rung in candidate.rungs] == [1, 3]
    assert {rung.fidelity.data_fraction for rung in candidate.rungs} == {0.5}
    for rung in candidate.rungs:
        measured = cost(rung.arch)
        assert rung.macs == measured.macs
        assert rung.params == measured.params
        assert rung.activations == measured.activations
        assert (rung.budget, rung.realised) == (None, None)


def test_an_exceeded_cap_is_reported_with_cost_and_parameters() -> None:
    params = {"depth": 20, "width": 12, "resolution": 28, "stage_ratio": 0.5}
    with pytest.raises(BudgetError) as caught:
        SPACE.candidate(params)
    macs = cost(resize(SPACE.arch, depth=20, width=12, resolution=28, stage_ratio=0.5)).macs
    assert str(caught.value) == (
        f"caps.macs: {macs:,} of {params} is above 6,000,000; raise the cap or narrow the knobs"
    )


def test_knobs_without_a_range_keep_the_value_of_the_base() -> None:
    text = "kind: pareto\ntrials: 1\nbase: {preset: cmt_nano}\nproxy: {epochs: 7}\n"
    space = parse_space(
        text + "knobs: {width: {min: 12, max: 24}, stage_ratio: 0.5}", source="test"
    )
    assert [p.name for p in space.parameters()] == ["width"]
    (rung,) = space.candidate({"width": 12}).rungs
    assert rung.arch == space.arch
    assert rung.fidelity.epochs == 7


def test_a_fixed_stage_ratio_is_used() -> None:
    text = "kind: pareto\ntrials: 1\nbase: {preset: cmt_nano}\n"
    space = parse_space(text + "knobs: {depth: {min: 6, max: 60}, stage_ratio: 1}", source="test")
    stages = space.candidate({"depth": 16}).rungs[0].arch.stages
    assert [stage.depth for stage in stages] == [1, 1, 13, 1]


def test_a_cap_that_one_end_of_the_stage_ratio_meets_is_valid() -> None:
    knobs = "knobs: {depth: {min: 30, max: 40}, stage_ratio: {min: 0, max: 1}}\n"
    text = f"kind: pareto\ntrials: 1\nbase: {{preset: cmt_nano}}\n{knobs}"
    free = parse_space(text, source="test")
    low, high = (
        free.candidate({"depth": 30, "stage_ratio": ratio}).rungs[0].params for ratio in (0, 1)
    )
    assert high < low
    between = parse_space(f"{text}caps: {{params: {(low + high) // 2}}}", source="test")
    assert between.candidate({"depth": 30, "stage_ratio": 1}).rungs[0].params == high


def test_every_corner_of_the_ranges_is_a_network() -> None:
    space = parse_space(
        SPACE.to_yaml().replace("macs: 6000000.0", "macs: 1000000000").replace("400000.0", "1e9"),
        source="test",
    )
    names = [p.name for p in space.parameters()]
    for ends in product(*[(p.low, p.high) for p in space.parameters()]):
        assert space.candidate(dict(zip(names, ends, strict=True))).rungs[0].macs > 0


def test_a_pareto_search_has_no_shares() -> None:
    with pytest.raises(BudgetError) as caught:
        SPACE.params_of_shares(Shares(depth=1, width=0, resolution=0))
    assert str(caught.value) == "a pareto search has no shares; use kind: rule"
