"""The validated space file: what may vary, around which base, measured how."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import PrivateAttr, ValidationError, model_validator

from cmt_search.arch import Arch
from cmt_search.cost import Cost, cost
from cmt_search.errors import ArchError, BudgetError, SpaceError
from cmt_search.scaling import (
    Budget,
    Grid,
    ScalingRule,
    Shares,
    ideal_point,
    named_rule,
    resize,
    solve_width,
)
from cmt_search.space.candidates import (
    BUDGET,
    SHARE_PARAMS,
    Candidate,
    Parameter,
    Params,
    Rung,
    params_from_shares,
    shares_from_params,
)
from cmt_search.space.explain import space_error
from cmt_search.space.schema import PARETO_KNOBS, SHAPE_KNOBS, SpaceFile
from cmt_search.space.validate import check_sections

MeterFunction = Callable[[Arch], float]
PAPER = "cmt-paper"
_UNITS = {"latency_ms": "ms", "memory_mib": "MiB"}  # of measured costs


class SearchSpace(SpaceFile):
    """A search space: `candidate` maps a choice of parameters to networks."""

    _meters: dict[str, MeterFunction] = PrivateAttr(default_factory=dict)
    _analytic_only: bool = PrivateAttr(default=False)

    def __init__(self, /, **sections: Any) -> None:
        """Validate the sections of a space file, given as keyword arguments.

        Raises:
            SpaceError: a value is impossible; the message names the key path and the remedy.
        """
        try:
            self.__pydantic_validator__.validate_python(sections, self_instance=self)
        except ValidationError as failure:
            raise space_error(failure, type(self), source="SearchSpace") from None

    # Files are validated without `__init__`, so that their errors name the file.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_sections(self)
        space = self.analytic_only()
        if self.kind == "pareto":
            space._check_corners()
            space.check_smallest()
        else:
            space._check_budgets()
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
        return tuple(name for name in _UNITS if name in caps or name in self.objectives)

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

    def budget(self, macs: float) -> Budget:
        """Return a budget with this space's tolerance and caps."""
        params, activations = self.caps.params, self.caps.activations
        return Budget(
            macs=macs,
            tolerance=self.tolerance,
            params=None if params is None else int(params),
            activations=None if activations is None else int(activations),
            latency_ms=None if self._analytic_only else self.caps.latency_ms,
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
        for cost_name in self._required_meters:
            if cost_name not in self._meters:
                raise SpaceError(
                    f"{cost_name} is capped or an objective, and nothing measures it; "
                    f"pass a function: space.with_meters({{'{cost_name}': function}})"
                )
        match self.kind:
            case "rule":
                networks = [self._solve(params, macs=macs) for macs in self.budget_macs]
            case "shape":
                networks = [self._solve(params, macs=self.budget_macs[int(params[BUDGET])])]
            case "pareto":
                networks = [self._resize(params)]
        rungs = tuple(
            Rung(fidelity=self.proxy.fidelity(network["arch"], epochs), **network)
            for epochs in self.epoch_schedule
            for network in networks
        )
        shares = shares_from_params(params) if self.kind == "rule" else None
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

        Cost grows with every knob except the stage ratio, where either end may be the cheapest.

        Raises:
            BudgetError: it exceeds one.
        """
        if self.kind != "pareto":
            return
        lows = {p.name: p.low for p in self.parameters()}
        high_ratio = {p.name: p.high for p in self.parameters() if p.name == "stage_ratio"}
        try:
            self.candidate(lows)
        except BudgetError as error:
            try:
                self.candidate(lows | high_ratio)
            except BudgetError:
                raise BudgetError(f"{error}; this is the smallest network of the knobs") from None

    def _check_corners(self) -> None:
        """Refuse ranges with impossible networks at their ends.

        Sizes grow with every knob, so all networks between possible ones are possible.
        """
        for end in ("low", "high"):
            try:
                self.candidate({p.name: getattr(p, end) for p in self.parameters()})
            except BudgetError:
                continue  # a network that exceeds a cap
            except ArchError as error:
                raise ValueError(f"knobs: {error}") from None

    def _check_budgets(self) -> None:
        """Refuse a budget that no named rule, or no shape on a coarse grid, meets."""
        base_macs = cost(self.arch).macs
        for path, macs in self.budgets.by_path(base_macs).items():
            if self.kind == "rule" and macs <= base_macs * (1 + self.tolerance):
                raise ValueError(
                    f"{path}: {macs:,.0f} MACs is not above the base's {base_macs:,}, and a "
                    "rule grows the base; use a larger budget or a smaller base"
                )
            errors = []
            for name, params in self._check_points():
                try:
                    self._solve(params, macs=macs)
                    break
                except BudgetError as error:
                    errors.append(f"{name}: {error}")
                except ArchError as error:
                    raise ValueError(f"knobs: {error}") from None
            else:
                raise ValueError(f"{path}: is out of reach of every {self.kind}; {errors[0]}")

    def _check_points(self) -> Iterator[tuple[str, Params]]:
        """Yield the named rules, or shapes from the middle of the ranges to their ends."""
        if self.kind == "rule":
            for name, shares in self.named_shares().items():
                yield name, params_from_shares(shares)
            return
        knobs = self.knobs.parameters(SHAPE_KNOBS)
        values = [[*(p.at(u) for u in (0.5, 0.25, 0.75, 0.0)), p.high] for p in knobs]
        for shape in product(*values):
            params = {p.name: value for p, value in zip(knobs, shape, strict=True)}
            yield ", ".join(f"{name} {value:g}" for name, value in params.items()), params

    def _solve(self, params: Params, *, macs: float) -> dict[str, Any]:
        """Return the fields of the rung of a rule or a shape at a budget."""
        budget, base = self.budget(macs), self.arch
        latency = self._meters.get("latency_ms") if budget.latency_ms is not None else None
        try:
            if self.kind == "rule":
                rule = self.rule(shares_from_params(params))
                member = _solve_rule(rule, budget, latency=latency)
            else:
                member = _solve_shape(
                    base,
                    depth=int(params.get("depth", base.depth)),
                    resolution=int(params.get("resolution", base.resolution)),
                    stage_ratio=params.get("stage_ratio", self._stage_ratio),
                    budget=budget,
                    grid=self.grid,
                    latency=latency,
                )
        except BudgetError as error:
            raise BudgetError(f"at {macs:,.0f} MACs {error}") from error
        return {
            "arch": member.arch,
            **_analytic_costs(member.cost),
            "latency_ms": member.latency_ms,
            "budget": macs,
            "realised": member.realised,
            "log_macs_ratio": math.log(member.cost.macs / cost(base).macs),
        }

    def _resize(self, params: Params) -> dict[str, Any]:
        """Return the fields of the rung of a Pareto search's network.

        Costs are measured in turn, as long as they are within their caps.

        Raises:
            ArchError: the network is impossible; never between the ends of checked ranges.
            BudgetError: a cost exceeds its cap.
        """
        sizes = {k: int(params[k]) for k in ("depth", "width", "resolution") if k in params}
        ends: Any = {k: int(params[k]) for k in ("stem_width", "neck_width") if k in params}
        ratios: Any = {k: float(params[k]) for k in ("mlp_ratio", "qk_ratio") if k in params}
        ratio = params.get("stage_ratio", self._stage_ratio)
        arch = resize(self.arch, **sizes, stage_ratio=ratio, fixed=self.knobs.fixed)
        arch = replace(arch, stages=tuple(replace(s, **ratios) for s in arch.stages), **ends)
        analytic = _analytic_costs(cost(arch))
        costs: dict[str, float] = {}
        for name in (*analytic, *self._required_meters):
            value = costs[name] = analytic[name] if name in analytic else self._meters[name](arch)
            cap = getattr(self.caps, name)
            if cap is not None and value > cap:
                unit = f" {_UNITS[name]} (measured)" if name in _UNITS else ""
                text = f"{round(value, 3):,}{unit} of {dict(params)}"
                raise BudgetError(
                    f"caps.{name}: {text} is above {cap:,.10g}; raise the cap or narrow the knobs"
                )
        return {"arch": arch, **costs}

    @property
    def _required_meters(self) -> tuple[str, ...]:
        return () if self._analytic_only else self.measured

    @property
    def _stage_ratio(self) -> float | None:
        """The stage ratio where it is not sampled."""
        ratio = self.knobs.stage_ratio
        return ratio if isinstance(ratio, float) else None


def _analytic_costs(costs: Cost) -> dict[str, int]:
    return {"macs": costs.macs, "params": costs.params, "activations": costs.activations}


# Members are solved when a space is validated, previewed and searched: once.
_solve_rule = lru_cache(maxsize=256)(ScalingRule.member)
_solve_shape = lru_cache(maxsize=256)(solve_width)
