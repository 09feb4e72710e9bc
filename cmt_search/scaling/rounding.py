"""Whole networks near an ideal point.

Rounding resolution moves MACs in jumps, because odd maps are padded; so the widths are rounded
around the width that meets the budget at each choice of depth and resolution. (Rounding every size
around the ideal point alone misses a third of the budgets of small networks.)
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cmt_search.arch import Arch, Stage
from cmt_search.cost import sizes_like
from cmt_search.cost.formula import Array, Sizes
from cmt_search.errors import BudgetError
from cmt_search.scaling.ideal import width_on_budget
from cmt_search.scaling.member import Grid
from cmt_search.scaling.smooth import Floats, SmoothFamily, variables
from cmt_search.scaling.widths import widened

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
