"""Log finished trials to TensorBoard, MLflow or Weights & Biases."""

import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from cmt_search.errors import CmtSearchError
from cmt_search.io import atomic_write
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.search.run_dir import RunDir, mask_passwords
from cmt_search.search.study_reader import read_trials
from cmt_search.search.types import Event, RungRecord, TrialFinished, TrialRecord

_ENDED = ("complete", "pruned", "failed")


def hparams_of(record: TrialRecord) -> dict[str, str | int | float]:
    """Return the parameters of a trial, and its largest network."""
    hparams: dict[str, str | int | float] = {
        "candidate": record.name,
        "replicate": record.replicate,
        **{f"asked/{name}": value for name, value in record.params.items()},
        **{f"share/{n}": v for n, v in zip(DIMENSIONS, record.shares or (), strict=False)},
    }
    if not record.rungs:
        return hparams
    rung = record.rungs[-1].rung
    return hparams | {
        "resolution": rung.arch.resolution,
        "stem_width": rung.arch.stem_width,
        "depth": rung.arch.depth,
        "depths": "-".join(str(stage.depth) for stage in rung.arch.stages),
        "widths": "-".join(str(stage.width) for stage in rung.arch.stages),
        "width": rung.arch.stages[0].width,
        "macs": rung.macs,
        "params": rung.params,
        "activations": rung.activations,
        "epochs": rung.fidelity.epochs,
        "rungs": len(record.rungs),
    }


def series_of(record: TrialRecord) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) of each metric, means over the seeds; steps are rungs from 1, or epochs.

    A metric begins with rung/, or with curve-N/ for the epochs of rung N.
    """
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for step, rung in enumerate(_measured_rungs(record), start=1):
        costs = {"macs": rung.rung.macs, "params": rung.rung.params}
        for name, value in {**_means(rung), **costs, "epochs": rung.rung.fidelity.epochs}.items():
            series[f"rung/{name}"].append((step, float(value)))
        for points in zip(*(m.curve for m in rung.measurements), strict=False):
            for name in ("train_loss", "loss", "top1"):
                mean = fmean(getattr(point, name) for point in points)
                series[f"curve-{step}/{name}"].append((points[0].epoch, mean))
    return series


def results_of(record: TrialRecord) -> dict[str, float]:
    """Return the means of the last measured rung."""
    rungs = _measured_rungs(record)
    return _means(rungs[-1]) if rungs else {}


def _measured_rungs(record: TrialRecord) -> list[RungRecord]:
    return [rung for rung in record.rungs if rung.measurements]


def _means(rung: RungRecord) -> dict[str, float]:
    names = ("top1", "loss", "seconds")
    return {name: fmean(getattr(m, name) for m in rung.measurements) for name in names}


def _title(record: TrialRecord) -> str:
    """Return a name that sorts by number."""
    return f"trial-{record.number:04d}"


class Tracker(Protocol):
    """An adapter to a tracker. `where` is its place; None: its default, in the run's folder."""

    def __init__(self, run: RunDir, *, where: str | None) -> None: ...

    def log(self, trial: TrialRecord) -> None:
        """Log a whole trial; replace what a killed driver left of it."""
        ...


class TensorBoard:
    """A folder of event files per trial, with its hyperparameters."""

    def __init__(self, run: RunDir, *, where: str | None) -> None:
        info = run.info()  # runs of the same name may share a folder
        folder = f"{info.name}-{info.id[:8]}"
        self._folder = Path(where) / folder if where else run.path / "tensorboard"

    def log(self, trial: TrialRecord) -> None:
        """Replace the trial's folder."""
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        folder = self._folder / _title(trial)
        shutil.rmtree(folder, ignore_errors=True)
        results = {f"result/{name}": value for name, value in results_of(trial).items()}
        with SummaryWriter(str(folder)) as writer:
            for summary in hparams({**hparams_of(trial), "state": trial.state}, results):
                writer.file_writer.add_summary(summary)
            for name, value in results.items():
                writer.add_scalar(name, value)
            for name, points in series_of(trial).items():
                for step, value in points:
                    writer.add_scalar(name, value, step)


class Mlflow:
    """The tracking server of MLFLOW_TRACKING_URI, or a database in the run's folder."""

    _STATES = {"complete": "FINISHED", "pruned": "KILLED"}  # noqa: RUF012
    _BATCH = 1000  # metrics per request; MLflow takes no more
    _TAG_LENGTH = 500
    _TAG = "cmt_search.trial"

    def __init__(self, run: RunDir, *, where: str | None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import
        from mlflow.tracking import MlflowClient

        info, folder = run.info(), run.path.resolve()
        uri = where or os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{folder / 'mlflow.db'}")
        experiment = self._client.get_experiment_by_name(info.name)
        artifacts = None if uri else (folder / "mlflow").as_uri()
        self._experiment = (
            self._client.create_experiment(info.name, artifact_location=artifacts)
            if experiment is None
            else experiment.experiment_id
        )
        self._run_id = info.id

    def log(self, trial: TrialRecord) -> None:
        """Create the trial's run, and delete an earlier one."""
        from mlflow.entities import Metric, Param, RunTag

        key = f"{self._run_id}/{trial.number}"
        for old in self._client.search_runs([self._experiment], f"tags.`{self._TAG}` = '{key}'"):
            self._client.delete_run(old.info.run_id)
        started, ended = (
            None if seconds is None else round(1000 * seconds)
            for seconds in (trial.started, trial.ended)
        )
        created = self._client.create_run(
            self._experiment, start_time=started, run_name=_title(trial)
        )
        run = created.info.run_id
        series = {**series_of(trial), **{n: [(0, value)] for n, value in results_of(trial).items()}}
        metrics: list[Any] = [
            Metric(name, value, ended or 0, step)
            for name, points in series.items()
            for step, value in points
        ]
        for i in range(0, len(metrics), self._BATCH):
            self._client.log_batch(run, metrics=metrics[i : i + self._BATCH])
        reason = (trial.reason or "")[: self._TAG_LENGTH]
        tags = {self._TAG: key, "state": trial.state, "reason": reason}
        self._client.log_batch(
            run,
            params=[Param(name, str(value)) for name, value in hparams_of(trial).items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        self._client.set_terminated(run, self._STATES.get(trial.state, "FAILED"), end_time=ended)


class Wandb:
    """Offline files in the run's folder for `wandb sync`; WANDB_MODE=online sends them at once."""

    def __init__(self, run: RunDir, *, where: str | None) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before the import
        os.environ.setdefault("WANDB_SILENT", "true")
        self._project = where or os.environ.get("WANDB_PROJECT") or "cmt-search"
        self._folder, self._info = run.path.resolve(), run.info()

    def log(self, trial: TrialRecord) -> None:
        """Log the trial under an id of its own: logged again, it is the same run."""
        import wandb

        run = wandb.init(
            project=self._project,
            group=self._info.name,
            name=f"{self._info.name} {_title(trial)}",
            id=f"{self._info.id}-{trial.number}",
            dir=str(self._folder),
            config=hparams_of(trial),
            mode=os.environ.get("WANDB_MODE", "offline"),
            reinit="create_new",
            settings=wandb.Settings(console="off"),
        )
        try:
            rows: dict[tuple[str, int], dict[str, float]] = {}
            for name, points in series_of(trial).items():
                group = name.partition("/")[0]
                for step, value in points:
                    rows.setdefault((group, step), {f"{group}/step": step})[name] = value
            for group in {group for group, _ in rows}:
                run.define_metric(f"{group}/step", hidden=True)
                run.define_metric(f"{group}/*", step_metric=f"{group}/step")
            for row in rows.values():
                run.log(row)
            run.summary.update({**results_of(trial), "state": trial.state, "reason": trial.reason})
        finally:
            run.finish(exit_code=0 if trial.state in ("complete", "pruned") else 1)


_TRACKERS: dict[str, tuple[type[Tracker], str, str]] = {  # adapter, module, packages
    "tensorboard": (TensorBoard, "tensorboardX", "tensorboardX tensorboard"),
    "mlflow": (Mlflow, "mlflow", "mlflow"),
    "wandb": (Wandb, "wandb", "wandb"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A place that trials are logged to."""

    kind: str  # tensorboard, mlflow or wandb
    where: str | None = None  # folder, tracking URI, project; None: the tracker's default

    def __str__(self) -> str:
        return self.kind if self.where is None else f"{self.kind}={mask_passwords(self.where)}"

    def open(self, run: RunDir) -> Tracker:
        """Return the tracker of a run."""
        return _TRACKERS[self.kind][0](run, where=self.where)


def parse_targets(options: Sequence[str]) -> tuple[Target, ...]:
    """Parse options such as tensorboard,mlflow=URI; each tracker once.

    Raises:
        CmtSearchError: the tracker is unknown, its package is not installed, or it has two places.
    """
    targets: dict[str, Target] = {}
    for text in (part.strip() for option in options for part in option.split(",")):
        kind, _, where = text.partition("=")
        if kind not in _TRACKERS:
            raise CmtSearchError(
                f"--log {text!r} is unknown; use {', '.join(_TRACKERS)}, or tensorboard=DIR, "
                "mlflow=URI, wandb=PROJECT"
            )
        _, module, packages = _TRACKERS[kind]
        if find_spec(module) is None:
            raise CmtSearchError(
                f"--log {kind} needs a package that is not installed: pip install {packages}"
            )
        before = targets.get(kind, Target(kind=kind)).where
        if before and where and before != where:
            raise CmtSearchError(
                f"--log names two places for {kind}, {before} and {where}; give one"
            )
        targets[kind] = Target(kind=kind, where=where or before)
    return tuple(targets.values())


_READING_SHARE = 0.1  # of the driver's time: reading a large study takes seconds


@dataclass(slots=True, kw_only=True)
class TrackingCallback:
    """Log trials when they end, and note them in the run's folder, for the next resume.

    A tracker that fails is reported once and disabled for the session.
    """

    run: RunDir
    targets: list[Target]  # a target that fails is removed
    storage: str | None
    warn: Callable[[str], None]
    _trackers: dict[Target, Tracker] = field(default_factory=dict)
    _next: float = 0.0  # monotonic time of the next reading

    def __call__(self, event: Event) -> None:
        """Log the trials that have ended, unless the study was read just now."""
        if isinstance(event, TrialFinished) and time.monotonic() >= self._next:
            began = time.monotonic()
            self.log_ended()
            now = time.monotonic()
            self._next = now + (now - began) / _READING_SHARE

    def log_ended(self) -> None:
        """Log all ended trials that are not noted as logged."""
        if not self.targets or not self.run.study_created:
            return
        try:
            records = read_trials(self.run.path, storage=self.storage)
        except Exception as error:  # noqa: BLE001  # the search continues
            self.targets.clear()
            self.warn(f"--log is disabled for this session: {error}")
            return
        for target in tuple(self.targets):
            self._log(target, [record for record in records if record.state in _ENDED])

    def _log(self, target: Target, records: Sequence[TrialRecord]) -> None:
        logged = _read_logged(self.run)
        numbers = logged.setdefault(str(target), [])
        done = set(numbers)
        try:
            for record in records:
                if record.number in done:
                    continue
                if target not in self._trackers:
                    self._trackers[target] = target.open(self.run)
                self._trackers[target].log(record)
                numbers.append(record.number)
                atomic_write(self.run.logged, json.dumps(logged) + "\n")
        except Exception as error:  # noqa: BLE001  # the search continues
            self.targets.remove(target)
            text = next(iter(str(error).strip().splitlines()), "no reason")
            if target.where:
                text = text.replace(target.where, mask_passwords(target.where))
            self.warn(
                f"--log {target} failed and is disabled for this session "
                f"({type(error).__name__}: {text}); the search continues, and the next resume "
                "with --log logs the missing trials"
            )


@contextmanager
def tracking(
    run: RunDir,
    targets: Sequence[Target],
    *,
    storage: str | None = None,
    warn: Callable[[str], None] = print,
) -> Iterator[TrackingCallback | None]:
    """Yield a listener that logs ended trials, those of earlier sessions too; None: no targets."""
    if not targets:
        yield None
        return
    callback = TrackingCallback(run=run, targets=list(targets), storage=storage, warn=warn)
    try:
        yield callback
    finally:
        callback.log_ended()


def _read_logged(run: RunDir) -> dict[str, list[int]]:
    try:
        return dict(json.loads(run.logged.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
