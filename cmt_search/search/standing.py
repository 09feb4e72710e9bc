"""Where a study stands: all that a ledger decides by, as it can be read from the study."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial

from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.search import attributes as attr
from cmt_search.search.job import Identity, Job
from cmt_search.search.ladder import Climb, training_seed
from cmt_search.search.protocols import Space
from cmt_search.space.candidate import Candidate

Values = tuple[float, ...]  # one per objective
Step = tuple[int, Fidelity, float | None]  # trials are compared at equal ones only


@dataclass(slots=True, kw_only=True)
class Standing:
    """The trials of a study, those that ended as sums; it writes nothing."""

    space: Space
    micro_batches: Mapping[int, int]  # by rung; else the recipe's
    counts: Counter[str] = field(default_factory=Counter)  # ended trials: state or "infeasible"
    open: dict[int, Climb] = field(default_factory=dict)
    strays: list[int] = field(default_factory=list)  # running, but entered by another program
    measured: dict[Identity, Measurement] = field(default_factory=dict)
    reused: int = 0  # measurements answered from the study
    ladder: int = 1  # rungs of a ladder, as far as is known
    _unclaimed: set[Identity] = field(default_factory=set)  # measured by superseded trials only
    _passed: dict[Step, dict[int, Values]] = field(default_factory=dict)

    def enter(self, number: int, candidate: Candidate, *, replicate: int) -> None:
        """Open a trial."""
        self.open[number] = self._climb(number, candidate, replicate=replicate)

    def take_over(self, trial: FrozenTrial) -> None:
        """Take over a trial of the study; one left running goes on where it stood."""
        known, running = trial.user_attrs, not trial.state.is_finished()
        if not running:
            infeasible = attr.INFEASIBLE in known
            self.counts["infeasible" if infeasible else attr.state_of(trial.state)] += 1
        if attr.CANDIDATE not in known:
            if running:  # not ours: our trials enter whole
                self.strays.append(trial.number)
            return
        climb = self._climb_of(trial)
        for job, measurement, reused in self._measurements(climb, known):
            self.keep(climb, job, measurement, reused=reused)
        passed = climb.rungs_measured
        if running:  # it may have passed more, where one is being repeated
            passed = min(passed, known.get(attr.RUNGS_PASSED, 0))
        for _ in range(passed):
            self.pass_rung(climb)
        if running:
            climb.reason = known.get(attr.REASON)
            self.open[trial.number] = climb

    def inherit(self, trial: FrozenTrial) -> None:
        """Of a superseded trial: what it measured on rungs that need not be repeated."""
        climb = self._climb_of(trial)
        for job, measurement, reused in self._measurements(climb, trial.user_attrs):
            self.measured.setdefault(job.identity, measurement)
            if not reused:
                self._unclaimed.add(job.identity)

    def is_reused(self, job: Job) -> bool:
        """Whether a trial that takes its measurement from the study shares it with another.

        The first to take that of a superseded trial owns it.
        """
        return job.identity not in self._unclaimed

    def keep(self, climb: Climb, job: Job, measurement: Measurement, *, reused: bool) -> None:
        """Take in a measurement of a trial."""
        climb.add(job, measurement)
        self.measured.setdefault(job.identity, measurement)
        self.reused += reused
        if not reused:
            self._unclaimed.discard(job.identity)

    def pass_rung(self, climb: Climb) -> tuple[Values, list[Values]]:
        """Count a rung as passed; its values, and those of the trials that passed it before."""
        step = climb.candidate.rungs[climb.rungs_done]
        values = climb.values(climb.rungs_done, objectives=self.space.objectives)
        passed = self._passed.setdefault((climb.rungs_done, step.fidelity, step.budget), {})
        rivals = list(passed.values())
        passed[climb.number] = values
        climb.rungs_done += 1
        return values, rivals

    def _climb_of(self, trial: FrozenTrial) -> Climb:
        known = trial.user_attrs
        candidate = attr.read_candidate(known)
        return self._climb(trial.number, candidate, replicate=known[attr.REPLICATE])

    def _climb(self, number: int, candidate: Candidate, *, replicate: int) -> Climb:
        self.ladder = len(candidate.rungs)
        run, places = self.space.seed, range(self.space.seeds)
        seeds = tuple(training_seed(run, replicate=replicate, place=place) for place in places)
        return Climb(
            number=number, candidate=candidate, seeds=seeds, micro_batches=self.micro_batches
        )

    def _measurements(
        self, climb: Climb, known: Mapping[str, Any]
    ) -> Iterator[tuple[Job, Measurement, bool]]:
        found = attr.read_measurements(known, micro_batches=self.micro_batches)
        for (rung, place), (measurement, reused) in found.items():
            yield climb.job(rung, place=place), measurement, reused
