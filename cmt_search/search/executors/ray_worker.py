"""The worker's end of the Ray executor: a process that runs one job after the other."""

from dataclasses import dataclass
from typing import Any

from ray import tune

from cmt_search.errors import CmtSearchError
from cmt_search.evaluation import Evaluator, EvaluatorFactory, Measurement
from cmt_search.search.checkpoints import Checkpoints
from cmt_search.search.executors.attempt import attempt, describe
from cmt_search.search.executors.patience import or_die
from cmt_search.search.job import Failure, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal:
    """What ends the whole search: no evaluator, or data that fit no candidate."""

    error: Exception


class JobRunner(tune.Trainable):
    """One worker process: makes the evaluator once and keeps it from job to job."""

    def setup(
        self,
        config: dict[str, Any],
        factory: EvaluatorFactory | None = None,
        checkpoints: Checkpoints | None = None,
        limit: float | None = None,
    ) -> None:
        """Called once per process."""
        self._job: Job = config["job"]
        self._factory = factory
        self._checkpoints = checkpoints
        self._limit = limit
        self._evaluator: Evaluator | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next job for this process."""
        self._job = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        """The whole job."""
        return {"answer": self._answer(), "done": True}

    def _answer(self) -> Measurement | Failure | Fatal:
        try:
            if self._evaluator is None:
                assert self._factory is not None
                self._evaluator = self._factory()
            folder = None if self._checkpoints is None else self._checkpoints.of(self._job)
            with or_die(self._limit):
                return attempt(self._evaluator, self._job, folder=folder, limit=self._limit)
        except CmtSearchError as error:
            return Fatal(error=error)
        except Exception as error:  # noqa: BLE001  # raised in the driver
            return Fatal(error=RuntimeError(f"no evaluator could be made: {describe(error)}"))
