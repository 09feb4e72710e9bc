"""Run one job, wherever it is: timeouts, errors, disk space."""

import errno
import faulthandler
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from cmt_search.errors import DataError, RunError, SpaceError
from cmt_search.evaluation import Evaluator, Measurement, OutOfMemory, TrainingFailed
from cmt_search.search.types import Failure, Job

_GRACE = 5.0  # seconds that a hanging process has to leave by itself


class JobTimeout(Exception):
    """A job took longer than it may."""


@contextmanager
def time_limit(limit: float | None) -> Iterator[None]:
    """Raise `JobTimeout` in this thread once `limit` seconds are over.

    It ends whatever comes back to Python now and then: loops, sleeps, a loader that waits. A call
    that never returns from C goes on; `kill_after` ends that with its process. Only the main thread
    gets signals: in others this does nothing.
    """
    if limit is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise JobTimeout(f"stopped after {limit:g} s, the limit for a trial's training")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def kill_after(limit: float | None) -> Iterator[None]:
    """End this process, with its stack on standard error, where `time_limit` could not.

    For a worker: its driver sees it die, and gives the job to another.
    """
    if limit is None:
        yield
        return
    faulthandler.dump_traceback_later(limit + _GRACE, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


_FRAMES = 3  # of a traceback that a study keeps
_PROBE = 2**20  # bytes that a disk with room takes
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def run_job(
    evaluator: Evaluator, job: Job, *, folder: Path | None = None, limit: float | None = None
) -> Measurement | Failure:
    """Run one job; what goes wrong in it is a result.

    It may keep its state in `folder` between epochs, and takes at most `limit` seconds; see
    `time_limit` for what can be stopped.

    Raises:
        DataError: the data do not fit, which no other candidate would change.
        SpaceError: nor would it change what the space file says.
        RunError: the disk is full, which spoils no trial either.
    """
    # An evaluator that never runs out of memory need not know of micro-batches.
    more = {} if job.micro_batch is None else {"micro_batch": job.micro_batch}
    began = time.time()
    try:
        with time_limit(limit):
            measured = evaluator(
                job.arch, fidelity=job.fidelity, seed=job.seed, folder=folder, **more
            )
        return replace(measured, worker=_worker(), began=began, ended=time.time())
    except OutOfMemory as failure:
        return Failure(reason=str(failure), kind="memory", micro_batch=failure.micro_batch)
    except TrainingFailed as failure:
        return Failure(reason=str(failure), kind="verdict")
    except (DataError, SpaceError):
        raise
    except JobTimeout as overdue:
        return Failure(reason=describe(overdue), kind="hung")
    except Exception as error:  # noqa: BLE001  # a row with its reason, not a crash
        if folder is not None:
            _check_room(folder, error)
        return Failure(reason=describe(error))


def _worker() -> str:
    """Which of a search's processes this is."""
    return f"{socket.gethostname()}:{os.getpid()}"


def describe(error: BaseException) -> str:
    """An exception and where it came from, short enough for a study."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    calls = [f"{f.name} ({Path(f.filename).name}:{f.lineno})" for f in reversed(frames)]
    return f"{type(error).__name__}: {error}" + (", in " + " < ".join(calls) if calls else "")


def _check_room(folder: Path, error: Exception) -> None:
    """Tell a full disk from a training that fails.

    Raises:
        RunError: the folder for checkpoints takes no more.
    """
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
