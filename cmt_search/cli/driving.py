"""What run, resume and confirm have in common: a run's folder, and driving it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cmt_search.cli.console import INTERRUPTED
from cmt_search.cli.options import Launch
from cmt_search.errors import RunError

if TYPE_CHECKING:
    from cmt_search.search import Event, Listener, Outcome, RunDir, Space
    from cmt_search.space import SearchSpace


def opened(
    path: Path,
    space: "SearchSpace",
    *,
    command: Sequence[str],
    storage: str | None,
    fingerprint: str | None = None,
    name: str | None = None,
) -> "RunDir":
    """The run in a folder, which is made if it is not there.

    `fingerprint` is that of what is searched, where that is not the space itself; `name` that of
    the study, where the folder's is not enough to tell it from others.

    Raises:
        RunError: the folder holds a run of another space.
    """
    from cmt_search.search import RunDir
    from cmt_search.search.run_dir import STORAGE_VARIABLE

    fingerprint = fingerprint or space.fingerprint
    if (path / "run.json").exists():
        found = RunDir.open(path)
        found.check(fingerprint)
        return found
    return RunDir.create(
        path,
        space_yaml=space.to_yaml(),
        fingerprint=fingerprint,
        command=("cmt-search", *command),
        storage=storage or os.environ.get(STORAGE_VARIABLE) or None,
        name=name,
    )


def drive(
    folder: "RunDir",
    space: "SearchSpace",
    *,
    launch: Launch,
    trials: int | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
    searched: "Space | None" = None,
) -> "Outcome":
    """Search, with progress on standard error.

    Networks are trained as the space says; those of `searched`, where that is not the space itself.

    Raises:
        RunError: everything fails; or nothing completed, though nothing is left to do; or the
            run's latencies were measured on another machine.
    """
    from cmt_search.cli.console import command, is_quiet
    from cmt_search.cli.cost_measurement import with_cost_measurement
    from cmt_search.cli.progress import Progress
    from cmt_search.cli.wiring import factory_of
    from cmt_search.search import run_search
    from cmt_search.search.tracking import TrackingCallback

    meters = with_cost_measurement(space, file=folder.measured)
    with (
        Progress(title=folder.info().name, quiet=quiet or is_quiet()) as progress,
        TrackingCallback(
            folder, launch.targets, storage=launch.storage, warn=progress.warn
        ) as tracker,
    ):
        outcome = run_search(
            folder,
            searched or meters,
            factory_of(space, device=launch.device),
            on_event=all_of(progress, Use(folder, launch), tracker),
            trials=trials,
            retry_failed=retry_failed,
            **launch.options,
        )
    again = f"`{command('resume', folder.path, '--retry-failed')}`"
    if searched is not None:  # a run that `resume` does not know how to go on with
        again = f"another --name, or after removing {folder.path}"
    _check(outcome, folder=folder, again=again)
    return outcome


def exit_if_interrupted(outcome: "Outcome", *, folder: "RunDir") -> None:
    """End the program with 130 where what follows needs all trainings.

    Raises:
        Exit: the search was interrupted.
    """
    if outcome.stopped == "interrupted":
        left = outcome.remaining.trials
        sys.stderr.write(
            f"{folder.path}: interrupted with {left} networks left; repeat the command\n"
        )
        raise typer.Exit(INTERRUPTED)


def _check(outcome: "Outcome", *, folder: "RunDir", again: str) -> None:
    """Refuse to call a search a success in which nothing completed, though nothing is left."""
    from cmt_search.cli.console import command

    if outcome.abort_reason is not None:
        raise RunError(
            f"{folder.path}: no trial completed, and the search gave up: {outcome.abort_reason}; "
            f"mend it, and go on with {again}"
        )
    if not (outcome.complete or outcome.pruned or outcome.remaining.trials):
        raise RunError(
            f"{folder.path}: no trial completed ({outcome.failed} failed, {outcome.infeasible} "
            f"infeasible); `{command('status', folder.path)}` names the reasons: mend them, and "
            f"go on with {again}"
        )


class Use:
    """A listener that notes in the run's folder how many trainings run at a time, and what each
    takes: `status` makes hours of it."""

    def __init__(self, folder: "RunDir", launch: Launch) -> None:
        self._folder = folder
        self._each = {"cpus": launch.cpus_per_trial, "gpus": launch.gpus}
        self._running = self._most = 0

    def __call__(self, event: "Event") -> None:
        """Count."""
        from cmt_search.search import JobFinished, JobStarted

        if isinstance(event, JobStarted):
            self._running += 1
        elif isinstance(event, JobFinished):
            self._running -= 1
        if self._running > self._most:
            self._most = self._running
            self._folder.write_driver(slots=self._most, **self._each)


def all_of(*listeners: "Listener | None") -> "Listener":
    """One listener of several."""
    wanted = [listener for listener in listeners if listener is not None]

    def tell(event: "Event") -> None:
        for listener in wanted:
            listener(event)

    return tell


def as_json(outcome: "Outcome", *, folder: "RunDir") -> dict[str, Any]:
    """How the call ended, as plain values."""
    states = ("complete", "pruned", "failed", "infeasible")
    return {
        "run": str(folder.path),
        "stopped": outcome.stopped,
        "trials": {state: getattr(outcome, state) for state in states},
        "trainings": outcome.jobs,
        "reused": outcome.reused,
        "left": outcome.remaining.trials,
        "notes": list(outcome.notes),
    }


def as_lines(outcome: "Outcome", *, folder: "RunDir") -> list[str]:
    """How the call ended, for people."""
    from cmt_search.cli.console import command

    lines = [
        f"{folder.path}: {outcome.stopped}; {outcome.complete} trials complete, "
        f"{outcome.pruned} pruned, {outcome.failed} failed, {outcome.infeasible} infeasible; "
        f"{outcome.jobs} trainings now, {outcome.reused} measurements reused",
        *(f"note: {note}" for note in outcome.notes),
    ]
    if outcome.remaining.trials:
        lines.append(
            f"{outcome.remaining.trials} trials are left: {command('resume', folder.path)}"
        )
    return lines
