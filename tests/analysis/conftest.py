"""Studies of known truths, analysed once with their scaling laws."""

from collections.abc import Sequence

import pytest

from cmt_search.analysis import Analysis, BaseContext, analyse
from cmt_search.search.types import TrialRecord
from cmt_search.space.load import parse_space
from cmt_search.study import base_context
from tests.analysis.studies import BASE_MACS, NAMED, PAPER, additive, flat, rule_study, slope

FOUR = (3.0, 8.0, 20.0, 50.0)  # budgets, times the base
REST = "kind: rule\nbudgets: {times_base: [3, 12]}\n"
SPACE = parse_space(f"{REST}base: {{preset: cmt_nano}}\n", source="nano.yaml")


def analyse_laws(records: Sequence[TrialRecord], *, base: BaseContext | None = None) -> Analysis:
    return analyse(
        records,
        base_macs=BASE_MACS,
        paper=PAPER,
        named=NAMED,
        base=base or BaseContext(exponents=(0.9, 1.9, 2.1), solve_at=lambda x: None),
    )


@pytest.fixture(scope="session")
def four() -> Analysis:
    """Four budgets that span 16 times, of a truth that is a sum of power laws."""
    return analyse_laws(rule_study(additive, noise=0.001, budgets=FOUR, order=4))


@pytest.fixture(scope="session")
def unbalanced() -> Analysis:
    """Two budgets of a truth in which only the first-order gain of width counts."""
    study = rule_study(slope, noise=0.001, budgets=(3, 12), order=4)
    return analyse_laws(study, base=base_context(SPACE))


@pytest.fixture(scope="session")
def noise() -> Analysis:
    """Four budgets of a truth in which no rule differs."""
    return analyse_laws(rule_study(flat, noise=0.01, budgets=FOUR, order=4))
