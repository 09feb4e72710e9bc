"""The network of a rule at a budget: of those near the ideal point, the nearest that is legal."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.cost.formula import Array, Terms, network_rows, total
from cmt_search.errors import BudgetError
from cmt_search.scaling.member import Budget, Factors, Grid, Latency, Member
from cmt_search.scaling.realised import realised_shares, realised_stage_ratio
from cmt_search.scaling.rounding import Rounded, roundings, sizes_of_each
from cmt_search.scaling.smooth import Floats, Groups, SmoothFamily, path_gradient, variables

TRIMS = tuple(sign * step / 200 for step in range(1, 7) for sign in (-1, 1))  # 0.5% to 3%
MEASURED = 8  # networks at most whose latency is measured for one member
_SMALL_GROWTH = math.log(2)  # below it rounding is as large as the growth that shares divide


def solve(
    family: SmoothFamily,
    *,
    x: Floats,
    budget: Budget,
    grid: Grid,
    latency: Latency | None = None,
) -> Member:
    """The legal network nearest to the ideal point `x`; deterministic, unless latency decides.

    Raises:
        BudgetError: nothing on the grid meets the budget, with the limit that binds.
    """
    if budget.latency_ms is not None and latency is None:
        raise BudgetError(
            f"budget.latency_ms={budget.latency_ms} caps a measurement; give member() `latency=`, "
            "a function from Arch to milliseconds, or leave the cap out"
        )
    base = family.base
    near = _nearest_first(family, roundings(family, x=x, macs=budget.macs, grid=grid), x=x)
    for trim in (0.0, *TRIMS):
        trimmed = [_trimmed(network, trim) for network in near] if trim else near
        legal = np.flatnonzero(_legal(_costs(trimmed, base=base), budget=budget))
        if len(legal):
            archs = (trimmed[i].of(base) for i in legal)
            arch, ms = _fast_enough(archs, budget=budget, latency=latency)
            return _member(family, arch, budget=budget, x=x, trim=trim, ms=ms)
    raise _unreachable(_costs(near, base=base), base=base, budget=budget, grid=grid)


def _nearest_first(
    family: SmoothFamily, networks: Sequence[Rounded], *, x: Floats
) -> list[Rounded]:
    """By exponent-weighted log distance to the ideal point, over dimensions."""
    ideal = family.at(x)
    exponents = path_gradient(variables(family.sizes), ideal, like=family.sizes)
    gaps = exponents * (variables(sizes_of_each(networks, base=family.base)) - ideal)
    groups = Groups.of(len(family.base.stages))
    by_dimension = [
        gaps[:, group].sum(axis=1) for group in (groups.depth, groups.width, groups.resolution)
    ]
    distances = np.sqrt(sum(part**2 for part in by_dimension)).tolist()
    ranks = [
        (round(distance, 12), network.integers)
        for distance, network in zip(distances, networks, strict=True)
    ]
    return [networks[i] for i in sorted(range(len(networks)), key=ranks.__getitem__)]


def _trimmed(network: Rounded, trim: float) -> Rounded:
    stages = (replace(s, mlp_ratio=s.mlp_ratio * (1 + trim)) for s in network.stages)
    return replace(network, stages=tuple(stages))


def _costs(networks: Sequence[Rounded], *, base: Arch) -> Terms[Array]:
    """Exact costs of many networks. Shape: (len(networks),)."""
    return total(network_rows(sizes_of_each(networks, base=base)))


def _legal(counts: Terms[Array], *, budget: Budget) -> NDArray[np.bool_]:
    legal: NDArray[np.bool_] = np.abs(counts.macs - budget.macs) <= budget.tolerance * budget.macs
    for name, cap in budget.caps.items():
        legal &= getattr(counts, name) <= cap
    return legal


def _fast_enough(
    archs: Iterator[Arch], *, budget: Budget, latency: Latency | None
) -> tuple[Arch, float | None]:
    """The first of `archs` within the cap on latency, and its ms; without a cap, the first."""
    cap = budget.latency_ms
    if cap is None or latency is None:
        return next(archs), None
    measured = []
    for arch in islice(archs, MEASURED):
        measured.append(ms := latency(arch))
        if ms <= cap:
            return arch, ms
    raise BudgetError(
        f"budget {budget.macs:,.0f} MACs breaks the cap on latency_ms ({min(measured):.4g} needed, "
        f"{cap:.4g} allowed; the fastest of {len(measured)} measured); "
        "raise the cap or lower the budget"
    )


def _unreachable(counts: Terms[Array], *, base: Arch, budget: Budget, grid: Grid) -> BudgetError:
    off = counts.macs / budget.macs - 1
    on_budget = np.abs(off) <= budget.tolerance
    if on_budget.any():
        least = {name: getattr(counts, name)[on_budget].min() for name in budget.caps}
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
    steps = ", ".join(str(grid.step_of(stage)) for stage in base.stages)
    finer = f" (keep: {grid.keep} widens stages by {steps} channels)"
    looser = f"raise the tolerance to {abs(nearest) + 0.001:.3f}, or " if abs(nearest) < 0.3 else ""
    return BudgetError(
        f"budget {budget.macs:,.0f} MACs: the nearest network is {nearest:+.1%} off; "
        f"{looser}use finer steps or wider ranges{'' if grid.keep == 'heads' else finer}"
    )


def _member(
    family: SmoothFamily,
    arch: Arch,
    *,
    budget: Budget,
    x: Floats,
    trim: float,
    ms: float | None,
) -> Member:
    shares, residual = realised_shares(family.base, arch)
    counted = cost(arch)
    notes = []
    if shares is None:
        notes.append("costs what the base costs: shares are undefined")
    elif abs(math.log(counted.macs / cost(family.base).macs)) < _SMALL_GROWTH:
        notes.append("less than a factor of two from the base: shares are mostly rounding")
    if trim:
        notes.append(f"IRFFN ratio trimmed by {trim:+.1%} to meet the budget")
    return Member(
        arch=arch,
        cost=counted,
        budget=budget,
        ideal=Factors.at(x),
        realised=shares,
        residual=residual,
        stage_ratio=realised_stage_ratio(family.base, arch),
        trim=trim,
        latency_ms=ms,
        notes=tuple(notes),
    )
