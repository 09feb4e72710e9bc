"""Spaces that are built in Python."""

import pytest

import cmt_search as cs
from cmt_search.cost import cost
from cmt_search.errors import SpaceError
from cmt_search.space import parse_space


def test_a_space_built_in_python_is_that_of_a_file() -> None:
    space = cs.SearchSpace(kind="rule", base="cmt_pico", budgets=[4, 9])
    text = "kind: rule\nbase: {preset: cmt_pico}\nbudgets: {times_base: [4, 9]}\n"
    assert space.fingerprint == parse_space(text, source="text").fingerprint
    macs = cost(space.arch).macs
    assert space.budget_macs == (4 * macs, 9 * macs)
    assert cs.SearchSpace(kind="rule", base="cmt_pico", budgets=["2M"]).budget_macs == (2e6,)


@pytest.mark.parametrize(
    ("changes", "path", "remedy"),
    [
        ({"base": "cmt_pcio"}, "base: ", "did you mean cmt_pico"),
        ({"budgets": [0.5]}, "budgets.times_base[0]", "larger"),
        ({"budgets": {"times_bass": [4]}}, "budgets.times_bass", "did you mean times_base"),
        ({"seeds": 0}, "seeds", "1"),
        ({"trails": 3}, "trails", "did you mean trials"),
    ],
)
def test_an_impossible_value_is_named_by_its_key_path(
    changes: dict[str, object], path: str, remedy: str
) -> None:
    with pytest.raises(SpaceError) as caught:
        cs.SearchSpace(**{"kind": "rule", "base": "cmt_pico", "budgets": [4], **changes})
    assert str(caught.value).startswith(f"SearchSpace: {path}")
    assert remedy in str(caught.value)
