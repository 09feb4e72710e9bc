"""What every executor does."""

from typing import Protocol

from cmt_search.evaluation import EvaluatorFactory, Measurement
from cmt_search.search.checkpoints import Checkpoints
from cmt_search.search.job import Failure, Job
from cmt_search.search.ledger import Ledger
from cmt_search.search.stop import StopSignal


class Executor(Protocol):
    """Runs a ledger's jobs until it is finished or `stop` says so."""

    def run(self, ledger: Ledger, factory: EvaluatorFactory, *, stop: StopSignal) -> None:
        """Hand out jobs, and bring back what they gave; running jobs are finished on a stop."""
        ...


def settle(
    ledger: Ledger, job: Job, answer: Measurement | Failure, *, checkpoints: Checkpoints | None
) -> None:
    """Give a job's answer to the ledger, and drop the state that nobody will go on from."""
    if not isinstance(answer, Failure):
        ledger.record(job, answer)
    else:
        ledger.fail(job, answer)
        # What raised may raise again on the state that it left; who was killed did nothing wrong.
        if checkpoints is not None and answer.kind not in ("died", "hung"):
            checkpoints.drop(job)
    if checkpoints is not None:
        checkpoints.keep(ledger.networks_ahead())
