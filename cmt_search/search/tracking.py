"""Log finished trials to TensorBoard, MLflow or Weights & Biases."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Protocol, Self

from cmt_search.errors import CmtSearchError
from cmt_search.io import atomic_write
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.search.run_dir import RunDir, mask_passwords
from cmt_search.search.study_reader import read_trials
from cmt_search.search.types import Event, RungRecord, TrialFinished, TrialRecord

_ENDED = ("complete", "pruned", "failed")
_READING_SHARE = 0.1  # of the driver's time: reading a large study takes seconds
_MLFLOW_BATCH = 1000  # metrics per request; MLflow takes no more
_MLFLOW_STATES = {"complete": "FINISHED", "pruned": "KILLED"}
_MLFLOW_TAG = "cmt_search.trial"
_MLFLOW_TAG_LENGTH = 500


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
        "depth": rung.arch.depth,
        "depths": "-".join(str(stage.depth) for stage in rung.arch.stages),
        "width": rung.arch.stages[0].width,
        "widths": "-".join(str(stage.width) for stage in rung.arch.stages),
        "macs": rung.macs,
        "params": rung.params,
        "activations": rung.activations,
        "epochs": rung.fidelity.epochs,
    }


def metrics_of(record: TrialRecord) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Yield (group, step, values), means over the seeds.

    The steps of the group "rung" are the measured rungs, from 1; those of "curve-N" are epochs.
    """
    for number, rung in enumerate(_measured_rungs(record), start=1):
        costs = {"macs": rung.rung.macs, "params": rung.rung.params}
        yield "rung", number, {**_means(rung), **costs, "epochs": rung.rung.fidelity.epochs}
        for points in zip(*(m.curve for m in rung.measurements), strict=False):
            names = ("train_loss", "loss", "top1")
            means = {name: fmean(getattr(point, name) for point in points) for name in names}
            yield f"curve-{number}", points[0].epoch, means


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
            for group, step, values in metrics_of(trial):
                for name, value in values.items():
                    writer.add_scalar(f"{group}/{name}", value, step)


class Mlflow:
    """The tracking server of MLFLOW_TRACKING_URI, or a database in the run's folder."""

    def __init__(self, run: RunDir, *, where: str | None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import
        from mlflow.tracking import MlflowClient

        self._info, folder = run.info(), run.path.resolve()
        uri = where or os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{folder / 'mlflow.db'}")
        if experiment := self._client.get_experiment_by_name(self._info.name):
            self._experiment = experiment.experiment_id
        else:
            artifacts = None if uri else (folder / "mlflow").as_uri()
            self._experiment = self._client.create_experiment(
                self._info.name, artifact_location=artifacts
            )

    def log(self, trial: TrialRecord) -> None:
        """Create the trial's run, and delete an earlier one."""
        from mlflow.entities import Metric, Param, RunTag

        key = f"{self._info.id}/{trial.number}"
        query = f"tags.`{_MLFLOW_TAG}` = '{key}'"
        for old in self._client.search_runs([self._experiment], query):
            self._client.delete_run(old.info.run_id)
        started, ended = (round(1000 * (time or 0)) for time in (trial.started, trial.ended))
        created = self._client.create_run(
            self._experiment, start_time=started, run_name=_title(trial)
        )
        run = created.info.run_id
        rows = [(f"{group}/", step, values) for group, step, values in metrics_of(trial)]
        metrics = [
            Metric(prefix + name, value, ended, step)
            for prefix, step, values in (*rows, ("", 0, results_of(trial)))
            for name, value in values.items()
        ]
        for i in range(0, len(metrics), _MLFLOW_BATCH):
            self._client.log_batch(run, metrics=metrics[i : i + _MLFLOW_BATCH])
        reason = (trial.reason or "")[:_MLFLOW_TAG_LENGTH]
        tags = {_MLFLOW_TAG: key, "state": trial.state, "reason": reason}
        self._client.log_batch(
            run,
            params=[Param(name, str(value)) for name, value in hparams_of(trial).items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        self._client.set_terminated(run, _MLFLOW_STATES.get(trial.state, "FAILED"), end_time=ended)


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
            metrics = list(metrics_of(trial))
            for group in {group for group, _, _ in metrics}:
                run.define_metric(f"{group}/step", hidden=True)
                run.define_metric(f"{group}/*", step_metric=f"{group}/step")
            for group, step, values in metrics:
                named = {f"{group}/{name}": value for name, value in values.items()}
                run.log({f"{group}/step": step, **named})
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
    """Parse options such as tensorboard,mlflow=URI; equal ones count once.

    Raises:
        CmtSearchError: the tracker is unknown, or its package is not installed.
    """
    targets = []
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
        targets.append(Target(kind=kind, where=where or None))
    return tuple(dict.fromkeys(targets))


class TrackingCallback:
    """Log ended trials, at the latest when the context ends, and those of earlier sessions.

    The run's folder notes which are logged, for the next resume. A tracker that fails is reported
    once and disabled for the session.
    """

    def __init__(
        self,
        run: RunDir,
        targets: Sequence[Target],
        *,
        storage: str | None = None,
        warn: Callable[[str], None] = print,
    ) -> None:
        self._run, self._storage, self._warn = run, storage, warn
        self._targets = list(targets)  # a target that fails is removed
        self._trackers: dict[Target, Tracker] = {}
        self._next = 0.0  # monotonic time of the next reading

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._log_ended()

    def __call__(self, event: Event) -> None:
        """Log the trials that have ended, unless the study was read just now."""
        if isinstance(event, TrialFinished) and time.monotonic() >= self._next:
            began = time.monotonic()
            self._log_ended()
            now = time.monotonic()
            self._next = now + (now - began) / _READING_SHARE

    def _log_ended(self) -> None:
        for target in tuple(self._targets) if self._run.study_created else ():
            try:
                self._log(target)
            except Exception as error:  # noqa: BLE001  # the search continues
                self._targets.remove(target)
                self._warn(_failure_text(target, error))

    def _log(self, target: Target) -> None:
        logged = _read_logged(self._run)
        numbers = logged.setdefault(str(target), [])
        done = set(numbers)
        for record in read_trials(self._run.path, storage=self._storage):
            if record.state not in _ENDED or record.number in done:
                continue
            if target not in self._trackers:
                self._trackers[target] = target.open(self._run)
            self._trackers[target].log(record)
            numbers.append(record.number)
            atomic_write(self._run.logged, json.dumps(logged) + "\n")


def _failure_text(target: Target, error: Exception) -> str:
    text = next(iter(str(error).strip().splitlines()), "no reason")
    if target.where:
        text = text.replace(target.where, mask_passwords(target.where))
    return (
        f"--log {target} failed and is disabled for this session ({type(error).__name__}: {text}); "
        "the search continues, and the next resume with --log logs the missing trials"
    )


def _read_logged(run: RunDir) -> dict[str, list[int]]:
    try:
        return dict(json.loads(run.logged.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
