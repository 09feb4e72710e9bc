"""run --dry-run: what a search would train first, how much in all, and how long it would take."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.cli.console import print_json, say, show_table, sizes_text
from cmt_search.cli.options import Launch
from cmt_search.cli.overview import most_trials
from cmt_search.cli.planning import (
    SEED_SD,
    Solved,
    contrast_line,
    contrast_plan,
    power_lines,
    power_plan,
)
from cmt_search.errors import BudgetError, RunError
from cmt_search.format import format_quantity
from cmt_search.search import RunDir, initial_points, preview_candidates
from cmt_search.space.candidates import SAMPLERS

if TYPE_CHECKING:
    from cmt_search.search import DesignPoint
    from cmt_search.space import Candidate, SearchSpace

_SHOWN = 12  # of those
_SAMPLE = 4  # networks of a space of which nothing is known beforehand


def rehearse(
    space: "SearchSpace", *, path: Path, launch: Launch, trials: int | None
) -> dict[str, Any]:
    """What a search of this space in this folder would do, as plain values; it makes nothing.

    Raises:
        BudgetError: no candidate has its networks.
        RunError: the folder holds a run of another space.
    """
    from cmt_search.cli.cost_measurement import with_cost_measurement

    began = (path / "run.json").exists()
    if began:
        RunDir.open(path).check(space.fingerprint)
    space = with_cost_measurement(space)
    space.check_smallest()
    first, known = _first(space, trials=trials)
    count = len(first.points) if known else 0
    wanted = trials or space.trials or count
    wanted = min(wanted, most_trials(space) or wanted)
    rest = max(0, wanted - count) * space.seeds * len(first.points[0][1].rungs)
    trainings = rest + (len(first.trainings) * space.seeds if known else 0)
    return {
        "run": str(path),
        "exists": began,
        "kind": space.kind,
        "trials": wanted,
        "trainings": trainings,
        "known": known,
        "candidates": [_row(point, candidate) for point, candidate in first.points],
        "infeasible": dict(first.infeasible),
        "power": _power(space, first),
        "time": (began and _own_time(path, launch=launch, trials=trials))
        or _measured_time(space, first, trainings=trainings, launch=launch),
    }


def show_rehearsal(plan: Mapping[str, Any], *, json: bool) -> None:
    """Print it."""
    if json:
        print_json(plan)
        return
    title = "First candidates" if plan["known"] else "Networks of the space, as a sample"
    show_table((_cells(row) for row in plan["candidates"]), title=title, result=True)
    for line in _lines(plan):
        say(line)


def _first(space: "SearchSpace", *, trials: int | None) -> tuple[Solved, bool]:
    """The candidates that are known beforehand, or else a sample of the space; which of the two."""
    most = trials or space.trials
    if space.kind != "rule" and not SAMPLERS[space.sampler.name].is_optuna:  # all are known
        most = min(most or _SHOWN, _SHOWN)
    points: list[tuple[DesignPoint, Candidate]] = []
    infeasible: dict[str, str] = {}
    for point in preview_candidates(space, most=most):
        if point.candidate is None:
            infeasible[point.name] = (point.reason or "").removeprefix("infeasible: ")
        else:
            points.append((point, point.candidate))
    if infeasible and not points:
        name, why = next(iter(infeasible.items()))
        raise BudgetError(f"no candidate has its networks; {name}: {why}")
    known = bool(points)
    if not known:
        sample = initial_points(space, count=_SAMPLE)
        points = [(point, space.candidate(point.params, point.name)) for point in sample]
    return Solved(points=tuple(points), infeasible=infeasible), known


def _power(space: "SearchSpace", first: Solved) -> dict[str, Any]:
    if space.kind == "rule":
        return power_plan(space, of=first, seed_sd=SEED_SD)
    return contrast_plan(space, seed_sd=SEED_SD)


def _own_time(path: Path, *, launch: Launch, trials: int | None) -> dict[str, Any] | None:
    """What is left of a run that has measured something, by its own trainings."""
    from cmt_search.cli.overview import overview

    try:
        found = overview(path, storage=launch.storage, trials=trials)
    except RunError:
        return None  # a run that never began: it has no study
    if found.left.seconds is None:
        return None
    return _times(found.left.seconds, launch=launch) | {
        "source": f"what is left: {found.left.trainings} trainings, at the mean time of the run's "
        "own on the same rung"
    }


def _measured_time(
    space: "SearchSpace", first: Solved, *, trainings: int, launch: Launch
) -> dict[str, Any]:
    """What all trainings would take, by a few steps here."""
    from cmt_search.cli.pace import pace_of

    pace = pace_of(space, first.trainings, device=launch.device)
    took = [pace.seconds(rung) for rung in first.trainings]
    return _times(trainings * sum(took) / len(took), launch=launch) | {
        "source": f"measured just now on this machine: {pace}"
    }


def _times(seconds: float, *, launch: Launch) -> dict[str, Any]:
    slots = _slots(launch)
    return {
        "training_seconds": seconds,
        "at_a_time": slots,
        "seconds": None if slots is None else seconds / slots,
    }


def _slots(launch: Launch) -> int | None:
    """Trainings at a time; None: the cluster at --address knows."""
    if launch.executor == "inline":
        return 1
    if launch.slots is not None or launch.address is not None:
        return launch.slots
    if launch.gpus:
        import torch

        return max(1, int(torch.cuda.device_count() / launch.gpus))
    from cmt_search.cost.config import usable_cores

    return max(1, int(usable_cores() / launch.cpus_per_trial))


def _row(point: "DesignPoint", candidate: "Candidate") -> dict[str, Any]:
    shares = candidate.shares
    return {
        "name": candidate.name,
        "replicate": point.replicate,
        "params": point.params,
        "shares": None if shares is None else list(shares.values),
        "rungs": [
            {
                "budget": rung.budget,
                "epochs": rung.fidelity.epochs,
                "network": sizes_text(rung.arch),
                "macs": rung.macs,
                "params": rung.params,
                "activations": rung.activations,
            }
            for rung in candidate.rungs
        ],
    }


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    again = f" (again {row['replicate']})" if row["replicate"] else ""
    cells = {"candidate": row["name"] + again}
    if row["shares"]:
        cells["shares d, w, r"] = ", ".join(f"{share:.2f}" for share in row["shares"])
    last = row["rungs"][-1]
    if row["shares"]:  # a rung for each budget; other ladders train one network for longer
        for rung in row["rungs"]:
            cells[format_quantity(rung["budget"])] = rung["network"]
    else:
        cells["network"] = last["network"]
    return cells | {"MACs": f"{last['macs']:,}", "params": f"{last['params']:,}"}


def _lines(plan: Mapping[str, Any]) -> Iterator[str]:
    from cmt_search.format import duration

    for name, reason in plan["infeasible"].items():
        yield f"left out: {name}: {reason}"
    if not plan["known"]:
        yield "which networks come first is not known beforehand: the sampler draws them"
    yield f"{plan['trials']} trials, at most {plan['trainings']} trainings"
    time = plan["time"]
    at_most = f"at most about {duration(time['training_seconds'])} of training"
    if time["seconds"] is None:
        yield f"{at_most}, over the slots of the cluster ({time['source']})"
    else:
        yield (
            f"{at_most}, {duration(time['seconds'])} with {time['at_a_time']} at a time "
            f"({time['source']})"
        )
    if plan["kind"] == "rule":
        yield from power_lines(plan["power"], seconds=None)
    else:
        yield contrast_line(plan["power"])
    there = "the run is there, and goes on" if plan["exists"] else "nothing was made"
    yield f"dry run of {plan['run']}: {there}; leave --dry-run away to start"
