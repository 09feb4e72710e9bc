"""Integer solver: the network on a grid that is nearest to an ideal point and meets a budget."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmt_search.arch import Arch, Stage
from cmt_search.cost import cost, sizes_like
from cmt_search.cost.analytic import Array, CostTerms, Sizes, network_rows, total
from cmt_search.errors import BudgetError
from cmt_search.scaling.continuous import (
    Floats,
    SmoothFamily,
    VariableGroups,
    mean_gradient,
    to_variables,
    width_on_budget,
)
from cmt_search.scaling.member import (
    Budget,
    Fixed,
    Grid,
    LatencyFunction,
    Member,
    width_unit,
    with_width,
)
from cmt_search.scaling.shares import realised_shares

MLP_ADJUSTMENTS = tuple(sign * step / 200 for step in range(1, 7) for sign in (-1, 1))  # 0.5 to 3%
MAX_LATENCY_MEASUREMENTS = 8  # per member
_EXTRA_RESOLUTION_STEPS = 1  # tried below the floor and above the ceiling
_SMALL_RATIO = math.log(2)  # below it rounding is as large as the log MACs that shares divide


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """The sizes of a candidate, not validated; everything else is the base's."""

    resolution: int
    stem_width: int
    stages: tuple[Stage, ...]


def solve(
    family: SmoothFamily,
    *,
    x: Floats,
    budget: Budget,
    grid: Grid,
    latency: LatencyFunction | None = None,
) -> Member:
    """Find the network nearest to `x` that meets the budget; deterministic but for latency caps.

    Shape: x (3,), logs of the factors on depth, width and resolution.
    Raises:
        BudgetError: nothing on the grid meets the budget; the message names the binding limit.
    """
    if budget.latency_ms is not None and latency is None:
        raise BudgetError(
            f"budget.latency_ms={budget.latency_ms} needs a measurement; give member() `latency=`, "
            "a function from Arch to milliseconds, or remove the cap"
        )
    base = family.base
    networks = enumerate_roundings(family, x=x, macs=budget.macs, grid=grid)
    networks = _sort_by_distance(family, networks, x=x)
    for adjustment in (0.0, *MLP_ADJUSTMENTS):
        candidates = networks
        if adjustment:
            candidates = [_adjust_mlp(network, adjustment) for network in networks]
        admissible = np.flatnonzero(_meets_budget(_costs(candidates, base=base), budget=budget))
        if len(admissible):
            archs = (
                replace(base, resolution=n.resolution, stem_width=n.stem_width, stages=n.stages)
                for n in (candidates[i] for i in admissible)
            )
            arch, ms = _first_within_latency(archs, budget=budget, latency=latency)
            return _member(family.base, arch, budget=budget, adjustment=adjustment, ms=ms)
    raise _unreachable_budget(_costs(networks, base=base), base=base, budget=budget, grid=grid)


def enumerate_roundings(
    family: SmoothFamily, *, x: Floats, macs: float, grid: Grid
) -> list[_Network]:
    """Round depth and resolution; for each, round the widths that are on budget.

    Raises:
        BudgetError: the ideal point lies outside the grid's ranges.
    """
    base = family.base
    ideal = [float(d) for d in family.depths_at(x[0])]
    depths = _nearest_steps(
        sum(ideal), step=1, low=max(grid.depth_min, len(base.stages)), high=grid.depth_max
    )
    resolutions = _nearest_steps(
        base.resolution * math.exp(x[2]),
        step=grid.resolution_step,
        low=grid.resolution_min,
        high=grid.resolution_max,
        extra=_EXTRA_RESOLUTION_STEPS,
    )
    shapes: list[_Network] = []
    networks: list[_Network] = []
    for depth, resolution in itertools.product(depths, resolutions):
        split = split_depth(depth, ideal=ideal)
        stages = tuple(replace(s, depth=d) for s, d in zip(base.stages, split, strict=True))
        shapes.append(_Network(resolution=resolution, stem_width=base.stem_width, stages=stages))
    if shapes:
        v = to_variables(_sizes(shapes, base=base))
        factors = np.exp(width_on_budget(v, like=family.sizes, macs=macs, start=x[1]))
        for shape, factor in zip(shapes, factors, strict=True):
            networks += _round_widths(shape, factor=factor, grid=grid)
    if not networks:
        raise _outside_grid(base, x=x, grid=grid, depth=sum(ideal))
    return networks


def split_depth(depth: int, *, ideal: Sequence[float]) -> tuple[int, ...]:
    """Split blocks over stages in proportion to `ideal`, by largest remainder; each gets one."""
    scale = depth / math.fsum(ideal)
    targets = [value * scale for value in ideal]
    depths = [max(1, math.floor(value + 1e-9)) for value in targets]
    while sum(depths) != depth:
        sign = 1 if sum(depths) < depth else -1
        allowed = [i for i, d in enumerate(depths) if d + sign >= 1]
        # Ties are real (stages are often equal), so the last floating bit must not decide them.
        missing = [round(sign * (t - d), 9) for t, d in zip(targets, depths, strict=True)]
        depths[max(allowed, key=lambda i: (missing[i], -i))] += sign
    return tuple(depths)


def _round_widths(network: _Network, *, factor: float, grid: Grid) -> list[_Network]:
    """Round stem and stage widths down and up around `factor` times their own.

    Every stage keeps hidden and query channels.
    """
    stems = _nearest_steps(network.stem_width * factor, step=1)
    choices = []
    for i, stage in enumerate(network.stages):
        step = grid.width_step_of(stage)
        low, high = (grid.width_min, grid.width_max) if i == 0 else (1, None)
        widths = _nearest_steps(stage.width * factor, step=step, low=low, high=high)
        scaled = (with_width(stage, width=width, fixed=grid.fixed) for width in widths)
        choices.append([s for s in scaled if s.hidden and s.qk_width])
    return [
        replace(network, stem_width=stem, stages=stages)
        for stem, stages in itertools.product(stems, itertools.product(*choices))
    ]


def _nearest_steps(
    value: float, *, step: int, low: int = 1, high: int | None = None, extra: int = 0
) -> list[int]:
    """Floor and ceiling of `value` on a grid, and `extra` steps beyond them, within limits."""
    first = math.floor(value / step + 1e-9) - extra
    last = math.ceil(value / step - 1e-9) + extra
    top = math.inf if high is None else high
    steps = (max(1, k) * step for k in range(first, last + 1))
    return sorted({v for v in steps if low <= v <= top})


def _sort_by_distance(
    family: SmoothFamily, networks: Sequence[_Network], *, x: Floats
) -> list[_Network]:
    """Sort by exponent-weighted log distance to the ideal point, over dimensions."""
    ideal = family.at(x)
    exponents = mean_gradient(to_variables(family.sizes), ideal, like=family.sizes)
    gaps = exponents * (to_variables(_sizes(networks, base=family.base)) - ideal)
    groups = VariableGroups.of(len(family.base.stages))
    by_dimension = [
        gaps[:, group].sum(axis=1) for group in (groups.depth, groups.width, groups.resolution)
    ]
    distances = np.linalg.norm(by_dimension, axis=0).round(12).tolist()

    def rank(i: int) -> tuple[float, ...]:  # sizes break ties
        n = networks[i]
        depths, widths = (s.depth for s in n.stages), (s.width for s in n.stages)
        return (distances[i], *depths, n.resolution, n.stem_width, *widths)

    return [networks[i] for i in sorted(range(len(networks)), key=rank)]


def _adjust_mlp(network: _Network, adjustment: float) -> _Network:
    stages = (replace(s, mlp_ratio=s.mlp_ratio * (1 + adjustment)) for s in network.stages)
    return replace(network, stages=tuple(stages))


def _sizes(networks: Sequence[_Network], *, base: Arch) -> Sizes[Array]:
    """Sizes for the cost formula. Shape: every size becomes an array (len(networks),)."""

    columns = {
        name: [[getattr(stage, name) for stage in network.stages] for network in networks]
        for name in ("depth", "width", "heads", "hidden", "qk_width")
    }
    return sizes_like(
        base,
        resolution=[network.resolution for network in networks],
        stem_width=[network.stem_width for network in networks],
        **columns,
    )


def _costs(networks: Sequence[_Network], *, base: Arch) -> CostTerms[Array]:
    """Exact costs. Shape: (len(networks),)."""
    return total(network_rows(_sizes(networks, base=base)))


def _meets_budget(costs: CostTerms[Array], *, budget: Budget) -> NDArray[np.bool_]:
    admissible: NDArray[np.bool_] = (
        np.abs(costs.macs - budget.macs) <= budget.tolerance * budget.macs
    )
    for name, cap in budget.caps.items():
        admissible &= getattr(costs, name) <= cap
    return admissible


def _first_within_latency(
    archs: Iterator[Arch], *, budget: Budget, latency: LatencyFunction | None
) -> tuple[Arch, float | None]:
    """The first network within the latency cap and its ms; without a cap, the first."""
    cap = budget.latency_ms
    if cap is None or latency is None:
        return next(archs), None
    measured = []
    for arch in itertools.islice(archs, MAX_LATENCY_MEASUREMENTS):
        measured.append(ms := latency(arch))
        if ms <= cap:
            return arch, ms
    raise BudgetError(
        f"budget {budget.macs:,.0f} MACs exceeds the cap on latency_ms ({min(measured):.4g} "
        f"needed, {cap:.4g} allowed; the fastest of {len(measured)} measured); "
        "raise the cap or lower the budget"
    )


def _outside_grid(base: Arch, *, x: Floats, grid: Grid, depth: float) -> BudgetError:
    resolution, width = base.resolution * math.exp(x[2]), base.stages[0].width * math.exp(x[1])
    step = grid.width_step_of(base.stages[0])
    return BudgetError(
        f"the budget asks for {depth:.1f} blocks, first width {width:.1f} and {resolution:.1f} "
        f"pixels, outside depth {max(grid.depth_min, len(base.stages))}..{grid.depth_max or 'any'}"
        f", width {grid.width_min}..{grid.width_max or 'any'}"
        f"{f' in steps of {step}' if step > 1 else ''} or "
        f"resolution {grid.resolution_min}..{grid.resolution_max or 'any'}; "
        "widen that knob or ask for a budget nearer to the base"
    )


def _unreachable_budget(
    costs: CostTerms[Array], *, base: Arch, budget: Budget, grid: Grid
) -> BudgetError:
    errors = costs.macs / budget.macs - 1
    on_budget = np.abs(errors) <= budget.tolerance
    if on_budget.any():
        least = {name: getattr(costs, name)[on_budget].min() for name in budget.caps}
        exceeded = ", ".join(
            f"{name} ({least[name]:,.0f} needed, {cap:,} allowed)"
            for name, cap in budget.caps.items()
            if least[name] > cap
        )
        return BudgetError(
            f"budget {budget.macs:,.0f} MACs exceeds the cap on {exceeded or ' and '.join(least)}; "
            "raise the cap or lower the budget"
        )
    nearest = float(errors[np.argmin(np.abs(errors))])
    steps = ", ".join(str(grid.width_step_of(stage)) for stage in base.stages)
    finer = f" (fixed: {grid.fixed} widens stages by {steps} channels)"
    looser = f"raise the tolerance to {abs(nearest) + 0.001:.3f}, or " if abs(nearest) < 0.3 else ""
    return BudgetError(
        f"budget {budget.macs:,.0f} MACs: the nearest network is {nearest:+.1%} off; "
        f"{looser}use finer steps or wider ranges{'' if grid.fixed == 'num_heads' else finer}"
    )


def _member(
    base: Arch, arch: Arch, *, budget: Budget, adjustment: float, ms: float | None
) -> Member:
    shares, residual = realised_shares(base, arch)
    counted = cost(arch)
    notes = []
    if shares is None:
        notes.append("same MACs as the base: shares are undefined")
    elif abs(math.log(counted.macs / cost(base).macs)) < _SMALL_RATIO:
        notes.append("less than a factor of two from the base: shares are mostly rounding")
    if adjustment:
        notes.append(f"mlp_ratio adjusted by {adjustment:+.1%} to meet the budget")
    return Member(
        arch=arch,
        cost=counted,
        budget=budget,
        realised=shares,
        residual=residual,
        mlp_adjustment=adjustment,
        latency_ms=ms,
        notes=tuple(notes),
    )


def resize(
    base: Arch,
    *,
    depth: int | None = None,
    width: int | None = None,
    resolution: int | None = None,
    stage_ratio: float | None = None,
    fixed: Fixed = "num_heads",
) -> Arch:
    """Return the base with another depth, first-stage width or resolution; None keeps the base's.

    Blocks are split as in the base, or with `stage_ratio` of the added ones in stage 3. The other
    widths keep their proportion to the first, as multiples of the heads or of the head's channels.

    Raises:
        ArchError: the result is not a valid network.
        BudgetError: the stage ratio is impossible.
    """
    family = SmoothFamily(base=base, stage_ratio=stage_ratio)
    blocks = max(depth or base.depth, len(base.stages))
    ideal = family.depths_at(np.array(math.log(blocks / base.depth)))
    factor = (width or base.stages[0].width) / base.stages[0].width
    stages = []
    depths = split_depth(blocks, ideal=[float(v) for v in ideal])
    for stage, stage_depth in zip(base.stages, depths, strict=True):
        unit = width_unit(stage, fixed=fixed)
        scaled = max(1, round(stage.width * factor / unit)) * unit
        stages.append(replace(with_width(stage, width=scaled, fixed=fixed), depth=stage_depth))
    return replace(
        base,
        resolution=resolution or base.resolution,
        stem_width=max(1, round(base.stem_width * factor)),
        stages=tuple(stages),
    )


def solve_width(
    base: Arch,
    *,
    depth: int,
    resolution: int,
    budget: Budget,
    stage_ratio: float | None = None,
    grid: Grid | None = None,
    latency: LatencyFunction | None = None,
) -> Member:
    """Solve for the widths that meet the budget at a given depth and resolution.

    Only the widths of `grid` apply.

    Raises:
        BudgetError: no width on the grid meets the budget.
    """
    family = SmoothFamily(base=base, stage_ratio=stage_ratio)
    point = replace(
        grid or Grid(),
        depth_min=depth,
        depth_max=depth,
        resolution_step=1,
        resolution_min=resolution,
        resolution_max=resolution,
    )
    x = np.array([math.log(depth / base.depth), 0.0, math.log(resolution / base.resolution)])
    x[1] = width_on_budget(family.at(x), like=family.sizes, macs=budget.macs)
    return solve(family, x=x, budget=budget, grid=point, latency=latency)
