"""run, resume, validate."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.console import INTERRUPTED
from cmt_search.cli.driving import as_json, as_lines, drive, opened
from cmt_search.cli.options import (
    Device,
    Json,
    Launch,
    RunArgument,
    Runs,
    SpaceArgument,
    Trials,
    launches,
    run_name,
)
from cmt_search.errors import CmtSearchError

if TYPE_CHECKING:
    from cmt_search.search import RunDir
    from cmt_search.space import SearchSpace


@launches
def run(
    space: SpaceArgument,
    launch: Launch,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the run; default: the space file's.", callback=run_name),
    ] = None,
    runs: Runs = Path("runs"),
    trials: Trials = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be trained and how long; make nothing."),
    ] = False,
    json: Json = False,
) -> int:
    """Search: launch the run, or go on with it where it stands."""
    wanted, path = _trainable_space(space), runs / (name or space.stem)
    if dry_run:
        from cmt_search.cli.rehearsal import rehearse, show_rehearsal

        show_rehearsal(rehearse(wanted, path=path, launch=launch, trials=trials), json=json)
        return 0
    is_new = not path.exists()
    folder = opened(path, wanted, command=sys.argv[1:], storage=launch.storage)
    try:
        return _search(folder, wanted, json=json, launch=launch, trials=trials)
    except CmtSearchError:
        if is_new and not folder.study_created:  # refused before anything was recorded
            shutil.rmtree(path)
        raise


@launches
def resume(
    run: RunArgument,
    launch: Launch,
    trials: Trials = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try trials again that failed before.")
    ] = False,
    json: Json = False,
) -> int:
    """Continue a run that was interrupted or killed, or extend it with --trials."""
    from cmt_search.search import RunDir
    from cmt_search.space import load_space

    found = RunDir.open(run)
    space = load_space(found.space)
    return _search(found, space, json=json, launch=launch, trials=trials, retry_failed=retry_failed)


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
    wanted = _trainable_space(space)

    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cli.cost_measurement import measurement_text, with_cost_measurement
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

    wanted = with_cost_measurement(wanted)
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
    show_table(planned["candidates"], title="Candidates", result=True)
    for name, reason in planned["infeasible"].items():
        say(f"left out: {name}: {reason}")
    say(
        f"{space} is valid: {planned['trials']} trials, {planned['trainings']} trainings, "
        f"base {planned['base_macs']:,} MACs"
    )
    if measuring := measurement_text(wanted):
        say(measuring)
    for note in wanted.proxy.recipe.notes(epochs=wanted.epoch_schedule[-1]):
        say(note)
    for line in power_lines(found, seconds=seconds) if rule else (contrast_line(found),):
        say(line)


def _search(
    folder: "RunDir",
    space: "SearchSpace",
    *,
    json: bool,
    launch: Launch,
    trials: int | None,
    retry_failed: bool = False,
) -> int:
    """Search, print how it ended, and return the exit code."""
    from cmt_search.cli.console import print_json, say, say_paths

    outcome = drive(
        folder, space, launch=launch, trials=trials, retry_failed=retry_failed, quiet=json
    )
    if json:
        print_json(as_json(outcome, folder=folder))
    else:
        say_paths([folder.path])
        for line in as_lines(outcome, folder=folder):
            say(line)
    return INTERRUPTED if outcome.stopped == "interrupted" else 0


def _trainable_space(file: Path) -> "SearchSpace":
    """Load a space file and check that its networks can be trained, before heavy imports.

    Raises:
        SpaceError: the file is wrong.
    """
    from cmt_search.space import check_trainable, load_space

    space = load_space(file)
    check_trainable(space, file=file)
    return space
