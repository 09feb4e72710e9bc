"""What rules are around a base, and the networks that they give: rows to print or to plot."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmt_search.arch import Arch
from cmt_search.errors import BudgetError
from cmt_search.scaling.member import Budget, Grid, Member
from cmt_search.scaling.named import ALIASES, CATALOGUE, named_rule
from cmt_search.scaling.rule import Constants, ScalingRule
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.tinynet import TinyNet

_TINYNET = "Model Rubik's Cube, arXiv:2010.14819: between its five published networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """A rule around a base."""

    name: str
    source: str
    aliases: tuple[str, ...]
    shares: Shares | None  # None: they vary with the budget
    constants: Constants | None  # factors per step of phi, at the growth that was asked for
    members: tuple[Member, ...]
    missing: Mapping[float, str]  # why a budget, in MACs, has no member

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


def members_at(
    rule: ScalingRule | TinyNet, *, budgets: Iterable[Budget | float]
) -> tuple[tuple[Member, ...], dict[float, str]]:
    """The members of a rule, and by MACs why a budget has none."""
    members, missing = [], {}
    for budget in budgets:
        try:
            members.append(rule.member(budget))
        except BudgetError as error:
            missing[budget.macs if isinstance(budget, Budget) else budget] = str(error)
    return tuple(members), missing


def off_budget(member: Member) -> float:
    """How far the member's MACs lie from the budget, as a part of it; above it where positive."""
    return member.cost.macs / member.budget.macs - 1


def off_shares(member: Member, *, asked: Shares) -> float | None:
    """Root mean square between realised and asked shares; None at the base, which has none."""
    if member.realised is None:
        return None
    apart = np.subtract(member.realised.values, asked.values)
    return float(np.sqrt(np.square(apart).mean()))


def describe_rules(
    base: Arch,
    *,
    budgets: Iterable[Budget | float],
    grid: Grid | None = None,
    growth: float = 2.5,
) -> tuple[RuleRow, ...]:
    """The whole catalogue around `base`, with members at `budgets` or why there is none."""
    asked = tuple(budgets)
    rows = [
        describe_rule(
            named_rule(name, base=base, grid=grid),
            source=known.source,
            budgets=asked,
            growth=growth,
        )
        for name, known in CATALOGUE.items()
    ]
    tinynet = TinyNet(base=base, grid=grid or Grid())
    return (*rows, describe_rule(tinynet, source=_TINYNET, budgets=asked))


def describe_rule(
    rule: ScalingRule | TinyNet,
    *,
    source: str,
    budgets: Iterable[Budget | float],
    growth: float = 2.5,
) -> RuleRow:
    """One rule, with members at `budgets` or why there is none."""
    members, missing = members_at(rule, budgets=budgets)
    return RuleRow(
        name=rule.name,
        source=source,
        aliases=tuple(alias for alias, name in ALIASES.items() if name == rule.name),
        shares=rule.shares if isinstance(rule, ScalingRule) else None,
        constants=rule.constants(growth=growth) if isinstance(rule, ScalingRule) else None,
        members=members,
        missing=missing,
    )
