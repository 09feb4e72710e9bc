"""Catalogue of published and canonical rules, with their sources and members."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cmt_search.arch import Arch
from cmt_search.errors import BudgetError
from cmt_search.scaling.member import Budget, Grid, Member
from cmt_search.scaling.rules import Constants, ScalingRule
from cmt_search.scaling.shares import Shares

_DOLLAR = "Dollar et al., arXiv:2103.06877"


class NamedRule(NamedTuple):
    """A published or canonical rule: shares, or constants whose shares depend on the base."""

    source: str
    growth: Shares | Constants


def _canonical(source: str, depth: float, width: float, resolution: float) -> NamedRule:
    shares = Shares(depth=depth, width=width, resolution=resolution)
    return NamedRule(f"{source} {_DOLLAR}", shares)


NAMED_RULES: Mapping[str, NamedRule] = {
    "cmt-paper": NamedRule("CMT, arXiv:2107.06263, section 3.4", Constants(1.2, 1.3, 1.15)),
    "efficientnet": NamedRule(
        "EfficientNet, arXiv:1905.11946, section 3.3", Constants(1.2, 1.1, 1.15)
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

    `dwr(alpha)` gives `alpha` to width and halves the rest: 1/3 is uniform, 0.8 fast scaling.

    Raises:
        BudgetError: unknown rule; the message lists the names. Or alpha is outside 0..1.
    Source: fast compound scaling, arXiv:2103.06877, table 4.
    """
    name = ALIASES.get(name, name)
    if match := re.fullmatch(r"dwr\((\d*\.?\d+)\)", name):
        alpha = float(match[1])
        if alpha > 1:
            raise BudgetError(f"{name}: alpha is the share of width; use 0..1")
        entry = _canonical("", (1 - alpha) / 2, alpha, (1 - alpha) / 2)
    elif name in CATALOGUE:
        entry = CATALOGUE[name]
    else:
        raise BudgetError(
            f"rule {name!r} is unknown; choose from {', '.join(CATALOGUE)}, dwr(alpha)"
        )
    if isinstance(entry.growth, Constants):
        return ScalingRule.from_constants(base, entry.growth, grid=grid, name=name)
    return ScalingRule(base=base, shares=entry.growth, grid=grid or Grid(), name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """A rule bound to a base, with its members."""

    rule: ScalingRule
    source: str
    members: tuple[Member, ...]
    missing: Mapping[float, str]  # reason, by budget in MACs without a member

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names of the rule."""
        return tuple(alias for alias, name in ALIASES.items() if name == self.rule.name)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.rule.name,
            "source": self.source,
            "aliases": list(self.aliases),
            "shares": [round(share, 4) for share in self.rule.shares.values],
            "constants": [round(constant, 4) for constant in self.rule.constants()],
            "members": [member.to_dict() for member in self.members],
            "missing": {f"{macs:.0f}": reason for macs, reason in self.missing.items()},
        }


def solve_budgets(
    rule: ScalingRule, *, budgets: Iterable[Budget | float]
) -> tuple[tuple[Member, ...], dict[float, str]]:
    """Solve a rule at each budget; returns its members, and the reason by MACs without one."""
    members, missing = [], {}
    for budget in budgets:
        try:
            members.append(rule.member(budget))
        except BudgetError as error:
            missing[budget.macs if isinstance(budget, Budget) else budget] = str(error)
    return tuple(members), missing


def describe_rule(rule: ScalingRule, *, source: str, budgets: Iterable[Budget | float]) -> RuleRow:
    """Describe one rule, with its members at `budgets`."""
    members, missing = solve_budgets(rule, budgets=budgets)
    return RuleRow(rule=rule, source=source, members=members, missing=missing)


def describe_rules(
    base: Arch, *, budgets: Iterable[Budget | float], grid: Grid | None = None
) -> tuple[RuleRow, ...]:
    """Describe all rules of the catalogue around `base`."""
    limits = tuple(budgets)
    return tuple(
        describe_rule(named_rule(name, base=base, grid=grid), source=entry.source, budgets=limits)
        for name, entry in CATALOGUE.items()
    )
