"""Rules are described with source, shares, constants, and members or the reason for none."""

import json

import pytest

from cmt_search.cost import cost
from cmt_search.presets import PRESETS
from cmt_search.scaling import (
    CATALOGUE,
    Budget,
    Grid,
    RuleRow,
    describe_rules,
    named_rule,
)

NANO = PRESETS["cmt_nano"]
MACS = cost(NANO).macs
GRID = Grid(resolution_step=4)


@pytest.fixture(scope="module")
def rows() -> dict[str, RuleRow]:
    described = describe_rules(NANO, budgets=[0.3 * MACS, Budget(macs=3 * MACS)], grid=GRID)
    return {row.rule.name: row for row in described}


def test_every_rule_of_the_catalogue_is_described(rows: dict[str, RuleRow]) -> None:
    assert list(rows) == list(CATALOGUE)
    assert all("arXiv" in row.source for row in rows.values())
    assert rows["depth-only"].aliases == ("d",)
    assert rows["dwr"].aliases == ("dWr",)
    assert rows["uniform"].aliases == ()


def test_members_are_those_of_the_rules_on_the_grid(rows: dict[str, RuleRow]) -> None:
    rule = named_rule("uniform", base=NANO, grid=GRID)
    assert rows["uniform"].members == (rule.member(0.3 * MACS), rule.member(3 * MACS))
    assert rows["uniform"].missing == {}
    assert rows["uniform"].rule == rule


def test_a_budget_out_of_reach_has_the_reason(rows: dict[str, RuleRow]) -> None:
    assert len(rows["depth-only"].members) == 1
    assert "reach no point at 0.3 times the base" in rows["depth-only"].missing[0.3 * MACS]


def test_rows_are_plain_values(rows: dict[str, RuleRow]) -> None:
    for row in rows.values():
        data = json.loads(json.dumps(row.to_dict(), allow_nan=False))
        assert data["name"] == row.rule.name
        assert len(data["members"]) + len(data["missing"]) == 2
    assert rows["dwr"].to_dict()["shares"] == [0.1, 0.8, 0.1]
