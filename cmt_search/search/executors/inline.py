"""Jobs run one after the other in this process: for debugging and small machines."""

from dataclasses import dataclass

from cmt_search.evaluation import EvaluatorFactory
from cmt_search.search.checkpoints import Checkpoints
from cmt_search.search.executors.attempt import attempt
from cmt_search.search.executors.executor import settle
from cmt_search.search.ledger import Ledger
from cmt_search.search.stop import StopSignal


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineExecutor:
    """One slot, no processes. `limit`: seconds of a job; a call that hangs in C is not ended."""

    checkpoints: Checkpoints | None = None
    limit: float | None = None

    def run(self, ledger: Ledger, factory: EvaluatorFactory, *, stop: StopSignal) -> None:
        """Run jobs until there are none, or until `stop` says so."""
        evaluator = None
        while not stop() and (job := ledger.next_job()) is not None:
            evaluator = evaluator or factory()  # not made when nothing is left to do
            folder = None if self.checkpoints is None else self.checkpoints.of(job)
            answer = attempt(evaluator, job, folder=folder, limit=self.limit)
            settle(ledger, job, answer, checkpoints=self.checkpoints)
