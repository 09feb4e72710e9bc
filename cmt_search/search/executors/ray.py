"""Executor on Ray Tune, local or on a cluster: one Tune trial is one job."""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import AuthenticationError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cmt_search.errors import CmtSearchError, RunError
from cmt_search.evaluation import Evaluator, EvaluatorFactory, Measurement
from cmt_search.search.driver import StopSignal
from cmt_search.search.executors.inline import handle_result
from cmt_search.search.executors.worker import describe, kill_after, run_job
from cmt_search.search.run_dir import Checkpoints, usable_cores
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.types import Failure, Job

_OBJECT_STORE = 128 * 2**20  # bytes; jobs and measurements are small, data never pass through it
_CLIENT = "ray://"
_ROUNDING = 1e-9  # so that three times a third is one


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequest:
    """What a search asks of a cluster.

    Raises:
        RunError: no cluster could grant it, or the address is a client's.
    """

    slots: int | None = None  # jobs at a time; None: as many as fit
    address: str | None = None  # None: start Ray on this machine
    cpus: float = 1.0  # per job
    gpus: float = 0.0  # per job; a fraction shares one

    def __post_init__(self) -> None:
        if self.address is not None and self.address.startswith(_CLIENT):
            raise RunError(
                f"--address {self.address} is Ray Client's, through which a driver outside of the "
                "cluster would be lost with its connection; run this command on a node of the "
                "cluster with --address auto, or send it there: `ray job submit -- cmt-search ...`"
            )
        if self.cpus < 0 or self.gpus < 0 or not (self.cpus or self.gpus):
            raise RunError(
                f"a trial that asks for {self.cpus:g} CPU and {self.gpus:g} GPU cannot be counted; "
                "use more than 0 of one of them"
            )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise RunError(
                f"--gpus-per-trial {self.gpus:g} is neither whole nor a part of one GPU; use "
                f"{int(self.gpus)}, {int(self.gpus) + 1}, or a fraction below 1"
            )

    @property
    def resources(self) -> dict[str, float]:
        """What a job needs, in Ray's words."""
        return {"CPU": self.cpus, "GPU": self.gpus}


@contextmanager
def connected(request: ResourceRequest) -> Iterator[int]:
    """Ray, for as long as it is needed, and how many jobs run at a time.

    A Ray that already runs in this process is used, and left alone.

    Raises:
        RunError: there is no cluster at the address, or it has no room for a job.
    """
    ours = not ray.is_initialized()
    if ours:
        _start(request)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield slots(request, nodes=nodes)
    finally:
        if ours:
            ray.shutdown()


def slots(request: ResourceRequest, *, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many jobs run at a time on nodes with these resources.

    Raises:
        RunError: no node has room for one, or all have room for fewer than are wished for; Ray
            would wait for ever.
    """
    needed = {name: amount for name, amount in request.resources.items() if amount > 0}
    room = sum(
        min(_times(amount, of=node.get(name, 0), name=name) for name, amount in needed.items())
        for node in nodes
    )
    if room >= (request.slots or 1):
        return request.slots or room
    asked = " and ".join(f"{amount:g} {name}" for name, amount in needed.items())
    there = "; ".join(
        " and ".join(f"{node.get(name, 0):g} {name}" for name in needed) for node in nodes
    )
    where = "this machine" if request.address is None else f"the cluster at {request.address!r}"
    if not room:
        raise RunError(
            f"a trial asks for {asked}, and no node of {where} has that (by node: {there}); lower "
            "--cpus-per-trial or --gpus-per-trial, or give the --address of a larger cluster"
        )
    raise RunError(
        f"{request.slots} trials at a time ask for {asked} each, and {where} has room for {room} "
        f"(by node: {there}); use --slots {room}, ask for less per trial, or add nodes first"
    )


def _times(amount: float, *, of: float, name: str) -> int:
    """How often an amount fits into a node's; a part of a GPU lies on one GPU."""
    if name == "GPU" and amount < 1:
        return int(of) * int(1 / amount + _ROUNDING)
    return int(of / amount + _ROUNDING)


def _start(request: ResourceRequest) -> None:
    """Connect, or start Ray here. Ray itself gives a worker as many threads as the job has CPUs."""
    if request.address is None:
        ray.init(
            address="local",
            num_cpus=max(usable_cores(), request.slots or 0),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
        return
    try:
        ray.init(address=request.address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError, AuthenticationError) as error:
        ray.shutdown()  # of what a failed start left
        raise RunError(_unreachable(request.address, error)) from error


def _unreachable(address: str, error: Exception) -> str:
    """Why a cluster was not joined, and what to do."""
    if "Version mismatch" in str(error):
        return (
            f"the cluster at {address!r} runs another Ray or Python ({' '.join(str(error).split())}"
            "); install the same package on every node, as deploy/Dockerfile does"
        )
    if isinstance(error, AuthenticationError):
        return (
            f"the cluster at {address!r} asks for its token; copy ~/.ray/auth_token of its first "
            "node to this one, and set RAY_AUTH_MODE=token"
        )
    return (
        f"there is no Ray cluster at {address!r} that this machine is a node of; join it with "
        "`ray start --address HOST:6379` (its first node: `ray start --head`) and say --address "
        "auto, or leave --address away to run on this machine alone"
    )


_REASON_LINES = 3  # of Tune's error file that a study keeps


class JobQueue:
    """Hands out jobs by Tune's ids, and takes in what they gave."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        stop: StopSignal,
        checkpoints: Checkpoints | None,
        limit: float | None,
    ) -> None:
        self._ledger = scheduler
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

    def next_job(self, trial_id: str) -> Job | None:
        """The job of the next Tune trial, if there is one now."""
        try:
            job = self._ledger.next_job()
        except Exception as error:  # noqa: BLE001  # raised again after the run
            self.error = error
            return None
        if job is not None:
            self._running[trial_id] = job
        return job

    def on_start(self, trial_id: str) -> None:
        """A worker took the job."""
        self._began[trial_id] = time.monotonic()

    def complete(self, trial_id: str, answer: Measurement | Failure | Exception) -> None:
        """Give a job's answer to the scheduler; an exception ends the search."""
        job = self._running.pop(trial_id)
        self._began.pop(trial_id, None)
        if isinstance(answer, Exception):
            self.error = self.error or answer
            return
        try:
            handle_result(self._ledger, job, answer, checkpoints=self._checkpoints)
        except Exception as error:  # noqa: BLE001  # raised again after the run
            self.error = self.error or error

    def on_worker_died(self, trial_id: str, *, error_file: str | None) -> None:
        """Take in that a worker died, by the limit on its job or by something else."""
        spent = time.monotonic() - self._began.get(trial_id, float("inf"))
        if self._limit is not None and spent >= self._limit:
            reason = f"hung: its process was ended {spent:.0f} s after it began, past the limit of "
            answer = Failure(reason=f"{reason}{self._limit:g} s", kind="hung")
        else:
            answer = Failure(reason=f"the worker died: {_last_error(error_file)}", kind="died")
        self.complete(trial_id, answer)


def _last_error(file: str | None) -> str:
    """The end of what Tune wrote about a failure."""
    try:
        lines = Path(file).read_text(errors="replace").split("\n") if file else []
    except OSError:
        lines = []
    told = [line.strip() for line in lines if line.strip()]
    return " ".join(told[-_REASON_LINES:]) or "no reason was left"


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortSearch:
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

    def _answer(self) -> Measurement | Failure | AbortSearch:
        try:
            if self._evaluator is None:
                assert self._factory is not None
                self._evaluator = self._factory()
            folder = None if self._checkpoints is None else self._checkpoints.path_for(self._job)
            with kill_after(self._limit):
                return run_job(self._evaluator, self._job, folder=folder, limit=self._limit)
        except CmtSearchError as error:
            return AbortSearch(error=error)
        except Exception as error:  # noqa: BLE001  # raised in the driver
            return AbortSearch(error=RuntimeError(f"no evaluator could be made: {describe(error)}"))


_CACHE = ".tune-"
_REMEMBERED = 100  # trials of Tune's, beside those that run


class JobSearcher(Searcher):
    """Gives Tune its trials."""

    def __init__(self, jobs: JobQueue) -> None:
        super().__init__()
        self._jobs = jobs

    def suggest(self, trial_id: str) -> Any:
        """The config of the next Tune trial; None: ask again."""
        job = None if self._jobs.closed else self._jobs.next_job(trial_id)
        if self._jobs.closed and job is None:
            return Searcher.FINISHED
        return None if job is None else {"job": job}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: of a dead worker this hook does not learn the reason; `ResultCallback` does."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that is never asked for


class LazyFIFOScheduler(FIFOScheduler):
    """Lets workers come up.

    Tune's own choice would be the oldest job that does not run yet, and a worker that comes free
    would get it; the worker that is starting for it would be destroyed, and a new one started for
    the next job. With jobs shorter than a worker's start, one worker would do all of them. Without
    a choice a free worker gets the newest job, which has no worker yet.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:  # noqa: ARG002
        """None: take them as they come."""
        return


class ResultCallback(tune.Callback):
    """Takes from Tune what its trials gave."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def on_step_end(self, iteration: int, trials: list[Any], **_others: Any) -> None:  # noqa: ARG002
        """Let Tune forget what is over: it goes through its list more than once per job."""
        if len(trials) > _REMEMBERED:
            trials[:] = [trial for trial in trials if not trial.is_finished()]

    def on_trial_start(self, trial: Any, **_others: Any) -> None:
        self._jobs.on_start(trial.trial_id)

    def on_trial_complete(self, trial: Any, **_others: Any) -> None:
        answer = trial.last_result["answer"]
        self._jobs.complete(
            trial.trial_id, answer.error if isinstance(answer, AbortSearch) else answer
        )

    def on_trial_error(self, trial: Any, **_others: Any) -> None:
        self._jobs.on_worker_died(trial.trial_id, error_file=trial.error_file)

    def __getstate__(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Ray Tune, started on this machine, or found at an address."""

    folder: Path  # for Tune's cache
    request: ResourceRequest
    checkpoints: Checkpoints | None = None
    limit: float | None = None  # seconds of a job

    def run(self, scheduler: Scheduler, factory: EvaluatorFactory, *, stop: StopSignal) -> None:
        """Run jobs until there are none, or until `stop` says so.

        Raises:
            RunError: the cluster cannot be reached, or has no room for a trial.
        """
        if scheduler.finished:  # ten seconds saved
            return
        with connected(request=self.request) as room, self._cache() as cache:
            jobs = JobQueue(scheduler, stop=stop, checkpoints=self.checkpoints, limit=self.limit)
            trainable = tune.with_resources(
                tune.with_parameters(
                    JobRunner, factory=factory, checkpoints=self.checkpoints, limit=self.limit
                ),
                {"cpu": self.request.cpus, "gpu": self.request.gpus},
            )
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=JobSearcher(jobs),
                    scheduler=LazyFIFOScheduler(),
                    num_samples=-1,
                    max_concurrent_trials=room,
                    reuse_actors=True,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=tune.RunConfig(
                    name="jobs",
                    storage_path=str(cache),
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    callbacks=[ResultCallback(jobs)],
                    verbose=0,
                ),
            ).fit()
            if jobs.error is not None:
                raise jobs.error

    @contextmanager
    def _cache(self) -> Iterator[Path]:
        """A folder for Tune's own state; those that killed drivers left are swept away."""
        for stale in self.folder.glob(f"{_CACHE}*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=_CACHE, dir=self.folder, ignore_cleanup_errors=True
        ) as cache:
            yield Path(cache).resolve()


def _trial_name(trial: Any) -> str:
    """Short: Tune would write the whole job into a folder's name."""
    return str(trial.trial_id)
