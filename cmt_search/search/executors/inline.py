"""Jobs run one after the other in this process: for debugging and small machines."""

from cmt_search.evaluation import EvaluatorFactory
from cmt_search.search.executors.attempt import attempt
from cmt_search.search.executors.executor import settle
from cmt_search.search.ledger import Ledger
from cmt_search.search.stop import StopSignal


class InlineExecutor:
    """One slot, no processes."""

    def run(self, ledger: Ledger, factory: EvaluatorFactory, *, stop: StopSignal) -> None:
        """Run jobs until there are none, or until `stop` says so."""
        evaluator = None
        while not stop() and (job := ledger.next_job()) is not None:
            evaluator = evaluator or factory()  # not made when nothing is left to do
            settle(ledger, job, attempt(evaluator, job))
