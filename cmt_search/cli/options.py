"""Options that several commands share, and how their values are read."""

import inspect
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.completing import EXECUTORS, executors, runs_beside
from cmt_search.errors import BudgetError, CmtSearchError, DataError, RunError, suggestion

if TYPE_CHECKING:
    from cmt_search.search.tracking import Target

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def device_name(text: str | None) -> str | None:
    """The name of a device, whether it is here or not.

    Raises:
        DataError: it is none.
    """
    if text is None or re.fullmatch(r"cpu|cuda(:\d+)?", text):
        return text
    raise DataError(f"--device {text!r} is unknown; {suggestion(text, ('cpu', 'cuda', 'cuda:1'))}")


def run_name(text: str | None) -> str | None:
    """The name of a run, which is that of a folder.

    Raises:
        RunError: it would be a folder elsewhere.
    """
    if text is not None and (text in ("", ".", "..") or "/" in text or "\\" in text):
        raise RunError(
            f"--name {text!r} is no name of a folder; give one without slashes, and --runs for "
            "another place"
        )
    return text


def folder_for(option: str) -> Callable[[str], Path]:
    """How a folder to write to is read: one without a name would be the one that is worked in."""

    def read(text: str) -> Path:
        if not str(text).strip():  # a default is a path already
            raise CmtSearchError(f"{option} is empty; write . for the folder that you are in")
        return Path(text)

    return read


def find_run(path: Path) -> Path:
    """Return the folder of a run; the name of a run in ./runs is enough.

    Raises:
        RunError: there is no such run.
    """
    for folder in (path, Path("runs") / path):
        if (folder / "run.json").exists():
            return folder
    from cmt_search.search.run_dir import RunDir

    return RunDir.open(path).path


def find_exportable(path: Path) -> Path:
    """Return a path as it is if it exists, or else the folder of the run of this name in ./runs."""
    folder = Path("runs") / path
    return folder if not path.exists() and (folder / "run.json").exists() else path


def find_runs(paths: list[Path]) -> list[Path]:
    """Return the folders of runs; a folder that holds runs stands for all of them.

    Raises:
        RunError: there is no such run.
    """
    folders: list[Path] = []
    for path in paths:
        within = [] if (path / "run.json").exists() else sorted(path.glob("*/run.json"))
        folders += [file.parent for file in within] or [find_run(path)]
    return folders


RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="Folder of a run, or the name of a run in ./runs.",
        autocompletion=runs_beside,
        callback=find_run,
    ),
]
RunsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Folders of runs, overlaid for comparison; a folder that holds runs opens all.",
        callback=find_runs,
    ),
]
SpaceArgument = Annotated[Path, typer.Argument(metavar="SPACE.yaml", help="Space file.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Trials in all; default: the space's.")]
Executor = Annotated[
    str,
    typer.Option(help="ray, or inline: one training at a time, here.", autocompletion=executors),
]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster to join, such as auto; default: this machine.")
]
Slots = Annotated[int | None, typer.Option(min=1, help="Trainings at a time; default: all cores.")]
Cpus = Annotated[float, typer.Option("--cpus-per-trial", min=0.01, help="Cores per training.")]
Gpus = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-trial",
        min=0,
        help="GPUs per training; 0.25 shares one. Default: 1 where this machine has a GPU.",
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Database URL of the study; default: $CMT_SEARCH_STORAGE, else study.db in the run."
    ),
]
TimeLimit = Annotated[str | None, typer.Option(help="Stop handing out work after, say, 2h.")]
TrialTimeLimit = Annotated[
    str | None,
    typer.Option(
        help="Give up a training after, say, 30m, as one that hangs. With --executor inline a "
        "call that never comes back to Python is not ended."
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(min=0, help="Times that a failing training is tried again; default: 1."),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu or cuda; default: a GPU if there is one.", callback=device_name),
]
Runs = Annotated[
    Path,
    typer.Option(parser=folder_for("--runs"), metavar="PATH", help="Folder that holds the runs."),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TARGETS",
        help="Log finished trials to tensorboard, mlflow and wandb; tensorboard=DIR, mlflow=URI "
        "and wandb=PROJECT say where.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def seconds(text: str | None, *, option: str = "--time-limit") -> float | None:
    """Seconds in a duration such as 90s, 30m, 2h or 1d.

    Raises:
        CmtSearchError: it is none.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise CmtSearchError(f"{option} {text!r} is no duration; write 90s, 30m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2]]


_FEWEST_MACS = 10_000  # of any network; fewer are millions without their unit


def macs_of(text: str) -> list[float]:
    """MACs in a list such as 0.64G,1.5G, in their order.

    Raises:
        BudgetError: one is not a quantity, or has lost its unit.
    """
    from cmt_search.format import parse_quantity

    try:
        macs = {part.strip(): parse_quantity(part) for part in text.split(",")}
    except ValueError as error:
        raise BudgetError(f"--budgets: {error}") from None
    for part, value in macs.items():
        if value < _FEWEST_MACS:
            unit = f"{value:g}M" if value >= 1 else f"{value:g}G"
            raise BudgetError(f"--budgets: {part} is less than any network; did you mean {unit}?")
    return list(dict.fromkeys(macs.values()))


def gpus(asked: float | None, *, device: str | None) -> float:
    """GPUs per training. Ray hides GPUs that were not asked for, so 0 would train on the CPU."""
    if asked is not None:
        return asked
    return 1.0 if device != "cpu" and shutil.which("nvidia-smi") else 0.0


def executor_name(text: str) -> str:
    """The executor's name.

    Raises:
        RunError: there is no such executor.
    """
    if text not in EXECUTORS:
        raise RunError(f"--executor {text!r} is unknown; {suggestion(text, EXECUTORS)}")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Options of every command that trains: where, how many at a time, for how long."""

    executor: Executor = "ray"
    address: Address = None
    slots: Slots = None
    cpus_per_trial: Cpus = 1.0
    gpus_per_trial: Gpus = None
    storage: Storage = None
    time_limit: TimeLimit = None
    trial_time_limit: TrialTimeLimit = None
    retries: Retries = None
    log: Log = None
    device: Device = None

    def __post_init__(self) -> None:
        executor_name(self.executor)
        seconds(self.time_limit)
        seconds(self.trial_time_limit, option="--trial-time-limit")
        self.targets  # noqa: B018  # refuses a missing package before anything is made

    @property
    def targets(self) -> "tuple[Target, ...]":
        """What finished trials are logged to."""
        if not self.log:
            return ()
        from cmt_search.search.tracking import parse_targets

        return parse_targets(self.log)

    @property
    def gpus(self) -> float:
        """GPUs of a training."""
        return gpus(self.gpus_per_trial, device=self.device)

    @property
    def options(self) -> dict[str, Any]:
        """What `run_search` takes."""
        return {
            "executor": self.executor,
            "slots": self.slots,
            "address": self.address,
            "cpus_per_trial": self.cpus_per_trial,
            "gpus_per_trial": self.gpus,
            "time_limit": seconds(self.time_limit),
            "trial_time_limit": seconds(self.trial_time_limit, option="--trial-time-limit"),
            "storage": self.storage,
        } | ({} if self.retries is None else {"retries": self.retries})


def launches(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """The command with the options of `Launch` in the place of its parameter `launch`."""
    shared = inspect.signature(Launch).parameters
    own = inspect.signature(command)

    @wraps(command)
    def with_options(**given: Any) -> int | None:
        launch = Launch(**{name: given.pop(name) for name in shared})
        return command(launch=launch, **given)

    parameters = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.parameters.values()
        for one in (shared.values() if parameter.name == "launch" else (parameter,))
    ]
    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options
