"""Run jobs in this process: evaluator, time limit, errors, disk space."""

import errno
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from cmt_search.errors import DataError, RunError, SpaceError
from cmt_search.evaluation import (
    THREADS_VARIABLE,
    Evaluator,
    EvaluatorFactory,
    Measurement,
    OutOfMemory,
    TrainingFailed,
)
from cmt_search.search.run_dir import Checkpoints
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.types import Failure, Job

_FRAMES = 3  # of a traceback that a study keeps
_PROBE = 2**20  # bytes that a disk with room takes
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineExecutor:
    """One slot in this process. A C call that hangs is not interrupted by the limit."""

    threads: int = 1  # CPU threads of the evaluator

    def run(
        self,
        scheduler: Scheduler,
        factory: EvaluatorFactory,
        *,
        stop: Callable[[], bool],
        checkpoints: Checkpoints | None = None,
        limit: float | None = None,
    ) -> None:
        """Run jobs until the scheduler is finished or `stop` returns True."""
        evaluator = None
        while not stop() and (job := scheduler.next_job()) is not None:
            if evaluator is None:  # not made when nothing is left to do
                evaluator = make_evaluator(factory, threads=self.threads)
            folder = None if checkpoints is None else checkpoints.path_for(job)
            result = run_job(evaluator, job, folder=folder, limit=limit)
            handle_result(scheduler, job, result, checkpoints=checkpoints)


def handle_result(
    scheduler: Scheduler,
    job: Job,
    result: Measurement | Failure,
    *,
    checkpoints: Checkpoints | None,
) -> None:
    """Give a result to the scheduler, and delete checkpoints that no job continues from."""
    if isinstance(result, Failure):
        scheduler.fail(job, result)
        # A training that raised may raise again from its checkpoint; a killed one continues.
        if checkpoints is not None and result.kind not in ("died", "hung"):
            checkpoints.delete(job)
    else:
        scheduler.record(job, result)
    if checkpoints is not None:
        checkpoints.retain(scheduler.networks_ahead())


class JobTimeout(Exception):
    """A job exceeded its time limit."""


def make_evaluator(factory: EvaluatorFactory, *, threads: int = 1) -> Evaluator:
    """Make this process's evaluator, with `threads` CPU threads, before a time limit starts."""
    before = os.environ.get(THREADS_VARIABLE)
    os.environ[THREADS_VARIABLE] = str(threads)
    try:
        return factory()
    finally:
        if before is None:
            del os.environ[THREADS_VARIABLE]
        else:
            os.environ[THREADS_VARIABLE] = before


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `JobTimeout` in this thread after `seconds`.

    It interrupts Python code: loops, sleeps, a waiting loader. Only the Ray executor ends a C call
    that does not return. Signals reach the main thread only: elsewhere this does nothing.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise JobTimeout(f"stopped after {seconds:g} s, the limit for a trial's training")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_job(
    evaluator: Evaluator, job: Job, *, folder: Path | None = None, limit: float | None = None
) -> Measurement | Failure:
    """Run one job, for at most `limit` seconds; return a failure instead of raising it.

    `folder` is for its checkpoints.

    Raises:
        DataError: the data fit no network of the search.
        SpaceError: the space file is wrong for all networks.
        RunError: the disk is full.
    """
    began = time.time()
    try:
        with time_limit(limit):
            measurement = evaluator(job.arch, fidelity=job.fidelity, seed=job.seed, folder=folder)
        return replace(
            measurement,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            began=began,
            ended=time.time(),
        )
    except OutOfMemory as failure:
        return Failure(reason=str(failure), kind="memory")
    except TrainingFailed as failure:
        return Failure(reason=str(failure), kind="invalid")
    except (DataError, SpaceError):
        raise
    except JobTimeout as timeout:
        return Failure(reason=describe(timeout), kind="hung")
    except Exception as error:  # noqa: BLE001  # recorded as the trial's reason
        if folder is not None:
            _check_room(folder, error)
        return Failure(reason=describe(error))


def describe(error: BaseException) -> str:
    """Format an exception and its last calls, short enough for a study."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    calls = [f"{f.name} ({Path(f.filename).name}:{f.lineno})" for f in reversed(frames)]
    return f"{type(error).__name__}: {error}" + (", in " + " < ".join(calls) if calls else "")


def _check_room(folder: Path, error: Exception) -> None:
    """Raise `RunError` if the training failed because the disk is full."""
    probe = folder.parent / f".{folder.name}.probe"
    try:
        probe.write_bytes(bytes(_PROBE))
    except OSError as refused:
        if refused.errno in _FULL:
            raise RunError(
                f"{folder.parent} takes no more checkpoints ({refused.strerror}); make room there, "
                "and resume the run: what was measured is kept"
            ) from error
    finally:
        probe.unlink(missing_ok=True)
