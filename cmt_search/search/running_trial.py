"""A trial that is running: its candidate, its jobs and their measurements."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from cmt_search.evaluation import SEEDS_PER_REPLICATE, Measurement
from cmt_search.search.types import Job
from cmt_search.space.candidates import Candidate

Values = tuple[float, ...]  # one per objective


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
    measurements: dict[tuple[int, int], Measurement] = field(default_factory=dict)  # by rung, seed

    @property
    def is_last_rung_done(self) -> bool:
        """Whether all rungs were passed."""
        return self.rungs_done == len(self.candidate.rungs)

    @property
    def is_end_of_length(self) -> bool:
        """Whether the next rung trains for longer, not only at a larger budget: only there
        trials are pruned."""
        passed, following = self.candidate.rungs[self.rungs_done - 1 : self.rungs_done + 1]
        return passed.fidelity.epochs != following.fidelity.epochs

    @property
    def n_rungs_measured(self) -> int:
        """Number of leading rungs that are measured with all seeds."""
        missing = next(self._missing_jobs(range(len(self.candidate.rungs))), None)
        return len(self.candidate.rungs) if missing is None else missing.rung

    @property
    def n_jobs_left(self) -> int:
        """Number of measurements that it lacks."""
        return len(self.candidate.rungs) * len(self.seeds) - len(self.measurements)

    def missing_jobs(self) -> Iterator[Job]:
        """Return the jobs of the current rung that have no measurement."""
        return self._missing_jobs(() if self.is_last_rung_done else (self.rungs_done,))

    def _missing_jobs(self, rungs: Sequence[int]) -> Iterator[Job]:
        for rung in rungs:
            for seed_index, seed in enumerate(self.seeds):
                if (rung, seed) not in self.measurements:
                    yield self.job(rung, seed_index=seed_index)

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

    def values(self, rung: int, *, objectives: Sequence[str]) -> Values:
        """Return the objectives at a measured rung: means over seeds, and costs of its network."""
        measurements = [self.measurements[rung, seed] for seed in self.seeds]
        step = self.candidate.rungs[rung]
        return tuple(
            fmean(getattr(m, name) for m in measurements)
            if name in ("top1", "loss", "seconds")
            else float(getattr(step, name))
            for name in objectives
        )


def invalid_reason(measurement: Measurement, *, job: Job) -> str | None:
    """Return what makes a measurement invalid, if anything."""
    for name in ("top1", "loss", "seconds"):
        if not math.isfinite(getattr(measurement, name)):
            return f"{name} is {getattr(measurement, name)}: the training diverged"
    if not 0 <= measurement.top1 <= 1:
        return f"top1 is {measurement.top1}, outside 0..1"
    if measurement.seed != job.seed:
        return f"seed is {measurement.seed}, requested was {job.seed}"
    return None
