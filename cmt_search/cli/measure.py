"""confirm, calibrate."""

import json as jsonlib
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    executor_name,
    seconds,
)
from cmt_search.errors import AnalysisError

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis, ConfirmedRule
    from cmt_search.scaling import Shares


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
    gpus_per_trial: Gpus = 0.0,
    time_limit: TimeLimit = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Retrain the best, the named and a bad rule: held-out budget, sealed images, fresh seeds."""
    from cmt_search.analysis import confirmation
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cli.launch import drive, opened
    from cmt_search.cli.wiring import analysis_of, space_of
    from cmt_search.cost import cost
    from cmt_search.search import RunFolder, read_trials
    from cmt_search.space import confirmation_space, parse_quantity

    folder = RunFolder.open(run)
    space, analysis = space_of(folder), analysis_of(run)
    if analysis.surface is None:
        raise AnalysisError(f"there is nothing to confirm. {analysis.no_verdict}")
    macs = parse_quantity(budget) if budget else 1.5 * space.budget_macs[-1]
    held_out = confirmation_space(
        space,
        rules={**analysis.named, **_predicted(analysis)},
        macs=macs,
        seeds=seeds,
        times=times,
    )
    within = folder.path / "confirm"
    confirming = opened(within, held_out, command=sys.argv[1:], storage=None)
    drive(
        confirming,
        held_out,
        json=False,
        quiet=json,
        device=device,
        options={
            "executor": executor_name(executor),
            "slots": slots,
            "address": address,
            "cpus_per_trial": cpus_per_trial,
            "gpus_per_trial": gpus_per_trial,
            "time_limit": seconds(time_limit),
        },
    )
    rules = confirmation(
        read_trials(within), surface=analysis.surface, base_macs=cost(space.arch).macs
    )
    roles = {
        role: next(rule.name for rule in rules if math.dist(rule.shares, shares.values) < 1e-5)
        for role, shares in _predicted(analysis).items()
    }
    result = {
        "budget": int(macs),
        "seeds": seeds,
        **roles,
        "rules": [asdict(rule) for rule in rules],
    }
    path = folder.path / "confirm.json"
    path.write_text(jsonlib.dumps(result, indent=2) + "\n")
    if json:
        print_json(result)
        return
    show_table(
        (_row(rule) for rule in rules),
        title=f"Less the paper's rule at {macs:,.0f} MACs, in points of top1",
    )
    for role, name in roles.items():
        say(f"{role}: {name}")
    say(f"confirmation: {path}")


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


def _row(rule: "ConfirmedRule") -> dict[str, Any]:
    def interval(contrast: Any) -> str:
        low, high = 100 * contrast.low, 100 * contrast.high
        return f"{100 * contrast.mean:+.2f} ({low:+.2f} to {high:+.2f})"

    return {
        "rule": rule.name,
        "shares d, w, r": ", ".join(f"{s:.2f}" for s in rule.shares),
        "top1": f"{rule.top1:.1%}",
        "seed SD": f"{100 * rule.sd:.2f}",
        "predicted": interval(rule.predicted),
        "measured": interval(rule.measured) if rule.measured else "-",
    }
