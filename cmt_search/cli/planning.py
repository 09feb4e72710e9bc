"""Plan of a search: its trainings and its statistical power."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cmt_search.cli.console import sizes_text
from cmt_search.cli.overview import most_trials
from cmt_search.errors import BudgetError
from cmt_search.format import duration, format_quantity
from cmt_search.search import design_points, initial_points
from cmt_search.stats import (
    DETECTABLE_STANDARD_ERRORS,
    SEEDS,
    predict_standard_error,
    sufficient_seeds,
)

if TYPE_CHECKING:
    from cmt_search.search import DesignPoint
    from cmt_search.space import Candidate, Rung, SearchSpace

SEED_SD = 0.01  # top1 between seeds, where nothing is known; `calibrate` measures it
_TARGETS = (0.005, 0.01)  # differences of top1 that one would like to find


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """The design of a search with its networks, which takes a while to solve."""

    points: "tuple[tuple[DesignPoint, Candidate], ...]"
    infeasible: Mapping[str, str]  # why a point has no networks, by name

    @property
    def trainings(self) -> "tuple[Rung, ...]":
        """Trainings of one seed; those that points share count once."""
        distinct = {
            (rung.arch.key, rung.fidelity, point.replicate): rung
            for point, candidate in self.points
            for rung in candidate.rungs
        }
        return tuple(distinct.values())


def solved(space: "SearchSpace") -> Solved:
    """Solve every point of the design; of a shape search, of what it begins with.

    Raises:
        BudgetError: none has its networks.
    """
    points, infeasible = [], {}
    for point in design_points(space) or (initial_points(space) if space.kind == "shape" else ()):
        try:
            points.append((point, space.candidate(point.params, point.name)))
        except BudgetError as error:
            infeasible[point.name] = str(error)
    if infeasible and not points:
        name, reason = next(iter(infeasible.items()))
        raise BudgetError(f"no rule of the design has its networks; {name}: {reason}")
    return Solved(points=tuple(points), infeasible=infeasible)


def plan(space: "SearchSpace", *, of: Solved) -> dict[str, Any]:
    """The designed trials, or the ranges that a sampler draws from, as plain values."""
    rows = [_row(candidate, replicate=point.replicate) for point, candidate in of.points]
    trainings = len(of.trainings) * space.seeds
    if space.kind == "pareto":
        rows = [
            {"knob": p.name, "from": f"{p.low:g}", "to": f"{p.high:g}", "log": str(p.log)}
            for p in space.parameters()
        ]
    trials, most = space.trials or len(rows), most_trials(space)
    trials = trials if most is None else min(trials, most)
    if space.kind != "rule":
        trainings = (
            (trials if space.trials else 0) * space.seeds * max(1, len(space.fidelities.epochs))
        )
    return {
        "kind": space.kind,
        "base_macs": _macs(space),
        "budgets": [int(b) for b in space.budget_macs],
        "trials": trials,
        "trainings": trainings,
        "candidates": rows,
        "infeasible": dict(of.infeasible),
    }


def power_plan(space: "SearchSpace", *, of: Solved, seed_sd: float) -> dict[str, Any]:
    """Predict the power of a rule search's design, for increasing numbers of seeds.

    Raises:
        AnalysisError: it holds too few networks.
    """
    base = _macs(space)
    rows = [
        (rung.realised.values, math.log(rung.macs / base), rung.budget, rung.arch.key)
        for rung in of.trainings
        if rung.realised is not None and rung.fidelity.epochs == space.epoch_schedule[-1]
    ]
    shares, log_macs_ratio, budget, network = zip(*rows, strict=True)
    errors: dict[int, float] = {}  # standard error of contrasts by number of seeds
    for seeds in sorted({space.seeds, *SEEDS}):
        errors[seeds] = predict_standard_error(
            shares=shares,
            log_macs_ratio=log_macs_ratio,
            budget=budget,
            network=network,
            paper=space.named_shares()["cmt-paper"].values,
            seed_sd=seed_sd,
            seeds=seeds,
            seed=space.seed,
        )
        if seeds >= space.seeds and sufficient_seeds(errors, difference=min(_TARGETS)):
            break
    error, targets = (
        errors[space.seeds],
        {f"{100 * target:g} points": target for target in _TARGETS},
    )
    return {
        "seed_sd": seed_sd,
        "seeds": space.seeds,
        "error": round(error, 5),
        "detectable": round(DETECTABLE_STANDARD_ERRORS * error, 5),
        "seeds_for": {
            text: sufficient_seeds(errors, difference=target) for text, target in targets.items()
        },
        "most_seeds_tried": max(errors),
        "trainings_per_seed": len(rows),
    }


def power_lines(plan: Mapping[str, Any], *, seconds: float | None) -> list[str]:
    """The plan in words; `seconds` are those of all trainings of one seed."""
    lines = [
        f"power, for a standard deviation between seeds of {100 * plan['seed_sd']:g} points: with "
        f"{plan['seeds']} seed(s) a contrast to the paper's rule has a standard error of at least "
        f"{100 * plan['error']:.1f} points; minimum detectable difference "
        f"{100 * plan['detectable']:.1f} points (two-sided 5%, power 80%), without the effect of "
        "rounding to networks"
    ]
    for target, seeds in plan["seeds_for"].items():
        if seeds is None:
            most = plan["most_seeds_tried"]
            lines.append(f"for {target}: more than {most} seeds; more rules help as well")
            continue
        trainings = seeds * plan["trainings_per_seed"]
        took = "" if seconds is None else f", about {duration(seconds * seeds)} one after another"
        lines.append(f"for {target}: {seeds} seeds, {trainings} trainings{took}")
    return lines


def contrast_plan(space: "SearchSpace", *, seed_sd: float) -> dict[str, Any]:
    """Predict the power of comparing two networks; for searches other than for rules."""

    def needed(difference: float) -> int:
        return max(1, math.ceil(2 * (DETECTABLE_STANDARD_ERRORS * seed_sd / difference) ** 2))

    error = seed_sd * math.sqrt(2 / space.seeds)
    return {
        "seed_sd": seed_sd,
        "seeds": space.seeds,
        "error": round(error, 5),
        "detectable": round(DETECTABLE_STANDARD_ERRORS * error, 5),
        "seeds_for": {f"{100 * target:g} points": needed(target) for target in _TARGETS},
    }


def contrast_line(plan: Mapping[str, Any]) -> str:
    """The plan in words."""
    seeds = ", ".join(f"{count} seeds for {target}" for target, count in plan["seeds_for"].items())
    return (
        f"power, for a standard deviation between seeds of {100 * plan['seed_sd']:g} points: the "
        f"difference of two networks with {plan['seeds']} seed(s) each has a standard error of "
        f"{100 * plan['error']:.1f} points; minimum detectable difference "
        f"{100 * plan['detectable']:.1f} points (two-sided 5%, power 80%); {seeds}"
    )


def seconds_of_design(space: "SearchSpace", *, of: Solved, device: str | None) -> float:
    """Seconds of one training of each network of the design, one after another, on this machine."""
    from cmt_search.cli.pace import pace_of

    pace = pace_of(space, of.trainings, device=device)
    return sum(pace.seconds(rung) for rung in of.trainings)


def _macs(space: "SearchSpace") -> int:
    from cmt_search.cost import cost

    return cost(space.arch).macs


def _row(candidate: "Candidate", *, replicate: int) -> dict[str, str]:
    if candidate.shares is None:
        rung = candidate.rungs[-1]
        budget = format_quantity(rung.budget or rung.macs)
        return {"shape": candidate.name, "budget": budget, "network": sizes_text(rung.arch)}
    shares = candidate.shares.values if candidate.shares else ()
    row = {"rule": candidate.name + (f" (again {replicate})" if replicate else "")}
    row |= dict(zip(("depth", "width", "resolution"), (f"{s:.2f}" for s in shares), strict=False))
    for rung in candidate.rungs:
        row[format_quantity(rung.budget or rung.macs)] = sizes_text(rung.arch)
    return row
