"""The driver's end of the Ray executor: between Tune's hooks and the ledger. Imports no ray."""

import time
from pathlib import Path

from cmt_search.evaluation import Measurement
from cmt_search.search.checkpoints import Checkpoints
from cmt_search.search.executors.executor import settle
from cmt_search.search.job import Failure, Job
from cmt_search.search.ledger import Ledger
from cmt_search.search.stop import StopSignal

_REASON_LINES = 3  # of Tune's error file that a study keeps


class Desk:
    """Hands out jobs by Tune's ids, and takes in what they gave."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        stop: StopSignal,
        checkpoints: Checkpoints | None,
        limit: float | None,
    ) -> None:
        self._ledger = ledger
        self._stop = stop
        self._checkpoints = checkpoints
        self._limit = limit
        self._running: dict[str, Job] = {}  # by Tune's id
        self._began: dict[str, float] = {}
        self.error: Exception | None = None  # Tune swallows what its hooks raise

    @property
    def closed(self) -> bool:
        """Whether nothing more will be handed out."""
        over = self._ledger.finished or self._ledger.gave_up is not None
        return self.error is not None or self._stop() or over

    def hand_out(self, trial_id: str) -> Job | None:
        """The job of the next Tune trial, if there is one now."""
        try:
            job = self._ledger.next_job()
        except Exception as error:  # noqa: BLE001  # raised again after the run
            self.error = error
            return None
        if job is not None:
            self._running[trial_id] = job
        return job

    def began(self, trial_id: str) -> None:
        """A worker took the job."""
        self._began[trial_id] = time.monotonic()

    def bring_back(self, trial_id: str, answer: Measurement | Failure | Exception) -> None:
        """Give a job's answer to the ledger; an exception ends the search."""
        job = self._running.pop(trial_id)
        self._began.pop(trial_id, None)
        if isinstance(answer, Exception):
            self.error = self.error or answer
            return
        try:
            settle(self._ledger, job, answer, checkpoints=self._checkpoints)
        except Exception as error:  # noqa: BLE001  # raised again after the run
            self.error = self.error or error

    def mourn(self, trial_id: str, *, error_file: str | None) -> None:
        """Take in that a worker died, by the limit on its job or by something else."""
        spent = time.monotonic() - self._began.get(trial_id, float("inf"))
        if self._limit is not None and spent >= self._limit:
            reason = f"hung: its process was ended {spent:.0f} s after it began, past the limit of "
            answer = Failure(reason=f"{reason}{self._limit:g} s", kind="hung")
        else:
            answer = Failure(reason=f"the worker died: {_last_error(error_file)}", kind="died")
        self.bring_back(trial_id, answer)


def _last_error(file: str | None) -> str:
    """The end of what Tune wrote about a failure."""
    try:
        lines = Path(file).read_text(errors="replace").split("\n") if file else []
    except OSError:
        lines = []
    told = [line.strip() for line in lines if line.strip()]
    return " ".join(told[-_REASON_LINES:]) or "no reason was left"
