"""Making integers of a rule: the network nearest to the ideal point that meets the budget.

Rounding resolution moves MACs in jumps, because odd maps are padded; so the widths are rounded
around the width that meets the budget at each choice of depth and resolution, and the choice among
all of these is by distance to the ideal point. (Rounding every size around the ideal point alone
misses a third of the budgets of small networks.)
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cmt_search.arch import Arch, Stage
from cmt_search.cost.count import cost, sizes_of, stacked
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
    variables,
)
from cmt_search.scaling.widths import widened

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
    archs = _nearest_first(family, _roundings(family, x=x, budget=budget, grid=grid), x=x)
    for trim in (0.0, *TRIMS):
        trimmed = [_trimmed(arch, trim) for arch in archs] if trim else archs
        legal = np.flatnonzero(_legal(trimmed, budget=budget))
        if len(legal):
            return _member(family, trimmed[legal[0]], budget=budget, x=x, trim=trim)
    raise _unreachable(archs, budget=budget, grid=grid)


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


def _roundings(family: SmoothFamily, *, x: Floats, budget: Budget, grid: Grid) -> tuple[Arch, ...]:
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
        stems = _near(base.stem_width * factor, step=1, low=1, high=None)
        stages = [
            _stages_near(replace(stage, depth=depth), factor=factor, grid=grid, first=i == 0)
            for i, (stage, depth) in enumerate(zip(base.stages, split, strict=True))
        ]
        found += [
            replace(base, resolution=side, stem_width=stem, stages=chosen)
            for stem, chosen in itertools.product(stems, itertools.product(*stages))
        ]
    if not found:
        raise _outside(base, x=x, grid=grid, depth=sum(wanted))
    return tuple(found)


def _stages_near(stage: Stage, *, factor: float, grid: Grid, first: bool) -> tuple[Stage, ...]:
    """The stage at the widths around `factor` times its own, where it has any inner channels."""
    low, high = (grid.width_min, grid.width_max) if first else (1, None)
    widths = _near(stage.width * factor, step=grid.step_of(stage), low=low, high=high)
    stages = (widened(stage, width=width, keep=grid.keep) for width in widths)
    return tuple(s for s in stages if s.hidden and s.qk_width)


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


def _integers(arch: Arch) -> tuple[int, ...]:
    """What rounding decided, to order networks that are equally near."""
    depths, widths = ([getattr(s, name) for s in arch.stages] for name in ("depth", "width"))
    return (*depths, arch.resolution, arch.stem_width, *widths)


def _trimmed(arch: Arch, trim: float) -> Arch:
    stages = tuple(replace(s, mlp_ratio=s.mlp_ratio * (1 + trim)) for s in arch.stages)
    return replace(arch, stages=stages)


def _costs(archs: Sequence[Arch]) -> Terms[Array]:
    """Exact costs of many networks. Shape: (len(archs),)."""
    return total(network_rows(stacked([sizes_of(arch) for arch in archs])))


def _nearest_first(family: SmoothFamily, archs: Sequence[Arch], *, x: Floats) -> list[Arch]:
    """By exponent-weighted log distance to the ideal point, over dimensions."""
    ideal = family.at(x)
    exponents = path_gradient(variables(family.sizes), ideal, like=family.sizes)
    gaps = exponents * (variables(stacked([sizes_of(arch) for arch in archs])) - ideal)
    groups = Groups.of(len(family.base.stages))
    by_dimension = [
        gaps[:, group].sum(axis=1) for group in (groups.depth, groups.width, groups.resolution)
    ]
    distances = np.sqrt(sum(part**2 for part in by_dimension)).tolist()
    ranks = [
        (round(distance, 12), _integers(arch))
        for distance, arch in zip(distances, archs, strict=True)
    ]
    return [archs[i] for i in sorted(range(len(archs)), key=ranks.__getitem__)]


def _legal(archs: Sequence[Arch], *, budget: Budget) -> NDArray[np.bool_]:
    costs = _costs(archs)
    legal: NDArray[np.bool_] = np.abs(costs.macs - budget.macs) <= budget.tolerance * budget.macs
    for name, cap in budget.caps.items():
        legal &= getattr(costs, name) <= cap
    return legal


def _outside(base: Arch, *, x: Floats, grid: Grid, depth: float) -> BudgetError:
    side, width = base.resolution * math.exp(x[2]), base.stages[0].width * math.exp(x[1])
    step = grid.step_of(base.stages[0])
    return BudgetError(
        f"the rule asks for {depth:.1f} blocks, first width {width:.1f} and {side:.1f} pixels, "
        f"outside depth {max(grid.depth_min, len(base.stages))}..{grid.depth_max or 'any'}, "
        f"width {grid.width_min}..{grid.width_max or 'any'}"
        f"{f' in steps of {step}' if step > 1 else ''} or "
        f"resolution {grid.resolution_min}..{grid.resolution_max or 'any'}; "
        "widen that knob or ask for a budget nearer to the base"
    )


def _unreachable(archs: Sequence[Arch], *, budget: Budget, grid: Grid) -> BudgetError:
    costs = _costs(archs)
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
    steps = ", ".join(str(grid.step_of(stage)) for stage in archs[0].stages)
    finer = f" (keep: {grid.keep} widens stages by {steps} channels)"
    looser = f"raise the tolerance to {abs(nearest) + 0.001:.3f}, or " if abs(nearest) < 0.3 else ""
    return BudgetError(
        f"budget {budget.macs:,.0f} MACs: the nearest network is {nearest:+.1%} off; "
        f"{looser}use finer steps or wider ranges{'' if grid.keep == 'heads' else finer}"
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
