"""Values shared by the scheduler, the executors and readers of a study."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.scaling.shares import Shares
from cmt_search.space.candidates import Candidate, Parameter, Rung

State = Literal["running", "interrupted", "complete", "pruned", "failed"]
"""interrupted: running in the study, but without an active driver; `resume` continues it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRecord:
    """One rung of a trial and what was measured on it, a measurement per seed."""

    rung: Rung
    measurements: tuple[Measurement, ...]  # fewer than the space's seeds while it runs
    reused: tuple[bool, ...]  # per measurement: answered from an earlier trial of this study


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One candidate and all that the study knows of it."""

    number: int
    state: State
    name: str  # the rule's name, or how the point came about
    params: dict[str, float | int]
    shares: tuple[float, float, float] | None  # asked for: depth, width, resolution
    rungs: tuple[RungRecord, ...]  # all, in order; measurements may be empty
    replicate: int = 0  # shifts the training seeds; 0 is the first measurement of a candidate
    values: tuple[float, ...] = ()  # as told to Optuna, one per objective
    reason: str | None = None  # why it failed or was pruned
    is_infeasible: bool = False  # failed, because no network met the limits: nothing was trained
    retry_of: int | None = None  # number of the failed trial that this one retries
    seconds: float = 0.0  # training time of what was not reused
    started: float | None = None  # seconds since 1970: when the study got it
    ended: float | None = None  # likewise; None: it has not


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training to run: one rung of one trial with one seed."""

    trial: int  # number of the trial that asked for it
    rung: int  # index of the trial's rung
    seed: int
    arch: Arch
    fidelity: Fidelity

    @property
    def key(self) -> "MeasurementKey":
        """Key of the measurement: jobs with equal keys are run once."""
        return (self.arch.key, self.fidelity, self.seed)

    @property
    def checkpoint_name(self) -> str:
        """Name of the checkpoint folder; begins with the network's key.

        Independent of the epochs, so that a longer training can start from a shorter one.
        """
        any_length = replace(self.fidelity, epochs=1)
        digest = hashlib.sha256(repr((any_length, self.seed)).encode())
        return f"{self.arch.key}-{digest.hexdigest()[:16]}"


MeasurementKey = tuple[str, Fidelity, int]  # see Job.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A job without a measurement.

    error: an exception. died: the worker process ended. hung: timeout. memory: out of memory.
    invalid: diverged, or an impossible value; deterministic, so not retried.
    """

    reason: str
    kind: Literal["error", "died", "hung", "memory", "invalid"] = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """Remaining work, as upper bounds, since networks coincide and trials are pruned; what is done.

    What is done includes earlier calls.
    """

    trials: int  # not finished, suggested or not
    jobs: int  # not measured, including running ones
    jobs_done: int  # distinct measurements of the study
    best_top1: float | None  # of one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """A job was handed out."""

    job: Job
    name: str  # of the candidate
    remaining: Remaining


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished:
    """A job came back with a measurement or with a reason."""

    job: Job
    name: str
    measurement: Measurement | None = None
    reason: str | None = None
    remaining: Remaining
    is_retried: bool = False  # it failed and will be run again


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFinished:
    """A trial reached its end."""

    number: int
    name: str
    state: State
    values: tuple[float, ...]  # one per objective when complete, else empty
    reason: str | None
    remaining: Remaining


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The search stops: once its running jobs are finished, or, where aborted, at once."""

    reason: Literal["interrupted", "time limit", "aborted"]


Event = JobStarted | JobFinished | TrialFinished | Stopping
Listener = Callable[[Event], None]


Ending = Literal["finished", "exhausted", "interrupted", "time limit", "everything fails"]
"""exhausted: there were fewer candidates than trials requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one call of `run_search` ended."""

    stopped: Ending
    complete: int  # trials of the study, from earlier calls too
    pruned: int
    failed: int  # without the infeasible ones
    infeasible: int
    reused: int  # measurements answered from the study instead of being trained again
    jobs: int  # trainings handed out and brought back in this call
    remaining: Remaining
    notes: tuple[str, ...] = ()  # what a user should know, in sentences
    abort_reason: str | None = None  # why it stopped, if everything fails


class Sampler(Protocol):
    """How candidates are chosen: the key `sampler` of a space file."""

    @property
    def name(self) -> str: ...  # a key of `SAMPLERS`
    @property
    def lattice(self) -> int: ...  # order m: shares are multiples of 1/m; 0 for no lattice
    @property
    def augmented(self) -> bool: ...  # the lattice keeps to the feasible part, with blends inside
    @property
    def replicates(self) -> int: ...  # measurements in all of the centroid and the paper's rule
    @property
    def initial_points(self) -> int | None: ...  # Sobol points before it learns; None: the default


class Space(Protocol):
    """A validated search space."""

    @property
    def kind(self) -> Literal["rule", "shape", "pareto", "list"]: ...  # of candidate
    @property
    def objectives(self) -> tuple[str, ...]: ...  # top1, loss, seconds, or costs of a `Rung`
    @property
    def trials(self) -> int | None: ...  # in all; None: as many as the design holds
    @property
    def seeds(self) -> int: ...  # trainings per rung
    @property
    def seed(self) -> int: ...  # of the run
    @property
    def sampler(self) -> Sampler: ...
    @property
    def reduction_factor(self) -> int | None: ...  # of halving; None: trials run all their rungs
    @property
    def fingerprint(self) -> str: ...  # hash of everything that decides what a trial is

    def analytic_only(self) -> "Space":
        """Return the same space without measured costs (latency, memory)."""

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the parameters that a sampler chooses."""

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """Return the candidate of a choice of parameters.

        Raises:
            BudgetError: no network meets the limits, those measured before training among them.
        """

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """Return the parameters that give these shares; rule searches only."""

    def named_shares(self) -> Mapping[str, Shares]:
        """Return the named rules of a rule search, including "cmt-paper"."""
