"""Run a search: lock, study, executor, outcome."""

import logging
import math
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from cmt_search.errors import RunError
from cmt_search.evaluation import EvaluatorFactory
from cmt_search.search.run_dir import Checkpoints, RunDir
from cmt_search.search.types import Ending, Listener, Outcome, Space, Stopping

if TYPE_CHECKING:
    from cmt_search.search.executors.inline import InlineExecutor
    from cmt_search.search.executors.ray import RayExecutor
    from cmt_search.search.scheduler import Scheduler
    from cmt_search.search.storage import StudyStore


class StopCondition:
    """Tell an executor when to hand out no more jobs."""

    def __init__(
        self, *, time_limit: float | None = None, on_event: Listener | None = None
    ) -> None:
        self._deadline = math.inf if time_limit is None else time.monotonic() + time_limit
        self._on_event = on_event
        self.reason: Literal["interrupted", "time limit"] | None = None

    def __call__(self) -> bool:
        """Return whether to stop."""
        if self.reason is None and time.monotonic() >= self._deadline:
            self.reason = "time limit"
            self._notify(Stopping(reason="time limit"))
        return self.reason is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM: the first lets running jobs finish, the second aborts.

        Signals reach the main thread only: elsewhere this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.reason == "interrupted":
            self._notify(Stopping(reason="aborted"))
            raise KeyboardInterrupt
        self.reason = "interrupted"
        self._notify(Stopping(reason="interrupted"))

    def _notify(self, event: Stopping) -> None:
        if self._on_event is not None:
            self._on_event(event)


_RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a data set's relative path stays what it is
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # a driver under `uv run` would start workers with it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # `StopCondition` lets the running jobs finish
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's state is never read, and grows with every job
}
_LOCAL_RAY_SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too: listen on the loopback only
    "RAY_worker_niceness": "0",  # at Ray's 15 other processes starve the workers
    "RAY_AUTH_MODE": "token",
}


def prepare_ray(*, local: bool) -> None:
    """Set what the user has not set, before ray is imported; `local`: on this machine alone."""
    settings = dict(_RAY_SETTINGS)
    if local:
        settings |= _LOCAL_RAY_SETTINGS | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


RETRIES = 1  # of a failing job, unless said otherwise
ExecutorName = Literal["inline", "ray"]


def run_search(
    run: RunDir,
    space: Space,
    factory: EvaluatorFactory,
    *,
    executor: ExecutorName = "ray",
    slots: int | None = None,
    address: str | None = None,
    cpus_per_trial: float = 1.0,
    gpus_per_trial: float = 0.0,
    trials: int | None = None,
    time_limit: float | None = None,
    trial_time_limit: float | None = None,
    retries: int = RETRIES,
    retry_failed: bool = False,
    storage: str | None = None,
    on_event: Listener | None = None,
) -> Outcome:
    """Start a search or resume it, until it is finished or stopped.

    The first SIGINT or SIGTERM and the time limit (seconds) let running jobs finish; a second
    signal raises KeyboardInterrupt and loses them. The next call resumes in both cases. A job that
    fails, or trains longer than `trial_time_limit` seconds, is retried `retries` times before its
    trial fails; `retry_failed` retries the trials that failed in earlier calls. `trials` replaces
    the space's number, also for later calls. `cpus_per_trial` are the threads of a training.

    Raises:
        RunError: another process drives the run, the space or the storage is not the run's, its
            folder or database cannot be written, or Ray has no room for a trial.
        DataError: the data do not fit the networks.
    """
    run.check(space.fingerprint)
    if retries < 0:
        raise RunError(f"retries={retries} must not be negative; use 0 for none")
    resources = {"cpus": cpus_per_trial, "gpus": gpus_per_trial}
    runner = _executor(run, executor, slots=slots, address=address, **resources)
    stop = StopCondition(time_limit=time_limit, on_event=on_event)
    options: Any = {"trials": trials, "retries": retries, "retry_failed": retry_failed}
    with _driven_study(run, space, storage=storage) as store:
        from cmt_search.search.scheduler import Scheduler

        scheduler = Scheduler(space, store, on_event=on_event, **options)
        folder = Checkpoints.open(run.checkpoints)
        with stop.listening():
            runner.run(scheduler, factory, stop=stop, checkpoints=folder, limit=trial_time_limit)
        if scheduler.finished:
            shutil.rmtree(run.checkpoints, ignore_errors=True)
        return _outcome(scheduler, stop)


@contextmanager
def _driven_study(run: RunDir, space: Space, *, storage: str | None) -> Iterator["StudyStore"]:
    """Open the study of a run as its only driver."""
    from optuna.logging import WARNING, set_verbosity

    from cmt_search.search.storage import StudyStore, exclusive_lock

    set_verbosity(WARNING)
    url, info = run.storage_url(storage), run.info()
    with run.lock(), exclusive_lock(url, run_id=info.id):
        store = StudyStore.open(
            url,
            name=info.name,
            run_id=info.id,
            objectives=space.objectives,
            begun=run.study_created,
        )
        with closing(store):
            run.write_driver(study_created=True)
            yield store


def _executor(
    run: RunDir,
    name: ExecutorName,
    *,
    slots: int | None,
    address: str | None,
    cpus: float,
    gpus: float,
) -> "InlineExecutor | RayExecutor":
    if slots is not None and slots < 1:
        raise RunError(f"slots={slots} runs nothing; use at least 1")
    if name == "inline":
        if address is not None or (slots or 1) > 1:
            raise RunError("the inline executor has one slot on this machine; use --executor ray")
        from cmt_search.search.executors.inline import InlineExecutor

        return InlineExecutor(threads=max(1, int(cpus)))

    prepare_ray(local=address is None)
    from cmt_search.search.executors.ray import RayExecutor
    from cmt_search.search.executors.ray_cluster import ResourceRequest

    request = ResourceRequest(slots=slots, address=address, cpus=cpus, gpus=gpus)
    return RayExecutor(folder=run.path, request=request)


def _outcome(scheduler: "Scheduler", stop: StopCondition) -> Outcome:
    counts = scheduler.counts
    ending: Ending = stop.reason or "interrupted"
    if scheduler.abort_reason is not None:
        ending = "everything fails"
    elif scheduler.finished:
        ending = "exhausted" if scheduler.n_missing else "finished"
    return Outcome(
        stopped=ending,
        complete=counts["complete"],
        pruned=counts["pruned"],
        failed=counts["failed"],
        infeasible=counts["infeasible"],
        reused=scheduler.n_reused,
        jobs=scheduler.n_jobs_done,
        remaining=scheduler.remaining(),
        notes=scheduler.notes(),
        abort_reason=scheduler.abort_reason,
    )
