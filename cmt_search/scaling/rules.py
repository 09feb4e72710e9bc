"""Scaling rules: shares around a base, families, and the fit of a rule to published variants."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.continuous import Floats, SmoothFamily, ideal_point
from cmt_search.scaling.member import Budget, Grid, LatencyFunction, Member
from cmt_search.scaling.shares import DIMENSIONS, Shares, realised_coordinates, realised_shares
from cmt_search.scaling.solver import solve

MACS_RATIO = 2.5  # factor on MACs per step of phi, as in the CMT paper


class Constants(NamedTuple):
    """Factors on depth, width and resolution per step of phi."""

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
    stage_ratio: float | None = None  # part of the added blocks in stage 3; None: as in the base
    grid: Grid = field(default_factory=Grid)
    name: str = "rule"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", self.shares.checked())
        self.smooth.depth_fractions()  # raises on an impossible stage ratio

    @property
    def smooth(self) -> SmoothFamily:
        """The continuous relaxation of the family."""
        return SmoothFamily(base=self.base, stage_ratio=self.stage_ratio)

    @property
    def exponents(self) -> tuple[float, float, float]:
        """Local exponents of MACs in depth, width and resolution at the base."""
        depth, width, resolution = (float(e) for e in self.smooth.exponents_at(np.zeros(3)))
        return depth, width, resolution

    def constants(self, *, macs_ratio: float = MACS_RATIO) -> Constants:
        """Factors per step of phi when one step multiplies MACs by `macs_ratio`."""
        powers = zip(self.shares.values, self.exponents, strict=True)
        return Constants(*(macs_ratio ** (share / exponent) for share, exponent in powers))

    @classmethod
    def from_constants(
        cls, base: Arch, constants: Constants, *, grid: Grid | None = None, name: str = "rule"
    ) -> Self:
        """Convert factors per step of phi to shares around `base`.

        Raises:
            BudgetError: a factor is below one, or all are one.
        """
        for letter, value in constants._asdict().items():
            if not 1 <= value < math.inf:
                raise BudgetError(
                    f"{letter}={value} shrinks the network; use 1 to keep it as it is"
                )
        exponents = SmoothFamily(base=base).exponents_at(np.zeros(3)).tolist()
        parts = [e * math.log(f) for e, f in zip(exponents, constants, strict=True)]
        total = math.fsum(parts)
        if total == 0:
            raise BudgetError("alpha, beta and gamma are all 1: nothing grows; raise one of them")
        shares = Shares.from_values(part / total for part in parts)
        return cls(base=base, shares=shares, grid=grid or Grid(), name=name)

    def ideal(self, macs: float) -> Floats:
        """Coordinates of the fractional network at a budget. Shape: (3,).

        Raises:
            BudgetError: the rule does not reach the budget.
        """
        return ideal_point(
            self.smooth,
            shares=np.array(self.shares.values),
            log_macs_ratio=math.log(macs / cost(self.base).macs),
        )

    def member(self, budget: Budget | float, *, latency: LatencyFunction | None = None) -> Member:
        """Solve the rule at a budget; a number is a budget in MACs.

        A cap on latency needs `latency`, which measures a network in milliseconds.

        Raises:
            BudgetError: nothing meets the budget; the message names the binding limit.
        """
        limits = budget if isinstance(budget, Budget) else Budget(macs=budget)
        x = self.ideal(limits.macs)
        return solve(self.smooth, x=x, budget=limits, grid=self.grid, latency=latency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Members of one rule, in order of budget."""

    rule: ScalingRule
    members: tuple[Member, ...]

    @classmethod
    def of(cls, rule: ScalingRule, *, budgets: Iterable[Budget | float]) -> Self:
        """Solve `rule` at every budget."""
        members = sorted((rule.member(b) for b in budgets), key=lambda m: m.budget.macs)
        return cls(rule=rule, members=tuple(members))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and YAML."""
        rule = self.rule
        shares = zip(DIMENSIONS, rule.shares.values, strict=True)
        constants = {name: round(v, 6) for name, v in rule.constants()._asdict().items()}
        return {
            "rule": rule.name,
            "shares": {name: round(share, 6) for name, share in shares},
            "stage_ratio": rule.stage_ratio,
            "constants": {"growth": MACS_RATIO, **constants},
            "base": {
                "key": rule.base.key,
                "macs": cost(rule.base).macs,
                "arch": rule.base.to_dict(),
            },
            "members": [member.to_dict() for member in self.members],
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RuleFit:
    """How well a rule predicts log depth, width and resolution of variants. Shape: (3,)."""

    rule: ScalingRule
    rms: Floats  # root mean square of the residuals
    r_squared: Floats  # explained part of the squared logs; NaN where no variant differs


def fit_rule(base: Arch, *, variants: Sequence[Arch]) -> RuleFit:
    """Fit shares to variants of `base`, by least squares over log MACs.

    A variant at a log MACs ratio L contributes L times its realised shares. The shares that
    minimise the squared distance to these are their mean weighted by L^2, divided by its sum, which
    differs from one where variants changed other ratios.

    Raises:
        BudgetError: no variant differs from the base in MACs, or one has other stages.
    """
    weighted = np.zeros(3)
    for variant in variants:
        if len(variant.stages) != len(base.stages):
            raise BudgetError(
                f"a variant has {len(variant.stages)} stages, the base {len(base.stages)}; "
                "give variants of this base"
            )
        shares, _ = realised_shares(base, variant)
        if shares is not None:
            log_macs_ratio = math.log(cost(variant).macs / cost(base).macs)
            weighted += log_macs_ratio**2 * np.array(shares.values)
    weighted = np.maximum(weighted, 0)
    if not weighted.any():
        raise BudgetError("no variant differs from the base in MACs; give others than the base")
    fitted = Shares.from_values((weighted / weighted.sum()).tolist())
    rule = ScalingRule(base=base, shares=fitted, name="fitted")
    logs = np.array([realised_coordinates(base, variant) for variant in variants])
    residuals = logs - [rule.ideal(cost(variant).macs) for variant in variants]
    squares, errors = np.square(logs).sum(axis=0), np.square(residuals).sum(axis=0)
    missed = np.divide(errors, squares, out=np.full(3, np.nan), where=squares > 0)
    return RuleFit(rule=rule, rms=np.sqrt(errors / len(variants)), r_squared=1 - missed)
