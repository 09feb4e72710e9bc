"""What every executor does."""

from typing import Protocol

from cmt_search.evaluation import EvaluatorFactory, Measurement
from cmt_search.search.executors.attempt import Failure
from cmt_search.search.job import Job
from cmt_search.search.ledger import Ledger
from cmt_search.search.stop import StopSignal


class Executor(Protocol):
    """Runs a ledger's jobs until it is finished or `stop` says so."""

    def run(self, ledger: Ledger, factory: EvaluatorFactory, *, stop: StopSignal) -> None:
        """Hand out jobs, and bring back what they gave; running jobs are finished on a stop."""
        ...


def settle(ledger: Ledger, job: Job, answer: Measurement | Failure) -> None:
    """Give a job's answer to the ledger."""
    if isinstance(answer, Failure):
        ledger.fail(job, answer.reason)
    else:
        ledger.record(job, answer)
