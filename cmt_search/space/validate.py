"""Checks of a space file that involve several sections."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cmt_search.cost import cost
from cmt_search.errors import ArchError, BudgetError
from cmt_search.scaling import SmoothFamily
from cmt_search.space.candidates import Parameter, ParetoSpace
from cmt_search.space.schema import PARETO_ONLY, Knob, Knobs, Range, RatioRange

if TYPE_CHECKING:
    from cmt_search.space.search_space import SearchSpace


_WHOLE = ("depth", "width", "resolution", "stem_width", "neck_width")
_RATIOS = ("stage_ratio", "mlp_ratio", "qk_ratio")
FREE = (*_WHOLE, *_RATIOS)  # what a Pareto search samples
SHAPE = ("depth", "resolution", "stage_ratio")  # what a shape search samples


def ranges(knobs: Knobs, *, names: Sequence[str]) -> tuple[Parameter, ...]:
    """The knobs of these names that have a range.

    Raises:
        ValueError: a range has one end only.
    """
    found = []
    for name in (one for one in _WHOLE if one in names):
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
    for name in (one for one in _RATIOS if one in names):
        ratio = getattr(knobs, name)
        if isinstance(ratio, Range):
            found.append(Parameter(name=name, low=ratio.min, high=ratio.max, step=ratio.step))
    return tuple(found)


def budgets_by_path(space: "SearchSpace") -> dict[str, float]:
    """The budgets in MACs, in the order of the file, by their place in it."""
    base, given = cost(space.arch).macs, space.budgets
    times = {f"budgets.times_base[{i}]": round(t * base) for i, t in enumerate(given.times_base)}
    return {f"budgets.macs[{i}]": macs for i, macs in enumerate(given.macs)} | times


_OF_RULES = ("design", "gp", "tpe", "random")


def check(space: "SearchSpace") -> None:
    """Refuse what no search of its kind can do.

    Raises:
        ValueError: with the key path and the remedy.
    """
    _check_stage_ratio(space)
    match space.kind:
        case "rule":
            _check_rule(space)
        case "shape":
            _check_shape(space)
        case "pareto":
            _check_pareto(space)


def check_caps(space: ParetoSpace, *, ranges: tuple[Parameter, ...]) -> None:
    """Cost grows with every knob but the stage ratio, at one of whose ends it is the least.

    Raises:
        BudgetError: the smallest network breaks a cap.
    """
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


def _check_stage_ratio(space: "SearchSpace") -> None:
    ratio = space.knobs.stage_ratio
    least = ratio.min if isinstance(ratio, RatioRange) else ratio
    try:
        SmoothFamily(base=space.arch, stage_ratio=least).depth_fractions()
    except BudgetError as error:
        raise ValueError(f"knobs.{error}") from None


def _check_rule(space: "SearchSpace") -> None:
    if space.objectives != ("top1",):
        raise ValueError("objectives: a rule search has the objective [top1]; remove the key")
    if space.fidelities.epochs and space.fidelities.reduction_factor is None:
        raise ValueError(
            "fidelities.epochs: a rule search trains its budgets for proxy.epochs; remove the key, "
            "or add fidelities.reduction_factor to prune rules after the shorter trainings"
        )
    _check_halving(space)
    if space.sampler.name not in _OF_RULES:
        raise ValueError(
            f"sampler.name: {space.sampler.name} is for shape and pareto searches; "
            f"use one of {', '.join(_OF_RULES)}"
        )
    if isinstance(space.knobs.stage_ratio, RatioRange):
        raise ValueError("knobs.stage_ratio: is fixed in a rule search; write one number, or none")
    if any(k.log for k in (space.knobs.depth, space.knobs.width, space.knobs.resolution)):
        raise ValueError("knobs: a rule search samples shares, so log has no meaning; remove it")
    _check_budgeted(space)
    _check_budgets(space)


def _check_budgeted(space: "SearchSpace") -> None:
    """What rules and shapes have in common: they are solved to budgets."""
    kind = space.kind
    for name in PARETO_ONLY:
        if getattr(space.knobs, name) != getattr(Knobs(), name):
            raise ValueError(
                f"knobs.{name}: a {kind} search takes it from the base; set base.{name} instead"
            )
    if space.caps.macs is not None:
        raise ValueError(f"caps.macs: a {kind} search has budgets instead; remove the key")
    if space.caps.memory_mib is not None:
        raise ValueError("caps.memory_mib: is for pareto searches; cap activations or latency_ms")
    if not space.budget_macs:
        raise ValueError("budgets: is missing; write MACs like [1.5M, 3M], or {times_base: [3, 6]}")
    if len(set(space.budget_macs)) != len(space.budget_macs):
        raise ValueError("budgets: names each budget once; remove the repeated one")


def _check_budgets(space: "SearchSpace") -> None:
    base = cost(space.arch).macs
    for where, macs in budgets_by_path(space).items():
        if macs <= base * (1 + space.tolerance) or not math.isfinite(macs):
            raise ValueError(
                f"{where}: {macs:,.0f} MACs is not above the base's {base:,}, and a rule "
                "grows the base; use a larger budget or a smaller base"
            )
        refusals = []
        for name, shares in space.named_shares().items():
            try:
                space.rule(shares).member(space.budget(macs, analytic_only=True))
                break
            except BudgetError as error:
                refusals.append(f"{name}: {error}")
        else:
            raise ValueError(
                f"{where}: {macs:,.0f} MACs is beyond reach of every named rule; {refusals[0]}"
            )


def _check_shape(space: "SearchSpace") -> None:
    if space.objectives != ("top1",):
        raise ValueError("objectives: a shape search has the objective [top1]; remove the key")
    _check_budgeted(space)
    _check_free_sampler(space)
    _check_halving(space)
    found = ranges(space.knobs, names=SHAPE)
    if not found:
        raise ValueError(
            "knobs: neither depth, resolution nor stage_ratio has a range, so there is nothing to "
            "search; give min and max"
        )
    if space.knobs.width.log:
        raise ValueError("knobs.width.log: widths are solved, not sampled; remove the key")
    stages, fewest = len(space.arch.stages), space.knobs.depth.min
    if fewest is not None and fewest < stages:
        raise ValueError(f"knobs.depth.min: {stages} stages need a block each; use {stages}")
    _check_grid(found, space=space)
    try:
        space.shape_space(analytic_only=True).check_reach()
    except BudgetError as error:
        raise ValueError(f"budgets: {error}") from None
    except ArchError as error:
        raise ValueError(f"knobs: {error}") from None


def _check_pareto(space: "SearchSpace") -> None:
    if not space.objectives or len(set(space.objectives)) != len(space.objectives):
        raise ValueError("objectives: names each objective once; write [top1, macs]")
    if space.budget_macs:
        raise ValueError("budgets: a pareto search has none; cap the cost with caps.macs instead")
    _check_free_sampler(space)
    _check_halving(space)
    found = ranges(space.knobs, names=FREE)
    if not found:
        raise ValueError("knobs: none has a range, so there is nothing to search; give min and max")
    _check_grid(found, space=space)
    if space.sampler.name == "cmaes" and len(space.objectives) > 1:
        raise ValueError("sampler.name: cmaes has one objective; use nsga2, or objectives: [top1]")
    free = space.pareto_space(analytic_only=True)
    _check_ends(free, ranges=found)
    try:
        check_caps(free, ranges=found)
    except BudgetError as error:
        raise ValueError(str(error)) from None


def _check_free_sampler(space: "SearchSpace") -> None:
    if space.sampler.name == "design":
        raise ValueError("sampler.name: design is for rule searches; use tpe or random")
    if space.trials is None:
        raise ValueError(
            f"trials: is missing; a {space.kind} search needs to know when to stop, say 100"
        )


def _check_halving(space: "SearchSpace") -> None:
    if space.fidelities.reduction_factor is not None and len(space.fidelities.epochs) < 2:
        raise ValueError(
            "fidelities.reduction_factor: needs two rungs or more; write epochs like [1, 3, 9]"
        )


def _check_grid(found: tuple[Parameter, ...], *, space: "SearchSpace") -> None:
    name = space.sampler.name
    endless = [f"knobs.{p.name}" for p in found if p.steps is None]
    if name == "grid" and endless:
        raise ValueError(
            f"sampler.name: grid needs steps, and {', '.join(endless)} has none; give it a step "
            "and no log, or use sobol"
        )
    if name == "cmaes" and len(found) < 2:
        raise ValueError("sampler.name: cmaes needs two knobs with a range or more; use tpe")


def _check_ends(space: ParetoSpace, *, ranges: tuple[Parameter, ...]) -> None:
    """Between networks there are only networks: every size grows with every knob."""
    for ends in ({p.name: p.low for p in ranges}, {p.name: p.high for p in ranges}):
        try:
            space.candidate(ends)
        except BudgetError:
            continue  # a network, if one that breaks a cap
        except ArchError as error:
            raise ValueError(f"knobs: {error}") from None
