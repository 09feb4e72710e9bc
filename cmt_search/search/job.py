"""What a ledger hands out, what it tells while it works, and what is left at the end."""

from collections.abc import Callable
from dataclasses import dataclass
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

    @property
    def identity(self) -> tuple[str, Fidelity, int]:
        """What decides the measurement: jobs of equal identity are measured once."""
        return (self.arch.key, self.fidelity, self.seed)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFinished:
    """A trial reached its end."""

    number: int
    name: str
    state: State
    values: tuple[float, ...]  # one per objective when complete, else empty
    reason: str | None
    plan: Plan


Event = JobStarted | JobFinished | TrialFinished
Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one call of `run_search` ended."""

    stopped: Literal["finished", "interrupted", "time limit"]
    complete: int  # trials of the study, from earlier calls too
    pruned: int
    failed: int  # without the infeasible ones
    infeasible: int
    reused: int  # measurements answered from the study instead of being trained again
    jobs: int  # trainings handed out and brought back in this call
    left: Plan
    notes: tuple[str, ...] = ()  # what a user should know, in sentences
