"""Integer solver: the legal network nearest to an ideal point."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cmt_search.arch import Arch, Stage
from cmt_search.cost import cost, sizes_like
from cmt_search.cost.analytic import Array, Sizes, Terms, network_rows, total
from cmt_search.errors import BudgetError
from cmt_search.scaling.attribution import realised_shares, realised_stage_ratio
from cmt_search.scaling.continuous import (
    Floats,
    Groups,
    SmoothFamily,
    path_gradient,
    variables,
    width_on_budget,
)
from cmt_search.scaling.member import (
    Budget,
    Factors,
    Grid,
    Keep,
    Latency,
    Member,
    widened,
    width_unit,
)

_SIDES_BEYOND = 1  # steps of resolution tried on either side of floor and ceil


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """A network near the ideal point: the base with these whole numbers."""

    resolution: int
    stem_width: int
    stages: tuple[Stage, ...]

    @property
    def integers(self) -> tuple[int, ...]:
        """What rounding decided, to order networks that are equally near."""
        depths, widths = [s.depth for s in self.stages], [s.width for s in self.stages]
        return (*depths, self.resolution, self.stem_width, *widths)

    def of(self, base: Arch) -> Arch:
        """The network."""
        return replace(
            base, resolution=self.resolution, stem_width=self.stem_width, stages=self.stages
        )


def sizes_of_each(networks: Sequence[Rounded], *, base: Arch) -> Sizes[Array]:
    """What the closed form takes. Shape: every size becomes an array (len(networks),)."""

    def column(name: str) -> list[list[int]]:
        return [[getattr(stage, name) for stage in network.stages] for network in networks]

    return sizes_like(
        base,
        resolution=[network.resolution for network in networks],
        stem_width=[network.stem_width for network in networks],
        depth=column("depth"),
        width=column("width"),
        heads=column("heads"),
        hidden=column("hidden"),
        qk=column("qk_width"),
    )


def roundings(family: SmoothFamily, *, x: Floats, macs: float, grid: Grid) -> tuple[Rounded, ...]:
    """Depth and resolution near the ideal; for each, widths around the one that is on budget.

    Raises:
        BudgetError: the ideal lies outside the grid's ranges.
    """
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
    if not depths or not sides:
        raise _outside(base, x=x, grid=grid, depth=sum(wanted))
    splits = (split_depth(total, ideal=wanted) for total in depths)
    deep = [tuple(map(_of_depth, base.stages, split)) for split in splits]
    shapes = [
        Rounded(resolution=side, stem_width=base.stem_width, stages=stages)
        for stages, side in itertools.product(deep, sides)
    ]
    v = variables(sizes_of_each(shapes, base=base))
    factors = np.exp(width_on_budget(v, like=family.sizes, macs=macs, start=x[1]))
    widths = [_widened(r, factor=f, grid=grid) for r, f in zip(shapes, factors, strict=True)]
    found = tuple(itertools.chain.from_iterable(widths))
    if not found:
        raise _outside(base, x=x, grid=grid, depth=sum(wanted))
    return found


def split_depth(total: int, *, ideal: Sequence[float]) -> tuple[int, ...]:
    """`total` blocks over stages in proportion to `ideal`, by largest remainder, one at least."""
    scale = total / math.fsum(ideal)
    wanted = [value * scale for value in ideal]
    depths = [max(1, math.floor(value + 1e-9)) for value in wanted]
    while sum(depths) != total:
        sign = 1 if sum(depths) < total else -1
        open_to_change = [i for i, d in enumerate(depths) if d + sign >= 1]
        # Ties are real (stages are often equal), so the last floating bit must not decide them.
        missing = [round(sign * (w - d), 9) for w, d in zip(wanted, depths, strict=True)]
        best = max(open_to_change, key=lambda i: (missing[i], -i))
        depths[best] += sign
    return tuple(depths)


def _of_depth(stage: Stage, depth: int) -> Stage:
    return replace(stage, depth=depth)


def _widened(network: Rounded, *, factor: float, grid: Grid) -> list[Rounded]:
    """The network with stem and stages, each rounded down and up around `factor` times its own."""
    stems = _near(network.stem_width * factor, step=1, low=1, high=None)
    stages = [
        _stages_near(stage, factor=factor, grid=grid, first=i == 0)
        for i, stage in enumerate(network.stages)
    ]
    return [
        Rounded(resolution=network.resolution, stem_width=stem, stages=chosen)
        for stem, chosen in itertools.product(stems, itertools.product(*stages))
    ]


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


def shaped(
    base: Arch,
    *,
    depth: int | None = None,
    width: int | None = None,
    resolution: int | None = None,
    stage_ratio: float | None = None,
    keep: Keep = "heads",
) -> Arch:
    """The base with so many blocks, such a first-stage width, such a side; None keeps the base's.

    Blocks are split as the base's, or with `stage_ratio` of the added ones in stage 3; the other
    widths keep their proportion to the first stage's, on multiples of their heads, or of the
    channels of a head where `keep` is "head_dim".

    Raises:
        ArchError: the result is no network.
        BudgetError: the stage ratio is impossible.
    """
    family = SmoothFamily(base=base, stage_ratio=stage_ratio)
    blocks = max(depth or base.depth, len(base.stages))
    ideal = family.depths_at(np.array(math.log(blocks / base.depth)))
    factor = (width or base.stages[0].width) / base.stages[0].width
    stages = []
    depths = split_depth(blocks, ideal=[float(v) for v in ideal])
    for stage, blocks_here in zip(base.stages, depths, strict=True):
        unit = width_unit(stage, keep=keep)
        scaled = max(1, round(stage.width * factor / unit)) * unit
        stages.append(replace(widened(stage, width=scaled, keep=keep), depth=blocks_here))
    return replace(
        base,
        resolution=resolution or base.resolution,
        stem_width=max(1, round(base.stem_width * factor)),
        stages=tuple(stages),
    )


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
