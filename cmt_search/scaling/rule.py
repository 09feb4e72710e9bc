"""Scaling rules: shares around a base, as constants and back, and the published ones."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost.count import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.member import Budget, Grid, Member
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.smooth import SmoothFamily
from cmt_search.scaling.solve import solve


class Constants(NamedTuple):
    """Factors on depth, width and resolution for each step of phi."""

    alpha: float
    beta: float
    gamma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRule:
    """How depth, width and resolution grow with MACs around a base.

    Raises:
        BudgetError: the shares are negative or do not sum to one.
    Source: compound scaling, arXiv:1905.11946; CMT, arXiv:2107.06263, section 3.4.
    """

    base: Arch
    shares: Shares
    stage_ratio: float | None = None  # of added blocks, the part in stage 3; None: as in the base
    grid: Grid = field(default_factory=Grid)
    name: str = "rule"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", self.shares.checked())
        self.smooth.depth_fractions()  # refuses an impossible stage ratio here, not at a budget

    @property
    def smooth(self) -> SmoothFamily:
        """The fractional networks that the rule moves through."""
        return SmoothFamily(base=self.base, stage_ratio=self.stage_ratio)

    @property
    def exponents(self) -> tuple[float, float, float]:
        """Local exponents of MACs in depth, width and resolution at the base."""
        depth, width, side = (float(e) for e in self.smooth.exponents_at(np.zeros(3)))
        return depth, width, side

    def constants(self, *, growth: float = 2.5) -> Constants:
        """The factors per step of phi where one step multiplies MACs by `growth`."""
        powers = zip(self.shares.values, self.exponents, strict=True)
        return Constants(*(growth ** (share / exponent) for share, exponent in powers))

    @classmethod
    def from_constants(
        cls,
        base: Arch,
        *,
        alpha: float,
        beta: float,
        gamma: float,
        grid: Grid | None = None,
        name: str = "rule",
    ) -> Self:
        """The rule that multiplies depth, width and resolution by these per step of phi.

        Raises:
            BudgetError: a factor is below one, or all are one, so that nothing grows.
        """
        factors = {"alpha": alpha, "beta": beta, "gamma": gamma}
        for letter, value in factors.items():
            if not 1 <= value < math.inf:
                raise BudgetError(
                    f"{letter}={value} shrinks the network; use 1 to keep it as it is"
                )
        neutral = cls(base=base, shares=Shares(depth=1, width=0, resolution=0))
        parts = [e * math.log(f) for e, f in zip(neutral.exponents, factors.values(), strict=True)]
        growth = math.fsum(parts)
        if growth == 0:
            raise BudgetError("alpha, beta and gamma are all 1: nothing grows; raise one of them")
        depth, width, side = (part / growth for part in parts)
        shares = Shares(depth=depth, width=width, resolution=side)
        return cls(base=base, shares=shares, grid=grid or Grid(), name=name)

    def member(self, budget: Budget | float) -> Member:
        """The network of this rule at a budget; a number is a budget in MACs.

        Raises:
            BudgetError: nothing meets the budget; the message names the limit that binds.
        """
        asked = budget if isinstance(budget, Budget) else Budget(macs=budget)
        return solve(self.smooth, shares=self.shares, budget=asked, grid=self.grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Members of one rule, by growing budget."""

    rule: ScalingRule
    members: tuple[Member, ...]

    @classmethod
    def of(cls, rule: ScalingRule, *, budgets: Iterable[Budget | float]) -> Self:
        """Solve `rule` at every budget."""
        members = sorted((rule.member(b) for b in budgets), key=lambda m: m.budget.macs)
        return cls(rule=rule, members=tuple(members))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and YAML."""
        alpha, beta, gamma = self.rule.constants()
        shares = dict(
            zip(
                ("depth", "width", "resolution"),
                map(_rounded, self.rule.shares.values),
                strict=True,
            )
        )
        return {
            "rule": self.rule.name,
            "shares": shares,
            "stage_ratio": self.rule.stage_ratio,
            "constants": {
                "growth": 2.5,
                "alpha": _rounded(alpha),
                "beta": _rounded(beta),
                "gamma": _rounded(gamma),
            },
            "base": {
                "key": self.rule.base.key,
                "macs": cost(self.rule.base).macs,
                "arch": self.rule.base.to_dict(),
            },
            "members": [member.to_dict() for member in self.members],
        }


def _rounded(value: float) -> float:
    return round(value, 6)


class NamedRule(NamedTuple):
    """A published or canonical rule: shares, or constants whose shares depend on the base."""

    source: str
    shares: Shares | None = None
    constants: Constants | None = None


NAMED_RULES: Mapping[str, NamedRule] = {
    "cmt-paper": NamedRule(
        "CMT, arXiv:2107.06263, section 3.4", constants=Constants(1.2, 1.3, 1.15)
    ),
    "efficientnet": NamedRule(
        "EfficientNet, arXiv:1905.11946, section 3.3", constants=Constants(1.2, 1.1, 1.15)
    ),
    "dwr": NamedRule(
        "fast compound scaling with alpha 0.8, Dollar et al., arXiv:2103.06877",
        shares=Shares(depth=0.1, width=0.8, resolution=0.1),
    ),
    "depth-only": NamedRule(
        "corner of the triangle", shares=Shares(depth=1, width=0, resolution=0)
    ),
    "width-only": NamedRule(
        "corner of the triangle", shares=Shares(depth=0, width=1, resolution=0)
    ),
    "resolution-only": NamedRule(
        "corner of the triangle", shares=Shares(depth=0, width=0, resolution=1)
    ),
    "uniform": NamedRule(
        "centre of the triangle", shares=Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3)
    ),
}


def named_rule(name: str, *, base: Arch, grid: Grid | None = None) -> ScalingRule:
    """A published or canonical rule around `base`.

    Raises:
        BudgetError: no such rule; the message lists the names.
    """
    if name not in NAMED_RULES:
        raise BudgetError(f"rule {name!r} is unknown; choose from {', '.join(NAMED_RULES)}")
    known = NAMED_RULES[name]
    if known.constants is not None:
        return ScalingRule.from_constants(base, **known.constants._asdict(), grid=grid, name=name)
    assert known.shares is not None
    return ScalingRule(base=base, shares=known.shares, grid=grid or Grid(), name=name)


def named_rules(base: Arch, *, grid: Grid | None = None) -> dict[str, ScalingRule]:
    """All of `NAMED_RULES` around `base`."""
    return {name: named_rule(name, base=base, grid=grid) for name in NAMED_RULES}
