"""Executor that runs jobs one after the other in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cmt_search.evaluation import EvaluatorFactory, Measurement
from cmt_search.search.checkpoints import Checkpoints
from cmt_search.search.executors.worker import make_evaluator, run_job
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.types import Failure, Job


class Executor(Protocol):
    """Run the jobs of a scheduler."""

    def run(
        self,
        scheduler: Scheduler,
        factory: EvaluatorFactory,
        *,
        stop: Callable[[], bool],
        checkpoints: Checkpoints | None = None,
        limit: float | None = None,
    ) -> None:
        """Run jobs until the scheduler is finished or `stop` returns True; finish running ones.

        `limit` is the time limit of a job in seconds.
        """
        ...


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
