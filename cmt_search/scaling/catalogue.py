"""Catalogue of published and canonical rules, with their sources and members."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.continuous import Floats, SmoothFamily, width_on_budget
from cmt_search.scaling.member import Budget, Grid, LatencyFunction, Member
from cmt_search.scaling.rules import Constants, ScalingRule
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.solver import solve

_DOLLAR = "Dollar et al., arXiv:2103.06877"


class NamedRule(NamedTuple):
    """A published or canonical rule: shares, or constants whose shares depend on the base."""

    source: str
    shares: Shares | None = None
    constants: Constants | None = None


def fast_shares(alpha: float) -> Shares:
    """Dollár's family: `alpha` to width, the rest halved; 1/3 is uniform, 0.8 fast scaling.

    Raises:
        BudgetError: alpha is outside 0..1.
    Source: fast compound scaling, arXiv:2103.06877, table 4.
    """
    if not 0 <= alpha <= 1:
        raise BudgetError(f"dwr({alpha:g}): alpha is the share of width; use 0..1")
    return Shares(depth=(1 - alpha) / 2, width=alpha, resolution=(1 - alpha) / 2)


def _canonical(source: str, depth: float, width: float, resolution: float) -> NamedRule:
    shares = Shares(depth=depth, width=width, resolution=resolution)
    return NamedRule(f"{source} {_DOLLAR}", shares=shares)


NAMED_RULES: Mapping[str, NamedRule] = {
    "cmt-paper": NamedRule(
        "CMT, arXiv:2107.06263, section 3.4", constants=Constants(1.2, 1.3, 1.15)
    ),
    "efficientnet": NamedRule(
        "EfficientNet, arXiv:1905.11946, section 3.3", constants=Constants(1.2, 1.1, 1.15)
    ),
    "dwr": _canonical("fast compound scaling with alpha 0.8 (dWr),", 0.1, 0.8, 0.1),
    "depth-only": _canonical("corner of the triangle; d in", 1, 0, 0),
    "width-only": _canonical("corner of the triangle; w in", 0, 1, 0),
    "resolution-only": _canonical("corner of the triangle; r in", 0, 0, 1),
    "uniform": _canonical("centre of the triangle; uniform compound (dwr) in", 1 / 3, 1 / 3, 1 / 3),
}
"""The rules that a search compares by default."""

CATALOGUE: Mapping[str, NamedRule] = {
    **NAMED_RULES,
    "dw": _canonical("compound scaling of two,", 0.5, 0.5, 0),
    "dr": _canonical("compound scaling of two,", 0.5, 0, 0.5),
    "wr": _canonical("compound scaling of two,", 0, 0.5, 0.5),
}
"""All named rules; no point of the triangle occurs twice."""

ALIASES: Mapping[str, str] = {
    "d": "depth-only",
    "w": "width-only",
    "r": "resolution-only",
    "dWr": "dwr",
}
"""Dollár's names of rules that are named differently here. His dwr is `uniform`."""


def named_rule(name: str, *, base: Arch, grid: Grid | None = None) -> ScalingRule:
    """Look up a rule of the catalogue, an alias, or `dwr(0.6)`, and bind it to `base`.

    Raises:
        BudgetError: unknown rule; the message lists the names.
    """
    name = ALIASES.get(name, name)
    if alpha := re.fullmatch(r"dwr\((\d*\.?\d+)\)", name):
        entry = NamedRule("", shares=fast_shares(float(alpha[1])))
    elif name in CATALOGUE:
        entry = CATALOGUE[name]
    else:
        raise BudgetError(
            f"rule {name!r} is unknown; choose from {', '.join(CATALOGUE)}, dwr(alpha)"
        )
    if entry.constants is not None:
        return ScalingRule.from_constants(base, **entry.constants._asdict(), grid=grid, name=name)
    assert entry.shares is not None
    return ScalingRule(base=base, shares=entry.shares, grid=grid or Grid(), name=name)


def named_rules(base: Arch, *, grid: Grid | None = None) -> dict[str, ScalingRule]:
    """Bind all of `NAMED_RULES` to `base`."""
    return {name: named_rule(name, base=base, grid=grid) for name in NAMED_RULES}


# MACs, depth and resolution of TinyNet-E to A relative to EfficientNet-B0. The factors are those of
# the official code; MACs are counted on the networks that timm builds from it (B0: 385.8M).
TINYNET_FACTORS = (
    (0.0631, 0.6, 0.475),
    (0.1337, 0.695, 0.68),
    (0.2580, 0.85, 0.825),
    (0.5202, 1.1, 0.84),
    (0.8731, 1.2, 0.86),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyNet:
    """A rule for networks smaller than the base; not a point of the triangle, since shares vary.

    The paper fits depth and resolution to MACs by Gaussian process regression and solves for width.
    This interpolates the logs between its five published networks.

    Source: Model Rubik's Cube, arXiv:2010.14819, and its official code.
    """

    base: Arch
    grid: Grid = field(default_factory=Grid)
    name: str = "tinynet"

    def ideal(self, macs: float) -> Floats:
        """Coordinates of the fractional network at a budget. Shape: (3,).

        Raises:
            BudgetError: the budget is outside the range of the published networks.
        """
        base_macs = cost(self.base).macs
        ratios, depths, resolutions = np.log(TINYNET_FACTORS).T
        ratio = math.log(macs / base_macs)
        if not ratios[0] <= ratio <= ratios[-1]:
            low, high = TINYNET_FACTORS[0][0], TINYNET_FACTORS[-1][0]
            limits = [math.exp(end) * base_macs for end in (ratios[0], ratios[-1])]
            raise BudgetError(
                f"tinynet shrinks a base to {low:.1%}..{high:.1%} of its MACs, not to "
                f"{macs / base_macs:.1%}; use a budget of {limits[0]:,.0f} to {limits[1]:,.0f} MACs"
            )
        x = np.array([np.interp(ratio, ratios, depths), 0.0, np.interp(ratio, ratios, resolutions)])
        family = SmoothFamily(base=self.base)
        x[1] = float(width_on_budget(family.at(x), like=family.sizes, macs=macs))
        return x

    def member(self, budget: Budget | float, *, latency: LatencyFunction | None = None) -> Member:
        """Solve the rule at a budget; a number is a budget in MACs.

        Raises:
            BudgetError: nothing meets the budget; the message names the binding limit.
        """
        limits = budget if isinstance(budget, Budget) else Budget(macs=budget)
        x, family = self.ideal(limits.macs), SmoothFamily(base=self.base)
        return solve(family, x=x, budget=limits, grid=self.grid, latency=latency)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """A rule bound to a base, with its members."""

    name: str
    source: str
    aliases: tuple[str, ...]
    shares: Shares | None  # None if they vary with the budget
    constants: Constants | None  # factors per step of phi
    members: tuple[Member, ...]
    missing: Mapping[float, str]  # reason, by budget in MACs without a member

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "aliases": list(self.aliases),
            "shares": None if self.shares is None else [round(v, 4) for v in self.shares.values],
            "constants": None if self.constants is None else [round(v, 4) for v in self.constants],
            "members": [member.to_dict() for member in self.members],
            "missing": {f"{macs:.0f}": reason for macs, reason in self.missing.items()},
        }


def solve_budgets(
    rule: ScalingRule | TinyNet, *, budgets: Iterable[Budget | float]
) -> tuple[tuple[Member, ...], dict[float, str]]:
    """Solve a rule at each budget; returns its members, and the reason by MACs without one."""
    members, missing = [], {}
    for budget in budgets:
        try:
            members.append(rule.member(budget))
        except BudgetError as error:
            missing[budget.macs if isinstance(budget, Budget) else budget] = str(error)
    return tuple(members), missing


def describe_rule(
    rule: ScalingRule | TinyNet, *, source: str, budgets: Iterable[Budget | float]
) -> RuleRow:
    """Describe one rule, with its members at `budgets`."""
    members, missing = solve_budgets(rule, budgets=budgets)
    return RuleRow(
        name=rule.name,
        source=source,
        aliases=tuple(alias for alias, name in ALIASES.items() if name == rule.name),
        shares=rule.shares if isinstance(rule, ScalingRule) else None,
        constants=rule.constants() if isinstance(rule, ScalingRule) else None,
        members=members,
        missing=missing,
    )


def describe_rules(
    base: Arch, *, budgets: Iterable[Budget | float], grid: Grid | None = None
) -> tuple[RuleRow, ...]:
    """Describe all rules of the catalogue, and TinyNet, around `base`."""
    limits = tuple(budgets)
    rows = [
        describe_rule(named_rule(name, base=base, grid=grid), source=entry.source, budgets=limits)
        for name, entry in CATALOGUE.items()
    ]
    tinynet = TinyNet(base=base, grid=grid or Grid())
    source = "Model Rubik's Cube, arXiv:2010.14819: between its five published networks"
    return (*rows, describe_rule(tinynet, source=source, budgets=limits))
