"""status and runs: where a run stands, and which runs there are."""

import json as jsonlib
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.console import command
from cmt_search.cli.options import Json, RunArgument, Storage
from cmt_search.errors import CmtSearchError, RunError

if TYPE_CHECKING:
    from cmt_search.cli.overview import Overview

_EVERY = 5.0  # seconds between looks
_CELL = 160  # characters
_SHARE = 0.2  # of the time spent looking, where a study is so large that reading it takes long


def status(
    run: RunArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again until the run ends.")
    ] = False,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Progress, best so far, cost, failures by reason, what is left and how long it may take.

    The time left is an upper bound, if as many trainings run at a time as so far: it takes all
    trainings for the mean of those measured on the same rung, and trials may stop early. Hours are
    those of trainings that gave a measurement, times the cores or GPUs that each held.
    --watch ends with the run, or on Ctrl-C; with --json it prints one line at every look.
    """
    from cmt_search.cli.console import print_json, say
    from cmt_search.cli.overview import overview

    if watch:
        try:
            _watch(run, storage=storage, json=json)
        except KeyboardInterrupt:
            return
        return
    found = overview(run, storage=storage)
    if json:
        print_json(found.to_dict())
        return
    for line in lines(found):
        say(line, result=True)


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Folder that holds the runs.")
    ] = Path("runs"),
    json: Json = False,
) -> None:
    """The runs of a folder: kind, state, trials, best top1, times and hours of cores and GPUs."""
    from cmt_search.cli.console import print_json, say, show_table

    found = dict(_runs(folder))
    if json:
        rows = [
            {"run": str(path), **({"error": one} if isinstance(one, str) else one.to_dict())}
            for path, one in found.items()
        ]
        print_json({"runs": rows})
        return
    if not found:
        say(f"{folder} holds no run yet; start one with `cmt-search run SPACE.yaml`")
        return
    show_table(
        (_row(path, one) for path, one in found.items()), title=f"Runs in {folder}", result=True
    )


def lines(found: "Overview") -> Iterator[str]:
    """An overview for people."""
    from cmt_search.format import duration

    counts = ", ".join(f"{count} {name}" for name, count in found.trials.items()) or "none yet"
    of = "" if found.planned is None else f" of {found.planned}"
    left = found.left
    yield f"{found.path}: {found.records}{of} trials asked for ({counts})"
    if found.state == "running":
        yield f"driven by {found.driver}; {left.trials} trials left"
    elif found.state == "interrupted":
        yield f"interrupted: {left.trials} trials left, and no process drives it"
        yield f"go on: {found.resume}"
    if left.trainings and found.seconds_left is not None:
        yield (
            f"at most {duration(found.seconds_left)} left: {left.trainings} trainings at the mean "
            f"time of those measured, {found.at_a_time} at a time; fewer if trials stop early"
        )
    yield f"trainings so far took {hours(found)}"
    if best := found.best:
        yield f"best top1 so far {best['top1']:.1%}: trial {best['trial']} ({best['name']})"
    for reason, count in found.failures.items():
        yield f"{count} failed: {reason}"


def hours(found: "Overview") -> str:
    """What the trainings held, as 3.1 core-hours, 0.2 GPU-hours."""
    kinds = {"core-hours": found.core_hours, "GPU-hours": found.gpu_hours}
    return ", ".join(f"{h:.3g} {kind}" for kind, h in kinds.items() if h) or "0 core-hours"


def _watch(run: Path, *, storage: str | None, json: bool) -> None:
    from rich.live import Live
    from rich.text import Text

    from cmt_search.cli.console import say

    live = sys.stdout.isatty() and not json
    with Live(auto_refresh=False, screen=False) if live else nullcontext() as screen:
        before = None
        for found in _looks(run, storage=storage):
            if json:
                sys.stdout.write(jsonlib.dumps(found.to_dict(), allow_nan=False) + "\n")
                sys.stdout.flush()
                continue
            text = "\n".join(lines(found))
            if isinstance(screen, Live):
                screen.update(Text(text), refresh=True)
            elif text != before:
                say(text, result=True)
            before = text


def _looks(run: Path, *, storage: str | None) -> "Iterator[Overview]":
    """An overview every few seconds, the last one of a run that nobody drives any more."""
    from cmt_search.cli.overview import overview
    from cmt_search.search import RunDir

    while True:
        began = time.monotonic()
        try:
            found = overview(run, storage=storage)
        except RunError:
            if RunDir.open(run).driver() is None:
                raise
        else:  # a driver that has just begun has no study yet
            yield found
            if found.state != "running":
                return
        time.sleep(max(_EVERY, (time.monotonic() - began) / _SHARE))


def _runs(folder: Path) -> "Iterator[tuple[Path, Overview | str]]":
    """The runs of a folder by name; of one that cannot be read, why.

    Raises:
        RunError: there is no such folder, or it is a run itself.
    """
    if (folder / "run.json").exists():
        raise RunError(f"{folder} is a run; show it with `{command('status', folder)}`")
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder; name the one that holds the runs")
    from cmt_search.cli.overview import overview

    for path in sorted(one for one in folder.iterdir() if (one / "run.json").exists()):
        try:
            yield path, overview(path)
        except (CmtSearchError, OSError, ValueError, TypeError, KeyError) as error:
            yield path, str(error) or type(error).__name__


def _row(path: Path, found: "Overview | str") -> dict[str, Any]:
    row = dict.fromkeys(("run", "kind", "state", "trials", "best", "started", "changed", "took"))
    if isinstance(found, str):
        return dict.fromkeys(row, "") | {"run": path.name, "state": f"unreadable: {_short(found)}"}
    done = (found.planned or found.records) - found.left.trials
    return row | {
        "run": path.name,
        "kind": found.kind,
        "state": found.state,
        "trials": f"{done}" if found.planned is None else f"{done}/{found.planned}",
        "best": f"{found.best['top1']:.1%}" if found.best else "-",
        "started": _when(datetime.fromisoformat(found.started).timestamp()),
        "changed": "-" if found.changed is None else _when(found.changed),
        "took": hours(found),
    }


def _short(reason: str) -> str:
    """As much of a reason as a cell holds; --json has all of it."""
    first = reason.splitlines()[0]
    return first if len(first) <= _CELL else f"{first[:_CELL]} ..."


def _when(moment: float) -> str:
    """A moment in local time."""
    return f"{datetime.fromtimestamp(moment):%Y-%m-%d %H:%M}"
