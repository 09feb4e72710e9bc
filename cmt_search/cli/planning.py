"""What a search will train, before it does."""

from typing import TYPE_CHECKING, Any

from cmt_search.errors import BudgetError
from cmt_search.search import design
from cmt_search.space import format_quantity

if TYPE_CHECKING:
    from cmt_search.space import Candidate, SearchSpace


def plan(space: "SearchSpace") -> dict[str, Any]:
    """The designed trials, or the ranges that a sampler draws from, as plain values."""
    rows: list[dict[str, str]] = []
    infeasible: dict[str, str] = {}
    trainings = 0
    networks: set[tuple[object, ...]] = set()
    for point in design(space):
        try:
            candidate = space.candidate(point.params, point.name)
        except BudgetError as error:
            infeasible[point.name] = str(error)
            continue
        rows.append(_row(candidate, replicate=point.replicate))
        for rung in candidate.rungs:
            identity = (rung.arch.key, rung.fidelity, point.replicate)
            if identity not in networks:
                networks.add(identity)
                trainings += space.seeds
    if space.kind != "rule":
        rows = [
            {"knob": p.name, "from": f"{p.low:g}", "to": f"{p.high:g}", "log": str(p.log)}
            for p in space.parameters()
        ]
        trainings = (space.trials or 0) * space.seeds * max(1, len(space.ladder.epochs))
    return {
        "kind": space.kind,
        "base_macs": _macs(space),
        "budgets": [int(b) for b in space.budget_macs],
        "trials": space.trials or len(rows),
        "trainings": trainings,
        "candidates": rows,
        "infeasible": infeasible,
    }


def _macs(space: "SearchSpace") -> int:
    from cmt_search.cost import cost

    return cost(space.arch).macs


def _row(candidate: "Candidate", *, replicate: int) -> dict[str, str]:
    shares = candidate.shares.values if candidate.shares else ()
    row = {"rule": candidate.name + (f" (again {replicate})" if replicate else "")}
    row |= dict(zip(("depth", "width", "resolution"), (f"{s:.2f}" for s in shares), strict=False))
    for rung in candidate.rungs:
        stages = rung.arch.stages
        depths = "-".join(str(s.depth) for s in stages)
        row[format_quantity(rung.budget or rung.macs)] = (
            f"{rung.arch.resolution} px, w {stages[0].width}, d {depths}"
        )
    return row
