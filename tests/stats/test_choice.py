import numpy as np
import pytest

from cmt_search.errors import AnalysisError
from cmt_search.stats import cheapest, simplex_grid

RULES = simplex_grid(2)


def test_the_cheapest_rule_of_the_set_is_chosen_and_the_criterion_named() -> None:
    choice = cheapest(RULES, cost=[5, 4, 3, 1, 2, 6], criterion="activations")
    assert choice.shares == tuple(RULES[3].tolist())
    assert (choice.criterion, choice.cost, choice.among) == ("activations", 1.0, 6)


def test_rules_without_a_member_are_not_chosen_nor_counted() -> None:
    choice = cheapest(RULES, cost=[5, np.nan, 3, -np.inf, np.inf, 6], criterion="latency")
    assert choice.shares == tuple(RULES[2].tolist())
    assert choice.among == 3


def test_of_equally_cheap_rules_the_first_is_chosen() -> None:
    assert cheapest(RULES, cost=[2, 1, 1, 1, 2, 2], criterion="latency").shares == tuple(
        RULES[1].tolist()
    )


@pytest.mark.parametrize("count", [0, 6])
def test_a_set_without_any_known_cost_is_refused(count: int) -> None:
    with pytest.raises(AnalysisError, match=rf"none of the {count} rules.*cost in latency; choose"):
        cheapest(RULES[:count], cost=[np.nan] * count, criterion="latency")
