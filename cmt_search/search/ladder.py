"""A trial on its way up the ladder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from cmt_search.evaluation import SEEDS_PER_REPLICATE, Measurement
from cmt_search.search.job import Job
from cmt_search.space.candidate import Candidate


def training_seed(seed: int, *, replicate: int, place: int) -> int:
    """The seed of a training: the run's, shifted by the replicate and by its place in the rung.

    The same for all candidates, so that equal networks share their trainings.
    """
    return seed + SEEDS_PER_REPLICATE * replicate + place


@dataclass(slots=True, kw_only=True)
class Climb:
    """A running trial: its ladder, and what has been measured of it."""

    number: int
    candidate: Candidate
    seeds: tuple[int, ...]  # training seeds of every rung
    micro_batches: Mapping[int, int] = field(default_factory=dict)  # by rung; else the recipe's
    rungs_done: int = 0  # measured and passed
    reason: str | None = None  # why it ends early, once its running jobs are back
    _measured: dict[tuple[int, int], Measurement] = field(default_factory=dict)  # (rung, seed)

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name

    def add(self, job: Job, measurement: Measurement) -> None:
        """Take in what one of its jobs measured, unless its rung has another micro-batch by now."""
        if job.micro_batch == self.micro_batches.get(job.rung):
            self._measured[job.rung, job.seed] = measurement

    def missing(self) -> Iterator[Job]:
        """Jobs of the rung that it stands on, without those that were measured."""
        if self.rungs_done == len(self.candidate.rungs):
            return
        for place, seed in enumerate(self.seeds):
            if (self.rungs_done, seed) not in self._measured:
                yield self.job(self.rungs_done, place=place)

    def job(self, rung: int, *, place: int) -> Job:
        """The training of a rung with the `place`-th of its seeds."""
        step = self.candidate.rungs[rung]
        return Job(
            trial=self.number,
            rung=rung,
            seed=self.seeds[place],
            arch=step.arch,
            fidelity=step.fidelity,
            micro_batch=self.micro_batches.get(rung),
        )

    @property
    def ends_length(self) -> bool:
        """Whether the rung passed last is the last of its training length, where halving decides:
        a rule search does not stop between budgets."""
        passed, coming = self.candidate.rungs[self.rungs_done - 1 : self.rungs_done + 1]
        return passed.fidelity.epochs != coming.fidelity.epochs

    @property
    def rungs_measured(self) -> int:
        """Rungs, from the first on, of which nothing is missing."""
        rungs = range(len(self.candidate.rungs))
        whole = [all((rung, seed) in self._measured for seed in self.seeds) for rung in rungs]
        return (*whole, False).index(False)

    @property
    def jobs_left(self) -> int:
        """Measurements that it lacks to the end of its ladder."""
        return len(self.candidate.rungs) * len(self.seeds) - len(self._measured)

    def values(self, rung: int, *, objectives: Sequence[str]) -> tuple[float, ...]:
        """The objectives at a measured rung: means over seeds, and costs of its network."""
        found = [self._measured[rung, seed] for seed in self.seeds]
        step = self.candidate.rungs[rung]
        known = {
            "top1": fmean(m.top1 for m in found),
            "loss": fmean(m.loss for m in found),
            "macs": float(step.macs),
            "params": float(step.params),
            "activations": float(step.activations),
            "seconds": fmean(m.seconds for m in found),
            "latency_ms": step.latency_ms,
            "memory_mib": step.memory_mib,
        }
        return tuple(_known(known[name], name) for name in objectives)


def _known(value: float | None, name: str) -> float:
    assert value is not None, f"a space whose objective is {name} measures it of every candidate"
    return value
