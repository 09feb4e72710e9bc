"""In-memory state of a search: running trials and the results to compare them with."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from optuna.trial import FrozenTrial

from cmt_search.evaluation import SEEDS_PER_REPLICATE, Fidelity, Measurement
from cmt_search.search import serialization as attr
from cmt_search.search.types import Failure, Job, MeasurementKey, Space
from cmt_search.space.candidates import Candidate

Values = tuple[float, ...]  # one per objective
_DEATH_RETRIES = 2  # at least: a worker often dies by the machine, not by its network
_MAX_EQUAL_FAILURES = 5  # trials in a row, without any measurement, before the search aborts
_MAX_FAILURES = 10  # likewise, with different reasons


def training_seed(seed: int, *, replicate: int, seed_index: int) -> int:
    """Return the seed of a training: the run's, shifted by replicate and index in the rung.

    It is the same for all candidates, so that equal networks share their trainings.
    """
    return seed + SEEDS_PER_REPLICATE * replicate + seed_index


@dataclass(slots=True, kw_only=True)
class RunningTrial:
    """A trial on its way through the rungs of its candidate."""

    number: int
    candidate: Candidate
    seeds: tuple[int, ...]  # training seeds of every rung
    rungs_done: int = 0  # measured and passed
    reason: str | None = None  # why it ends once its running jobs are done
    _measured: dict[tuple[int, int], Measurement] = field(default_factory=dict)  # by rung, seed

    @property
    def name(self) -> str:
        """The name of the candidate."""
        return self.candidate.name

    @property
    def is_last_rung_done(self) -> bool:
        """Whether all rungs were passed."""
        return self.rungs_done == len(self.candidate.rungs)

    def add(self, job: Job, measurement: Measurement) -> None:
        """Add the measurement of one of its jobs."""
        self._measured[job.rung, job.seed] = measurement

    def missing_jobs(self) -> Iterator[Job]:
        """Yield the jobs of the current rung that have no measurement."""
        if self.is_last_rung_done:
            return
        for seed_index, seed in enumerate(self.seeds):
            if (self.rungs_done, seed) not in self._measured:
                yield self.job(self.rungs_done, seed_index=seed_index)

    def job(self, rung: int, *, seed_index: int) -> Job:
        """Return the training of a rung with one of the seeds."""
        step = self.candidate.rungs[rung]
        return Job(
            trial=self.number,
            rung=rung,
            seed=self.seeds[seed_index],
            arch=step.arch,
            fidelity=step.fidelity,
        )

    @property
    def is_end_of_length(self) -> bool:
        """Whether the next rung trains for longer, not only at a larger budget: only there
        trials are pruned."""
        passed, following = self.candidate.rungs[self.rungs_done - 1 : self.rungs_done + 1]
        return passed.fidelity.epochs != following.fidelity.epochs

    @property
    def n_rungs_measured(self) -> int:
        """Number of leading rungs that are measured with all seeds."""
        rungs = range(len(self.candidate.rungs))
        is_measured = [all((rung, s) in self._measured for s in self.seeds) for rung in rungs]
        return (*is_measured, False).index(False)

    @property
    def n_jobs_left(self) -> int:
        """Number of measurements that it lacks."""
        return len(self.candidate.rungs) * len(self.seeds) - len(self._measured)

    def values(self, rung: int, *, objectives: Sequence[str]) -> Values:
        """Return the objectives at a measured rung: means over seeds, and costs of its network."""
        measurements = [self._measured[rung, seed] for seed in self.seeds]
        step = self.candidate.rungs[rung]
        values: list[float] = []
        for name in objectives:
            if name in ("top1", "loss", "seconds"):
                values.append(fmean(getattr(m, name) for m in measurements))
            else:
                values.append(float(getattr(step, name)))
        return tuple(values)


@dataclass(slots=True, kw_only=True)
class SearchState:
    """The running trials of a study, and the results of all."""

    space: Space
    counts: Counter[str] = field(default_factory=Counter)  # ended trials: state or "infeasible"
    running: dict[int, RunningTrial] = field(default_factory=dict)  # by number
    foreign_trials: list[int] = field(default_factory=list)  # running, without a candidate
    measured: dict[MeasurementKey, Measurement] = field(default_factory=dict)
    n_reused: int = 0  # measurements answered from the study
    n_retries: int = 0  # trials that retry a failed one
    n_rungs: int = 1  # of a trial, as far as known
    _passed: dict[tuple[int, Fidelity, float | None], dict[int, Values]] = field(
        default_factory=dict
    )  # by rung, fidelity and budget, within which trials are compared; by trial number

    def start(self, number: int, candidate: Candidate, *, replicate: int) -> RunningTrial:
        """Add a running trial."""
        run, count = self.space.seed, self.space.seeds
        seeds = (training_seed(run, replicate=replicate, seed_index=i) for i in range(count))
        trial = RunningTrial(number=number, candidate=candidate, seeds=tuple(seeds))
        self.n_rungs = len(candidate.rungs)
        self.running[number] = trial
        return trial

    def restore(self, trial: FrozenTrial, candidate: Candidate | None) -> None:
        """Add a trial of the study; a running one continues where it was interrupted."""
        attributes, is_running = trial.user_attrs, not trial.state.is_finished()
        self.n_retries += attr.RETRY_OF in attributes
        if not is_running:
            is_infeasible = attr.INFEASIBLE in attributes
            self.counts["infeasible" if is_infeasible else attr.state_of(trial.state)] += 1
        if candidate is None:
            if is_running:  # our trials are added with their candidate
                self.foreign_trials.append(trial.number)
            return
        restored = self.start(trial.number, candidate, replicate=attributes.get(attr.REPLICATE, 0))
        restored.reason = attributes.get(attr.REASON)
        for (rung, seed_index), (measurement, reused) in attr.read_measurements(attributes).items():
            job = restored.job(rung, seed_index=seed_index)
            self.add(restored, job, measurement, reused=reused)
        n_measured = restored.n_rungs_measured
        for _ in range(attributes.get(attr.RUNGS_PASSED, 0) if is_running else n_measured):
            self.pass_rung(restored)
        if not is_running:
            del self.running[trial.number]

    def add(self, trial: RunningTrial, job: Job, measurement: Measurement, *, reused: bool) -> None:
        """Add a measurement of a trial."""
        trial.add(job, measurement)
        self.measured.setdefault(job.key, measurement)
        self.n_reused += reused

    def pass_rung(self, trial: RunningTrial) -> tuple[Values, list[Values]]:
        """Count a rung as passed; return its values and those of the trials before."""
        step = trial.candidate.rungs[trial.rungs_done]
        values = trial.values(trial.rungs_done, objectives=self.space.objectives)
        passed = self._passed.setdefault((trial.rungs_done, step.fidelity, step.budget), {})
        others = list(passed.values())
        passed[trial.number] = values
        trial.rungs_done += 1
        return values, others


class RetryPolicy:
    """Decides whether a failed job is run again in this session."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._special = {"verdict": 0, "memory": 1, "died": max(retries, _DEATH_RETRIES)}
        self._n_failed: Counter[MeasurementKey] = Counter()

    def should_retry(self, job: Job, failure: Failure) -> bool:
        """Count a failure; return whether the job is run again."""
        self._n_failed[job.key] += 1
        return self._n_failed[job.key] <= self._special.get(failure.kind, self._retries)

    def reason(self, job: Job, failure: Failure) -> str:
        """Return the reason for which the trial of the job fails."""
        n_tries = self._n_failed[job.key]
        return failure.reason + (f" (tried {n_tries} times)" if n_tries > 1 else "")


class FailureCounter:
    """Counts consecutive failed trials."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def reset(self) -> None:
        """Start again: something was measured."""
        self._reasons.clear()

    def add(self, reason: str) -> str | None:
        """Count a failed trial; return why the search should abort, if it should."""
        without_location = reason.partition(", in ")[0]
        self._reasons.append(re.sub(r"\d+(\.\d+)?", "#", without_location))
        count = len(self._reasons)
        if count >= _MAX_EQUAL_FAILURES and len(set(self._reasons)) == 1:
            return f"the first {count} trials all failed: {reason}"
        if count >= _MAX_FAILURES:
            return f"the first {count} trials all failed, the last of them with: {reason}"
        return None


def validate_measurement(measurement: Measurement, *, job: Job) -> str | None:
    """Return what makes a measurement invalid, if anything."""
    for name in ("top1", "loss", "seconds"):
        if not math.isfinite(getattr(measurement, name)):
            return f"{name} is {getattr(measurement, name)}: the training diverged"
    if not 0 <= measurement.top1 <= 1:
        return f"top1 is {measurement.top1}, outside 0..1"
    if measurement.seed != job.seed:
        return f"seed is {measurement.seed}, requested was {job.seed}"
    return None
