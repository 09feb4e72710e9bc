"""Shrinking a base as TinyNets shrink EfficientNet-B0."""

import math
from dataclasses import dataclass, field

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.ideal import width_on_budget
from cmt_search.scaling.member import Budget, Grid, Latency, Member
from cmt_search.scaling.smooth import Floats, SmoothFamily
from cmt_search.scaling.solve import solve

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
