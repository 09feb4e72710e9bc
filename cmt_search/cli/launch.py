"""run, resume, status, validate."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.driving import as_json, as_lines, drive, opened
from cmt_search.cli.options import (
    RETRIES,
    Address,
    Cpus,
    Device,
    Executor,
    Gpus,
    Json,
    Retries,
    RunArgument,
    Slots,
    SpaceArgument,
    Storage,
    TimeLimit,
    Trials,
    TrialTimeLimit,
    drive_options,
)

if TYPE_CHECKING:
    from cmt_search.search import RunFolder, TrialRecord
    from cmt_search.space import SearchSpace

_ENDED = ("complete", "pruned", "failed", "infeasible")


def run(
    space: SpaceArgument,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; default: the space file's.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    trials: Trials = None,
    executor: Executor = "ray",
    address: Address = None,
    slots: Slots = None,
    cpus_per_trial: Cpus = 1.0,
    gpus_per_trial: Gpus = None,
    storage: Storage = None,
    time_limit: TimeLimit = None,
    trial_time_limit: TrialTimeLimit = None,
    retries: Retries = RETRIES,
    device: Device = None,
    json: Json = False,
) -> None:
    """Search: launch the run, or go on with it where it stands."""
    from cmt_search.cli.wiring import check_trainable
    from cmt_search.space import load_space

    wanted = load_space(space)
    check_trainable(wanted, file=space)
    options = drive_options(
        executor=executor,
        slots=slots,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        device=device,
        time_limit=time_limit,
        trial_time_limit=trial_time_limit,
        retries=retries,
        trials=trials,
        storage=storage,
    )
    found = opened(runs / (name or space.stem), wanted, command=sys.argv[1:], storage=storage)
    _search(found, wanted, json=json, device=device, options=options)


def resume(
    run: RunArgument,
    trials: Trials = None,
    executor: Executor = "ray",
    address: Address = None,
    slots: Slots = None,
    cpus_per_trial: Cpus = 1.0,
    gpus_per_trial: Gpus = None,
    storage: Storage = None,
    time_limit: TimeLimit = None,
    trial_time_limit: TrialTimeLimit = None,
    retries: Retries = RETRIES,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try trials again that failed before.")
    ] = False,
    device: Device = None,
    json: Json = False,
) -> None:
    """Continue a run that was interrupted or killed, or extend it with --trials."""
    from cmt_search.cli.wiring import space_of
    from cmt_search.search import RunFolder

    found = RunFolder.open(run)
    options = drive_options(
        executor=executor,
        slots=slots,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        device=device,
        time_limit=time_limit,
        trial_time_limit=trial_time_limit,
        retries=retries,
        retry_failed=retry_failed,
        trials=trials,
        storage=storage,
    )
    _search(found, space_of(found), json=json, device=device, options=options)


def status(run: RunArgument, json: Json = False) -> None:
    """Progress, best so far, failures by reason, what is left."""
    from cmt_search.cli.console import print_json, say
    from cmt_search.cli.wiring import space_of
    from cmt_search.search import RunFolder, design, read_trials

    folder = RunFolder.open(run)
    space = space_of(folder)
    records = read_trials(run)
    planned = space.trials or len(design(space))
    driver = folder.driver()
    found = _state(records)
    done = sum(n for name, n in found["trials"].items() if name in _ENDED)
    left = max(planned - done, 0)
    state = found | {
        "planned": planned,
        "left": left,
        "driver": str(driver) if driver else None,
        "resume": f"cmt-search resume {run}" if left and not driver else None,
    }
    if json:
        print_json(state)
        return
    counts = ", ".join(f"{count} {name}" for name, count in state["trials"].items()) or "none yet"
    say(f"{run}: {len(records)} of {planned} trials asked for ({counts})")
    if driver:
        say(f"driven by {driver}; {left} trials left")
    elif left > 0:
        say(f"interrupted: {left} trials left, and no process drives it")
        say(f"go on: {state['resume']}")
    for rung, size in state["micro_batches"].items():
        say(f"rung {rung}: memory ran out; all were trained in micro-batches of {size} images")
    if best := state["best"]:
        say(f"best top1 so far {best['top1']:.1%}: trial {best['trial']} ({best['name']})")
    for reason, count in state["failures"].items():
        say(f"{count} failed: {reason}")


def validate(
    space: SpaceArgument,
    seed_sd: Annotated[
        float | None,
        typer.Option(
            min=0, help="Points of top1 between two trainings of a network; see calibrate."
        ),
    ] = None,
    time: Annotated[
        bool, typer.Option("--time", help="Train the base briefly, for hours.")
    ] = False,
    device: Device = None,
    json: Json = False,
) -> None:
    """Check a space file, and show what a search of it would train and could find out."""
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cli.metering import measuring_text, metered
    from cmt_search.cli.planning import (
        SEED_SD,
        contrast_line,
        contrast_plan,
        plan,
        power_lines,
        power_plan,
        seconds_of_design,
        solved,
    )
    from cmt_search.cli.wiring import check_trainable
    from cmt_search.space import load_space

    wanted = metered(load_space(space))
    check_trainable(wanted, file=space)
    wanted.check_smallest()
    members = solved(wanted)
    planned = plan(wanted, of=members)
    timed = time and wanted.kind == "rule"  # the others' networks are not known yet
    seconds = seconds_of_design(wanted, of=members, device=device) if timed else None
    scatter = SEED_SD if seed_sd is None else seed_sd / 100
    rule = wanted.kind == "rule"
    found = (
        power_plan(wanted, of=members, seed_sd=scatter)
        if rule
        else contrast_plan(wanted, seed_sd=scatter)
    )
    if json:
        print_json(planned | {"power": found, "seconds_per_seed": seconds})
        return
    show_table(planned["candidates"], title="Candidates")
    for name, reason in planned["infeasible"].items():
        say(f"left out: {name}: {reason}")
    say(
        f"{space} is valid: {planned['trials']} trials, {planned['trainings']} trainings, "
        f"base {planned['base_macs']:,} MACs"
    )
    if measuring := measuring_text(wanted):
        say(measuring)
    for note in wanted.proxy.recipe.notes(epochs=wanted.lengths[-1]):
        say(note)
    for line in power_lines(found, seconds=seconds) if rule else (contrast_line(found),):
        say(line)


def _search(
    folder: "RunFolder",
    space: "SearchSpace",
    *,
    json: bool,
    device: str | None,
    options: dict[str, Any],
) -> None:
    from cmt_search.cli.console import print_json, say

    outcome = drive(folder, space, device=device, options=options, quiet=json)
    if json:
        print_json(as_json(outcome, folder=folder))
        return
    for line in as_lines(outcome, folder=folder):
        say(line)


def _state(records: "tuple[TrialRecord, ...]") -> dict[str, Any]:
    states: dict[str, int] = {}
    failures: dict[str, int] = {}
    best: dict[str, Any] | None = None
    for record in records:
        reason = (record.reason or "unknown").splitlines()[0]
        infeasible = record.state == "failed" and reason.startswith("infeasible")
        state = "infeasible" if infeasible else record.state
        states[state] = states.get(state, 0) + 1
        if state == "failed":
            failures[reason] = failures.get(reason, 0) + 1
        if record.state == "complete":
            top1 = [m.top1 for m in record.rungs[-1].measurements]
            mean = sum(top1) / len(top1)
            if best is None or mean > best["top1"]:
                best = {"trial": record.number, "name": record.name, "top1": mean}
    sizes = {
        i + 1: rung.micro_batch
        for record in records
        for i, rung in enumerate(record.rungs)
        if rung.micro_batch is not None
    }
    return {"trials": states, "failures": failures, "best": best, "micro_batches": sizes}
