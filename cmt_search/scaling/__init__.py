"""Compound scaling rules as shares of compute, and the networks they give at a budget."""

from cmt_search.scaling.catalogue import (
    CATALOGUE,
    NAMED_RULES,
    RuleRow,
    describe_rule,
    describe_rules,
    named_rule,
    solve_budgets,
)
from cmt_search.scaling.continuous import SmoothFamily, ideal_point
from cmt_search.scaling.member import Budget, Fixed, Grid, Member
from cmt_search.scaling.rules import Constants, Family, RuleFit, ScalingRule, fit_rule
from cmt_search.scaling.shares import DIMENSIONS, Shares, realised_coordinates, realised_shares
from cmt_search.scaling.solver import resize, solve_width

__all__ = [
    "CATALOGUE",
    "DIMENSIONS",
    "NAMED_RULES",
    "Budget",
    "Constants",
    "Family",
    "Fixed",
    "Grid",
    "Member",
    "RuleFit",
    "RuleRow",
    "ScalingRule",
    "Shares",
    "SmoothFamily",
    "describe_rule",
    "describe_rules",
    "fit_rule",
    "ideal_point",
    "named_rule",
    "realised_coordinates",
    "realised_shares",
    "resize",
    "solve_budgets",
    "solve_width",
]
