"""Compound scaling rules as shares of compute, and the networks they give at a budget."""

from cmt_search.scaling.catalogue import (
    CATALOGUE,
    NAMED_RULES,
    RuleRow,
    TinyNet,
    describe_rule,
    describe_rules,
    fast_shares,
    named_rule,
    named_rules,
    solve_budgets,
)
from cmt_search.scaling.continuous import SmoothFamily, ideal_point
from cmt_search.scaling.member import Budget, Fixed, Grid, Member
from cmt_search.scaling.rules import (
    Constants,
    ExponentRow,
    Family,
    RuleFit,
    ScalingRule,
    evaluate_rule,
    exponent_table,
    fit_rule,
)
from cmt_search.scaling.shares import DIMENSIONS, Shares, realised_coordinates, realised_shares
from cmt_search.scaling.solver import resize, solve_width

__all__ = [
    "CATALOGUE",
    "DIMENSIONS",
    "NAMED_RULES",
    "Budget",
    "Constants",
    "ExponentRow",
    "Family",
    "Fixed",
    "Grid",
    "Member",
    "RuleFit",
    "RuleRow",
    "ScalingRule",
    "Shares",
    "SmoothFamily",
    "TinyNet",
    "describe_rule",
    "describe_rules",
    "evaluate_rule",
    "exponent_table",
    "fast_shares",
    "fit_rule",
    "ideal_point",
    "named_rule",
    "named_rules",
    "realised_coordinates",
    "realised_shares",
    "resize",
    "solve_budgets",
    "solve_width",
]
