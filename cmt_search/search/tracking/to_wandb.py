"""Trials as Weights & Biases runs, a group for each search; offline unless told otherwise."""

import os
from pathlib import Path
from typing import Any

from cmt_search.search.tracking.trial import Logged

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

    def log(self, trial: Logged) -> None:
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


def rows(trial: Logged) -> list[dict[str, Any]]:
    """The points of one step of a series together, with the step as a number of its own."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for point in trial.series:
        series = point.name.partition("/")[0]
        row = found.setdefault((series, point.step), {f"{series}/step": point.step})
        row[point.name] = point.value
    return list(found.values())
