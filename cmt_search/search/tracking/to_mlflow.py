"""Trials as MLflow runs, in an experiment of the search's name."""

import os
from pathlib import Path
from typing import Any

from cmt_search.search.tracking.trial import Logged

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

    def log(self, trial: Logged) -> None:
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
