"""Making integers of a rule: the network nearest to the ideal point that meets the budget.

Rounding resolution moves MACs in jumps, because odd maps are padded; so the widths are rounded
around the width that meets the budget at each choice of depth and resolution, and the choice among
all of these is by distance to the ideal point. (Rounding every size around the ideal point alone
misses a third of the budgets of small networks.)
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmt_search.arch import Arch
from cmt_search.cost.count import cost, sizes_of
from cmt_search.cost.formula import Array, Terms, network_rows, total
from cmt_search.errors import BudgetError
from cmt_search.scaling.member import Budget, Grid, Ideal, Member
from cmt_search.scaling.realised import realised_shares
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.smooth import (
    Floats,
    Groups,
    SmoothFamily,
    log_macs,
    path_gradient,
    sizes_at,
    variables,
)

TRIMS = tuple(sign * step / 200 for step in range(1, 7) for sign in (-1, 1))  # 0.5% to 3%
_SMALL_GROWTH = math.log(2)  # below it rounding is as large as the growth that shares divide
_SIDES_BEYOND = 1  # steps of resolution tried on either side of floor and ceil


def ideal_point(family: SmoothFamily, *, shares: Floats, growth: float) -> Floats:
    """Coordinates where rules spend ln-MACs `growth`, by fixed point on path exponents.

    Shape: (..., 3) shares to (..., 3) logs of the factors on depth, width and resolution.
    Raises:
        BudgetError: the iteration does not settle (the base's exponents vanish along the path).
    """
    target = shares * growth
    x: Floats = target / family.exponents_at(np.zeros(3))
    for _ in range(200):
        exponents = family.path_exponents(x)
        if not exponents.min() > 1e-6:  # ever fewer blocks, or narrower ones, save nothing more
            break
        change = target / exponents - x
        if np.max(np.abs(change)) < 1e-12:
            return x
        x = x + 0.8 * change  # exponents grow with x, so the full step would swing around the end
    rules = f"shares {shares.tolist()} reach" if shares.ndim == 1 else "some shares reach"
    raise BudgetError(
        f"{rules} no point at {math.exp(growth):.3g} times the base; "
        "use a budget nearer to the base"
    )


def solve(family: SmoothFamily, *, shares: Shares, budget: Budget, grid: Grid) -> Member:
    """The member of a rule at a budget; deterministic.

    Raises:
        BudgetError: nothing on the grid meets the budget, with the limit that binds.
    """
    growth = math.log(budget.macs / cost(family.base).macs)
    x = ideal_point(family, shares=np.array(shares.values), growth=growth)
    archs = _roundings(family, x=x, budget=budget, grid=grid)
    distance = _distances(family, archs, x=x)
    for trim in (0.0, *TRIMS):
        legal = _legal(family.base, archs, budget=budget, trim=trim)
        if legal.any():
            _, _, best = min(
                (round(float(distance[i]), 12), archs[i].sizes, archs[i])
                for i in map(int, np.flatnonzero(legal))
            )
            return _member(family, best.build(family.base, trim), budget=budget, x=x, trim=trim)
    raise _unreachable(family.base, archs, budget=budget)


def split_depth(total: int, *, ideal: Sequence[float]) -> tuple[int, ...]:
    """`total` blocks over stages in proportion to `ideal`, by largest remainder, one at least."""
    scale = total / math.fsum(ideal)
    wanted = [value * scale for value in ideal]
    depths = [max(1, math.floor(value + 1e-9)) for value in wanted]
    while sum(depths) != total:
        sign = 1 if sum(depths) < total else -1
        open_to_change = [i for i, d in enumerate(depths) if d + sign >= 1]
        best = max(open_to_change, key=lambda i: (sign * (wanted[i] - depths[i]), -i))
        depths[best] += sign
    return tuple(depths)


@dataclass(frozen=True, slots=True)
class _Rounding:
    """One choice of integers."""

    depths: tuple[int, ...]
    side: int
    widths: tuple[int, ...]  # the stem's first

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.depths, self.side, *self.widths)

    def build(self, base: Arch, trim: float = 0.0) -> Arch:
        rows = zip(base.stages, self.depths, self.widths[1:], strict=True)
        stages = tuple(
            replace(
                s, depth=d, width=w, mlp_ratio=s.mlp_ratio * (1 + trim) if trim else s.mlp_ratio
            )
            for s, d, w in rows
        )
        return replace(base, resolution=self.side, stem_width=self.widths[0], stages=stages)


def _roundings(
    family: SmoothFamily, *, x: Floats, budget: Budget, grid: Grid
) -> tuple[_Rounding, ...]:
    """Depth and resolution near the ideal; for each, widths around the one that is on budget."""
    base, count = family.base, len(family.base.stages)
    wanted = [float(d) for d in family.depths_at(x[0])]
    depths = _near(sum(wanted), step=1, low=max(grid.depth_min, count), high=grid.depth_max)
    sides = _near(
        base.resolution * math.exp(x[2]),
        step=grid.resolution_step,
        low=grid.resolution_min,
        high=grid.resolution_max,
        beyond=_SIDES_BEYOND,
    )
    splits = [split_depth(d, ideal=wanted) for d in depths]
    found = []
    for split, side in itertools.product(splits, sides):
        factor = _width_factor(family, split=split, side=side, start=x[1], macs=budget.macs)
        options = [_near(base.stem_width * factor, step=1, low=1, high=None)]
        for i, stage in enumerate(base.stages):
            low, high = (grid.width_min, grid.width_max) if i == 0 else (1, None)
            step = stage.heads * grid.width_step
            options.append(_near(stage.width * factor, step=step, low=low, high=high))
        found += [_Rounding(split, side, widths) for widths in itertools.product(*options)]
    if not found:
        raise _outside(base, x=x, grid=grid, depth=sum(wanted))
    return tuple(found)


def _near(
    value: float, *, step: int, low: int, high: int | None, beyond: int = 0
) -> tuple[int, ...]:
    """Floor and ceil of `value` on a grid, and some steps beyond them, within limits."""
    first = math.floor(value / step + 1e-9) - beyond
    last = math.ceil(value / step - 1e-9) + beyond
    top = math.inf if high is None else high
    steps = (max(1, k) * step for k in range(first, last + 1))
    return tuple(sorted({v for v in steps if low <= v <= top}))


def _width_factor(
    family: SmoothFamily, *, split: tuple[int, ...], side: int, start: float, macs: float
) -> float:
    """The factor on all widths that meets the budget, by Newton's method on logs."""
    base = family.base
    stages = tuple(replace(s, depth=d) for s, d in zip(base.stages, split, strict=True))
    v = variables(sizes_of(replace(base, resolution=side, stages=stages)))
    width = Groups.of(len(base.stages)).width
    step = np.zeros(len(v), dtype=complex)
    step[width] = 1e-30j
    x = start
    for _ in range(50):
        point = v.copy()
        point[width] += x
        grown = log_macs(point + step, like=family.sizes)
        change = float((grown.real - math.log(macs)) / (grown.imag / 1e-30))
        x = min(max(x - change, start - 5), start + 5)
        if abs(change) < 1e-10:
            break
    return math.exp(x)


def _stacked(base: Arch, archs: Sequence[_Rounding], *, trim: float = 0.0) -> Floats:
    """Variables of many roundings. Shape: (len(archs), 5 * stages + 2)."""
    count = len(base.stages)
    ratios = [s.mlp_ratio * (1 + trim) if trim else s.mlp_ratio for s in base.stages]
    widths = np.array([a.widths for a in archs], dtype=np.float64)
    hidden = np.floor(widths[:, 1:] * np.array(ratios))
    depths = np.array([a.depths for a in archs], dtype=np.float64)
    tokens = {
        side: variables(sizes_of(replace(base, resolution=side)))[Groups.of(count).resolution]
        for side in {a.side for a in archs}
    }
    rows = np.array([tokens[a.side] for a in archs])
    shape = np.log(np.hstack([widths, hidden / widths[:, 1:], depths]))
    return np.concatenate([shape, rows], axis=1)


def _costs(base: Arch, archs: Sequence[_Rounding], *, trim: float = 0.0) -> Terms[Array]:
    return total(network_rows(sizes_at(_stacked(base, archs, trim=trim), like=sizes_of(base))))


def _distances(family: SmoothFamily, archs: Sequence[_Rounding], *, x: Floats) -> Floats:
    """Exponent-weighted log distance to the ideal point, by dimension. Shape: (len(archs),)."""
    ideal = family.at(x)
    exponents = path_gradient(variables(family.sizes), ideal, like=family.sizes)
    gaps = exponents * (_stacked(family.base, archs) - ideal)
    groups = Groups.of(len(family.base.stages))
    by_dimension = [
        gaps[:, group].sum(axis=1) for group in (groups.depth, groups.width, groups.resolution)
    ]
    distance: Floats = np.sqrt(sum(part**2 for part in by_dimension))
    return distance


def _legal(
    base: Arch, archs: Sequence[_Rounding], *, budget: Budget, trim: float
) -> NDArray[np.bool_]:
    costs = _costs(base, archs, trim=trim)
    legal: NDArray[np.bool_] = np.abs(costs.macs - budget.macs) <= budget.tolerance * budget.macs
    for name, cap in budget.caps.items():
        legal &= np.round(getattr(costs, name)) <= cap
    return legal


def _outside(base: Arch, *, x: Floats, grid: Grid, depth: float) -> BudgetError:
    side, width = base.resolution * math.exp(x[2]), base.stages[0].width * math.exp(x[1])
    return BudgetError(
        f"the rule asks for {depth:.1f} blocks, first width {width:.1f} and {side:.1f} pixels, "
        f"outside depth {max(grid.depth_min, len(base.stages))}..{grid.depth_max or 'any'}, "
        f"width {grid.width_min}..{grid.width_max or 'any'} or "
        f"resolution {grid.resolution_min}..{grid.resolution_max or 'any'}; "
        "widen that knob or ask for a budget nearer to the base"
    )


def _unreachable(base: Arch, archs: Sequence[_Rounding], *, budget: Budget) -> BudgetError:
    costs = _costs(base, archs)
    off = costs.macs / budget.macs - 1
    on_budget = np.abs(off) <= budget.tolerance
    if on_budget.any():
        least = {name: getattr(costs, name)[on_budget].min() for name in budget.caps}
        needs = ", ".join(
            f"{name} ({least[name]:,.0f} needed, {cap:,} allowed)"
            for name, cap in budget.caps.items()
            if least[name] > cap
        )
        return BudgetError(
            f"budget {budget.macs:,.0f} MACs breaks the cap on {needs or ' and '.join(least)}; "
            "raise the cap or lower the budget"
        )
    nearest = float(off[np.argmin(np.abs(off))])
    looser = f"raise the tolerance to {abs(nearest) + 0.001:.3f}, or " if abs(nearest) < 0.3 else ""
    return BudgetError(
        f"budget {budget.macs:,.0f} MACs: the nearest network is {nearest:+.1%} off; "
        f"{looser}use finer steps or wider ranges"
    )


def _member(family: SmoothFamily, arch: Arch, *, budget: Budget, x: Floats, trim: float) -> Member:
    shares, residual = realised_shares(family.base, arch)
    measured = cost(arch)
    notes = []
    if shares is None:
        notes.append("costs what the base costs: shares are undefined")
    elif abs(math.log(measured.macs / cost(family.base).macs)) < _SMALL_GROWTH:
        notes.append("less than a factor of two from the base: shares are mostly rounding")
    if trim:
        notes.append(f"IRFFN ratio trimmed by {trim:+.1%} to meet the budget")
    depth, width, side = (float(f) for f in np.exp(x))
    return Member(
        arch=arch,
        cost=measured,
        budget=budget,
        ideal=Ideal(depth=depth, width=width, resolution=side),
        realised=shares,
        residual=residual,
        trim=trim,
        notes=tuple(notes),
    )
