"""Drive a run: lock, study, executor, outcome."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from cmt_search.errors import RunError
from cmt_search.evaluation import EvaluatorFactory
from cmt_search.search.run_dir import Checkpoints, RunDir
from cmt_search.search.types import Ending, Listener, Outcome, Space, Stopping

if TYPE_CHECKING:
    from cmt_search.search.executors.inline import Executor
    from cmt_search.search.scheduler import Scheduler


StopSignal = Callable[[], bool]
StopReason = Literal["interrupted", "time limit"]


class StopCondition:
    """Says when no more jobs may be handed out."""

    def __init__(
        self,
        *,
        time_limit: float | None = None,
        on_stop: Callable[[StopReason], None] | None = None,
    ) -> None:
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._interrupted = False
        self._on_stop = on_stop

    def __call__(self) -> bool:
        """Whether to stop."""
        if self.reason is not None:
            self._notify(self.reason)
        return self.reason is not None

    @property
    def reason(self) -> StopReason | None:
        """The reason to stop, if there is one."""
        if self._interrupted:
            return "interrupted"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "time limit"
        return None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first SIGINT as a request to stop after the running jobs; the second aborts.

        Other threads than the main one get no signals, and there this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._notify("interrupted")

    def _notify(self, reason: StopReason) -> None:
        """Say once that the end has begun, as running jobs may take a while."""
        if self._on_stop is not None:
            notify, self._on_stop = self._on_stop, None
            notify(reason)


_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a data set's relative path stays what it is
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # a driver under `uv run` would start workers with it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets the running jobs finish
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's state is never read, and grows with every job
}
# Despite its name it works everywhere: without it Ray's servers listen on all interfaces.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def prepare_ray(*, local: bool) -> None:
    """Set what the user has not set, before ray is imported; `local`: on this machine alone."""
    for name, value in (_QUIET | (_LOOPBACK if local else {})).items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


RETRIES = 1  # of a failing job, unless said otherwise
MEASURED_ON = "measured_on"  # attribute of the study
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
    measured_on: Mapping[str, Any] | None = None,
) -> Outcome:
    """Begin a search or go on with it, until it is finished or stopped.

    The first SIGINT and the time limit (seconds) let running jobs finish; a second SIGINT raises
    KeyboardInterrupt and loses them. In both cases the next call goes on where this one stopped.
    A job that fails, or takes longer than `trial_time_limit` seconds, is tried again `retries`
    times before its trial fails; `retry_failed` tries trials again that failed in earlier calls.
    `trials` replaces the space's number, for later calls too. `measured_on` goes into the study:
    setting and machine of the latency and memory of its networks, where the space measures them.

    Raises:
        RunError: another process drives the run, the space or the storage is not the run's, its
            folder or database cannot be written, or Ray has no room for a trial.
        DataError: the data do not fit the networks.
    """
    from optuna.logging import WARNING, set_verbosity

    from cmt_search.search.scheduler import Scheduler
    from cmt_search.search.storage import StudyStore, exclusive_lock

    run.check(space.fingerprint)
    url = run.storage_url(storage)
    if retries < 0:
        raise RunError(f"retries={retries} is no number of retries; use 0 for none")
    choose = _executor(
        run,
        executor,
        slots=slots,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
    )
    set_verbosity(WARNING)
    with run.lock(), exclusive_lock(url, run_id=run.info().id):
        run.check_study()
        checkpoints = Checkpoints.open(run.checkpoints)
        store = StudyStore.open(
            url,
            name=run.info().name,
            run_id=run.info().id,
            fingerprint=space.fingerprint,
            objectives=space.objectives,
            begun=run.study_created,
        )
        try:
            run.write_study_created()
            if measured_on is not None:
                store.set_attribute(MEASURED_ON, dict(measured_on))
            scheduler = Scheduler(
                space,
                store,
                trials=trials,
                retries=retries,
                retry_failed=retry_failed,
                on_event=on_event,
            )
            condition = StopCondition(time_limit=time_limit, on_stop=_on_stop(on_event))
            with condition.listening():
                choose(checkpoints, trial_time_limit).run(scheduler, factory, stop=condition)
            if scheduler.finished:
                checkpoints.clear()
            return _outcome(scheduler, condition)
        finally:
            store.close()


def _executor(
    run: RunDir,
    name: ExecutorName,
    *,
    slots: int | None,
    address: str | None,
    cpus_per_trial: float,
    gpus_per_trial: float,
) -> "Callable[[Checkpoints, float | None], Executor]":
    """What makes the executor, from a folder for checkpoints and the seconds of a job."""
    if slots is not None and slots < 1:
        raise RunError(f"slots={slots} runs nothing; use at least 1")
    if name == "inline":
        if address is not None or (slots or 1) > 1:
            raise RunError("the inline executor has one slot on this machine; use --executor ray")
        from cmt_search.search.executors.inline import InlineExecutor

        return lambda checkpoints, limit: InlineExecutor(checkpoints=checkpoints, limit=limit)

    prepare_ray(local=address is None)
    from cmt_search.search.executors.ray import RayExecutor, ResourceRequest

    request = ResourceRequest(
        slots=slots, address=address, cpus=cpus_per_trial, gpus=gpus_per_trial
    )
    return lambda checkpoints, limit: RayExecutor(
        folder=run.path, request=request, checkpoints=checkpoints, limit=limit
    )


def _on_stop(on_event: Listener | None) -> "Callable[[StopReason], None] | None":
    return None if on_event is None else lambda reason: on_event(Stopping(reason=reason))


def _outcome(scheduler: "Scheduler", condition: StopCondition) -> Outcome:
    counts = scheduler.counts
    ending: Ending = condition.reason or "interrupted"
    if scheduler.gave_up is not None:
        ending = "everything fails"
    return Outcome(
        stopped="finished" if scheduler.finished else ending,
        complete=counts["complete"],
        pruned=counts["pruned"],
        failed=counts["failed"],
        infeasible=counts["infeasible"],
        reused=scheduler.reused,
        jobs=scheduler.jobs_done,
        left=scheduler.plan(),
        notes=scheduler.notes(),
        gave_up=scheduler.gave_up,
    )
