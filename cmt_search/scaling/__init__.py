"""Compound scaling rules as shares of compute, and the networks they give at a budget."""

from cmt_search.scaling.member import Budget, Grid, Ideal, Member
from cmt_search.scaling.realised import realised_shares
from cmt_search.scaling.rule import (
    NAMED_RULES,
    Constants,
    Family,
    NamedRule,
    ScalingRule,
    named_rule,
    named_rules,
)
from cmt_search.scaling.shape import shaped
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.scaling.smooth import SmoothFamily
from cmt_search.scaling.solve import ideal_point
from cmt_search.scaling.widths import Keep

__all__ = [
    "DIMENSIONS",
    "NAMED_RULES",
    "Budget",
    "Constants",
    "Family",
    "Grid",
    "Ideal",
    "Keep",
    "Member",
    "NamedRule",
    "ScalingRule",
    "Shares",
    "SmoothFamily",
    "ideal_point",
    "named_rule",
    "named_rules",
    "realised_shares",
    "shaped",
]
