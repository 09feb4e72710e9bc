"""What a stage keeps while its width changes: how many heads it has, or how wide each is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from cmt_search.arch import Arch, Stage
from cmt_search.cost import Cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.continuous import Floats
from cmt_search.scaling.shares import Shares

Keep = Literal["heads", "head_dim"]


def width_unit(stage: Stage, *, keep: Keep) -> int:
    """The channels that the widths of this stage are multiples of."""
    return stage.heads if keep == "heads" else stage.head_dim


def widened(stage: Stage, *, width: int, keep: Keep) -> Stage:
    """The stage at another width, a multiple of its unit."""
    heads = stage.heads if keep == "heads" else width // stage.head_dim
    return replace(stage, width=width, heads=heads)


Latency = Callable[[Arch], float]  # milliseconds of one forward pass, as the caller measures them


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on the cost of a network."""

    macs: float  # target
    tolerance: float = 0.01  # relative distance from the target that still counts as on budget
    params: int | None = None  # cap, trainable scalars
    activations: int | None = None  # cap, elements of convolution and linear outputs
    latency_ms: float | None = None  # cap, milliseconds; needs a function that measures them

    def __post_init__(self) -> None:
        if not 0 < self.macs < float("inf"):
            raise BudgetError(f"budget.macs={self.macs} is no positive number of MACs")
        if not 0 < self.tolerance < 1:
            raise BudgetError(f"budget.tolerance={self.tolerance} is outside 0..1; use 0.01 for 1%")
        for name in ("params", "activations", "latency_ms"):
            cap = getattr(self, name)
            if cap is not None and not cap > 0:
                raise BudgetError(f"budget.{name}={cap} admits no network; use a positive cap")

    @property
    def caps(self) -> dict[str, int]:
        """The caps on counted costs that are set, by the name of the cost."""
        caps = {"params": self.params, "activations": self.activations}
        return {name: cap for name, cap in caps.items() if cap is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The integers that solving may use: steps and inclusive ranges."""

    resolution_step: int = 2  # pixels
    width_step: int = 1  # a stage's width is a multiple of this times what `keep` fixes
    keep: Keep = "heads"  # in every stage: the number of heads, or the base's channels in each
    resolution_min: int = 1
    resolution_max: int | None = None
    width_min: int = 1  # of the first stage
    width_max: int | None = None  # of the first stage
    depth_min: int = 1  # total blocks
    depth_max: int | None = None

    def step_of(self, stage: Stage) -> int:
        """The channels that widths of this stage of the base are multiples of."""
        return width_unit(stage, keep=self.keep) * self.width_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Depth, width and resolution over the base's."""

    depth: float
    width: float
    resolution: float

    @classmethod
    def at(cls, x: Floats) -> Self:
        """The factors at coordinates from the base, which are their logs. Shape: (3,)."""
        depth, width, side = (float(factor) for factor in np.exp(x))
        return cls(depth=depth, width=width, resolution=side)

    @property
    def logs(self) -> Floats:
        """Coordinates from the base. Shape: (3,)."""
        return np.log((self.depth, self.width, self.resolution))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A rule solved at a budget."""

    arch: Arch
    cost: Cost
    budget: Budget
    ideal: Factors  # the fractional point that it is rounded from
    realised: Shares | None  # of the growth in log MACs; None at the base, where it is undefined
    residual: float = 0.0  # part of the growth that no dimension explains (ratios rounded, trim)
    stage_ratio: float | None = None  # of added blocks, the part in stage 3; None: none were added
    trim: float = 0.0  # relative change of the IRFFN ratio, 0 unless nothing else met the budget
    latency_ms: float | None = None  # as measured; None unless the budget caps it
    notes: tuple[str, ...] = ()  # what a reader should know about this member

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and YAML."""
        shares = None if self.realised is None else self.realised.values
        return {
            "budget": int(self.budget.macs),
            "params": self.cost.params,
            "macs": self.cost.macs,
            "activations": self.cost.activations,
            "realised_shares": None if shares is None else [round(v, 4) for v in shares],
            "residual": round(self.residual, 4),
            "stage_ratio": None if self.stage_ratio is None else round(self.stage_ratio, 4),
            "latency_ms": self.latency_ms,
            "notes": list(self.notes),
            "key": self.arch.key,
            "arch": self.arch.to_dict(),
        }
