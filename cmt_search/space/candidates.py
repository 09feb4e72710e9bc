"""Candidates of a search space: parameters to ask for, and the networks that a choice means."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Self

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError, SpaceError
from cmt_search.evaluation import Fidelity
from cmt_search.scaling import (
    Budget,
    Fixed,
    Grid,
    Member,
    ScalingRule,
    Shares,
    resize,
    solve_width,
)

MeterFunction = Callable[[Arch], float]

UNITS = {"latency_ms": "ms", "memory_mib": "MiB"}  # what may be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class CostMeter:
    """What is to be measured of every network, with what, and up to where."""

    required: tuple[str, ...] = ()  # of UNITS
    meters: Mapping[str, MeterFunction] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse to choose networks without what was asked of them.

        Raises:
            SpaceError: a meter is missing.
        """
        missing = [name for name in self.required if name not in self.meters]
        if missing:
            raise SpaceError(
                f"{missing[0]} is capped or an objective, and nothing here measures it; "
                f"give the space a function: space.with_meters({{'{missing[0]}': function}})"
            )

    def measure(self, arch: Arch, *, what: str) -> dict[str, float]:
        """The figures of a network by name; the next is measured only within the caps before.

        Raises:
            BudgetError: one is above its cap.
        """
        found: dict[str, float] = {}
        for name in self.required:
            found[name] = value = self.meters[name](arch)
            limit = self.caps.get(name)
            if limit is not None and value > limit:
                raise BudgetError(
                    f"caps.{name}: {value:.4g} {UNITS[name]}, as measured of {what}, is above "
                    f"{limit:g}; raise the cap or narrow the knobs"
                )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number that a sampler may choose."""

    name: str
    low: float
    high: float  # inclusive
    step: float | None = None  # None: continuous
    log: bool = False
    integer: bool = False
    group: bool = False  # trials are compared within one of its values only; all get their share

    @property
    def steps(self) -> int | None:
        """How many values it has; None: a continuum, or a log scale."""
        if self.log or (self.step is None and not self.integer):
            return None
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    def at(self, u: float) -> float | int:
        """Its value at 0 <= u < 1 of its range."""
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
    latency_ms: float | None = None  # as measured; None: nothing caps it or asks for it
    memory_mib: float | None = None  # likewise: weights and the peak of a forward pass
    budget: float | None = None  # MACs asked for; rule and shape searches
    realised: Shares | None = None  # shares that the rounded network really has; likewise
    growth: float | None = None  # ln(MACs / base MACs); likewise

    @classmethod
    def of(cls, member: Member, *, base_macs: int, fidelity: Fidelity) -> Self:
        """A solved member to be trained so; `base_macs` are those that it grew from."""
        return cls(
            arch=member.arch,
            fidelity=fidelity,
            macs=member.cost.macs,
            params=member.cost.params,
            activations=member.cost.activations,
            latency_ms=member.latency_ms,
            budget=member.budget.macs,
            realised=member.realised,
            growth=math.log(member.cost.macs / base_macs),
        )

    @property
    def contributions(self) -> tuple[float, float, float] | None:
        """What depth, width and side brought of the growth, what no dimension explains evenly."""
        if self.realised is None or self.growth is None:
            return None
        depth, width, side = (share * self.growth for share in self.realised.values)
        rest = (self.growth - depth - width - side) / 3
        return depth + rest, width + rest, side + rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One point of a search space, decided down to its networks and their fidelities."""

    name: str  # the rule's name, or how the point came about
    rungs: tuple[Rung, ...]  # climbed in this order
    shares: Shares | None = None  # asked for; rule searches


SHARE_PARAMS = ("depth_quantile", "width_of_rest")


def shares_from_params(params: Mapping[str, float | int]) -> Shares:
    """Map the parameters of a rule search to shares by stick-breaking.

    `depth_quantile` is the probability that a uniform draw has a larger depth share, (1 - depth)^2;
    `width_of_rest` is width / (width + resolution).

    Raises:
        KeyError: they are those of another search.
    """
    first, second = (float(params[name]) for name in SHARE_PARAMS)
    # Rounded, so that shares survive a round trip through the parameters unchanged.
    depth = round(1 - math.sqrt(first), 9)
    width = round((1 - depth) * second, 9)
    return Shares(depth=depth, width=width, resolution=round(1 - depth - width, 9))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpace:
    """Shares by stick-breaking, so that independent uniform draws cover the triangle evenly."""

    rule_of: Callable[[Shares], ScalingRule]
    budgets: tuple[Budget, ...]
    epochs: tuple[int, ...]  # growing; all budgets are climbed at one length before the next
    fidelity_of: Callable[[Arch, int], Fidelity]  # a network, for so many epochs
    meter: CostMeter = field(default_factory=CostMeter)  # a budget's cap on latency needs its meter

    def parameters(self) -> tuple[Parameter, ...]:
        """Two numbers in 0..1: uniform draws of both are uniform over the triangle."""
        return tuple(Parameter(name=name, low=0.0, high=1.0) for name in SHARE_PARAMS)

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """The parameters that give these shares; inverse of `shares_from_params`."""
        rest = shares.width + shares.resolution
        return {
            "depth_quantile": (1 - shares.depth) ** 2,
            "width_of_rest": shares.width / rest if rest > 1e-12 else 0.0,
        }

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """The rule's members at the budgets, each trained alike.

        Raises:
            BudgetError: a budget is out of this rule's reach.
            SpaceError: latency is capped, and there is no meter.
        """
        self.meter.check()
        shares = shares_from_params(params)
        rule = self.rule_of(shares)
        members = [self._member(rule, budget=budget) for budget in self.budgets]
        base = cost(rule.base).macs
        rungs = [
            Rung.of(member, base_macs=base, fidelity=self.fidelity_of(member.arch, epochs))
            for epochs in self.epochs
            for member in members
        ]
        return Candidate(name=name or "sampled", rungs=tuple(rungs), shares=shares)

    def _member(self, rule: ScalingRule, *, budget: Budget) -> Member:
        latency = self.meter.meters.get("latency_ms")
        try:
            if budget.latency_ms is None:
                return _counted_member(rule, budget)
            return rule.member(budget, latency=latency)
        except BudgetError as error:
            raise BudgetError(f"at {budget.macs:,.0f} MACs {error}") from error


@lru_cache(maxsize=256)
def _counted_member(rule: ScalingRule, budget: Budget) -> Member:
    """Solved once: a design is solved to see what is feasible, to be shown, and to be asked for."""
    return rule.member(budget)


BUDGET = "budget"  # the parameter: a place among the growing budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeSpace:
    """Depth, side and stage ratio within their ranges; what has none stays the base's."""

    base: Arch
    ranges: tuple[Parameter, ...]
    budgets: tuple[Budget, ...]  # growing
    stage_ratio: float | None  # where it is not sampled
    grid: Grid  # bounds and steps of widths
    epochs: tuple[int, ...]
    fidelity_of: Callable[[Arch, int], Fidelity]  # a network, for so many epochs
    meter: CostMeter = field(default_factory=CostMeter)  # a budget's cap on latency needs its meter

    def parameters(self) -> tuple[Parameter, ...]:
        """The place of the budget, and the knobs that have a range."""
        high = len(self.budgets) - 1
        return (Parameter(name=BUDGET, low=0, high=high, integer=True, group=True), *self.ranges)

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """One shape at one budget, trained ever longer.

        Raises:
            BudgetError: no width meets the budget.
            ArchError: there is no such network.
            SpaceError: latency is capped, and there is no meter.
        """
        self.meter.check()
        budget = self.budgets[int(params[BUDGET])]
        member = self._member(
            budget,
            depth=int(params.get("depth", self.base.depth)),
            resolution=int(params.get("resolution", self.base.resolution)),
            stage_ratio=params.get("stage_ratio", self.stage_ratio),
        )
        base = cost(self.base).macs
        rungs = tuple(
            Rung.of(member, base_macs=base, fidelity=self.fidelity_of(member.arch, epochs))
            for epochs in self.epochs
        )
        return Candidate(name=name or "sampled", rungs=rungs)

    def _member(
        self, budget: Budget, *, depth: int, resolution: int, stage_ratio: float | None
    ) -> Member:
        shape = partial(
            solve_width if budget.latency_ms else _counted_shape,
            self.base,
            depth=depth,
            resolution=resolution,
            stage_ratio=stage_ratio,
            budget=budget,
            grid=self.grid,
        )
        return shape(latency=self.meter.meters["latency_ms"]) if budget.latency_ms else shape()

    def check_reach(self) -> None:
        """Refuse a budget that no shape of a coarse grid of the ranges meets.

        Raises:
            BudgetError: there is one; it names the last refusal.
        """
        for place, budget in enumerate(self.budgets):
            refusal = self._refusal(place)
            if refusal is not None:
                raise BudgetError(
                    f"{budget.macs:,.0f} MACs is beyond reach of every shape tried; {refusal}"
                )

    def _refusal(self, place: int) -> BudgetError | None:
        """Why the shapes of a coarse grid miss a budget; None: one of them does not."""
        shapes: list[dict[str, float | int]] = [{BUDGET: place}]
        for parameter in self.ranges:
            values = [parameter.at(u) for u in (0.5, 0.25, 0.75, 0.0)] + [parameter.high]
            shapes = [{**shape, parameter.name: value} for value in values for shape in shapes]
        last: BudgetError | None = None
        for shape in shapes:
            try:
                self.candidate(shape)
            except BudgetError as error:
                last = error
            else:
                return None
        return last


_counted_shape = lru_cache(maxsize=256)(
    solve_width
)  # an initial point is solved, shown and asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoSpace:
    """Sizes of the base, each within its range; what has none stays the base's."""

    base: Arch
    ranges: tuple[Parameter, ...]
    stage_ratio: float | None  # where it is not sampled
    fixed: Fixed  # constant while widths change: num_heads or head_dim
    caps: Mapping[str, int]  # macs, params, activations
    epochs: tuple[int, ...]
    fidelity_of: Callable[[Arch, int], Fidelity]  # a network, for so many epochs
    meter: CostMeter = field(default_factory=CostMeter)

    def parameters(self) -> tuple[Parameter, ...]:
        """The knobs that have a range."""
        return self.ranges

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """One network, trained ever longer.

        Raises:
            BudgetError: the network breaks a cap, which the message names.
            ArchError: there is no such network; none between the ends of checked ranges.
            SpaceError: a cost is to be measured, and there is no meter.
        """
        self.meter.check()
        arch = self._arch(params)
        counted = cost(arch)
        for cap, limit in self.caps.items():
            if (value := getattr(counted, cap)) > limit:
                raise BudgetError(
                    f"caps.{cap}: {value:,} of {dict(params)} is above {limit:,}; "
                    "raise the cap or narrow the knobs"
                )
        measured = self.meter.measure(arch, what=str(dict(params)))
        rungs = tuple(
            Rung(
                arch=arch,
                fidelity=self.fidelity_of(arch, epochs),
                macs=counted.macs,
                params=counted.params,
                activations=counted.activations,
                latency_ms=measured.get("latency_ms"),
                memory_mib=measured.get("memory_mib"),
            )
            for epochs in self.epochs
        )
        return Candidate(name=name or "sampled", rungs=rungs)

    def _arch(self, params: Mapping[str, float | int]) -> Arch:
        sizes = {k: int(params[k]) for k in ("depth", "width", "resolution") if k in params}
        ends: Any = {k: int(params[k]) for k in ("stem_width", "neck_width") if k in params}
        ratios: Any = {k: float(params[k]) for k in ("mlp_ratio", "qk_ratio") if k in params}
        stage_ratio = params.get("stage_ratio", self.stage_ratio)
        arch = resize(self.base, **sizes, stage_ratio=stage_ratio, fixed=self.fixed)
        return replace(arch, stages=tuple(replace(s, **ratios) for s in arch.stages), **ends)
