"""Executor on Ray Tune, local or on a cluster: one Tune trial is one job."""

import faulthandler
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cmt_search.errors import CmtSearchError
from cmt_search.evaluation import Evaluator, EvaluatorFactory, Measurement
from cmt_search.search.executors.inline import describe, handle_result, make_evaluator, run_job
from cmt_search.search.executors.ray_cluster import ResourceRequest, connected
from cmt_search.search.run_dir import Checkpoints
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.types import Failure, Job

_GRACE = 5.0  # seconds between the time limit of a job and the end of its process
_REASON_LINES = 3  # of Tune's error file
_JOBS_PER_TUNER = 1000  # Tune walks its list of all trials at every step


class JobSearcher(Searcher):
    """Give the scheduler's jobs to one Tuner, as configs."""

    def __init__(self, scheduler: Scheduler, *, stop: Callable[[], bool]) -> None:
        super().__init__()
        self._scheduler, self._stop = scheduler, stop
        self._remaining = _JOBS_PER_TUNER
        self.running: dict[str, Job] = {}  # by Tune's trial id
        self.error: Exception | None = None  # raised after the run: Tune swallows what hooks raise

    @property
    def closed(self) -> bool:
        """Whether the search hands out no more jobs."""
        over = self._scheduler.finished or self._scheduler.abort_reason is not None
        return self.error is not None or self._stop() or over

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial; None: ask again later."""
        if self._remaining == 0 or self.closed:
            return Searcher.FINISHED
        try:
            job = self._scheduler.next_job()
        except Exception as error:  # noqa: BLE001
            self.error = error
            return Searcher.FINISHED
        if job is None:
            return Searcher.FINISHED if self.closed else None
        self._remaining -= 1
        self.running[trial_id] = job
        return {"job": job}

    def on_trial_complete(self, *_args: Any, **_options: Any) -> None:
        """Do nothing: `ResultCallback` also learns why a worker died."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its hooks for a restore that never happens


class ResultCallback(tune.Callback):
    """Give the results of Tune's trials to the scheduler."""

    def __init__(
        self,
        scheduler: Scheduler,
        searcher: JobSearcher,
        *,
        checkpoints: Checkpoints | None,
        limit: float | None,
    ) -> None:
        self._scheduler, self._searcher = scheduler, searcher
        self._checkpoints, self._limit = checkpoints, limit
        self._started: dict[str, float] = {}  # monotonic seconds, by trial id

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher

    def on_trial_start(self, trial: Any, **_context: Any) -> None:
        self._started[trial.trial_id] = time.monotonic()

    def on_trial_complete(self, trial: Any, **_context: Any) -> None:
        self._complete(trial, trial.last_result["result"])

    def on_trial_error(self, trial: Any, **_context: Any) -> None:
        """Fail the job of a worker that died, by its time limit or by something else."""
        seconds = time.monotonic() - self._started.get(trial.trial_id, float("inf"))
        if self._limit is not None and seconds >= self._limit:
            reason = f"hung: its process was ended after {seconds:.0f} s; the limit is "
            failure = Failure(reason=f"{reason}{self._limit:g} s", kind="hung")
        else:
            reason = f"the worker died: {_last_lines(trial.error_file)}"
            failure = Failure(reason=reason, kind="died")
        self._complete(trial, failure)

    def _complete(self, trial: Any, result: Measurement | Failure | Exception) -> None:
        job = self._searcher.running.pop(trial.trial_id)
        self._started.pop(trial.trial_id, None)
        try:
            if isinstance(result, Exception):
                raise result
            handle_result(self._scheduler, job, result, checkpoints=self._checkpoints)
        except Exception as error:  # noqa: BLE001
            self._searcher.error = self._searcher.error or error


def _last_lines(file: str | None) -> str:
    """Return the end of the error file of a Tune trial."""
    try:
        text = Path(file).read_text(errors="replace") if file else ""
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-_REASON_LINES:]) or "no log"


class JobRunner(tune.Trainable):
    """A worker process. It makes the evaluator once and keeps it from job to job.

    The result of a job is an exception if it ends the whole search: no evaluator, or data that fit
    no network.
    """

    def setup(
        self,
        config: dict[str, Any],
        factory: EvaluatorFactory,
        checkpoints: Checkpoints | None,
        limit: float | None,
        threads: int,
    ) -> None:
        """Make the evaluator; once per process, before its first job starts."""
        self._job: Job = config["job"]
        self._checkpoints = checkpoints
        self._limit = limit
        self._evaluator: Evaluator | Exception
        try:
            self._evaluator = make_evaluator(factory, threads=threads)
        except CmtSearchError as error:
            self._evaluator = error
        except Exception as error:  # noqa: BLE001  # raised in the driver
            self._evaluator = RuntimeError(f"no evaluator could be made: {describe(error)}")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job."""
        self._job = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        """Run the job."""
        return {"result": self._run_job(), "done": True}

    def _run_job(self) -> Measurement | Failure | Exception:
        if isinstance(self._evaluator, Exception):
            return self._evaluator
        folder = None if self._checkpoints is None else self._checkpoints.path_for(self._job)
        if self._limit is not None:  # end this process where `run_job` cannot raise
            faulthandler.dump_traceback_later(self._limit + _GRACE, exit=True)
        try:
            return run_job(self._evaluator, self._job, folder=folder, limit=self._limit)
        except CmtSearchError as error:
            return error
        finally:
            faulthandler.cancel_dump_traceback_later()


class LazyFIFOScheduler(FIFOScheduler):
    """Leave the choice of the next trial to Tune's controller.

    FIFO would give a free worker the oldest waiting job, destroy the worker that starts for that
    job, and start another: with jobs shorter than a worker's start, one worker would do them all.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:  # noqa: ARG002
        """Return None: a free worker takes a job that has no worker yet."""
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Ray Tune, started on this machine or joined at an address."""

    folder: Path  # of the run
    request: ResourceRequest

    def run(
        self,
        scheduler: Scheduler,
        factory: EvaluatorFactory,
        *,
        stop: Callable[[], bool],
        checkpoints: Checkpoints | None = None,
        limit: float | None = None,
    ) -> None:
        """Run jobs until the scheduler is finished or `stop` returns True; finish running ones.

        A Tuner runs a limited number of jobs, so that the cost of a job does not grow.

        Raises:
            RunError: the cluster cannot be reached, or has no room for a trial.
        """
        if scheduler.finished:
            return
        with connected(self.request, session=str(self.folder.resolve())) as slots:
            trainable = tune.with_parameters(
                JobRunner,
                factory=factory,
                checkpoints=checkpoints,
                limit=limit,
                threads=max(1, int(self.request.cpus)),
            )
            while True:
                searcher = JobSearcher(scheduler, stop=stop)
                callback = ResultCallback(scheduler, searcher, checkpoints=checkpoints, limit=limit)
                self._run_tuner(trainable, searcher, callback, slots=slots)
                if searcher.error is not None:
                    raise searcher.error
                if searcher.closed:
                    return

    def _run_tuner(
        self, trainable: Any, searcher: JobSearcher, callback: ResultCallback, *, slots: int
    ) -> None:
        """Run one Tuner; its own state is never read."""
        state = self.folder.resolve() / ".tune"
        shutil.rmtree(state, ignore_errors=True)  # of a killed driver
        tune_config = tune.TuneConfig(
            search_alg=searcher,
            scheduler=LazyFIFOScheduler(),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        )
        run_config = tune.RunConfig(
            name="jobs",
            storage_path=str(state),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[callback],
            verbose=0,
        )
        resources = {"cpu": self.request.cpus, "gpu": self.request.gpus}
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune_config,
            run_config=run_config,
        )
        try:
            tuner.fit()
        finally:
            shutil.rmtree(state, ignore_errors=True)


def _trial_name(trial: Any) -> str:
    """Return a short name; Tune would write the whole job into a folder's name."""
    return str(trial.trial_id)
