"""Compound scaling rules as shares of compute, and the networks they give at a budget."""

from cmt_search.scaling.attribution import (
    realised_coordinates,
    realised_shares,
    realised_stage_ratio,
)
from cmt_search.scaling.catalogue import (
    ALIASES,
    CATALOGUE,
    NAMED_RULES,
    NamedRule,
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
from cmt_search.scaling.member import Budget, Factors, Fixed, Grid, LatencyFunction, Member
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
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.scaling.solver import resize, solve_width

__all__ = [
    "ALIASES",
    "CATALOGUE",
    "DIMENSIONS",
    "NAMED_RULES",
    "Budget",
    "Constants",
    "ExponentRow",
    "Factors",
    "Family",
    "Fixed",
    "Grid",
    "LatencyFunction",
    "Member",
    "NamedRule",
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
    "realised_stage_ratio",
    "resize",
    "solve_budgets",
    "solve_width",
]
