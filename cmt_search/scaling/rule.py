"""Scaling rules: shares around a base, as constants and back, and the published ones."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.ideal import ideal_point
from cmt_search.scaling.member import Budget, Grid, Latency, Member
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.smooth import Floats, SmoothFamily
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

    def ideal(self, macs: float) -> Floats:
        """The fractional network at a budget, as coordinates from the base. Shape: (3,).

        Raises:
            BudgetError: the rule reaches no such budget.
        """
        growth = math.log(macs / cost(self.base).macs)
        return ideal_point(self.smooth, shares=np.array(self.shares.values), growth=growth)

    def member(self, budget: Budget | float, *, latency: Latency | None = None) -> Member:
        """The network of this rule at a budget; a number is a budget in MACs.

        A cap on latency needs `latency`, which measures a network in milliseconds.

        Raises:
            BudgetError: nothing meets the budget; the message names the limit that binds.
        """
        asked = budget if isinstance(budget, Budget) else Budget(macs=budget)
        x = self.ideal(asked.macs)
        return solve(self.smooth, x=x, budget=asked, grid=self.grid, latency=latency)


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
