"""A confirmation is the search's space with fresh seeds, the test split and more training."""

from typing import Any

import pytest

from cmt_search.errors import SpaceError
from cmt_search.scaling import Shares
from cmt_search.space import SearchSpace, parse_space
from cmt_search.space.load import confirmation_space

SPACE = parse_space(
    """
kind: rule
base: {preset: cmt_pico}
budgets: {times_base: [3, 6]}
knobs: {resolution: {max: 28}}
trials: 9
seed: 4
sampler: {rules: [dwr]}
proxy: {epochs: 2}
""",
    source="test",
)
BEST = Shares(depth=0.2, width=0.3, resolution=0.5)


def _confirmed(**changes: Any) -> SearchSpace:
    rules = {"best": BEST, **SPACE.named_shares()}
    wanted = {"rules": rules, "macs": 12 * 443160, "seeds": 3, "times": 4, **changes}
    return confirmation_space(SPACE, **wanted)


def test_a_confirmation_trains_longer_on_the_test_split_with_fresh_seeds() -> None:
    space = _confirmed()
    assert space.proxy.epochs == 8
    assert space.proxy.dataset.split == "test"
    assert (space.seeds, space.trials) == (3, None)
    assert space.seed != SPACE.seed
    assert space.budget_macs == (12 * 443160,)
    assert space.fingerprint != SPACE.fingerprint


def test_a_confirmation_measures_the_rules_given_and_no_lattice() -> None:
    space = _confirmed()
    assert space.sampler.lattice == 0
    named = space.named_shares()
    assert list(named) == ["cmt-paper", "dwr", "best"]
    assert named["best"].values == pytest.approx(BEST.values)
    assert named["dwr"] == SPACE.named_shares()["dwr"]


def test_a_named_rule_that_the_search_left_out_may_be_confirmed() -> None:
    uniform = Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3)
    assert "uniform" in _confirmed(rules={"uniform": uniform}).named_shares()


def test_a_confirmation_keeps_base_knobs_and_tolerance() -> None:
    space = _confirmed()
    assert space.arch == SPACE.arch
    assert space.grid == SPACE.grid
    assert space.tolerance == SPACE.tolerance


def test_a_budget_that_the_search_has_seen_is_refused() -> None:
    with pytest.raises(SpaceError) as caught:
        _confirmed(macs=6.2 * 443160)
    assert str(caught.value) == (
        "budget 2,747,592 MACs was part of the search, so it is not held out; choose one that "
        "differs by more than 5%"
    )


def test_a_budget_out_of_reach_is_refused_as_one_of_a_file_would_be() -> None:
    with pytest.raises(SpaceError) as caught:
        _confirmed(macs=400_000)
    assert str(caught.value) == (
        "confirmation: budgets.macs[0]: 400,000 MACs is not above the base's 443,160, and a rule "
        "grows the base; use a larger budget or a smaller base"
    )


def test_only_a_rule_search_can_be_confirmed() -> None:
    pareto = parse_space(
        "kind: pareto\nbase: {preset: cmt_pico}\ntrials: 3\nknobs: {depth: {min: 5, max: 9}}",
        source="test",
    )
    with pytest.raises(SpaceError) as caught:
        confirmation_space(pareto, rules={}, macs=1e7, seeds=1, times=4)
    assert str(caught.value) == "only a rule search can be confirmed; this one is a pareto search"
