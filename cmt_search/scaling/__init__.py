"""Compound scaling rules as shares of compute, and the networks they give at a budget."""

from cmt_search.scaling.at_budget import shape_at
from cmt_search.scaling.describe import (
    RuleRow,
    describe_rule,
    describe_rules,
    members_at,
    off_budget,
    off_shares,
)
from cmt_search.scaling.exponents import GROWTHS, ExponentRow, exponent_table
from cmt_search.scaling.ideal import ideal_point
from cmt_search.scaling.member import Budget, Factors, Grid, Latency, Member
from cmt_search.scaling.named import (
    ALIASES,
    CATALOGUE,
    NAMED_RULES,
    NamedRule,
    fast_shares,
    named_rule,
    named_rules,
)
from cmt_search.scaling.realised import (
    realised_coordinates,
    realised_shares,
    realised_stage_ratio,
)
from cmt_search.scaling.rule import Constants, Family, ScalingRule
from cmt_search.scaling.shape import shaped
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.scaling.smooth import SmoothFamily
from cmt_search.scaling.tinynet import TinyNet
from cmt_search.scaling.variants import (
    Explanation,
    VariantGap,
    constant_gaps,
    explained,
    fitted_rule,
)
from cmt_search.scaling.widths import Keep

__all__ = [
    "ALIASES",
    "CATALOGUE",
    "DIMENSIONS",
    "GROWTHS",
    "NAMED_RULES",
    "Budget",
    "Constants",
    "Explanation",
    "ExponentRow",
    "Factors",
    "Family",
    "Grid",
    "Keep",
    "Latency",
    "Member",
    "NamedRule",
    "RuleRow",
    "ScalingRule",
    "Shares",
    "SmoothFamily",
    "TinyNet",
    "VariantGap",
    "constant_gaps",
    "describe_rule",
    "describe_rules",
    "explained",
    "exponent_table",
    "fast_shares",
    "fitted_rule",
    "ideal_point",
    "members_at",
    "named_rule",
    "named_rules",
    "off_budget",
    "off_shares",
    "realised_coordinates",
    "realised_shares",
    "realised_stage_ratio",
    "shape_at",
    "shaped",
]
