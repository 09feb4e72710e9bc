"""Checks of a space file that involve several sections.

All raise ValueError with the key path, the problem and the remedy.
"""

import math
from collections.abc import Iterator, Sequence

from cmt_search.errors import BudgetError
from cmt_search.scaling import SmoothFamily
from cmt_search.space.candidates import SAMPLERS, Parameter
from cmt_search.space.schema import (
    PARETO_KNOBS,
    PARETO_ONLY,
    SHAPE_KNOBS,
    Knobs,
    RatioRange,
    SpaceFile,
)


def check_sections(space: SpaceFile) -> None:
    """Refuse combinations of keys that the kind of search does not support."""
    problems = {"rule": _rule_problems, "shape": _shape_problems, "pareto": _pareto_problems}
    _check_stage_ratio(space)
    for problem in problems[space.kind](space):
        raise ValueError(problem)


def _check_stage_ratio(space: SpaceFile) -> None:
    ratio = space.knobs.stage_ratio
    least = ratio.min if isinstance(ratio, RatioRange) else ratio
    try:
        SmoothFamily(base=space.arch, stage_ratio=least).depth_fractions()
    except BudgetError as error:
        raise ValueError(f"knobs.stage_ratio: {error}") from None


def _rule_problems(space: SpaceFile) -> Iterator[str]:
    knobs = space.knobs
    if space.fidelities.epochs and space.reduction_factor is None:
        yield (
            "fidelities.epochs: a rule search trains its budgets for proxy.epochs; remove the key, "
            "or add fidelities.reduction_factor to prune rules after the shorter trainings"
        )
    if not SAMPLERS[space.sampler.name].for_rules:
        names = [name for name, sampler in SAMPLERS.items() if sampler.for_rules]
        yield (
            f"sampler.name: {space.sampler.name} is for shape and pareto searches; "
            f"use one of {', '.join(names)}"
        )
    if isinstance(knobs.stage_ratio, RatioRange):
        yield "knobs.stage_ratio: is fixed in a rule search; write one number, or none"
    if any(knob.log for knob in (knobs.depth, knobs.width, knobs.resolution)):
        yield "knobs: a rule search samples shares, so log does not apply; remove it"
    yield from _budget_problems(space)


def _shape_problems(space: SpaceFile) -> Iterator[str]:
    yield from _budget_problems(space)
    yield from _sampling_problems(space, space.knobs.parameters(SHAPE_KNOBS))
    if space.knobs.width.log:
        yield "knobs.width.log: widths are solved, not sampled; remove the key"
    stages, fewest = len(space.arch.stages), space.knobs.depth.min
    if fewest is not None and fewest < stages:
        yield f"knobs.depth.min: {stages} stages need a block each; use {stages}"


def _pareto_problems(space: SpaceFile) -> Iterator[str]:
    if not space.objectives or len(set(space.objectives)) != len(space.objectives):
        yield "objectives: name each objective once; write [top1, macs]"
    if space.budgets.macs or space.budgets.times_base:
        yield "budgets: a pareto search has none; cap the cost with caps.macs instead"
    yield from _sampling_problems(space, space.knobs.parameters(PARETO_KNOBS))
    if space.sampler.name == "cmaes" and len(space.objectives) > 1:
        yield "sampler.name: cmaes has one objective; use nsga2, or objectives: [top1]"


def _budget_problems(space: SpaceFile) -> Iterator[str]:
    """Problems of rule and shape searches, which solve networks to budgets."""
    kind = space.kind
    if space.objectives != ("top1",):
        yield f"objectives: a {kind} search has the objective [top1]; remove the key"
    for name in PARETO_ONLY:
        if getattr(space.knobs, name) != getattr(Knobs(), name):
            yield f"knobs.{name}: a {kind} search takes it from the base; set base.{name} instead"
    if space.caps.macs is not None:
        yield f"caps.macs: a {kind} search has budgets instead; remove the key"
    if space.caps.memory_mib is not None:
        yield "caps.memory_mib: is for pareto searches; cap activations or latency_ms"
    budgets = space.budgets.macs or space.budgets.times_base
    if not budgets:
        yield "budgets: is missing; write MACs like [1.5M, 3M], or {times_base: [3, 6]}"
    if len(set(budgets)) != len(budgets):
        yield "budgets: name each budget once; remove the repeated one"


def _sampling_problems(space: SpaceFile, parameters: Sequence[Parameter]) -> Iterator[str]:
    name = space.sampler.name
    if name == "design":
        yield "sampler.name: design is for rule searches; use tpe or random"
    if space.trials is None:
        yield f"trials: is missing; a {space.kind} search needs an end, such as 100"
    if not parameters:
        yield "knobs: none of those that are sampled has a range; give one a min and a max"
    continuous = [f"knobs.{p.name}" for p in parameters if p.steps is None]
    if name == "grid" and continuous:
        yield (
            f"sampler.name: grid needs steps, and {', '.join(continuous)} has none; give it a step "
            "and no log, or use sobol"
        )
    if name == "grid" and math.prod(p.steps or 1 for p in parameters) > 1_000_000:
        yield "sampler.name: the grid has more than 1,000,000 points; use larger steps, or sobol"
    if name == "cmaes" and len(parameters) < 2:
        yield "sampler.name: cmaes needs two knobs with a range or more; use tpe"
