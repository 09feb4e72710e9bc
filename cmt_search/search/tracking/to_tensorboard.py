"""Trials as TensorBoard runs, by event files alone: nothing listens, nothing is sent."""

import shutil
from pathlib import Path

from cmt_search.search.tracking.trial import Logged


class TensorBoard:
    """A folder of event files per trial, with its hyperparameters."""

    def __init__(self, *, where: str | None, folder: Path, run: str, run_id: str) -> None:
        # Runs of one name may share a place, and must not remove each other's trials.
        self._folder = Path(where) / f"{run}-{run_id[:8]}" if where else folder / "tensorboard"

    def log(self, trial: Logged) -> None:
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
