"""What run, resume and confirm have in common: a run's folder, and driving it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.errors import RunError

if TYPE_CHECKING:
    from cmt_search.search import Outcome, RunFolder, Space
    from cmt_search.space import SearchSpace


def opened(
    path: Path,
    space: "SearchSpace",
    *,
    command: Sequence[str],
    storage: str | None,
    fingerprint: str | None = None,
) -> "RunFolder":
    """The run in a folder, which is made if it is not there.

    `fingerprint` is that of what is searched, where that is not the space itself.

    Raises:
        RunError: the folder holds a run of another space.
    """
    from cmt_search.search import RunFolder

    fingerprint = fingerprint or space.fingerprint
    if (path / "run.json").exists():
        found = RunFolder.open(path)
        found.check(fingerprint)
        return found
    return RunFolder.create(
        path,
        space_yaml=space.to_yaml(),
        fingerprint=fingerprint,
        command=("cmt-search", *command),
        storage=storage,
    )


def drive(
    folder: "RunFolder",
    space: "SearchSpace",
    *,
    device: str | None,
    options: dict[str, Any],
    quiet: bool = False,
    searched: "Space | None" = None,
) -> "Outcome":
    """Search, with progress on standard error.

    Networks are trained as the space says; those of `searched`, where that is not the space itself.

    Raises:
        RunError: everything fails; or nothing completed, though nothing is left to do; or the
            run's latencies were measured on another machine.
    """
    from cmt_search.cli.metering import measured_on, metered
    from cmt_search.cli.progress import Progress
    from cmt_search.cli.wiring import factory_of
    from cmt_search.search import run_search

    meters = metered(space, file=folder.measured)
    with Progress(title=folder.info().name, quiet=quiet) as progress:
        outcome = run_search(
            folder,
            searched or meters,
            factory_of(space, device=device),
            on_event=progress,
            measured_on=measured_on(space),
            **options,
        )
    again = f"`cmt-search resume {folder.path} --retry-failed`"
    if searched is not None:  # a run that `resume` does not know how to go on with
        again = f"another --name, or after removing {folder.path}"
    if outcome.gave_up is not None:
        raise RunError(
            f"{folder.path}: no trial completed, and the search gave up: {outcome.gave_up}; mend "
            f"it, and go on with {again}"
        )
    if not (outcome.complete or outcome.pruned or outcome.left.trials):
        raise RunError(
            f"{folder.path}: no trial completed ({outcome.failed} failed, {outcome.infeasible} "
            f"infeasible); `cmt-search status {folder.path}` names the reasons: mend them, and "
            f"go on with {again}"
        )
    return outcome


def as_json(outcome: "Outcome", *, folder: "RunFolder") -> dict[str, Any]:
    """How the call ended, as plain values."""
    states = ("complete", "pruned", "failed", "infeasible")
    return {
        "run": str(folder.path),
        "stopped": outcome.stopped,
        "trials": {state: getattr(outcome, state) for state in states},
        "trainings": outcome.jobs,
        "reused": outcome.reused,
        "left": outcome.left.trials,
        "notes": list(outcome.notes),
    }


def as_lines(outcome: "Outcome", *, folder: "RunFolder") -> list[str]:
    """How the call ended, for people."""
    lines = [
        f"{folder.path}: {outcome.stopped}; {outcome.complete} trials complete, "
        f"{outcome.pruned} pruned, {outcome.failed} failed, {outcome.infeasible} infeasible; "
        f"{outcome.jobs} trainings now, {outcome.reused} measurements reused",
        *(f"note: {note}" for note in outcome.notes),
    ]
    if outcome.left.trials:
        lines.append(f"{outcome.left.trials} trials are left: cmt-search resume {folder.path}")
    return lines
