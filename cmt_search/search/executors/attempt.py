"""How one job is run, wherever it is. Imports little, because every worker process imports it."""

import traceback
from dataclasses import dataclass
from pathlib import Path

from cmt_search.errors import DataError
from cmt_search.evaluation import Evaluator, Measurement, TrainingFailed
from cmt_search.search.job import Job

_FRAMES = 3  # of a traceback that a study keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A job that gave no measurement."""

    reason: str


def attempt(evaluator: Evaluator, job: Job) -> Measurement | Failure:
    """Run one job; what goes wrong in it is a result.

    Raises:
        DataError: the data do not fit, which no other candidate would change.
    """
    try:
        return evaluator(job.arch, fidelity=job.fidelity, seed=job.seed)
    except TrainingFailed as failure:
        return Failure(reason=str(failure))
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  # a row with its reason, not a crash
        return Failure(reason=describe(error))


def describe(error: BaseException) -> str:
    """An exception and where it came from, short enough for a study."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    calls = [f"{f.name} ({Path(f.filename).name}:{f.lineno})" for f in reversed(frames)]
    return f"{type(error).__name__}: {error}" + (", in " + " < ".join(calls) if calls else "")
