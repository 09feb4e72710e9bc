"""run, resume, status, validate."""

import sys
from collections.abc import Sequence
from pathlib import Path
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
    Storage,
    TimeLimit,
    Trials,
    executor_name,
    gpus,
    seconds,
)
from cmt_search.errors import RunError

if TYPE_CHECKING:
    from cmt_search.search import Outcome, RunFolder, TrialRecord
    from cmt_search.space import SearchSpace


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
    device: Device = None,
    json: Json = False,
) -> None:
    """Search: launch the run, or go on with it where it stands."""
    from cmt_search.cli.wiring import check_trainable
    from cmt_search.space import load_space

    wanted = load_space(space)
    check_trainable(wanted, file=space)
    options = {
        "executor": executor_name(executor),
        "slots": slots,
        "address": address,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus(gpus_per_trial, device=device),
        "trials": trials,
        "time_limit": seconds(time_limit),
        "storage": storage,
    }
    found = opened(runs / (name or space.stem), wanted, command=sys.argv[1:], storage=storage)
    drive(found, wanted, json=json, device=device, options=options)


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
    device: Device = None,
    json: Json = False,
) -> None:
    """Continue a run that was interrupted or killed, or extend it with --trials."""
    from cmt_search.cli.wiring import space_of
    from cmt_search.search import RunFolder

    found = RunFolder.open(run)
    drive(
        found,
        space_of(found),
        json=json,
        device=device,
        options={
            "executor": executor_name(executor),
            "slots": slots,
            "address": address,
            "cpus_per_trial": cpus_per_trial,
            "gpus_per_trial": gpus(gpus_per_trial, device=device),
            "trials": trials,
            "time_limit": seconds(time_limit),
            "storage": storage,
        },
    )


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
    state = _state(records) | {"planned": planned, "driver": str(driver) if driver else None}
    if json:
        print_json(state)
        return
    counts = ", ".join(f"{count} {name}" for name, count in state["trials"].items()) or "none yet"
    say(f"{run}: {len(records)} of {planned} trials asked for ({counts})")
    left = planned - sum(n for state, n in state["trials"].items() if state != "running")
    if driver:
        say(f"driven by {driver}; {max(left, 0)} trials left")
    elif left > 0:
        say(f"{left} trials left, and nobody drives it; go on: cmt-search resume {run}")
    if best := state["best"]:
        say(f"best top1 so far {best['top1']:.1%}: trial {best['trial']} ({best['name']})")
    for reason, count in state["failures"].items():
        say(f"{count} failed: {reason}")


def validate(space: SpaceArgument, json: Json = False) -> None:
    """Check a space file, and show what a search of it would train."""
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cli.planning import plan
    from cmt_search.cli.wiring import check_trainable
    from cmt_search.space import load_space

    wanted = load_space(space)
    check_trainable(wanted, file=space)
    planned = plan(wanted)
    if json:
        print_json(planned)
        return
    show_table(planned["candidates"], title="Candidates")
    for name, reason in planned["infeasible"].items():
        say(f"left out: {name}: {reason}")
    say(
        f"{space} is valid: {planned['trials']} trials, {planned['trainings']} trainings, "
        f"base {planned['base_macs']:,} MACs"
    )


def opened(
    path: Path, space: "SearchSpace", *, command: Sequence[str], storage: str | None
) -> "RunFolder":
    """The run in a folder, which is made if it is not there.

    Raises:
        RunError: the folder holds a run of another space.
    """
    from cmt_search.search import RunFolder

    if (path / "run.json").exists():
        found = RunFolder.open(path)
        found.check(space.fingerprint)
        return found
    return RunFolder.create(
        path,
        space_yaml=space.to_yaml(),
        fingerprint=space.fingerprint,
        command=("cmt-search", *command),
        storage=storage,
    )


def drive(
    folder: "RunFolder",
    space: "SearchSpace",
    *,
    json: bool,
    device: str | None,
    options: dict[str, Any],
    quiet: bool = False,
) -> "Outcome":
    """Search with progress on standard error, then say what came of it."""
    from cmt_search.cli.console import print_json, say
    from cmt_search.cli.progress import Progress
    from cmt_search.cli.wiring import factory_of
    from cmt_search.search import run_search

    with Progress(title=folder.info().name, quiet=json or quiet) as progress:
        outcome = run_search(
            folder, space, factory_of(space, device=device), on_event=progress, **options
        )
    if not (outcome.complete or outcome.pruned or outcome.left.trials):
        raise RunError(
            f"{folder.path}: no trial completed ({outcome.failed} failed, {outcome.infeasible} "
            f"infeasible); `cmt-search status {folder.path}` names the reasons: mend them, and "
            "start again with another --name"
        )
    if json:
        print_json(
            {
                "run": str(folder.path),
                "stopped": outcome.stopped,
                "trials": {
                    "complete": outcome.complete,
                    "pruned": outcome.pruned,
                    "failed": outcome.failed,
                    "infeasible": outcome.infeasible,
                },
                "trainings": outcome.jobs,
                "reused": outcome.reused,
                "left": outcome.left.trials,
            }
        )
        return outcome
    if quiet:
        return outcome
    say(
        f"{folder.path}: {outcome.stopped}; {outcome.complete} trials complete, "
        f"{outcome.pruned} pruned, {outcome.failed} failed, {outcome.infeasible} infeasible; "
        f"{outcome.jobs} trainings now, "
        f"{outcome.reused} measurements reused"
    )
    for note in outcome.notes:
        say(f"note: {note}")
    if outcome.left.trials:
        say(f"{outcome.left.trials} trials are left: cmt-search resume {folder.path}")
    return outcome


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
    return {"trials": states, "failures": failures, "best": best}
