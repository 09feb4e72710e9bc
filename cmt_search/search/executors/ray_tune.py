"""Jobs run by Ray Tune, on this machine or on a cluster: one Tune trial is one job.

Tune decides nothing: it has no metric, its scheduler is first in, first out, and its own state is a
cache in a temporary folder. A worker that dies costs the job it had, which the ledger hands out
again.
Call `prepare_ray` before this module is imported.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cmt_search.evaluation import EvaluatorFactory
from cmt_search.search.checkpoints import Checkpoints
from cmt_search.search.executors.ray_cluster import Wish, connected
from cmt_search.search.executors.ray_desk import Desk
from cmt_search.search.executors.ray_worker import Fatal, JobRunner
from cmt_search.search.ledger import Ledger
from cmt_search.search.stop import StopSignal

_CACHE = ".tune-"
_REMEMBERED = 100  # trials of Tune's, beside those that run


class _Feed(Searcher):
    """Gives Tune its trials."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    def suggest(self, trial_id: str) -> Any:
        """The config of the next Tune trial; None: ask again."""
        job = None if self._desk.closed else self._desk.hand_out(trial_id)
        if self._desk.closed and job is None:
            return Searcher.FINISHED
        return None if job is None else {"job": job}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: of a dead worker this hook does not learn the reason; `_Return` does."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that is never asked for


class _Patient(FIFOScheduler):
    """Lets workers come up.

    Tune's own choice would be the oldest job that does not run yet, and a worker that comes free
    would get it; the worker that is starting for it would be destroyed, and a new one started for
    the next job. With jobs shorter than a worker's start, one worker would do all of them. Without
    a choice a free worker gets the newest job, which has no worker yet.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:  # noqa: ARG002
        """None: take them as they come."""
        return


class _Return(tune.Callback):
    """Takes from Tune what its trials gave."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_step_end(self, iteration: int, trials: list[Any], **_others: Any) -> None:  # noqa: ARG002
        """Let Tune forget what is over: it goes through its list more than once per job."""
        if len(trials) > _REMEMBERED:
            trials[:] = [trial for trial in trials if not trial.is_finished()]

    def on_trial_start(self, trial: Any, **_others: Any) -> None:
        self._desk.began(trial.trial_id)

    def on_trial_complete(self, trial: Any, **_others: Any) -> None:
        answer = trial.last_result["answer"]
        self._desk.bring_back(trial.trial_id, answer.error if isinstance(answer, Fatal) else answer)

    def on_trial_error(self, trial: Any, **_others: Any) -> None:
        self._desk.mourn(trial.trial_id, error_file=trial.error_file)

    def __getstate__(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Ray Tune, started on this machine, or found at an address."""

    folder: Path  # for Tune's cache
    wish: Wish
    checkpoints: Checkpoints | None = None
    limit: float | None = None  # seconds of a job

    def run(self, ledger: Ledger, factory: EvaluatorFactory, *, stop: StopSignal) -> None:
        """Run jobs until there are none, or until `stop` says so.

        Raises:
            RunError: the cluster cannot be reached, or has no room for a trial.
        """
        if ledger.finished:  # ten seconds saved
            return
        with connected(wish=self.wish) as room, self._cache() as cache:
            desk = Desk(ledger, stop=stop, checkpoints=self.checkpoints, limit=self.limit)
            trainable = tune.with_resources(
                tune.with_parameters(
                    JobRunner, factory=factory, checkpoints=self.checkpoints, limit=self.limit
                ),
                {"cpu": self.wish.cpus, "gpu": self.wish.gpus},
            )
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=_Feed(desk),
                    scheduler=_Patient(),
                    num_samples=-1,
                    max_concurrent_trials=room,
                    reuse_actors=True,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=tune.RunConfig(
                    name="jobs",
                    storage_path=str(cache),
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    callbacks=[_Return(desk)],
                    verbose=0,
                ),
            ).fit()
            if desk.error is not None:
                raise desk.error

    @contextmanager
    def _cache(self) -> Iterator[Path]:
        """A folder for Tune's own state; those that killed drivers left are swept away."""
        for stale in self.folder.glob(f"{_CACHE}*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=_CACHE, dir=self.folder, ignore_cleanup_errors=True
        ) as cache:
            yield Path(cache).resolve()


def _trial_name(trial: Any) -> str:
    """Short: Tune would write the whole job into a folder's name."""
    return str(trial.trial_id)
