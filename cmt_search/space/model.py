"""The space file, validated: what may vary, around which base, measured how."""

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
from cmt_search.errors import ArchError, BudgetError
from cmt_search.scaling import (
    Budget,
    Grid,
    ScalingRule,
    Shares,
    SmoothFamily,
    ideal_point,
    named_rule,
)
from cmt_search.space.candidate import Candidate, Parameter
from cmt_search.space.free import FreeSpace
from cmt_search.space.gauge import UNITS, Gauge, Meter
from cmt_search.space.rules import RuleSpace
from cmt_search.space.sections import (
    Base,
    Budgets,
    Caps,
    Knob,
    Knobs,
    Ladder,
    Latency,
    Proxy,
    Range,
    RatioRange,
    Sampler,
    Section,
)

PAPER = "cmt-paper"
_FIRST_OF_RECIPE = {  # what recipes had from the start; the rest came later
    *("batch", "lr", "weight_decay", "warmup_fraction", "label_smoothing"),
    *("drop_path", "clip_grad", "pos_std", "residual_scale"),
}
_FIRST_OF_DATASET = frozenset({"name", "size", "split"})  # likewise; root does not count
_PARETO_ONLY = ("stem_width", "neck_width", "mlp_ratio", "qk_ratio")
Objective = Literal[
    "top1", "loss", "macs", "params", "activations", "latency_ms", "memory_mib", "seconds"
]


class SearchSpace(Section):
    """A search, decided: `candidate` says which networks a choice of parameters means."""

    kind: Literal["rule", "pareto"]
    base: Base
    knobs: Knobs = Knobs()
    budgets: Budgets = Budgets()
    tolerance: float = Field(default=0.01, gt=0, lt=0.5)
    caps: Caps = Caps()
    proxy: Proxy = Proxy()
    ladder: Ladder = Ladder()
    latency: Latency = Latency()
    objectives: tuple[Objective, ...] = ()
    sampler: Sampler = Sampler()
    trials: int | None = Field(default=None, ge=1)
    seeds: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    _meters: dict[str, Meter] = PrivateAttr(default_factory=dict)  # by `metered`

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        """Defaults that depend on the kind of search."""
        if not isinstance(data, Mapping) or data.get("kind") not in ("rule", "pareto"):
            return data
        rule = data["kind"] == "rule"
        filled = {"objectives": ["top1"] if rule else ["top1", "macs"], **data}
        sampler = filled.get("sampler")
        if sampler is None or isinstance(sampler, Mapping):
            named = {k: v for k, v in (sampler or {}).items() if (k, v) != ("name", None)}
            filled["sampler"] = {"name": "design" if rule else "tpe", **named}
        return filled

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        _check_stage_ratio(self)
        check = _check_rule if self.kind == "rule" else _check_pareto
        check(self)
        return self

    @property
    def arch(self) -> Arch:
        """The base."""
        return self.base.build()

    @property
    def halving(self) -> int | None:
        """Factor of successive halving over the ladder; None: every trial climbs all of it."""
        return self.ladder.halving

    @property
    def grid(self) -> Grid:
        """Steps and ranges that members are rounded to."""
        depth, width, side = self.knobs.depth, self.knobs.width, self.knobs.resolution
        return Grid(
            resolution_step=side.step,
            width_step=width.step,
            keep=self.knobs.keep,
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
        return tuple(sorted(_budgets_by_path(self).values()))

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides what a trial is; more trials keep it."""
        apart = {"trials"} if self.measured else {"trials", "latency"}
        data = self.model_dump(mode="json", exclude=apart)
        caps = data["caps"].items()
        data["caps"] = {k: v for k, v in caps if k not in UNITS or v is not None}  # came later
        data["proxy"]["dataset"].pop("root")  # the same images may lie elsewhere
        text = json.dumps(_without_unused(data, network=self.arch.to_dict()), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def measured(self) -> tuple[str, ...]:
        """The costs that are measured, because they are capped or an objective."""
        caps = self.caps.model_dump(exclude_none=True)
        return tuple(name for name in UNITS if name in caps or name in self.objectives)

    def metered(self, meters: Mapping[str, Meter]) -> Self:
        """The same space with functions from Arch to what `measured` names."""
        space = self.model_copy()
        space._meters = dict(meters)
        return space

    def budget(self, macs: float, *, counted: bool = False) -> Budget:
        """A budget with this space's tolerance and caps, or with those alone that are counted."""
        params, activations = self.caps.params, self.caps.activations
        return Budget(
            macs=macs,
            tolerance=self.tolerance,
            params=None if params is None else int(params),
            activations=None if activations is None else int(activations),
            latency_ms=None if counted else self.caps.latency_ms,
        )

    def rule(self, shares: Shares, *, name: str = "rule") -> ScalingRule:
        """The rule of these shares around this space's base, on its grid."""
        ratio = self.knobs.stage_ratio
        return ScalingRule(
            base=self.arch,
            shares=shares,
            stage_ratio=ratio if isinstance(ratio, float) else None,
            grid=self.grid,
            name=name,
        )

    def sides_at(self, macs: float, *, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels per side that rules ask for, before rounding. Shape: (n, 3) shares to (n,)."""
        family = self.rule(Shares(depth=0, width=1, resolution=0)).smooth
        x = ideal_point(family, shares=shares, growth=math.log(macs / cost(self.arch).macs))
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
        """The ladder that a choice of parameters means; deterministic where its meters are.

        Raises:
            BudgetError: no network meets the limits.
            SpaceError: a cost is to be measured, and `metered` gave no meter.
        """
        return self._points().candidate(params, name)

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """The parameters of a rule search that give these shares."""
        if self.kind != "rule":
            raise BudgetError("a pareto search has no shares; use kind: rule")
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
            _check_caps(self._free_space(), _ranges(self.knobs))

    def _points(self) -> RuleSpace | FreeSpace:
        return self._rule_space() if self.kind == "rule" else self._free_space()

    def _rule_space(self) -> RuleSpace:
        return RuleSpace(
            rule_of=self.rule,
            budgets=tuple(self.budget(macs) for macs in self.budget_macs),
            epochs=self.proxy.epochs,
            data_fraction=self.proxy.data_fraction,
            image_scale=self.proxy.image_scale,
            gauge=self._gauge(),
        )

    def _gauge(self) -> Gauge:
        caps = self.caps.model_dump(include=set(UNITS), exclude_none=True)
        return Gauge(wanted=self.measured, meters=self._meters, caps=caps)

    def _free_space(self, *, counted: bool = False) -> FreeSpace:
        """Its candidates; `counted`: whatever would be measured of them."""
        ratio = self.knobs.stage_ratio
        caps = self.caps.model_dump(exclude=set(UNITS), exclude_none=True)
        return FreeSpace(
            base=self.arch,
            ranges=_ranges(self.knobs),
            stage_ratio=ratio if isinstance(ratio, float) else None,
            keep=self.knobs.keep,
            caps={name: int(cap) for name, cap in caps.items()},
            epochs=self.ladder.epochs or (self.proxy.epochs,),
            data_fraction=self.proxy.data_fraction,
            image_scale=self.proxy.image_scale,
            gauge=Gauge() if counted else self._gauge(),
        )


def _without_unused(data: dict[str, Any], *, network: dict[str, Any]) -> list[dict[str, Any]]:
    """Both without options that came later and are not used, so that older runs may be resumed."""

    def used(part: dict[str, Any], **unused: Any) -> dict[str, Any]:
        return {k: v for k, v in part.items() if k not in unused or v != unused[k]}

    base = {"position": None, "mlp_ratio": None, "qk_ratio": None, "kv_stride": None}
    knobs = Knobs().model_dump(include={"keep", *_PARETO_ONLY})
    plain, proxy = Proxy().model_dump(mode="json"), used(data["proxy"], image_scale=1.0)
    for part, first in (("recipe", _FIRST_OF_RECIPE), ("dataset", _FIRST_OF_DATASET)):
        later = {name: value for name, value in plain[part].items() if name not in first}
        proxy[part] = used(proxy[part], **later)
    stages = [used(stage, qk_ratio=1.0) for stage in network["stages"]]
    parts = {"base": used(data["base"], **base), "knobs": used(data["knobs"], **knobs)}
    return [
        {**data, **parts, "proxy": proxy},
        {**used(network, position="stage"), "stages": stages},
    ]


def _ranges(knobs: Knobs) -> tuple[Parameter, ...]:
    """The knobs that a Pareto search samples."""
    found = []
    for name in ("depth", "width", "resolution", "stem_width", "neck_width"):
        knob: Knob = getattr(knobs, name)
        if knob.min is None and knob.max is None:
            continue
        if knob.min is None or knob.max is None:
            missing = "min" if knob.min is None else "max"
            raise ValueError(f"knobs.{name}.{missing}: is missing; a sampled range needs both ends")
        high = knob.min + (knob.max - knob.min) // knob.step * knob.step
        step = None if knob.log else knob.step
        found.append(
            Parameter(name=name, low=knob.min, high=high, step=step, log=knob.log, integer=True)
        )
    for name in ("stage_ratio", "mlp_ratio", "qk_ratio"):
        ratio = getattr(knobs, name)
        if isinstance(ratio, Range):
            found.append(Parameter(name=name, low=ratio.min, high=ratio.max, step=ratio.step))
    return tuple(found)


def _budgets_by_path(space: SearchSpace) -> dict[str, float]:
    """The budgets in MACs, in the order of the file, by their place in it."""
    base, given = cost(space.arch).macs, space.budgets
    times = {f"budgets.times_base[{i}]": round(t * base) for i, t in enumerate(given.times_base)}
    return {f"budgets.macs[{i}]": macs for i, macs in enumerate(given.macs)} | times


def _check_stage_ratio(space: SearchSpace) -> None:
    ratio = space.knobs.stage_ratio
    least = ratio.min if isinstance(ratio, RatioRange) else ratio
    try:
        SmoothFamily(base=space.arch, stage_ratio=least).depth_fractions()
    except BudgetError as error:
        raise ValueError(f"knobs.{error}") from None


def _check_rule(space: SearchSpace) -> None:
    if space.objectives != ("top1",):
        raise ValueError("objectives: a rule search has the objective [top1]; remove the key")
    if space.ladder != Ladder():
        raise ValueError("ladder: a rule search climbs its budgets at proxy.epochs; remove the key")
    if isinstance(space.knobs.stage_ratio, RatioRange):
        raise ValueError("knobs.stage_ratio: is fixed in a rule search; write one number, or none")
    if any(k.log for k in (space.knobs.depth, space.knobs.width, space.knobs.resolution)):
        raise ValueError("knobs: a rule search samples shares, so log has no meaning; remove it")
    for name in _PARETO_ONLY:
        if getattr(space.knobs, name) != getattr(Knobs(), name):
            raise ValueError(
                f"knobs.{name}: a rule search takes it from the base; set base.{name} instead"
            )
    if space.caps.macs is not None:
        raise ValueError("caps.macs: a rule search has budgets instead; remove the key")
    if space.caps.memory_mib is not None:
        raise ValueError("caps.memory_mib: is for pareto searches; cap activations or latency_ms")
    if not space.budget_macs:
        raise ValueError("budgets: is missing; write MACs like [1.5M, 3M], or {times_base: [3, 6]}")
    _check_budgets(space)


def _check_budgets(space: SearchSpace) -> None:
    base = cost(space.arch).macs
    if len(set(space.budget_macs)) != len(space.budget_macs):
        raise ValueError("budgets: names each budget once; remove the repeated one")
    for where, macs in _budgets_by_path(space).items():
        if macs <= base * (1 + space.tolerance) or not math.isfinite(macs):
            raise ValueError(
                f"{where}: {macs:,.0f} MACs is not above the base's {base:,}, and a rule "
                "grows the base; use a larger budget or a smaller base"
            )
        refusals = []
        for name, shares in space.named_shares().items():
            try:
                space.rule(shares).member(space.budget(macs, counted=True))
                break
            except BudgetError as error:
                refusals.append(f"{name}: {error}")
        else:
            raise ValueError(
                f"{where}: {macs:,.0f} MACs is beyond reach of every named rule; {refusals[0]}"
            )


def _check_pareto(space: SearchSpace) -> None:
    if not space.objectives or len(set(space.objectives)) != len(space.objectives):
        raise ValueError("objectives: names each objective once; write [top1, macs]")
    if space.budget_macs:
        raise ValueError("budgets: a pareto search has none; cap the cost with caps.macs instead")
    if space.sampler.name == "design":
        raise ValueError("sampler.name: design is for rule searches; use tpe or random")
    if space.trials is None:
        raise ValueError("trials: is missing; a pareto search needs to know when to stop, say 100")
    if space.ladder.halving is not None and len(space.ladder.epochs) < 2:
        raise ValueError("ladder.halving: needs two rungs or more; write epochs like [1, 3, 9]")
    if space.ladder.halving is not None and len(space.objectives) > 1:
        raise ValueError(
            "ladder.halving: compares one objective; write objectives: [top1], or remove halving"
        )
    ranges = _ranges(space.knobs)
    if not ranges:
        raise ValueError("knobs: none has a range, so there is nothing to search; give min and max")
    free = space._free_space(counted=True)
    _check_ends(free, ranges)
    try:
        _check_caps(free, ranges)
    except BudgetError as error:
        raise ValueError(str(error)) from None


def _check_ends(space: FreeSpace, ranges: tuple[Parameter, ...]) -> None:
    """Between networks there are only networks: every size grows with every knob."""
    for ends in ({p.name: p.low for p in ranges}, {p.name: p.high for p in ranges}):
        try:
            space.candidate(ends)
        except BudgetError:
            continue  # a network, if one that breaks a cap
        except ArchError as error:
            raise ValueError(f"knobs: {error}") from None


def _check_caps(space: FreeSpace, ranges: tuple[Parameter, ...]) -> None:
    """Cost grows with every knob but the stage ratio, at one of whose ends it is the least."""
    lows = {p.name: p.low for p in ranges}
    highs = {p.name: p.high for p in ranges if p.name == "stage_ratio"}
    refusals = []
    for corner in (lows, lows | highs):
        try:
            space.candidate(corner)
        except BudgetError as error:
            refusals.append(error)
    if len(refusals) == 2:
        raise BudgetError(f"{refusals[0]}; this is the smallest network of the knobs")
