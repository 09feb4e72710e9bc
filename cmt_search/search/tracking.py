"""Log finished trials to TensorBoard, MLflow or Weights & Biases."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from cmt_search.arch import Arch
from cmt_search.errors import CmtSearchError, RunError
from cmt_search.io import atomic_write
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.search.run_dir import RunDir, mask_passwords
from cmt_search.search.storage import read_trials
from cmt_search.search.types import Event, RungRecord, TrialFinished, TrialRecord

Value = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One number of a series."""

    name: str
    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLog:
    """One trial, to be logged whole."""

    run: str  # name of the search
    number: int
    name: str  # of the candidate
    state: str  # complete, pruned, failed
    reason: str | None
    hparams: dict[str, Value]
    results: dict[str, float]  # of the last rung measured
    series: tuple[Point, ...]  # rungs by their number from 1; learning curves by epoch
    started: float | None  # seconds since 1970
    ended: float | None

    @property
    def title(self) -> str:
        """Its name in lists, where names should sort by number."""
        return f"trial-{self.number:04d}"


class Tracker(Protocol):
    """Where trials are logged to."""

    def log(self, trial: TrialLog) -> None:
        """Log a trial, whole."""
        ...


def logged(record: TrialRecord, *, run: str) -> TrialLog:
    """What is logged of a trial that has ended."""
    measured = [rung for rung in record.rungs if rung.measurements]
    return TrialLog(
        run=run,
        number=record.number,
        name=record.name,
        state=record.state,
        reason=record.reason,
        hparams=_hparams(record),
        results=_results(measured[-1]) if measured else {},
        series=tuple(point for i, rung in enumerate(measured) for point in _series(rung, at=i + 1)),
        started=record.started,
        ended=record.ended,
    )


def _hparams(record: TrialRecord) -> dict[str, Value]:
    """What was asked for, and what the largest network became."""
    found: dict[str, Value] = {"candidate": record.name, "replicate": record.replicate}
    found |= {f"asked/{name}": value for name, value in record.params.items()}
    shares = zip(DIMENSIONS, record.shares or (), strict=False)
    found |= {f"share/{name}": value for name, value in shares}
    if record.rungs:
        last = record.rungs[-1].rung
        found |= _sizes(last.arch)
        found |= {"macs": last.macs, "params": last.params, "activations": last.activations}
        found |= {"epochs": last.fidelity.epochs, "rungs": len(record.rungs)}
    return found


def _sizes(arch: Arch) -> dict[str, Value]:
    return {
        "resolution": arch.resolution,
        "stem_width": arch.stem_width,
        "depth": arch.depth,
        "depths": "-".join(str(stage.depth) for stage in arch.stages),
        "widths": "-".join(str(stage.width) for stage in arch.stages),
        "width": arch.stages[0].width,
    }


def _results(rung: RungRecord) -> dict[str, float]:
    """Means over the seeds."""
    return {
        "top1": fmean(m.top1 for m in rung.measurements),
        "loss": fmean(m.loss for m in rung.measurements),
        "seconds": fmean(m.seconds for m in rung.measurements),
    }


def _series(rung: RungRecord, *, at: int) -> Iterator[Point]:
    known = {
        **_results(rung),
        "macs": rung.rung.macs,
        "params": rung.rung.params,
        "epochs": rung.rung.fidelity.epochs,
    }
    for name, value in known.items():
        yield Point(name=f"rung/{name}", step=at, value=float(value))
    yield from _curve(rung, name=f"curve-{at}")


def _curve(rung: RungRecord, *, name: str) -> Iterator[Point]:
    """The learning curve, means over the seeds."""
    epochs: Sequence[int] = [point.epoch for point in rung.measurements[0].curve]
    for i, epoch in enumerate(epochs):
        here = [m.curve[i] for m in rung.measurements if len(m.curve) > i]
        for key in ("train_loss", "loss", "top1"):
            mean = fmean(getattr(point, key) for point in here)
            yield Point(name=f"{name}/{key}", step=epoch, value=mean)


_STATES = {"complete": "FINISHED", "pruned": "KILLED"}
_AT_ONCE = 1000  # metrics of one request; MLflow takes no more
_LONGEST = 500  # characters of a tag
_TAG = "cmt_search.trial"


class Mlflow:
    """The tracking server of MLFLOW_TRACKING_URI; by default a file in the run's folder."""

    def __init__(self, *, where: str | None, folder: Path, run: str, run_id: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before it is imported
        from mlflow.tracking import MlflowClient

        home = folder.resolve()
        uri = where or os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{home / 'mlflow.db'}")
        found = self._client.get_experiment_by_name(run)
        place = None if uri else (home / "mlflow").as_uri()
        self._experiment = (
            self._client.create_experiment(run, artifact_location=place)
            if found is None
            else found.experiment_id
        )
        self._run_id = run_id

    def log(self, trial: TrialLog) -> None:
        """Log the trial, in the place of what a killed driver left of it."""
        from mlflow.entities import Metric, Param, RunTag

        mark = f"{self._run_id}/{trial.number}"
        for old in self._client.search_runs([self._experiment], f"tags.`{_TAG}` = '{mark}'"):
            self._client.delete_run(old.info.run_id)
        began, ended = _milliseconds(trial.started), _milliseconds(trial.ended)
        tags = {_TAG: mark, "state": trial.state, "reason": (trial.reason or "")[:_LONGEST]}
        made = self._client.create_run(self._experiment, start_time=began, run_name=trial.title)
        run = made.info.run_id
        series: list[Any] = [Metric(p.name, p.value, ended or 0, p.step) for p in trial.series]
        series += [Metric(name, value, ended or 0, 0) for name, value in trial.results.items()]
        for i in range(0, len(series), _AT_ONCE):
            self._client.log_batch(run, metrics=series[i : i + _AT_ONCE])
        self._client.log_batch(
            run,
            params=[Param(name, str(value)) for name, value in trial.hparams.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        self._client.set_terminated(run, _STATES.get(trial.state, "FAILED"), end_time=ended)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)


class TensorBoard:
    """A folder of event files per trial, with its hyperparameters."""

    def __init__(self, *, where: str | None, folder: Path, run: str, run_id: str) -> None:
        # Runs of one name may share a place, and must not remove each other's trials.
        self._folder = Path(where) / f"{run}-{run_id[:8]}" if where else folder / "tensorboard"

    def log(self, trial: TrialLog) -> None:
        """Write the trial's folder anew."""
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        place = self._folder / trial.title
        shutil.rmtree(place, ignore_errors=True)  # what a killed driver left half written
        results = {f"result/{name}": value for name, value in trial.results.items()}
        with SummaryWriter(str(place)) as writer:
            for summary in hparams({**trial.hparams, "state": trial.state}, results):
                writer.file_writer.add_summary(summary)
            for name, value in results.items():
                writer.add_scalar(name, value)
            for point in trial.series:
                writer.add_scalar(point.name, point.value, point.step)


_MODE = "WANDB_MODE"
_PROJECT = "cmt-search"


class Wandb:
    """Files in the run's folder, for `wandb sync`; WANDB_MODE=online sends them at once."""

    def __init__(self, *, where: str | None, folder: Path, run: str, run_id: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before it is imported
        os.environ.setdefault("WANDB_SILENT", "true")
        self._project = where or os.environ.get("WANDB_PROJECT") or _PROJECT
        self._folder = folder.resolve()
        self._run, self._run_id = run, run_id

    def log(self, trial: TrialLog) -> None:
        """Log the trial; its id is its own, so that it is one run however often it is logged."""
        import wandb

        run = wandb.init(
            project=self._project,
            group=self._run,
            name=f"{self._run} {trial.title}",
            id=f"{self._run_id}-{trial.number}",
            dir=str(self._folder),
            config=dict(trial.hparams),
            mode=os.environ.get(_MODE, "offline"),
            reinit="create_new",
            settings=wandb.Settings(console="off"),
        )
        try:
            for name in {point.name.partition("/")[0] for point in trial.series}:
                run.define_metric(f"{name}/step", hidden=True)
                run.define_metric(f"{name}/*", step_metric=f"{name}/step")
            for row in rows(trial):
                run.log(row)
            run.summary.update({**trial.results, "state": trial.state, "reason": trial.reason})
        finally:
            run.finish(exit_code=0 if trial.state in ("complete", "pruned") else 1)


def rows(trial: TrialLog) -> list[dict[str, Any]]:
    """The points of one step of a series together, with the step as a number of its own."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for point in trial.series:
        series = point.name.partition("/")[0]
        row = found.setdefault((series, point.step), {f"{series}/step": point.step})
        row[point.name] = point.value
    return list(found.values())


_PACKAGES = {  # what is imported, and what brings it
    "tensorboard": ("tensorboardX", "tensorboardX tensorboard"),
    "mlflow": ("mlflow", "mlflow"),
    "wandb": ("wandb", "wandb"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place that trials are logged to."""

    kind: str  # tensorboard, mlflow or wandb
    where: str | None = None  # folder, tracking URI, project; None: the tracker's default

    def __str__(self) -> str:
        return self.kind if self.where is None else f"{self.kind}={self.where}"

    def open(self, folder: Path, *, run: str, run_id: str) -> Tracker:
        """The tracker, for a run of this folder, name and id."""
        known: dict[str, Any] = {
            "where": self.where,
            "folder": folder,
            "run": run,
            "run_id": run_id,
        }
        if self.kind == "tensorboard":
            return TensorBoard(**known)
        if self.kind == "mlflow":
            return Mlflow(**known)

        return Wandb(**known)


def targets(texts: Sequence[str]) -> tuple[Target, ...]:
    """The targets in options such as tensorboard,mlflow=URI, each once.

    Raises:
        CmtSearchError: there is no such tracker, or its package is not installed.
    """
    found: dict[str, Target] = {}
    for text in (part.strip() for option in texts for part in option.split(",")):
        kind, _, where = text.partition("=")
        if kind not in _PACKAGES:
            raise CmtSearchError(
                f"--log {text!r} is unknown; use {', '.join(_PACKAGES)}, or tensorboard=DIR, "
                "mlflow=URI, wandb=PROJECT"
            )
        module, packages = _PACKAGES[kind]
        if find_spec(module) is None:
            raise CmtSearchError(
                f"--log {kind} needs a package that is not installed: pip install {packages}"
            )
        before = found.get(kind, Target(kind=kind, where=None)).where
        if before and where and before != where:
            raise CmtSearchError(
                f"--log names two places for {kind}, {before} and {where}; give one"
            )
        found[kind] = Target(kind=kind, where=where or before)
    return tuple(found.values())


_EVERY = 2.0  # seconds between looks at the study
_SHARE = 0.1  # of the time spent looking, where a study is so large that reading it takes long
_PATIENCE = 60.0  # seconds to wait for the last trials when a search ends
_ENDED = ("complete", "pruned", "failed")


class TrackingCallback:
    """A listener that has ended trials logged, those of earlier sessions first.

    A trial is logged once it has ended, whole, and the run's folder notes that it was: a resume
    goes on where this ended. A tracker that fails is left alone until then.
    """

    def __init__(
        self,
        folder: RunDir,
        targets: Sequence[Target],
        *,
        storage: str | None,
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._storage, self._say = folder, storage, say
        self._targets = list(targets)
        self._trackers: dict[Target, Tracker] = {}
        self._done = _read_marks(folder)
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tracking", daemon=True)

    def __call__(self, event: Event) -> None:
        """Take note that a trial ended."""
        if isinstance(event, TrialFinished):
            self._news.set()

    def start(self) -> None:
        """Begin, with what earlier sessions left."""
        if self._begun:
            self._news.set()
        self._thread.start()

    @property
    def _begun(self) -> bool:
        return self._folder.study.exists() or self._folder.info().storage is not None

    def end(self) -> None:
        """Log what is left, and wait for it, though not for ever."""
        self._over.set()
        self._news.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._say("logging is behind; what is missing is logged by the next resume with --log")

    def _follow(self) -> None:
        while self._targets:
            self._news.wait()
            last = self._over.is_set()  # asked first: what ended until now is logged below
            self._news.clear()
            began = time.monotonic()
            self._catch_up()
            if last:
                return
            self._over.wait(max(_EVERY, (time.monotonic() - began) / _SHARE))
            if self._over.is_set():
                self._news.set()

    def _catch_up(self) -> None:
        try:
            records = read_trials(self._folder.path, storage=self._storage)
        except Exception as error:  # noqa: BLE001  # whatever reading raises, trainings go on
            early = isinstance(error, RunError) and not self._begun  # there is no study yet
            if self._over.is_set() and not early:
                self._say(f"nothing was logged: {mask_passwords(str(error))}")
            return
        for target in list(self._targets):
            try:
                self._log(target, records)
            except Exception as error:  # noqa: BLE001  # whatever a tracker raises, trainings go on
                self._targets.remove(target)
                told = (str(error).strip().splitlines() or ["no reason"])[0]
                self._say(
                    f"--log {mask_passwords(str(target))} failed, and logs no more in this session "
                    f"({type(error).__name__}: {mask_passwords(told)}); the search goes "
                    "on, and the next resume with --log logs what is missing"
                )

    def _log(self, target: Target, records: Sequence[TrialRecord]) -> None:
        """Log what has ended and is not yet noted as logged."""
        info, key = self._folder.info(), mask_passwords(str(target))
        done = self._done.setdefault(key, set())
        for record in records:
            if record.state not in _ENDED or record.number in done:
                continue
            if target not in self._trackers:
                self._trackers[target] = target.open(
                    self._folder.path, run=info.name, run_id=info.id
                )
            self._trackers[target].log(logged(record, run=info.name))
            done.add(record.number)
            _write_marks(self._folder, self._done)


@contextmanager
def tracking(
    folder: RunDir,
    targets: Sequence[Target],
    *,
    storage: str | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[TrackingCallback | None]:
    """A listener that logs ended trials, for as long as a search is driven; None: no targets."""
    if not targets:
        yield None
        return
    follower = TrackingCallback(folder, targets, storage=storage, say=say)
    follower.start()
    try:
        yield follower
    finally:
        follower.end()


def _read_marks(folder: RunDir) -> dict[str, set[int]]:
    try:
        marks = json.loads(folder.logged.read_text())
        return {target: set(numbers) for target, numbers in marks.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_marks(folder: RunDir, done: dict[str, set[int]]) -> None:
    marks = {target: sorted(numbers) for target, numbers in done.items()}
    atomic_write(folder.logged, json.dumps(marks) + "\n")
