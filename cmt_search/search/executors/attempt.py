"""How one job is run, wherever it is. Imports little, because every worker process imports it."""

import errno
import os
import socket
import time
import traceback
from dataclasses import replace
from pathlib import Path

from cmt_search.errors import DataError, RunError, SpaceError
from cmt_search.evaluation import Evaluator, Measurement, OutOfMemory, TrainingFailed
from cmt_search.search.executors.patience import Overdue, at_most
from cmt_search.search.job import Failure, Job

_FRAMES = 3  # of a traceback that a study keeps
_PROBE = 2**20  # bytes that a disk with room takes
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def attempt(
    evaluator: Evaluator, job: Job, *, folder: Path | None = None, limit: float | None = None
) -> Measurement | Failure:
    """Run one job; what goes wrong in it is a result.

    It may keep its state in `folder` between epochs, and takes at most `limit` seconds; see
    `at_most` for what can be stopped.

    Raises:
        DataError: the data do not fit, which no other candidate would change.
        SpaceError: nor would it change what the space file says.
        RunError: the disk is full, which spoils no trial either.
    """
    # An evaluator that never runs out of memory need not know of micro-batches.
    more = {} if job.micro_batch is None else {"micro_batch": job.micro_batch}
    began = time.time()
    try:
        with at_most(limit):
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
    except Overdue as overdue:
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
