"""Who goes on from a rung, with one objective and with several."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.evaluation import Fidelity
from cmt_search.scaling.shares import Shares
from cmt_search.search.asha import should_promote
from cmt_search.search.running_trial import RunningTrial
from cmt_search.space import parse_space

UP_DOWN = (1, -1)  # top1 and MACs


def goes_on(value: tuple[float, ...], others: list[tuple[float, ...]], factor: int = 3) -> bool:
    return should_promote(value, others=others, factor=factor, signs=UP_DOWN[: len(value)])


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.integers(2, 5),
)
def test_with_one_objective_the_best_part_goes_on(values: list[float], factor: int) -> None:
    *others, own = values
    better = sum(other > own for other in others)
    expected = len(values) < factor or better < len(values) / factor
    assert goes_on((own,), [(other,) for other in others], factor) == expected


def test_fewer_than_the_factor_decide_nothing() -> None:
    assert goes_on((0.1, 9e6), [(0.9, 1e6)])
    assert not goes_on((0.1, 9e6), [(0.9, 1e6)], factor=2)


def test_an_earlier_front_is_better_than_any_contribution() -> None:
    front = [(0.9, 5.0), (0.8, 2.0), (0.7, 1.0)]
    behind = (0.89, 6.0)  # dominated by the first alone
    assert not goes_on(behind, [*front, (0.1, 9.0), (0.2, 8.0)])
    assert goes_on((0.95, 4.0), [*front, (0.1, 9.0), (0.2, 8.0)])


def test_on_one_front_those_go_on_that_add_the_most_hypervolume() -> None:
    front = [(0.1, 1.0), (0.5, 2.0), (0.51, 2.2), (0.9, 9.0), (0.52, 2.3), (0.3, 1.5)]
    chosen = [own for own in front if goes_on(own, [other for other in front if other != own])]
    assert sorted(chosen) == [(0.3, 1.5), (0.9, 9.0)]
    crowded = (0.51, 2.2)
    assert crowded not in chosen


def test_scales_do_not_matter() -> None:
    front = [(0.1, 1.0), (0.5, 2.0), (0.51, 2.2), (0.9, 9.0), (0.52, 2.3), (0.3, 1.5)]
    scaled = [(top1 / 7, macs * 1e6) for top1, macs in front]
    for own, other in zip(front, scaled, strict=True):
        assert goes_on(own, [p for p in front if p != own]) == goes_on(
            other, [p for p in scaled if p != other]
        )


def test_twins_share_their_fate() -> None:
    twin = (0.9, 2.0)
    others = [(0.8, 1.9), (0.7, 1.8), (0.1, 3.0), twin]
    assert goes_on(twin, others)
    equal = [(0.5, 1.0)] * 8
    assert goes_on((0.5, 1.0), equal)


@pytest.mark.parametrize("several", [(0.2, 3.0), (0.9, 0.5), (0.5, 0.1)])
def test_the_order_of_arrival_of_the_others_does_not_matter(several: tuple[float, float]) -> None:
    others = [(0.3, 2.0), (0.8, 1.0), (0.6, 0.4)]
    assert len({goes_on(several, list(order)) for order in itertools.permutations(others)}) == 1


RULE = """
kind: rule
base: {preset: cmt_pico}
budgets: {times_base: [3, 6]}
tolerance: 0.03
%s
"""


def test_a_rule_search_halves_where_a_training_length_ends_never_between_budgets() -> None:
    space = parse_space(RULE % "fidelities: {epochs: [1, 4], reduction_factor: 3}", source="rule")
    middle = Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3)
    candidate = space.candidate(space.params_of_shares(middle))
    assert [(r.fidelity, r.budget) for r in candidate.rungs] == [
        (Fidelity(epochs=epochs), budget) for epochs in (1, 4) for budget in space.budget_macs
    ]
    trial = RunningTrial(number=0, candidate=candidate, seeds=(0,))
    ends = []
    for done in (1, 2, 3):
        trial.rungs_done = done
        ends.append(trial.is_end_of_length)
    assert ends == [False, True, False]
    assert space.reduction_factor == 3
