"""Candidates of a search space: the parameters that a sampler chooses, and their networks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, Self

from cmt_search.arch import Arch
from cmt_search.errors import BudgetError, SpaceError
from cmt_search.evaluation import Fidelity
from cmt_search.scaling import Budget, Fixed, Member, ScalingRule, Shares, resize, solve_width

MeterFunction = Callable[[Arch], float]
Params = Mapping[str, float | int]

UNITS = {"latency_ms": "ms", "memory_mib": "MiB"}  # of measured costs
BUDGET = "budget"  # the parameter of shape searches: index of the budget, increasing
SHARE_PARAMS = ("depth_quantile", "width_of_rest")
SamplerName = Literal["design", "gp", "tpe", "sobol", "random", "grid", "nsga2", "nsga3", "cmaes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerTraits:
    """Properties of a sampler."""

    for_rules: bool = False  # whether rule searches can use it
    learns: bool = True  # from results, after its initial points
    is_optuna: bool = True  # one of Optuna's; the others list their points
    packages: tuple[str, ...] = ()  # that it needs


SAMPLERS: Mapping[str, SamplerTraits] = {
    "design": SamplerTraits(for_rules=True, learns=False, is_optuna=False),
    "gp": SamplerTraits(for_rules=True, packages=("torch", "scipy")),
    "tpe": SamplerTraits(for_rules=True),
    "sobol": SamplerTraits(learns=False, is_optuna=False),
    "random": SamplerTraits(for_rules=True, learns=False),
    "grid": SamplerTraits(learns=False, is_optuna=False),
    "nsga2": SamplerTraits(),
    "nsga3": SamplerTraits(),
    "cmaes": SamplerTraits(packages=("cmaes",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CostMeter:
    """Measures the costs that a space caps or optimises."""

    required: tuple[str, ...] = ()  # of UNITS
    meters: Mapping[str, MeterFunction] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Check that every required cost has a meter.

        Raises:
            SpaceError: one has none.
        """
        for name in self.required:
            if name not in self.meters:
                raise SpaceError(
                    f"{name} is capped or an objective, and nothing measures it; "
                    f"pass a function: space.with_meters({{'{name}': function}})"
                )

    def measure(self, arch: Arch, *, params: Params) -> dict[str, float]:
        """Measure the required costs in turn, as long as they are within their caps.

        Raises:
            BudgetError: one exceeds its cap; the message names `params`.
        """
        costs: dict[str, float] = {}
        for name in self.required:
            costs[name] = self.meters[name](arch)
            if costs[name] > self.caps.get(name, math.inf):
                raise BudgetError(
                    f"caps.{name}: {costs[name]:.4g} {UNITS[name]}, measured of {dict(params)}, is "
                    f"above {self.caps[name]:g}; raise the cap or narrow the knobs"
                )
        return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number that a sampler chooses."""

    name: str
    low: float
    high: float  # inclusive
    step: float | None = None  # None: continuous
    log: bool = False
    integer: bool = False
    group: bool = False  # trials are compared within one of its values only; all get their share

    @property
    def steps(self) -> int | None:
        """Number of values; None: continuous or on a log scale."""
        if self.log or (self.step is None and not self.integer):
            return None
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    def at(self, u: float) -> float | int:
        """Return the value at 0 <= u < 1 of the range."""
        low, high = self.low, self.high
        if self.log:
            value = float(low * (high / low) ** u)
        elif self.steps is not None:
            value = low + (self.step or 1) * math.floor(u * self.steps)
        else:
            value = low + (high - low) * u
        return round(value) if self.integer else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of a candidate: a network and the fidelity to train it at."""

    arch: Arch
    fidelity: Fidelity
    macs: int
    params: int
    activations: int
    latency_ms: float | None = None  # None: not measured
    memory_mib: float | None = None  # weights and peak of a forward pass; None: not measured
    budget: float | None = None  # target MACs; rule and shape searches
    realised: Shares | None = None  # shares of the rounded network; rule and shape searches
    log_macs_ratio: float | None = None  # ln(MACs / base MACs); rule and shape searches

    @classmethod
    def of(cls, member: Member, *, base_macs: int, fidelity: Fidelity) -> Self:
        """Return the rung of a solved member; `base_macs` are the MACs of its base."""
        return cls(
            arch=member.arch,
            fidelity=fidelity,
            macs=member.cost.macs,
            params=member.cost.params,
            activations=member.cost.activations,
            latency_ms=member.latency_ms,
            budget=member.budget.macs,
            realised=member.realised,
            log_macs_ratio=math.log(member.cost.macs / base_macs),
        )

    @property
    def contributions(self) -> tuple[float, float, float] | None:
        """Contributions of depth, width and resolution to log-MACs growth.

        The remainder is split evenly.
        """
        if self.realised is None or self.log_macs_ratio is None:
            return None
        depth, width, side = (share * self.log_macs_ratio for share in self.realised.values)
        rest = (self.log_macs_ratio - depth - width - side) / 3
        return depth + rest, width + rest, side + rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One point of a search space: its networks and their fidelities."""

    name: str  # of the rule, or of the origin of the point
    rungs: tuple[Rung, ...]  # in the order of training
    shares: Shares | None = None  # target; rule searches


def shares_from_params(params: Params) -> Shares:
    """Map the parameters of a rule search to shares by stick-breaking.

    Independent uniform draws of both are uniform over the triangle: `depth_quantile` is the
    probability that a uniform point has a larger depth share, (1 - depth)^2; `width_of_rest` is
    width / (width + resolution).

    Raises:
        KeyError: the parameters are of another kind of search.
    """
    first, second = (float(params[name]) for name in SHARE_PARAMS)
    # Rounded, so that shares survive a round trip through the parameters unchanged.
    depth = round(1 - math.sqrt(first), 9)
    width = round((1 - depth) * second, 9)
    return Shares(depth=depth, width=width, resolution=round(1 - depth - width, 9))


def params_from_shares(shares: Shares) -> dict[str, float]:
    """Return the parameters that give these shares; inverse of `shares_from_params`."""
    rest = shares.width + shares.resolution
    values = ((1 - shares.depth) ** 2, shares.width / rest if rest > 1e-12 else 0.0)
    return dict(zip(SHARE_PARAMS, values, strict=True))


def solve_members(
    rule: ScalingRule, budgets: Sequence[Budget], *, latency: MeterFunction | None
) -> list[Member]:
    """Solve the members of a rule at the budgets.

    Raises:
        BudgetError: a budget is out of this rule's reach.
    """
    members = []
    for budget in budgets:
        try:
            if budget.latency_ms is None:
                members.append(_analytic_member(rule, budget))
            else:
                members.append(rule.member(budget, latency=latency))
        except BudgetError as error:
            raise BudgetError(f"at {budget.macs:,.0f} MACs {error}") from error
    return members


@lru_cache(maxsize=256)
def _analytic_member(rule: ScalingRule, budget: Budget) -> Member:
    """Solve once what is previewed, checked and suggested."""
    return rule.member(budget)


_solve_analytic_width = lru_cache(maxsize=256)(solve_width)  # likewise


def solve_shape(
    base: Arch, params: Params, *, budget: Budget, latency: MeterFunction | None, **fixed: Any
) -> Member:
    """Solve the width of a shape; `fixed` holds the grid, and the stage ratio if not sampled.

    Raises:
        BudgetError: no width meets the budget.
        ArchError: the network is impossible.
    """
    sizes = {
        "depth": int(params.get("depth", base.depth)),
        "resolution": int(params.get("resolution", base.resolution)),
        "budget": budget,
        **fixed,
    }
    if "stage_ratio" in params:
        sizes["stage_ratio"] = params["stage_ratio"]
    if budget.latency_ms is None:
        return _solve_analytic_width(base, **sizes)
    return solve_width(base, **sizes, latency=latency)


def resize_freely(base: Arch, params: Params, *, stage_ratio: float | None, fixed: Fixed) -> Arch:
    """Return the base with the sizes of a Pareto search's parameters.

    Raises:
        ArchError: the network is impossible; never between the ends of checked ranges.
    """
    sizes = {k: int(params[k]) for k in ("depth", "width", "resolution") if k in params}
    ends: Any = {k: int(params[k]) for k in ("stem_width", "neck_width") if k in params}
    ratios: Any = {k: float(params[k]) for k in ("mlp_ratio", "qk_ratio") if k in params}
    arch = resize(base, **sizes, stage_ratio=params.get("stage_ratio", stage_ratio), fixed=fixed)
    return replace(arch, stages=tuple(replace(s, **ratios) for s in arch.stages), **ends)
