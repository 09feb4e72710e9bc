"""confirm, calibrate."""

import json as jsonlib
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.driving import drive, opened
from cmt_search.cli.options import (
    Address,
    Cpus,
    Device,
    Executor,
    Gpus,
    Json,
    RunArgument,
    Slots,
    SpaceArgument,
    TimeLimit,
    drive_options,
)
from cmt_search.errors import AnalysisError, BudgetError

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis
    from cmt_search.scaling import Shares
    from cmt_search.search import RunFolder
    from cmt_search.space import SearchSpace


def confirm(
    run: RunArgument,
    budget: Annotated[
        str | None, typer.Option(help="Held-out MACs; default: 1.5 times the search's largest.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds for each rule.")] = 5,
    times: Annotated[int, typer.Option(min=1, help="Epochs, as a multiple of the search's.")] = 4,
    executor: Executor = "ray",
    address: Address = None,
    slots: Slots = None,
    cpus_per_trial: Cpus = 1.0,
    gpus_per_trial: Gpus = None,
    time_limit: TimeLimit = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Retrain the best, the named and a bad rule: held-out budget, sealed images, fresh seeds."""
    from cmt_search.cli.console import print_json
    from cmt_search.cli.wiring import analysis_of, space_of
    from cmt_search.search import RunFolder

    folder = RunFolder.open(run)
    space, analysis = space_of(folder), analysis_of(run)
    if analysis.surface is None:
        raise AnalysisError(f"there is nothing to confirm. {analysis.no_verdict}")
    held_out = _held_out(space, analysis=analysis, budget=budget, seeds=seeds, times=times)
    options = drive_options(
        executor=executor,
        slots=slots,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        device=device,
        time_limit=time_limit,
    )
    within = _retrained(folder, held_out, options=options, device=device, quiet=json)
    result = _compared(within, analysis=analysis, space=held_out)
    path = folder.path / "confirm.json"
    path.write_text(jsonlib.dumps(result, indent=2) + "\n")
    if json:
        print_json(result)
        return
    _show(result, path=path)


def calibrate(
    space: SpaceArgument,
    epochs: Annotated[str, typer.Option(help="Training lengths; the longest is the truth.")] = "",
    networks: Annotated[int, typer.Option(min=3, help="Networks to compare, at most.")] = 6,
    seeds: Annotated[int, typer.Option(min=2, help="Seeds for each: the noise.")] = 2,
    device: Device = None,
    json: Json = False,
) -> None:
    """Which cheap training predicts the expensive one, and how noisy each is."""
    from cmt_search.cli.calibration import calibrated, lengths
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.space import load_space

    wanted = load_space(space)
    rows = calibrated(
        wanted,
        epochs=lengths(epochs, default=wanted.proxy.epochs),
        networks=networks,
        seeds=seeds,
        device=device,
        quiet=json,
    )
    if json:
        print_json({"space": str(space), "lengths": [asdict(row) for row in rows]})
        return
    show_table((row.shown() for row in rows), title="Training lengths against the longest")
    quieter = min(("top1", "loss"), key=lambda m: getattr(rows[-1], f"{m}_noise"))
    say(f"relative to the spread between networks, {quieter} is the quieter metric")


def _held_out(
    space: "SearchSpace", *, analysis: "Analysis", budget: str | None, seeds: int, times: int
) -> "SearchSpace":
    """The space that retrains the rules in question, longer, at a budget not seen before."""
    from cmt_search.space import confirmation_space, parse_quantity

    try:
        macs = 1.5 * space.budget_macs[-1] if budget is None else parse_quantity(budget)
    except ValueError as error:
        raise BudgetError(f"--budget: {error}") from None
    rules = {**analysis.named, **_predicted(analysis)}
    return confirmation_space(space, rules=rules, macs=macs, seeds=seeds, times=times)


def _retrained(
    folder: "RunFolder",
    held_out: "SearchSpace",
    *,
    options: dict[str, Any],
    device: str | None,
    quiet: bool,
) -> Path:
    """The folder of the confirming run; each set of questions has its own."""
    within = folder.path / "confirm" / held_out.fingerprint
    confirming = opened(within, held_out, command=sys.argv[1:], storage=None)
    drive(confirming, held_out, device=device, options=options, quiet=quiet)
    return within


def _compared(within: Path, *, analysis: "Analysis", space: "SearchSpace") -> dict[str, Any]:
    """What was predicted and what was measured, as plain values."""
    from cmt_search.analysis import confirmation
    from cmt_search.cost import cost
    from cmt_search.search import read_trials

    assert analysis.surface is not None
    rules = confirmation(
        read_trials(within), surface=analysis.surface, base_macs=cost(space.arch).macs
    )
    roles = {
        role: next((r.name for r in rules if math.dist(r.shares, shares.values) < 1e-5), None)
        for role, shares in _predicted(analysis).items()
    }
    macs = int(space.budget_macs[-1])
    return {"budget": macs, "seeds": space.seeds, **roles, "rules": [asdict(r) for r in rules]}


def _show(result: dict[str, Any], *, path: Path) -> None:
    from cmt_search.cli.console import say, show_table

    show_table(
        (_row(rule) for rule in result["rules"]),
        title=f"Less the paper's rule at {result['budget']:,} MACs, in points of top1",
    )
    for role in ("predicted-best", "predicted-bad"):
        say(f"{role}: {result[role] or 'not measured: it has no network at this budget'}")
    say(f"confirmation: {path}")


def _predicted(analysis: "Analysis") -> "dict[str, Shares]":
    """The rules that the search predicts to be the best and the worst."""
    from cmt_search.scaling import Shares

    assert analysis.verdict is not None
    assert analysis.triangle is not None
    triangle = analysis.triangle
    inside = triangle.feasible.nonzero()[0]
    worst = inside[triangle.difference[inside].argmin()]
    depth, width, side = (float(v) for v in triangle.shares[worst])
    bad = Shares(depth=depth, width=width, resolution=side)
    return {"predicted-best": analysis.verdict.best, "predicted-bad": bad}


def _row(rule: dict[str, Any]) -> dict[str, str]:
    def interval(contrast: dict[str, float]) -> str:
        mean, low, high = (100 * contrast[name] for name in ("mean", "low", "high"))
        return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"

    return {
        "rule": rule["name"],
        "shares d, w, r": ", ".join(f"{s:.2f}" for s in rule["shares"]),
        "top1": f"{rule['top1']:.1%}",
        "seed SD": "-" if rule["sd"] is None else f"{100 * rule['sd']:.2f}",
        "predicted": interval(rule["predicted"]),
        "measured": interval(rule["measured"]) if rule["measured"] else "-",
    }
