"""The validated space file: what may vary, around which base, measured how."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import PrivateAttr, model_validator

from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling import Budget, Grid, ScalingRule, Shares, ideal_point, named_rule
from cmt_search.space.candidates import (
    BUDGET,
    SHARE_PARAMS,
    UNITS,
    Candidate,
    CostMeter,
    MeterFunction,
    Parameter,
    Params,
    Rung,
    params_from_shares,
    resize_freely,
    shares_from_params,
    solve_members,
    solve_shape,
)
from cmt_search.space.schema import PARETO_KNOBS, SHAPE_KNOBS, SpaceFile
from cmt_search.space.validate import (
    check_budgets_grow,
    check_budgets_reached,
    check_caps,
    check_corners,
    check_sections,
    check_shapes_reached,
)

PAPER = "cmt-paper"


class SearchSpace(SpaceFile):
    """A search space: `candidate` maps a choice of parameters to networks."""

    _meters: dict[str, MeterFunction] = PrivateAttr(default_factory=dict)
    _analytic_only: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_sections(self)
        space = self.analytic_only()
        match self.kind:
            case "rule":
                paths = space.budgets.by_path(cost(space.arch).macs)
                budgets = {path: space.budget(macs) for path, macs in paths.items()}
                rules = {name: space.rule(s) for name, s in space.named_shares().items()}
                check_budgets_grow(budgets, base_macs=cost(space.arch).macs)
                check_budgets_reached(budgets, rules=rules)
            case "shape":
                budgets = {f"{macs:,.0f} MACs": space.budget(macs) for macs in space.budget_macs}
                check_shapes_reached(space.parameters(), budgets, candidate=space.candidate)
            case "pareto":
                check_corners(space.parameters(), candidate=space.candidate)
                check_caps(space.parameters(), candidate=space.candidate)
        return self

    @property
    def grid(self) -> Grid:
        """Steps and ranges that members are rounded to."""
        depth, width, side = self.knobs.depth, self.knobs.width, self.knobs.resolution
        return Grid(
            resolution_step=side.step,
            width_step=width.step,
            fixed=self.knobs.fixed,
            resolution_min=side.min or 1,
            resolution_max=side.max,
            width_min=width.min or 1,
            width_max=width.max,
            depth_min=depth.min or 1,
            depth_max=depth.max,
        )

    @property
    def budget_macs(self) -> tuple[float, ...]:
        """The budgets in MACs, increasing."""
        return tuple(sorted(self.budgets.by_path(cost(self.arch).macs).values()))

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides what a trial is.

        More trials keep it, and so does another folder of the same images.
        """
        excluded = {"trials"} if self.measured else {"trials", "latency"}
        data = self.model_dump(mode="json", exclude=excluded)
        del data["proxy"]["dataset"]["root"]
        text = json.dumps([data, self.arch.to_dict()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def measured(self) -> tuple[str, ...]:
        """The costs that are measured, because they are capped or an objective."""
        caps = self.caps.model_dump(exclude_none=True)
        return tuple(name for name in UNITS if name in caps or name in self.objectives)

    def with_meters(self, meters: Mapping[str, MeterFunction]) -> Self:
        """Return a copy with functions from Arch to the costs that `measured` names."""
        space = self.model_copy()
        space._meters = dict(meters)
        return space

    def analytic_only(self) -> Self:
        """Return a copy with measured costs (latency, memory) disabled."""
        space = self.model_copy()
        space._analytic_only = True
        return space

    def budget(self, macs: float, *, analytic_only: bool = False) -> Budget:
        """Return a budget with this space's tolerance and caps."""
        params, activations = self.caps.params, self.caps.activations
        return Budget(
            macs=macs,
            tolerance=self.tolerance,
            params=None if params is None else int(params),
            activations=None if activations is None else int(activations),
            latency_ms=None if analytic_only or self._analytic_only else self.caps.latency_ms,
        )

    def rule(self, shares: Shares, *, name: str = "rule") -> ScalingRule:
        """Return the rule of these shares around this space's base, on its grid."""
        return ScalingRule(
            base=self.arch, shares=shares, stage_ratio=self._stage_ratio, grid=self.grid, name=name
        )

    def sides_at(self, macs: float, *, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sides that rules ask for, before rounding.

        Shape: (n, 3) shares to (n,). Units: pixels.
        """
        family = self.rule(Shares(depth=0, width=1, resolution=0)).smooth
        log_macs_ratio = math.log(macs / cost(self.arch).macs)
        x = ideal_point(family, shares=shares, log_macs_ratio=log_macs_ratio)
        sides: NDArray[np.float64] = self.arch.resolution * np.exp(x[..., 2])
        return sides

    def named_shares(self) -> dict[str, Shares]:
        """Return the named rules of this search; the paper's is always among them."""
        names = dict.fromkeys((PAPER, *self.sampler.rules))
        shares = {name: named_rule(name, base=self.arch).shares for name in names}
        return shares | {point.name: point.shares.checked() for point in self.sampler.points}

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the numbers that a sampler chooses."""
        match self.kind:
            case "rule":
                return tuple(Parameter(name=name, low=0.0, high=1.0) for name in SHARE_PARAMS)
            case "shape":
                high = len(self.budget_macs) - 1
                budget = Parameter(name=BUDGET, low=0, high=high, integer=True, group=True)
                return (budget, *self.knobs.parameters(SHAPE_KNOBS))
            case "pareto":
                return self.knobs.parameters(PARETO_KNOBS)

    def candidate(self, params: Params, name: str | None = None) -> Candidate:
        """Return the networks of a choice of parameters; deterministic if its meters are.

        Raises:
            BudgetError: no network meets the limits.
            SpaceError: a measured cost is required, and `with_meters` gave no meter.
        """
        self._meter.check()
        shares = shares_from_params(params) if self.kind == "rule" else None
        rungs = self._free_rungs(params) if self.kind == "pareto" else self._solved_rungs(params)
        return Candidate(name=name or "sampled", rungs=rungs, shares=shares)

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """Return the parameters of a rule search that give these shares."""
        if self.kind != "rule":
            raise BudgetError(f"a {self.kind} search has no shares; use kind: rule")
        return params_from_shares(shares)

    def to_yaml(self) -> str:
        """Write the space as a file that `load_space` reads back, defaults included."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)
        return text

    def check_smallest(self) -> None:
        """Check the smallest network of a Pareto search against the caps, measured ones too.

        Raises:
            BudgetError: it exceeds one.
        """
        if self.kind == "pareto":
            check_caps(self.parameters(), candidate=self.candidate)

    def _solved_rungs(self, params: Params) -> tuple[Rung, ...]:
        """All budgets of a rule at one fidelity after the other, or one shape at one budget."""
        latency, macs = self._meter.meters.get("latency_ms"), self.budget_macs
        if self.kind == "rule":
            rule, budgets = self.rule(shares_from_params(params)), [self.budget(m) for m in macs]
            members = solve_members(rule, budgets, latency=latency)
        else:
            budget, ratio = self.budget(macs[int(params[BUDGET])]), self._stage_ratio
            limits: dict[str, Any] = {"grid": self.grid, "stage_ratio": ratio, "latency": latency}
            members = [solve_shape(self.arch, params, budget=budget, **limits)]
        base_macs = cost(self.arch).macs
        return tuple(
            Rung.of(m, base_macs=base_macs, fidelity=self.proxy.fidelity(m.arch, epochs))
            for epochs in self.epoch_schedule
            for m in members
        )

    def _free_rungs(self, params: Params) -> tuple[Rung, ...]:
        """One network at one fidelity after the other."""
        ratio, fixed = self._stage_ratio, self.knobs.fixed
        arch = resize_freely(self.arch, params, stage_ratio=ratio, fixed=fixed)
        analytic = cost(arch)
        costs: dict[str, Any] = {n: getattr(analytic, n) for n in ("macs", "params", "activations")}
        for name, value in costs.items():
            cap = getattr(self.caps, name)
            if cap is not None and value > int(cap):
                raise BudgetError(
                    f"caps.{name}: {value:,} of {dict(params)} is above {int(cap):,}; "
                    "raise the cap or narrow the knobs"
                )
        costs |= self._meter.measure(arch, params=params)
        return tuple(
            Rung(arch=arch, fidelity=self.proxy.fidelity(arch, epochs), **costs)
            for epochs in self.epoch_schedule
        )

    @property
    def _meter(self) -> CostMeter:
        if self._analytic_only:
            return CostMeter()
        caps = self.caps.model_dump(include=set(UNITS), exclude_none=True)
        return CostMeter(required=self.measured, meters=self._meters, caps=caps)

    @property
    def _stage_ratio(self) -> float | None:
        """The stage ratio where it is not sampled."""
        ratio = self.knobs.stage_ratio
        return ratio if isinstance(ratio, float) else None
