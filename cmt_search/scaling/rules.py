"""Scaling rules: shares around a base, published rules and their sources."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.continuous import Floats, SmoothFamily, ideal_point, width_on_budget
from cmt_search.scaling.member import Budget, Grid, Latency, Member
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.solver import solve


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


_DOLLAR = "Dollar et al., arXiv:2103.06877"


class NamedRule(NamedTuple):
    """A published or canonical rule: shares, or constants whose shares depend on the base."""

    source: str
    shares: Shares | None = None
    constants: Constants | None = None

    def around(self, base: Arch, *, name: str, grid: Grid | None = None) -> ScalingRule:
        """This rule around `base`."""
        if self.constants is not None:
            return ScalingRule.from_constants(
                base, **self.constants._asdict(), grid=grid, name=name
            )
        assert self.shares is not None
        return ScalingRule(base=base, shares=self.shares, grid=grid or Grid(), name=name)


def fast_shares(alpha: float) -> Shares:
    """Dollár's family: `alpha` to width, the rest halved; 1/3 is uniform, 0.8 their fast scaling.

    Raises:
        BudgetError: alpha is no share.
    Source: fast compound scaling, arXiv:2103.06877, table 4.
    """
    if not 0 <= alpha <= 1:
        raise BudgetError(f"dwr({alpha:g}): alpha is width's share of the growth; use 0..1")
    return Shares(depth=(1 - alpha) / 2, width=alpha, resolution=(1 - alpha) / 2)


NAMED_RULES: Mapping[str, NamedRule] = {
    "cmt-paper": NamedRule(
        "CMT, arXiv:2107.06263, section 3.4", constants=Constants(1.2, 1.3, 1.15)
    ),
    "efficientnet": NamedRule(
        "EfficientNet, arXiv:1905.11946, section 3.3", constants=Constants(1.2, 1.1, 1.15)
    ),
    "dwr": NamedRule(
        f"fast compound scaling with alpha 0.8 (dWr), {_DOLLAR}",
        shares=Shares(depth=0.1, width=0.8, resolution=0.1),
    ),
    "depth-only": NamedRule(
        f"corner of the triangle; d in {_DOLLAR}", shares=Shares(depth=1, width=0, resolution=0)
    ),
    "width-only": NamedRule(
        f"corner of the triangle; w in {_DOLLAR}", shares=Shares(depth=0, width=1, resolution=0)
    ),
    "resolution-only": NamedRule(
        f"corner of the triangle; r in {_DOLLAR}", shares=Shares(depth=0, width=0, resolution=1)
    ),
    "uniform": NamedRule(
        f"centre of the triangle; uniform compound (dwr) in {_DOLLAR}",
        shares=Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3),
    ),
}
"""The rules that a search compares unless told otherwise."""

CATALOGUE: Mapping[str, NamedRule] = {
    **NAMED_RULES,
    "dw": NamedRule(
        f"compound scaling of two, {_DOLLAR}", shares=Shares(depth=0.5, width=0.5, resolution=0)
    ),
    "dr": NamedRule(
        f"compound scaling of two, {_DOLLAR}", shares=Shares(depth=0.5, width=0, resolution=0.5)
    ),
    "wr": NamedRule(
        f"compound scaling of two, {_DOLLAR}", shares=Shares(depth=0, width=0.5, resolution=0.5)
    ),
}
"""All rules that have a name of their own, no point of the triangle twice."""

ALIASES: Mapping[str, str] = {
    "d": "depth-only",
    "w": "width-only",
    "r": "resolution-only",
    "dWr": "dwr",
}
"""Dollár's names of rules that have another here. His dwr is `uniform`: `dwr` is the fast one."""


def named_rule(name: str, *, base: Arch, grid: Grid | None = None) -> ScalingRule:
    """A published or canonical rule around `base`: of the catalogue, an alias, or `dwr(0.6)`.

    Raises:
        BudgetError: no such rule; the message lists the names.
    """
    name = ALIASES.get(name, name)
    if alpha := re.fullmatch(r"dwr\((\d*\.?\d+)\)", name):
        shares = fast_shares(float(alpha[1]))
        return ScalingRule(base=base, shares=shares, grid=grid or Grid(), name=name)
    if name not in CATALOGUE:
        raise BudgetError(
            f"rule {name!r} is unknown; choose from {', '.join(CATALOGUE)}, dwr(alpha)"
        )
    return CATALOGUE[name].around(base, name=name, grid=grid)


def named_rules(base: Arch, *, grid: Grid | None = None) -> dict[str, ScalingRule]:
    """All of `NAMED_RULES` around `base`."""
    return {name: named_rule(name, base=base, grid=grid) for name in NAMED_RULES}


# MACs, depth and resolution of TinyNet-E to A over EfficientNet-B0's. The factors are those of the
# official code; the MACs are counted on the networks that timm builds from it (B0: 385.8M).
PUBLISHED = (
    (0.0631, 0.6, 0.475),
    (0.1337, 0.695, 0.68),
    (0.2580, 0.85, 0.825),
    (0.5202, 1.1, 0.84),
    (0.8731, 1.2, 0.86),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyNet:
    """A rule for networks smaller than the base; no point of the triangle, for shares vary.

    The paper fits depth and resolution to MACs by Gaussian process regression and leaves width to
    the budget; this interpolates, in logs, between the five networks that it published.

    Source: Model Rubik's Cube, arXiv:2010.14819, and its official code.
    """

    base: Arch
    grid: Grid = field(default_factory=Grid)
    name: str = "tinynet"

    def ideal(self, macs: float) -> Floats:
        """The fractional network at a budget, as coordinates from the base. Shape: (3,).

        Raises:
            BudgetError: the budget is outside the range of the published networks.
        """
        whole = cost(self.base).macs
        ratios, depths, sides = np.log(PUBLISHED).T
        ratio = math.log(macs / whole)
        if not ratios[0] <= ratio <= ratios[-1]:
            low, high = (math.exp(end) * whole for end in (ratios[0], ratios[-1]))
            raise BudgetError(
                f"tinynet shrinks a base to {PUBLISHED[0][0]:.1%}..{PUBLISHED[-1][0]:.1%} of its "
                f"MACs, not to {macs / whole:.1%}; use a budget of {low:,.0f} to {high:,.0f} MACs"
            )
        x = np.array([np.interp(ratio, ratios, depths), 0.0, np.interp(ratio, ratios, sides)])
        family = SmoothFamily(base=self.base)
        x[1] = float(width_on_budget(family.at(x), like=family.sizes, macs=macs))
        return x

    def member(self, budget: Budget | float, *, latency: Latency | None = None) -> Member:
        """The network of this rule at a budget; a number is a budget in MACs.

        Raises:
            BudgetError: nothing meets the budget; the message names the limit that binds.
        """
        asked = budget if isinstance(budget, Budget) else Budget(macs=budget)
        x = self.ideal(asked.macs)
        family = SmoothFamily(base=self.base)
        return solve(family, x=x, budget=asked, grid=self.grid, latency=latency)
