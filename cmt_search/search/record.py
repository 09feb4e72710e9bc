"""What a study holds of one trial, read back as plain values."""

from dataclasses import dataclass
from typing import Literal

from cmt_search.evaluation import Measurement
from cmt_search.space.candidate import Rung

State = Literal["running", "interrupted", "complete", "pruned", "failed"]
"""interrupted: the study says running, and no process drives it; a resume goes on with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRecord:
    """One rung of a trial and what was measured on it, a measurement per seed."""

    rung: Rung
    measurements: tuple[Measurement, ...]  # fewer than the space's seeds while it runs
    reused: tuple[bool, ...]  # per measurement: answered from an earlier trial of this study
    micro_batch: int | None = None  # images per pass, where memory asked for fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One candidate and all that the study knows of it."""

    number: int
    state: State
    name: str  # the rule's name, or how the point came about
    params: dict[str, float | int]
    shares: tuple[float, float, float] | None  # asked for: depth, width, resolution
    rungs: tuple[RungRecord, ...]  # the whole ladder, in order; measurements may be empty
    replicate: int = 0  # shifts the training seeds; 0 is the first measurement of a candidate
    values: tuple[float, ...] = ()  # as told to Optuna, one per objective
    reason: str | None = None  # why it failed or was pruned
    repeats: int | None = None  # number of the trial that this one takes the place of
    seconds: float = 0.0  # training time of what was not reused
    started: float | None = None  # seconds since 1970: when the study got it
    ended: float | None = None  # likewise; None: it has not
