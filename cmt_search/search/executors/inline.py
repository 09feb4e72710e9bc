"""Executor that runs jobs one after the other in this process."""

from dataclasses import dataclass
from typing import Protocol

from cmt_search.evaluation import EvaluatorFactory, Measurement
from cmt_search.search.driver import StopSignal
from cmt_search.search.executors.worker import run_job
from cmt_search.search.run_dir import Checkpoints
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.types import Failure, Job


class Executor(Protocol):
    """Runs a scheduler's jobs until it is finished or `stop` says so."""

    def run(self, scheduler: Scheduler, factory: EvaluatorFactory, *, stop: StopSignal) -> None:
        """Hand out jobs, and bring back what they gave; running jobs are finished on a stop."""
        ...


def handle_result(
    scheduler: Scheduler,
    job: Job,
    answer: Measurement | Failure,
    *,
    checkpoints: Checkpoints | None,
) -> None:
    """Give a job's answer to the scheduler, and drop the state that nobody will go on from."""
    if not isinstance(answer, Failure):
        scheduler.record(job, answer)
    else:
        scheduler.fail(job, answer)
        # What raised may raise again on the state that it left; who was killed did nothing wrong.
        if checkpoints is not None and answer.kind not in ("died", "hung"):
            checkpoints.delete(job)
    if checkpoints is not None:
        checkpoints.retain(scheduler.networks_ahead())


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineExecutor:
    """One slot, no processes. `limit`: seconds of a job; a call that hangs in C is not ended."""

    checkpoints: Checkpoints | None = None
    limit: float | None = None

    def run(self, scheduler: Scheduler, factory: EvaluatorFactory, *, stop: StopSignal) -> None:
        """Run jobs until there are none, or until `stop` says so."""
        evaluator = None
        while not stop() and (job := scheduler.next_job()) is not None:
            evaluator = evaluator or factory()  # not made when nothing is left to do
            folder = None if self.checkpoints is None else self.checkpoints.path_for(job)
            answer = run_job(evaluator, job, folder=folder, limit=self.limit)
            handle_result(scheduler, job, answer, checkpoints=self.checkpoints)
