"""Executor on Ray Tune, local or on a cluster: one Tune trial is one job."""

import hashlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cmt_search.errors import CmtSearchError, RunError
from cmt_search.evaluation import Evaluator, EvaluatorFactory, Measurement
from cmt_search.search.executors.inline import handle_result
from cmt_search.search.executors.worker import describe, kill_after, make_evaluator, run_job
from cmt_search.search.run_dir import Checkpoints, usable_cores
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.types import Failure, Job

_OBJECT_STORE = 128 * 2**20  # bytes; only jobs and measurements pass through it
_ROUNDING = 1e-9  # three times a third is one
_REASON_LINES = 3  # of Tune's error file
_JOBS_PER_TUNER = 1000  # Tune walks its list of all trials at every step


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequest:
    """The resources of a search.

    Raises:
        RunError: no cluster can grant them, or the address is Ray Client's.
    """

    slots: int | None = None  # jobs at a time; None: as many as fit
    address: str | None = None  # None: start Ray on this machine
    cpus: float = 1.0  # per job
    gpus: float = 0.0  # per job; a fraction shares one

    def __post_init__(self) -> None:
        if self.address is not None and self.address.startswith("ray://"):
            raise RunError(
                f"--address {self.address} is Ray Client's: a search would be lost with its "
                "connection; run this command on a node of the cluster with --address auto, or "
                "submit it: `ray job submit -- cmt-search ...`"
            )
        if self.cpus < 0 or self.gpus < 0 or not (self.cpus or self.gpus):
            raise RunError(
                f"a trial cannot use {self.cpus:g} CPU and {self.gpus:g} GPU; set --cpus-per-trial "
                "or --gpus-per-trial above 0"
            )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise RunError(
                f"--gpus-per-trial {self.gpus:g} is neither whole nor below 1; use "
                f"{int(self.gpus)}, {int(self.gpus) + 1}, or a fraction below 1"
            )

    def slots_on(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """Return how many jobs run at a time on nodes with these resources.

        Raises:
            RunError: they have no room for `slots` jobs; Ray would wait for ever.
        """
        resources = {"CPU": self.cpus, "GPU": self.gpus}
        needed = {name: amount for name, amount in resources.items() if amount > 0}
        capacity = sum(
            min(_capacity(node.get(name, 0), amount, name) for name, amount in needed.items())
            for node in nodes
        )
        if capacity >= (self.slots or 1):
            return self.slots or capacity
        per_trial = " and ".join(f"{amount:g} {name}" for name, amount in needed.items())
        by_node = "; ".join(
            " and ".join(f"{node.get(name, 0):g} {name}" for name in needed) for node in nodes
        )
        cluster = "this machine" if self.address is None else f"the cluster at {self.address!r}"
        remedy = f"use --slots {capacity}, " if capacity else ""
        raise RunError(
            f"{self.slots or 1} trials at a time need {per_trial} each, and {cluster} has room for "
            f"{capacity} (by node: {by_node}); {remedy}lower --cpus-per-trial or --gpus-per-trial, "
            "or give the --address of a larger cluster"
        )


def _capacity(available: float, amount: float, name: str) -> int:
    """Return how often an amount fits on a node; a fraction of a GPU lies on one GPU."""
    if name == "GPU" and amount < 1:
        return int(available) * int(1 / amount + _ROUNDING)
    return int(available / amount + _ROUNDING)


@contextmanager
def connected(request: ResourceRequest, *, session: str = "") -> Iterator[int]:
    """Start or join Ray for the duration of the context; yield the number of slots.

    A Ray that runs in this process already is used and left alone. `session` identifies the run on
    this machine: what its killed driver left in the temporary directory is deleted.

    Raises:
        RunError: Ray does not start, or has no room for the trials.
    """
    if ray.is_initialized():
        yield request.slots_on(_nodes())
        return
    with _session_dir(session):
        try:
            _start(request)
            yield request.slots_on(_nodes())
        finally:
            ray.shutdown()


def _nodes() -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def _session_dir(session: str) -> Iterator[None]:
    """Set RAY_TMPDIR to a new folder, whose path is short enough for Ray's sockets."""
    before = os.environ.get("RAY_TMPDIR")
    name = hashlib.sha256((session or str(os.getpid())).encode()).hexdigest()[:8]
    folder = Path(before or tempfile.gettempdir()) / f"cmt-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise RunError(f"{folder} cannot be made ({error}); set RAY_TMPDIR") from error
    os.environ["RAY_TMPDIR"] = str(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["RAY_TMPDIR"]
        if before is not None:
            os.environ["RAY_TMPDIR"] = before


def _start(request: ResourceRequest) -> None:
    """Join the cluster, or start Ray here; the process's signal handlers stay as they are."""
    options: dict[str, Any] = {"address": request.address}
    if request.address is None:
        options = {
            "address": "local",
            "num_cpus": max(usable_cores(), request.slots or 0),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if request.address is None:
            raise RunError(
                f"Ray does not start on this machine ({first}); free memory and disk space, or use "
                "--executor inline"
            ) from error
        raise RunError(
            f"the Ray cluster at {request.address!r} cannot be joined ({first}); make this machine "
            "a node (`ray start --address HOST:6379`, then --address auto), install the same Ray "
            "and Python on all nodes, and copy ~/.ray/auth_token with RAY_AUTH_MODE=token if it "
            "uses one"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


class JobSearcher(Searcher):
    """Give a scheduler's jobs to one Tuner, as configs, and Tune's results to the scheduler."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        stop: Callable[[], bool],
        checkpoints: Checkpoints | None,
        limit: float | None,
    ) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._stop = stop
        self._checkpoints = checkpoints
        self._limit = limit
        self._remaining = _JOBS_PER_TUNER
        self._running: dict[str, Job] = {}  # by Tune's trial id
        self._started: dict[str, float] = {}
        self.error: Exception | None = None  # Tune swallows what its hooks raise

    @property
    def closed(self) -> bool:
        """Whether the search hands out no more jobs."""
        over = self._scheduler.finished or self._scheduler.abort_reason is not None
        return self.error is not None or self._stop() or over

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial; None: ask again later."""
        if self._remaining == 0 or self.closed:
            return Searcher.FINISHED
        try:
            job = self._scheduler.next_job()
        except Exception as error:  # noqa: BLE001  # raised after the run
            self.error = error
            return Searcher.FINISHED
        if job is None:
            return Searcher.FINISHED if self.closed else None
        self._remaining -= 1
        self._running[trial_id] = job
        return {"job": job}

    def on_start(self, trial_id: str) -> None:
        """Note when a worker started the job."""
        self._started[trial_id] = time.monotonic()

    def complete(self, trial_id: str, result: "Measurement | Failure | AbortSearch") -> None:
        """Give a result to the scheduler."""
        job = self._running.pop(trial_id)
        self._started.pop(trial_id, None)
        try:
            if isinstance(result, AbortSearch):
                raise result.error
            handle_result(self._scheduler, job, result, checkpoints=self._checkpoints)
        except Exception as error:  # noqa: BLE001  # raised after the run
            self.error = self.error or error

    def on_worker_died(self, trial_id: str, *, error_file: str | None) -> None:
        """Fail the job of a worker that died, by `kill_after` or by something else."""
        seconds = time.monotonic() - self._started.get(trial_id, float("inf"))
        if self._limit is not None and seconds >= self._limit:
            reason = f"hung: its process was ended after {seconds:.0f} s; the limit is "
            failure = Failure(reason=f"{reason}{self._limit:g} s", kind="hung")
        else:
            failure = Failure(reason=f"the worker died: {_last_error(error_file)}", kind="died")
        self.complete(trial_id, failure)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: `ResultCallback` also learns why a worker died."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that never happens


def _last_error(file: str | None) -> str:
    """Return the end of the error file of a Tune trial."""
    try:
        lines = Path(file).read_text(errors="replace").split("\n") if file else []
    except OSError:
        lines = []
    return " ".join([line.strip() for line in lines if line.strip()][-_REASON_LINES:]) or "no log"


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortSearch:
    """An error that ends the whole search: no evaluator, or data that fit no network."""

    error: Exception


class JobRunner(tune.Trainable):
    """A worker process. It makes the evaluator once and keeps it from job to job."""

    def setup(
        self,
        config: dict[str, Any],
        factory: EvaluatorFactory,
        checkpoints: Checkpoints | None,
        limit: float | None,
        threads: int,
    ) -> None:
        """Make the evaluator; once per process, before its first job starts."""
        self._job: Job = config["job"]
        self._checkpoints = checkpoints
        self._limit = limit
        self._evaluator: Evaluator | AbortSearch
        try:
            self._evaluator = make_evaluator(factory, threads=threads)
        except CmtSearchError as error:
            self._evaluator = AbortSearch(error=error)
        except Exception as error:  # noqa: BLE001  # raised in the driver
            reason = RuntimeError(f"no evaluator could be made: {describe(error)}")
            self._evaluator = AbortSearch(error=reason)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job."""
        self._job = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        """Run the job."""
        return {"result": self._run_job(), "done": True}

    def _run_job(self) -> Measurement | Failure | AbortSearch:
        if isinstance(self._evaluator, AbortSearch):
            return self._evaluator
        folder = None if self._checkpoints is None else self._checkpoints.path_for(self._job)
        try:
            with kill_after(self._limit):
                return run_job(self._evaluator, self._job, folder=folder, limit=self._limit)
        except CmtSearchError as error:
            return AbortSearch(error=error)


class LazyFIFOScheduler(FIFOScheduler):
    """Leave the choice of the next trial to Tune's controller.

    FIFO would give a free worker the oldest waiting job, destroy the worker that starts for that
    job, and start another: with jobs shorter than a worker's start, one worker would do them all.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:  # noqa: ARG002
        """Return None: a free worker takes a job that has no worker yet."""
        return


class ResultCallback(tune.Callback):
    """Pass the results of Tune's trials to the searcher."""

    def __init__(self, searcher: JobSearcher) -> None:
        self._searcher = searcher

    def on_trial_start(self, trial: Any, **_context: Any) -> None:
        self._searcher.on_start(trial.trial_id)

    def on_trial_complete(self, trial: Any, **_context: Any) -> None:
        self._searcher.complete(trial.trial_id, trial.last_result["result"])

    def on_trial_error(self, trial: Any, **_context: Any) -> None:
        self._searcher.on_worker_died(trial.trial_id, error_file=trial.error_file)

    def __getstate__(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Ray Tune, started on this machine or joined at an address."""

    folder: Path  # of the run
    request: ResourceRequest

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

        A Tuner runs a limited number of jobs, so that the cost of a job does not grow.

        Raises:
            RunError: the cluster cannot be reached, or has no room for a trial.
        """
        if scheduler.finished:
            return
        with connected(self.request, session=str(self.folder.resolve())) as slots:
            trainable = tune.with_parameters(
                JobRunner,
                factory=factory,
                checkpoints=checkpoints,
                limit=limit,
                threads=max(1, int(self.request.cpus)),
            )
            while True:
                searcher = JobSearcher(scheduler, stop=stop, checkpoints=checkpoints, limit=limit)
                self._run_tuner(trainable, searcher, slots=slots)
                if searcher.error is not None:
                    raise searcher.error
                if searcher.closed:
                    return

    def _run_tuner(self, trainable: Any, searcher: JobSearcher, *, slots: int) -> None:
        """Run one Tuner; its own state is never read."""
        state = self.folder.resolve() / ".tune"
        shutil.rmtree(state, ignore_errors=True)  # of a killed driver
        tune_config = tune.TuneConfig(
            search_alg=searcher,
            scheduler=LazyFIFOScheduler(),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        )
        run_config = tune.RunConfig(
            name="jobs",
            storage_path=str(state),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[ResultCallback(searcher)],
            verbose=0,
        )
        resources = {"cpu": self.request.cpus, "gpu": self.request.gpus}
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune_config,
            run_config=run_config,
        )
        try:
            tuner.fit()
        finally:
            shutil.rmtree(state, ignore_errors=True)


def _trial_name(trial: Any) -> str:
    """Return a short name; Tune would write the whole job into a folder's name."""
    return str(trial.trial_id)
