"""The validated space file: what may vary, around which base, measured how."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.cost.config import BenchmarkConfig
from cmt_search.errors import BudgetError
from cmt_search.scaling import Budget, Grid, ScalingRule, Shares, ideal_point, named_rule
from cmt_search.space.candidates import (
    UNITS,
    Candidate,
    CostMeter,
    MeterFunction,
    Parameter,
    ParetoSpace,
    RuleSpace,
    ShapeSpace,
)
from cmt_search.space.schema import (
    PARETO_ONLY,
    Base,
    Budgets,
    Caps,
    Fidelities,
    Knobs,
    Proxy,
    Sampler,
    Section,
)
from cmt_search.space.validate import FREE, SHAPE, budgets_by_path, check, check_caps, ranges

_FIRST_OF_RECIPE = {  # what recipes had from the start; the rest came later
    *("batch", "lr", "weight_decay", "warmup_fraction", "label_smoothing"),
    *("drop_path", "clip_grad", "pos_std", "residual_scale"),
}
_FIRST_OF_DATASET = frozenset({"name", "size", "split"})  # likewise; root does not count


def fingerprint_of(data: dict[str, Any], *, base: Arch) -> str:
    """Hash of a space's plain values and its base network."""
    caps = data["caps"].items()
    data["caps"] = {k: v for k, v in caps if k not in UNITS or v is not None}  # came later
    data["proxy"]["dataset"].pop("root")  # the same images may lie elsewhere
    data["sampler"].pop("augmented")  # came later, and only adds to a design
    text = json.dumps(_without_unused(data, network=base.to_dict()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_unused(data: dict[str, Any], *, network: dict[str, Any]) -> list[dict[str, Any]]:
    """Both without options that came later and are not used, so that older runs may be resumed."""

    def used(part: dict[str, Any], **unused: Any) -> dict[str, Any]:
        return {k: v for k, v in part.items() if k not in unused or v != unused[k]}

    base = {"position": None, "mlp_ratio": None, "qk_ratio": None, "kv_stride": None}
    knobs = Knobs().model_dump(include={"fixed", *PARETO_ONLY})
    plain = Proxy().model_dump(mode="json")
    proxy = used(data["proxy"], image_scale=1.0, steps=None, seconds=None)
    for part, first in (("recipe", _FIRST_OF_RECIPE), ("dataset", _FIRST_OF_DATASET)):
        later = {name: value for name, value in plain[part].items() if name not in first}
        proxy[part] = used(proxy[part], **later)
    stages = [used(stage, qk_ratio=1.0) for stage in network["stages"]]
    parts = {
        "base": used(data["base"], **base),
        "knobs": used(data["knobs"], **knobs),
        "sampler": used(data["sampler"], initial_points=None),
    }
    return [
        {**data, **parts, "proxy": proxy},
        {**used(network, position="stage"), "stages": stages},
    ]


PAPER = "cmt-paper"
Kind = Literal["rule", "shape", "pareto"]
_KINDS = ("rule", "shape", "pareto")
Objective = Literal[
    "top1", "loss", "macs", "params", "activations", "latency_ms", "memory_mib", "seconds"
]


class SearchSpace(Section):
    """A search, decided: `candidate` says which networks a choice of parameters means."""

    kind: Kind  # rule: scaling rules; shape: shapes at budgets; pareto: free networks
    base: Base  # the network that grows
    knobs: Knobs = Knobs()
    budgets: Budgets = Budgets()
    tolerance: float = Field(default=0.01, gt=0, lt=0.5)  # of the MACs of a budget
    caps: Caps = Caps()
    proxy: Proxy = Proxy()
    fidelities: Fidelities = Fidelities()
    latency: BenchmarkConfig = BenchmarkConfig()
    objectives: tuple[Objective, ...] = ()  # the first is accuracy; pareto: [top1, macs]
    sampler: Sampler = Sampler()
    trials: int | None = Field(default=None, ge=1)  # none: as many as the design holds
    seeds: int = Field(default=1, ge=1)  # trainings of each network
    seed: int = Field(default=0, ge=0, le=2**31 - 1)  # of the search and of its trainings
    _meters: dict[str, MeterFunction] = PrivateAttr(default_factory=dict)  # by `with_meters`
    _analytic_only: bool = PrivateAttr(default=False)  # by `analytic_only`

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        """Defaults that depend on the kind of search."""
        if not isinstance(data, Mapping) or data.get("kind") not in _KINDS:
            return data
        rule, pareto = data["kind"] == "rule", data["kind"] == "pareto"
        filled = {"objectives": ["top1", "macs"] if pareto else ["top1"], **data}
        sampler = filled.get("sampler")
        if sampler is None or isinstance(sampler, Mapping):
            named = {k: v for k, v in (sampler or {}).items() if (k, v) != ("name", None)}
            filled["sampler"] = {"name": "design" if rule else "tpe", **named}
        return filled

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        check(self)
        return self

    @property
    def arch(self) -> Arch:
        """The base."""
        return self.base.build()

    @property
    def reduction_factor(self) -> int | None:
        """Reduction factor of successive halving; None: every trial runs all of its rungs."""
        return self.fidelities.reduction_factor

    @property
    def epoch_schedule(self) -> tuple[int, ...]:
        """Epochs of the trainings, growing."""
        return self.fidelities.epochs or (self.proxy.epochs,)

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
        """The budgets in MACs, growing."""
        return tuple(sorted(budgets_by_path(self).values()))

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides what a trial is; more trials keep it."""
        apart = {"trials"} if self.measured else {"trials", "latency"}
        return fingerprint_of(self.model_dump(mode="json", exclude=apart), base=self.arch)

    @property
    def measured(self) -> tuple[str, ...]:
        """The costs that are measured, because they are capped or an objective."""
        caps = self.caps.model_dump(exclude_none=True)
        return tuple(name for name in UNITS if name in caps or name in self.objectives)

    def with_meters(self, meters: Mapping[str, MeterFunction]) -> Self:
        """The same space with functions from Arch to what `measured` names."""
        space = self.model_copy()
        space._meters = dict(meters)
        return space

    def analytic_only(self) -> Self:
        """The same space, of whose networks nothing is measured: no cap on latency or memory."""
        space = self.model_copy()
        space._analytic_only = True
        return space

    def budget(self, macs: float, *, analytic_only: bool = False) -> Budget:
        """A budget with this space's tolerance and caps, or with those alone that are counted."""
        params, activations = self.caps.params, self.caps.activations
        return Budget(
            macs=macs,
            tolerance=self.tolerance,
            params=None if params is None else int(params),
            activations=None if activations is None else int(activations),
            latency_ms=None if analytic_only else self.caps.latency_ms,
        )

    def _budgets(self, *, analytic_only: bool) -> tuple[Budget, ...]:
        return tuple(self.budget(macs, analytic_only=analytic_only) for macs in self.budget_macs)

    def rule(self, shares: Shares, *, name: str = "rule") -> ScalingRule:
        """The rule of these shares around this space's base, on its grid."""
        return ScalingRule(
            base=self.arch,
            shares=shares,
            stage_ratio=self._fixed_ratio,
            grid=self.grid,
            name=name,
        )

    def sides_at(self, macs: float, *, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels per side that rules ask for, before rounding. Shape: (n, 3) shares to (n,)."""
        family = self.rule(Shares(depth=0, width=1, resolution=0)).smooth
        log_macs_ratio = math.log(macs / cost(self.arch).macs)
        x = ideal_point(family, shares=shares, log_macs_ratio=log_macs_ratio)
        sides: NDArray[np.float64] = self.arch.resolution * np.exp(x[..., 2])
        return sides

    def named_shares(self) -> dict[str, Shares]:
        """The named rules that this search includes; the paper's is always among them."""
        names = dict.fromkeys((PAPER, *self.sampler.rules))
        known = {name: named_rule(name, base=self.arch).shares for name in names}
        return known | {point.name: point.shares.checked() for point in self.sampler.points}

    def parameters(self) -> tuple[Parameter, ...]:
        """The numbers that a sampler chooses."""
        return self._points().parameters()

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """The networks of a choice of parameters; deterministic if its meters are.

        Raises:
            BudgetError: no network meets the limits.
            SpaceError: a cost is to be measured, and `with_meters` gave no meter.
        """
        return self._points().candidate(params, name)

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """The parameters of a rule search that give these shares."""
        if self.kind != "rule":
            raise BudgetError(f"a {self.kind} search has no shares; use kind: rule")
        return self._rule_space().params_of_shares(shares)

    def to_yaml(self) -> str:
        """The space as a file that `load_space` reads back, defaults written out."""
        text: str = yaml.safe_dump(
            self.model_dump(mode="json", exclude_none=True), sort_keys=False, width=100
        )
        return text

    def check_smallest(self) -> None:
        """Hold the smallest network of a Pareto search to the caps, those measured too.

        Raises:
            BudgetError: it breaks one.
        """
        if self.kind == "pareto":
            check_caps(self.pareto_space(), ranges=ranges(self.knobs, names=FREE))

    def pareto_space(self, *, analytic_only: bool = False) -> ParetoSpace:
        """The candidates of a Pareto search; `analytic_only` measures none."""
        caps = self.caps.model_dump(exclude=set(UNITS), exclude_none=True)
        return ParetoSpace(
            base=self.arch,
            ranges=ranges(self.knobs, names=FREE),
            stage_ratio=self._fixed_ratio,
            fixed=self.knobs.fixed,
            caps={name: int(cap) for name, cap in caps.items()},
            epochs=self.epoch_schedule,
            fidelity_of=self.proxy.fidelity,
            meter=self._meter(analytic_only=analytic_only),
        )

    def shape_space(self, *, analytic_only: bool = False) -> ShapeSpace:
        """The candidates of a shape search; `analytic_only` likewise."""
        analytic_only = analytic_only or self._analytic_only
        return ShapeSpace(
            base=self.arch,
            ranges=ranges(self.knobs, names=SHAPE),
            budgets=self._budgets(analytic_only=analytic_only),
            stage_ratio=self._fixed_ratio,
            grid=self.grid,
            epochs=self.epoch_schedule,
            fidelity_of=self.proxy.fidelity,
            meter=self._meter(analytic_only=analytic_only),
        )

    def _points(self) -> RuleSpace | ShapeSpace | ParetoSpace:
        match self.kind:
            case "rule":
                return self._rule_space()
            case "shape":
                return self.shape_space()
            case "pareto":
                return self.pareto_space()

    def _rule_space(self) -> RuleSpace:
        analytic_only = self._analytic_only
        return RuleSpace(
            rule_of=self.rule,
            budgets=self._budgets(analytic_only=analytic_only),
            epochs=self.epoch_schedule,
            fidelity_of=self.proxy.fidelity,
            meter=self._meter(),
        )

    def _meter(self, *, analytic_only: bool = False) -> CostMeter:
        if analytic_only or self._analytic_only:
            return CostMeter()
        caps = self.caps.model_dump(include=set(UNITS), exclude_none=True)
        return CostMeter(required=self.measured, meters=self._meters, caps=caps)

    @property
    def _fixed_ratio(self) -> float | None:
        """The stage ratio where it is not sampled."""
        ratio = self.knobs.stage_ratio
        return ratio if isinstance(ratio, float) else None
