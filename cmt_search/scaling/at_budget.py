"""The network of a given depth, side and stage ratio at a budget: its width is solved."""

import math
from dataclasses import replace

import numpy as np

from cmt_search.arch import Arch
from cmt_search.scaling.ideal import width_on_budget
from cmt_search.scaling.member import Budget, Grid, Latency, Member
from cmt_search.scaling.smooth import SmoothFamily
from cmt_search.scaling.solve import solve


def shape_at(
    base: Arch,
    *,
    depth: int,
    resolution: int,
    budget: Budget,
    stage_ratio: float | None = None,
    grid: Grid | None = None,
    latency: Latency | None = None,
) -> Member:
    """The base with so many blocks and such a side, as wide as the budget allows.

    Of the grid its widths hold, and its ranges of them; depth and side are exactly as asked for.

    Raises:
        BudgetError: no width on the grid meets the budget.
    """
    family = SmoothFamily(base=base, stage_ratio=stage_ratio)
    pinned = replace(
        grid or Grid(),
        depth_min=depth,
        depth_max=depth,
        resolution_step=1,
        resolution_min=resolution,
        resolution_max=resolution,
    )
    x = np.array([math.log(depth / base.depth), 0.0, math.log(resolution / base.resolution)])
    x[1] = width_on_budget(family.at(x), like=family.sizes, macs=budget.macs)
    return solve(family, x=x, budget=budget, grid=pinned, latency=latency)
