"""Schedules jobs and records results. The single writer of the study."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import RunError, SpaceError
from cmt_search.evaluation import SEEDS_PER_REPLICATE, Fidelity, Measurement
from cmt_search.search import serialization as attr
from cmt_search.search.asha import should_promote
from cmt_search.search.sampling.generator import CandidateGenerator, Suggestion
from cmt_search.search.serialization import Lineage, failed, outdated, repeat_of, superseded
from cmt_search.search.storage import StudyStore, sign
from cmt_search.search.types import (
    Event,
    Failure,
    Job,
    JobFinished,
    JobStarted,
    Listener,
    MeasurementKey,
    Remaining,
    RungRepeated,
    Space,
    TrialFinished,
)
from cmt_search.space.candidates import Candidate

_DEATHS = 2  # of a worker, forgiven at least: often a machine's fault, not the network's
_SAME = 5  # trials that fail with one reason, with nothing measured, before a search gives up
_ANY = 10  # likewise, whatever the reasons


class RetryPolicy:
    """How often each job was tried in this session."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._failed: Counter[MeasurementKey] = Counter()

    def again(self, job: Job, failure: Failure) -> bool:
        """Take note of a failure; whether the job may be tried once more."""
        self._failed[job.identity] += 1
        if failure.kind in ("memory", "verdict"):  # the same seed would give the same again
            return False
        allowed = max(self._retries, _DEATHS) if failure.kind == "died" else self._retries
        return self._failed[job.identity] <= allowed

    def reason(self, job: Job, failure: Failure) -> str:
        """Why the job's trial fails."""
        if failure.kind == "memory":
            return f"missing: {failure.reason}"
        tries = self._failed[job.identity]
        return failure.reason + (f" (tried {tries} times)" if tries > 1 else "")


class FailureCounter:
    """Trials that failed one after the other."""

    def __init__(self) -> None:
        self._kinds: list[str] = []

    def broken(self) -> None:
        """Something was measured."""
        self._kinds.clear()

    def failed(self, reason: str) -> str | None:
        """Take note of a failed trial; why the search should give up, if it should."""
        kind = reason.partition(", in ")[0]  # not where it came from
        self._kinds.append(re.sub(r"\d+(\.\d+)?", "#", kind))  # sizes and epochs differ
        count, kinds = len(self._kinds), set(self._kinds)
        if count >= _SAME and len(kinds) == 1:
            return f"the first {count} trials all failed: {reason}"
        if count >= _ANY:
            return f"the first {count} trials all failed, the last of them with: {reason}"
        return None


def validate_measurement(measurement: Measurement, *, job: Job) -> str | None:
    """What makes a measurement unfit for a study, if anything."""
    for name in ("top1", "loss", "seconds"):
        if not math.isfinite(getattr(measurement, name)):
            return f"{name} is {getattr(measurement, name)}: the training diverged"
    if not 0 <= measurement.top1 <= 1:
        return f"top1 is {measurement.top1}, outside 0..1"
    if measurement.seed != job.seed:
        return f"seed is {measurement.seed}, asked for {job.seed}"
    return None


def training_seed(seed: int, *, replicate: int, place: int) -> int:
    """The seed of a training: the run's, shifted by the replicate and by its place in the rung.

    The same for all candidates, so that equal networks share their trainings.
    """
    return seed + SEEDS_PER_REPLICATE * replicate + place


@dataclass(slots=True, kw_only=True)
class RunningTrial:
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


Values = tuple[float, ...]  # one per objective
Step = tuple[int, Fidelity, float | None]  # trials are compared at equal ones only


@dataclass(slots=True, kw_only=True)
class SearchState:
    """The trials of a study, those that ended as sums; it writes nothing."""

    space: Space
    micro_batches: Mapping[int, int]  # by rung; else the recipe's
    counts: Counter[str] = field(default_factory=Counter)  # ended trials: state or "infeasible"
    open: dict[int, RunningTrial] = field(default_factory=dict)
    strays: list[int] = field(default_factory=list)  # running, but entered by another program
    measured: dict[MeasurementKey, Measurement] = field(default_factory=dict)
    reused: int = 0  # measurements answered from the study
    ladder: int = 1  # rungs of a ladder, as far as is known
    _unclaimed: set[MeasurementKey] = field(
        default_factory=set
    )  # measured by superseded trials only
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

    def keep(
        self, climb: RunningTrial, job: Job, measurement: Measurement, *, reused: bool
    ) -> None:
        """Take in a measurement of a trial."""
        climb.add(job, measurement)
        self.measured.setdefault(job.identity, measurement)
        self.reused += reused
        if not reused:
            self._unclaimed.discard(job.identity)

    def pass_rung(self, climb: RunningTrial) -> tuple[Values, list[Values]]:
        """Count a rung as passed; its values, and those of the trials that passed it before."""
        step = climb.candidate.rungs[climb.rungs_done]
        values = climb.values(climb.rungs_done, objectives=self.space.objectives)
        passed = self._passed.setdefault((climb.rungs_done, step.fidelity, step.budget), {})
        rivals = list(passed.values())
        passed[climb.number] = values
        climb.rungs_done += 1
        return values, rivals

    def _climb_of(self, trial: FrozenTrial) -> RunningTrial:
        known = trial.user_attrs
        candidate = attr.read_candidate(known)
        return self._climb(trial.number, candidate, replicate=known[attr.REPLICATE])

    def _climb(self, number: int, candidate: Candidate, *, replicate: int) -> RunningTrial:
        self.ladder = len(candidate.rungs)
        run, places = self.space.seed, range(self.space.seeds)
        seeds = tuple(training_seed(run, replicate=replicate, place=place) for place in places)
        return RunningTrial(
            number=number, candidate=candidate, seeds=seeds, micro_batches=self.micro_batches
        )

    def _measurements(
        self, climb: RunningTrial, known: Mapping[str, Any]
    ) -> Iterator[tuple[Job, Measurement, bool]]:
        found = attr.read_measurements(known, micro_batches=self.micro_batches)
        for (rung, place), (measurement, reused) in found.items():
            yield climb.job(rung, place=place), measurement, reused


_MAX_WAITING = 32  # trials that wait for a twin's measurement, before the sampler is asked no more


class Scheduler:
    """Asks for candidates, hands out jobs, takes in what they gave, stops and completes trials.

    A failing job fails its trial, never the search. A candidate without a feasible network is a row
    with a reason and does not count towards the trials asked for. A training that the study holds
    is not repeated, and one that runs is waited for. A failing job is handed out again as often as
    `retries` says; `retry_failed` gives the trials that failed in earlier sessions another chance.
    Where memory runs out, the whole rung is measured again with a smaller micro-batch.
    """

    def __init__(
        self,
        space: Space,
        store: StudyStore,
        *,
        trials: int | None = None,
        retries: int = 0,
        retry_failed: bool = False,
        on_event: Listener | None = None,
    ) -> None:
        self.jobs_done = 0  # brought back in this session, measured or failed
        self.gave_up: str | None = None  # why no more is handed out, where everything fails
        self._space = space
        self._store = store
        self._listener = on_event
        self._attempts = RetryPolicy(retries)
        self._streak = FailureCounter()
        self._running: dict[MeasurementKey, Job] = {}
        self._failed: dict[MeasurementKey, str] = {}  # in this session
        if trials is not None:
            store.set_attribute(attr.TRIALS, trials)
        if retry_failed:
            self._repeat(failed(store.trials()))
        self._take_over(forgiving=retry_failed)
        self._target = self._trials_wanted()

    def _take_over(self, *, forgiving: bool = False) -> None:
        """Be where the study stands: when a session begins, and when trials were superseded."""
        stored = self._store.attributes()
        now = SearchState(space=self._space, micro_batches=attr.read_micro_batches(stored))
        self._repeat(outdated(self._store.trials(), micro_batches=now.micro_batches))
        held = self._store.trials()
        gone = superseded(held)
        for trial in held:
            if trial.number in gone:
                now.inherit(trial)
            else:
                now.take_over(trial)
        self._now, self._lineage = now, Lineage(held)
        self._asker = CandidateGenerator(self._space, trials=self._lineage.as_asked())
        for number in now.strays:
            self._store.set(number, attr.REASON, "left without a candidate by another program")
            self._close(number, TrialState.FAIL, values=None)
            now.counts["failed"] += 1
        for climb in now.open.values() if forgiving else ():
            if climb.reason is not None and any(climb.missing()):
                climb.reason = None
                self._store.set(climb.number, attr.REASON, None)

    # What an executor calls.

    def next_job(self) -> Job | None:
        """The next job, the oldest trial's first; None: nothing to hand out now, or ever."""
        while True:
            self._settle()
            if self.gave_up is not None:
                return None
            for climb in self._now.open.values():
                for job in climb.missing():
                    if climb.reason is None and job.identity not in self._running:
                        self._running[job.identity] = job
                        self._emit(JobStarted(job=job, name=climb.name, plan=self.plan()))
                        return job
            if not self._may_ask():
                return None
            self._enter(self._asker.ask())

    def record(self, job: Job, measurement: Measurement) -> None:
        """Take in what a job measured."""
        wrong = validate_measurement(measurement, job=job)
        if wrong is not None:
            self.fail(job, Failure(reason=wrong, kind="verdict"))
            return
        climb = self._take_back(job)
        self._streak.broken()
        self._keep(climb, job, measurement=measurement, reused=False)
        self._report(climb, job, measurement=measurement)

    def fail(self, job: Job, failure: Failure) -> bool:
        """Take in that a job failed; whether it will be handed out again, perhaps changed.

        If it is not, its trial fails once its other jobs are back.
        """
        climb = self._take_back(job)
        if again := self._forgiven(job, failure):
            reason = failure.reason
        else:
            reason = self._attempts.reason(job, failure)
            self._failed[job.identity] = reason
            self._doom(climb, reason)
        self._report(climb, job, reason=reason, again=again)
        return again

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to hand out or to wait for."""
        return not self._now.open and not self._may_ask()

    def networks_ahead(self) -> set[str]:
        """Keys of the networks that open trials have yet to train, at this length or a longer."""
        return {
            rung.arch.key
            for climb in self._now.open.values()
            for rung in climb.candidate.rungs[climb.rungs_done :]
        }

    # What others ask.

    @property
    def counts(self) -> Counter[str]:
        """Ended trials of the study, by state or "infeasible"; without the superseded."""
        return self._now.counts

    @property
    def reused(self) -> int:
        """Measurements of the study that were answered from it."""
        return self._now.reused

    def plan(self) -> Remaining:
        """What is left to do, at most."""
        unasked = self._unasked()
        jobs = sum(climb.jobs_left for climb in self._now.open.values() if climb.reason is None)
        jobs += unasked * self._now.ladder * self._space.seeds
        return Remaining(trials=len(self._now.open) + unasked, jobs=jobs)

    def notes(self) -> tuple[str, ...]:
        """What a user should know about trials that will not be asked for."""
        missing = self._target - self._asked - self._unasked()
        if self._space.sampler.name == "design":  # its infeasible rules have said why
            missing -= self._now.counts["infeasible"]
        if missing <= 0:
            return ()
        return (f"{missing} of {self._target} trials were not run: {self._asker.why_no_more()}",)

    # Trying again.

    def _forgiven(self, job: Job, failure: Failure) -> bool:
        if job.micro_batch != self._now.micro_batches.get(job.rung):
            return True  # its rung is being repeated anyway
        if failure.kind == "memory" and self._lower(job, failure):
            return True
        return self._attempts.again(job, failure)

    def _lower(self, job: Job, failure: Failure) -> bool:
        """Repeat a rung with fewer images per pass, if there can be fewer."""
        size = failure.micro_batch
        if size is None or (job.micro_batch is not None and size >= job.micro_batch):
            return False
        sizes = attr.micro_batches_value({**self._now.micro_batches, job.rung: size})
        self._store.set_attribute(attr.MICRO_BATCHES, sizes)  # from here on, a resume knows it
        self._take_over()
        self._emit(
            RungRepeated(rung=job.rung, micro_batch=size, reason=failure.reason, plan=self.plan())
        )
        return True

    def _repeat(self, trials: Iterable[FrozenTrial]) -> None:
        """Enter trials that take the place of these."""
        for trial in trials:
            self._store.add(**repeat_of(trial))

    # Asking.

    @property
    def _asked(self) -> int:
        return self._now.counts.total() - self._now.counts["infeasible"] + len(self._now.open)

    def _unasked(self) -> int:
        wanted, left = max(0, self._target - self._asked), self._asker.left
        return wanted if left is None else min(wanted, left)

    def _may_ask(self) -> bool:
        waiting = len(self._now.open) - len({job.trial for job in self._running.values()})
        return self._unasked() > 0 and (self._asker.designing or waiting < _MAX_WAITING)

    def _trials_wanted(self) -> int:
        wanted = self._store.get_attribute(attr.TRIALS) or self._space.trials
        if wanted is None and self._asker.design_size == 0:
            raise SpaceError("trials is missing, and there is no design to count; say trials: 50")
        return self._asker.design_size if wanted is None else int(wanted)

    def _enter(self, asked: Suggestion) -> None:
        """Enter a trial into the study, whole."""
        known = {attr.NAME: asked.name, attr.REPLICATE: asked.replicate, **asked.memory}
        if asked.candidate is None:
            state = TrialState.FAIL
            known |= {attr.INFEASIBLE: True, attr.REASON: asked.reason}
        else:
            state = TrialState.RUNNING
            known |= attr.candidate_attributes(asked.candidate, replicate=asked.replicate)
        number = self._store.add(
            state=state,
            params=asked.params,
            distributions=self._asker.distributions,
            attributes=known,
        )
        expected = len(self._lineage)
        if number != expected:
            raise RunError(
                f"trial {expected} came into the study as {number}: another program writes it; let "
                "one driver work on a study, and resume this run"
            )
        assert self._lineage.enter(number) == asked.number, "the sampler counts asks"
        if asked.candidate is not None:
            self._now.enter(number, asked.candidate, replicate=asked.replicate)
            return
        self._now.counts["infeasible"] += 1
        self._emit_finished(number, asked.name, state=state, reason=asked.reason)

    # Climbing.

    def _settle(self) -> None:
        """Let every open trial go as far as what is known carries it."""
        for climb in list(self._now.open.values()):
            while climb.number in self._now.open and self._advance(climb):
                pass

    def _advance(self, climb: RunningTrial) -> bool:
        """Answer jobs from the study, then pass the rung or fail; whether more may follow."""
        for job in list(climb.missing()) if climb.reason is None else ():
            if job.identity in self._now.measured:
                known, reused = self._now.measured[job.identity], self._now.is_reused(job)
                self._keep(climb, job, measurement=known, reused=reused)
            elif job.identity in self._failed:
                self._doom(climb, self._failed[job.identity])
        missing = any(climb.missing())
        if any(job.trial == climb.number for job in self._running.values()):
            return False  # what they bring back could not enter an ended trial
        if climb.reason is not None:
            self._end_early(climb, climb.reason, failed=missing)
            return False
        if not missing:
            self._decide(climb)
        return not missing

    def _end_early(self, climb: RunningTrial, reason: str, *, failed: bool) -> None:
        """Fail a trial, or stop it where a driver was killed between the verdict and its entry."""
        if not failed:
            self._now.pass_rung(climb)
        self._finish(climb, TrialState.FAIL if failed else TrialState.PRUNED, reason=reason)

    def _decide(self, climb: RunningTrial) -> None:
        """End a trial whose rung is measured, or let it go on."""
        rung = climb.rungs_done
        values, rivals = self._now.pass_rung(climb)
        if len(values) == 1:  # Optuna takes no intermediate values of several objectives
            self._store.report(climb.number, rung=rung, value=values[0])
            self._asker.report(self._lineage.ask_of(climb.number), rung=rung, value=values[0])
        factor, signs = (
            self._space.reduction_factor,
            [sign(name) for name in self._space.objectives],
        )
        if climb.rungs_done == len(climb.candidate.rungs):
            self._finish(climb, TrialState.COMPLETE, values=values)
        elif (
            factor
            and climb.ends_length
            and not should_promote(values, others=rivals, factor=factor, signs=signs)
        ):
            reason = f"not in the best 1/{factor} of the {len(rivals) + 1} at rung {rung + 1}"
            self._finish(climb, TrialState.PRUNED, reason=reason)
        else:
            self._store.set(climb.number, attr.RUNGS_PASSED, climb.rungs_done)

    def _keep(
        self, climb: RunningTrial, job: Job, *, measurement: Measurement, reused: bool
    ) -> None:
        place = climb.seeds.index(job.seed)
        key = attr.measurement_key(job.rung, place=place, micro_batch=job.micro_batch)
        text = attr.measurement_text(measurement, reused=reused)
        self._store.set(climb.number, key, text)
        self._now.keep(climb, job, measurement, reused=reused)

    def _doom(self, climb: RunningTrial, reason: str) -> None:
        if climb.reason is None:
            climb.reason = reason
            self._store.set(climb.number, attr.REASON, reason)

    def _take_back(self, job: Job) -> RunningTrial:
        del self._running[job.identity]
        self.jobs_done += 1
        return self._now.open[job.trial]

    def _finish(
        self,
        climb: RunningTrial,
        state: TrialState,
        *,
        values: tuple[float, ...] | None = None,
        reason: str | None = None,
    ) -> None:
        if climb.rungs_done:  # to sort by in optuna-dashboard
            means = climb.values(climb.rungs_done - 1, objectives=attr.RESULTS)
            for name, value in zip(attr.RESULTS, means, strict=True):
                self._store.set(climb.number, name, value)
        if reason is not None:
            self._store.set(climb.number, attr.REASON, reason)
        self._close(climb.number, state, values=values)
        del self._now.open[climb.number]
        self._now.counts[attr.state_of(state)] += 1
        if state == TrialState.FAIL and not self._now.measured and self.gave_up is None:
            self.gave_up = self._streak.failed(reason or "no reason")
        self._emit_finished(climb.number, climb.name, state=state, values=values, reason=reason)

    def _close(self, number: int, state: TrialState, *, values: tuple[float, ...] | None) -> None:
        self._store.finish(number, state=state, values=values)
        self._asker.tell(self._lineage.ask_of(number), state=state, values=values)

    # Telling.

    def _report(
        self,
        climb: RunningTrial,
        job: Job,
        *,
        measurement: Measurement | None = None,
        reason: str | None = None,
        again: bool = False,
    ) -> None:
        event = JobFinished(
            job=job,
            name=climb.name,
            measurement=measurement,
            reason=reason,
            plan=self.plan(),
            again=again,
        )
        self._emit(event)
        self._settle()

    def _emit_finished(
        self,
        number: int,
        name: str,
        *,
        state: TrialState,
        values: tuple[float, ...] | None = None,
        reason: str | None,
    ) -> None:
        event = TrialFinished(
            number=number,
            name=name,
            state=attr.state_of(state),
            values=values or (),
            reason=reason,
            plan=self.plan(),
        )
        self._emit(event)

    def _emit(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)
