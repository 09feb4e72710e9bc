"""Budgets, grids and members of scaling rules."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cmt_search.arch import Arch, Stage
from cmt_search.cost import Cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.shares import Shares

Fixed = Literal["num_heads", "head_dim"]
LatencyFunction = Callable[[Arch], float]  # measures a forward pass; milliseconds


def width_unit(stage: Stage, *, fixed: Fixed) -> int:
    """The number that widths of this stage are multiples of. Units: channels."""
    return stage.heads if fixed == "num_heads" else stage.head_dim


def with_width(stage: Stage, *, width: int, fixed: Fixed) -> Stage:
    """Return the stage at another width, a multiple of its unit."""
    heads = stage.heads if fixed == "num_heads" else width // stage.head_dim
    return replace(stage, width=width, heads=heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on the cost of a network.

    Raises:
        BudgetError: a limit is not positive, or the tolerance is outside 0..1.
    """

    macs: float  # target
    tolerance: float = 0.01  # allowed relative deviation from `macs`
    params: int | None = None  # cap, trainable scalars
    activations: int | None = None  # cap, elements of convolution and linear outputs
    latency_ms: float | None = None  # cap, milliseconds; needs a `LatencyFunction`

    def __post_init__(self) -> None:
        if not 0 < self.macs < math.inf:
            raise BudgetError(f"budget.macs={self.macs} must be a positive number of MACs")
        if not 0 < self.tolerance < 1:
            raise BudgetError(f"budget.tolerance={self.tolerance} is outside 0..1; use 0.01 for 1%")
        for name in ("params", "activations", "latency_ms"):
            cap = getattr(self, name)
            if cap is not None and not cap > 0:
                raise BudgetError(f"budget.{name}={cap} admits no network; use a positive cap")

    @property
    def caps(self) -> dict[str, int]:
        """The caps on analytic costs that are set, by the name of the cost."""
        caps = {"params": self.params, "activations": self.activations}
        return {name: cap for name, cap in caps.items() if cap is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Admissible integers: steps and inclusive ranges."""

    resolution_step: int = 2  # pixels
    width_step: int = 1  # a stage's width is a multiple of this times its unit, see `fixed`
    fixed: Fixed = "num_heads"  # constant while widths change; widths are multiples of it
    resolution_min: int = 1
    resolution_max: int | None = None
    width_min: int = 1  # of the first stage
    width_max: int | None = None  # of the first stage
    depth_min: int = 1  # total blocks
    depth_max: int | None = None

    def width_step_of(self, stage: Stage) -> int:
        """Step of the width of a stage of the base. Units: channels."""
        return width_unit(stage, fixed=self.fixed) * self.width_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """The network of a rule at a budget."""

    arch: Arch
    cost: Cost
    budget: Budget
    realised: Shares | None  # integrated gradients; None at the base, where they are undefined
    residual: float = 0.0  # share that changed ratios account for (rounding, MLP adjustment)
    mlp_adjustment: float = 0.0  # relative change of mlp_ratio; 0 unless needed to meet the budget
    latency_ms: float | None = None  # measured; None unless the budget caps it
    notes: tuple[str, ...] = ()  # warnings for the reader

    @property
    def budget_error(self) -> float:
        """Relative deviation of the MACs from the budget; positive above it."""
        return self.cost.macs / self.budget.macs - 1

    def share_rmse(self, target: Shares) -> float | None:
        """Root mean square of realised minus target shares; None at the base."""
        if self.realised is None:
            return None
        errors = np.subtract(self.realised.values, target.values)
        return float(np.sqrt(np.square(errors).mean()))

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
            "latency_ms": self.latency_ms,
            "notes": list(self.notes),
            "key": self.arch.key,
            "arch": self.arch.to_dict(),
        }
