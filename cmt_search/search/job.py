"""What a ledger hands out and gets back, what it tells meanwhile, and what is left at the end."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.search.record import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training to run: one rung of one trial with one seed."""

    trial: int  # number of the trial that asked for it
    rung: int  # index in the trial's ladder
    seed: int
    arch: Arch
    fidelity: Fidelity
    micro_batch: int | None = None  # images per pass, where memory asks for fewer than the recipe

    @property
    def identity(self) -> "Identity":
        """What decides the measurement: jobs of equal identity are measured once."""
        return (self.arch.key, self.fidelity, self.seed, self.micro_batch)

    @property
    def slug(self) -> str:
        """The identity as the name of a folder, but for the length: a longer training of the same
        network may go on from a shorter one. Begins with the network's key."""
        any_length = replace(self.fidelity, epochs=1)
        digest = hashlib.sha256(repr((any_length, self.seed, self.micro_batch)).encode())
        return f"{self.arch.key}-{digest.hexdigest()[:16]}"


Identity = tuple[str, Fidelity, int, int | None]  # see Job.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A job that gave no measurement, and what that says of trying it again.

    error: something was raised. died: its worker did. hung: its time was up. memory: too little of
    it. verdict: the training came to its end, and would come to the same one again.
    """

    reason: str
    kind: Literal["error", "died", "hung", "memory", "verdict"] = "error"
    micro_batch: int | None = None  # of memory: the one to repeat the rung with, if there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is left to do; upper bounds, because networks coincide and trials stop early."""

    trials: int  # not yet finished, asked for or not
    jobs: int  # not yet measured; those running count


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """A job was handed out."""

    job: Job
    name: str  # of the candidate
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished:
    """A job came back with a measurement or with a reason."""

    job: Job
    name: str
    measurement: Measurement | None
    reason: str | None
    plan: Plan
    again: bool = False  # it failed, and will be handed out again


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFinished:
    """A trial reached its end."""

    number: int
    name: str
    state: State
    values: tuple[float, ...]  # one per objective when complete, else empty
    reason: str | None
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRepeated:
    """Memory ran out: a rung is trained again, by all its members, with fewer images per pass."""

    rung: int  # index in the ladder
    micro_batch: int
    reason: str
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The search was told to end; the running jobs are finished first."""

    why: Literal["interrupted", "time limit"]


Event = JobStarted | JobFinished | TrialFinished | RungRepeated | Stopping
Listener = Callable[[Event], None]


Ending = Literal["finished", "interrupted", "time limit", "everything fails"]


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
    left: Plan
    notes: tuple[str, ...] = ()  # what a user should know, in sentences
    gave_up: str | None = None  # why it stopped, where everything fails
