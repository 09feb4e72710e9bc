"""The ledger: the only one that writes a study, and the only one that decides. It knows no Ray."""

import math
from collections import Counter

from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import RunError, SpaceError
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.search import attributes as attr
from cmt_search.search.asking import Asked, Asker
from cmt_search.search.job import Event, Job, JobFinished, JobStarted, Listener, Plan, TrialFinished
from cmt_search.search.ladder import Climb, climbs_on, training_seed
from cmt_search.search.protocols import Space
from cmt_search.search.storage import StudyStore, sign
from cmt_search.space.candidate import Candidate

_TRIALS = "trials"  # attribute of the study: how many were last asked for on the command line
_MAX_WAITING = 32  # trials that wait for a twin's measurement, before the sampler is asked no more

Identity = tuple[str, Fidelity, int]  # see Job.identity
Step = tuple[int, Fidelity, float | None]  # trials are compared at equal ones only


class Ledger:
    """Asks for candidates, hands out jobs, takes in what they gave, stops and completes trials.

    A failing job fails its trial, never the search. A candidate without a feasible network is a row
    with a reason and does not count towards the trials asked for. A training that the study holds
    is not repeated, and one that runs is waited for. What fails is not tried again in this session,
    but a resume may.
    """

    def __init__(
        self,
        space: Space,
        store: StudyStore,
        *,
        trials: int | None = None,
        on_event: Listener | None = None,
    ) -> None:
        held = store.trials()
        self.counts: Counter[str] = Counter()  # finished trials, by state or "infeasible"
        self.reused = 0  # measurements answered from the study
        self.jobs_done = 0  # brought back in this session, measured or failed
        self._space = space
        self._store = store
        self._listener = on_event
        self._asker = Asker(space, trials=held)
        self._open: dict[int, Climb] = {}
        self._running: dict[Identity, Job] = {}
        self._measured: dict[Identity, Measurement] = {}
        self._failed: dict[Identity, str] = {}
        self._passed: dict[Step, dict[int, tuple[float, ...]]] = {}
        self._ladder = 1  # rungs of a ladder, as far as is known
        for trial in held:
            self._replay(trial)
        if trials is not None:
            store.set_attribute(_TRIALS, trials)
        self._target = self._trials_wanted()

    # What an executor calls.

    def next_job(self) -> Job | None:
        """The next job, the oldest trial's first; None: nothing to hand out now, or ever."""
        while True:
            self._settle()
            for climb in self._open.values():
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
        flaw = _flaw(measurement, job=job)
        if flaw is not None:
            self.fail(job, flaw)
            return
        climb = self._take_back(job)
        self._keep(climb, job, measurement=measurement, reused=False)
        self._report(climb, job, measurement=measurement)

    def fail(self, job: Job, reason: str) -> None:
        """Take in that a job failed; its trial fails once its other jobs are back."""
        climb = self._take_back(job)
        self._failed[job.identity] = reason
        self._doom(climb, reason)
        self._report(climb, job, reason=reason)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to hand out or to wait for."""
        return not self._open and not self._may_ask()

    # What others ask.

    def plan(self) -> Plan:
        """What is left to do, at most."""
        unasked = self._unasked()
        jobs = sum(climb.jobs_left for climb in self._open.values() if climb.reason is None)
        jobs += unasked * self._ladder * self._space.seeds
        return Plan(trials=len(self._open) + unasked, jobs=jobs)

    def notes(self) -> tuple[str, ...]:
        """What a user should know about trials that will not be asked for."""
        missing = self._target - self._asked - self._unasked()
        if self._space.sampler.name == "design":  # its infeasible rules have said why
            missing -= self.counts["infeasible"]
        if missing <= 0:
            return ()
        return (f"{missing} of {self._target} trials were not run: {self._asker.why_no_more()}",)

    # Asking.

    @property
    def _asked(self) -> int:
        return self.counts.total() - self.counts["infeasible"] + len(self._open)

    def _unasked(self) -> int:
        wanted, left = max(0, self._target - self._asked), self._asker.left
        return wanted if left is None else min(wanted, left)

    def _may_ask(self) -> bool:
        waiting = len(self._open) - len({job.trial for job in self._running.values()})
        return self._unasked() > 0 and (self._asker.designing or waiting < _MAX_WAITING)

    def _trials_wanted(self) -> int:
        wanted = self._store.get_attribute(_TRIALS) or self._space.trials
        if wanted is None and self._asker.design_size == 0:
            raise SpaceError("trials is missing, and there is no design to count; say trials: 50")
        return self._asker.design_size if wanted is None else int(wanted)

    def _enter(self, asked: Asked) -> None:
        """Enter a trial into the study, whole."""
        known = {attr.NAME: asked.name, attr.REPLICATE: asked.replicate}
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
        if number != asked.number:
            raise RunError(
                f"trial {asked.number} came into the study as {number}: another program writes it; "
                "let one driver work on a study, and resume this run"
            )
        if asked.candidate is not None:
            self._open[number] = self._climb(number, asked.candidate, replicate=asked.replicate)
            return
        self.counts["infeasible"] += 1
        self._emit_finished(number, asked.name, state=state, reason=asked.reason)

    def _climb(self, number: int, candidate: Candidate, *, replicate: int) -> Climb:
        self._ladder = len(candidate.rungs)
        run, places = self._space.seed, range(self._space.seeds)
        seeds = tuple(training_seed(run, replicate=replicate, place=place) for place in places)
        return Climb(number=number, candidate=candidate, seeds=seeds)

    def _replay(self, trial: FrozenTrial) -> None:
        """Take over a trial of the study; one left running goes on where it stood."""
        known, running = trial.user_attrs, not trial.state.is_finished()
        if not running:
            self.counts[
                "infeasible" if attr.INFEASIBLE in known else attr.state_of(trial.state)
            ] += 1
        if attr.CANDIDATE not in known:
            if running:  # not ours: our trials enter whole
                reason = "left without a candidate by another program"
                self._store.set(trial.number, attr.REASON, reason)
                self._close(trial.number, TrialState.FAIL, values=None)
                self.counts["failed"] += 1
            return
        candidate = attr.read_candidate(known)
        climb = self._climb(trial.number, candidate, replicate=known[attr.REPLICATE])
        for (rung, place), (measurement, reused) in attr.read_measurements(known).items():
            job = climb.job(rung, place=place)
            climb.add(job, measurement)
            self._measured.setdefault(job.identity, measurement)
            self.reused += reused
        passed = known.get(attr.RUNGS_PASSED, 0) if running else climb.rungs_measured
        for _ in range(passed):
            self._pass(climb)
        if running:
            climb.reason = known.get(attr.REASON)
            self._open[trial.number] = climb

    # Climbing.

    def _settle(self) -> None:
        """Let every open trial go as far as what is known carries it."""
        for climb in list(self._open.values()):
            while climb.number in self._open and self._advance(climb):
                pass

    def _advance(self, climb: Climb) -> bool:
        """Answer jobs from the study, then pass the rung or fail; whether more may follow."""
        for job in list(climb.missing()) if climb.reason is None else ():
            if job.identity in self._measured:
                self._keep(climb, job, measurement=self._measured[job.identity], reused=True)
            elif job.identity in self._failed:
                self._doom(climb, self._failed[job.identity])
        missing = any(climb.missing())
        if climb.reason is not None:
            if all(job.trial != climb.number for job in self._running.values()):
                self._end_early(climb, climb.reason, failed=missing)
            return False
        if not missing:
            self._decide(climb)
        return not missing

    def _end_early(self, climb: Climb, reason: str, *, failed: bool) -> None:
        """Fail a trial, or stop it where a driver was killed between the verdict and its entry."""
        if not failed:
            self._pass(climb)
        self._finish(climb, TrialState.FAIL if failed else TrialState.PRUNED, reason=reason)

    def _decide(self, climb: Climb) -> None:
        """End a trial whose rung is measured, or let it go on."""
        rung = climb.rungs_done
        values, rivals = self._pass(climb)
        if len(values) == 1:  # Optuna takes no intermediate values of several objectives
            self._store.report(climb.number, rung=rung, value=values[0])
            self._asker.report(climb.number, rung=rung, value=values[0])
        factor, signs = self._space.halving, [sign(name) for name in self._space.objectives]
        if climb.rungs_done == len(climb.candidate.rungs):
            self._finish(climb, TrialState.COMPLETE, values=values)
        elif factor and not climbs_on(values, others=rivals, factor=factor, signs=signs):
            reason = f"not in the best 1/{factor} of the {len(rivals) + 1} at rung {rung + 1}"
            self._finish(climb, TrialState.PRUNED, reason=reason)
        else:
            self._store.set(climb.number, attr.RUNGS_PASSED, climb.rungs_done)

    def _pass(self, climb: Climb) -> tuple[tuple[float, ...], list[tuple[float, ...]]]:
        """Count a rung as passed; its values, and those of the trials that passed it before."""
        step = climb.candidate.rungs[climb.rungs_done]
        values = climb.values(climb.rungs_done, objectives=self._space.objectives)
        passed = self._passed.setdefault((climb.rungs_done, step.fidelity, step.budget), {})
        rivals = list(passed.values())
        passed[climb.number] = values
        climb.rungs_done += 1
        return values, rivals

    def _keep(self, climb: Climb, job: Job, *, measurement: Measurement, reused: bool) -> None:
        key = attr.measurement_key(job.rung, place=climb.seeds.index(job.seed))
        self._store.set(climb.number, key, attr.measurement_text(measurement, reused=reused))
        climb.add(job, measurement)
        self._measured.setdefault(job.identity, measurement)
        self.reused += reused

    def _doom(self, climb: Climb, reason: str) -> None:
        if climb.reason is None:
            climb.reason = reason
            self._store.set(climb.number, attr.REASON, reason)

    def _take_back(self, job: Job) -> Climb:
        del self._running[job.identity]
        self.jobs_done += 1
        return self._open[job.trial]

    def _finish(
        self,
        climb: Climb,
        state: TrialState,
        *,
        values: tuple[float, ...] | None = None,
        reason: str | None = None,
    ) -> None:
        if climb.rungs_done:  # to sort by in optuna-dashboard
            names = ("top1", "loss")
            means = climb.values(climb.rungs_done - 1, objectives=names)
            for name, value in zip(names, means, strict=True):
                self._store.set(climb.number, name, value)
        if reason is not None:
            self._store.set(climb.number, attr.REASON, reason)
        self._close(climb.number, state, values=values)
        del self._open[climb.number]
        self.counts[attr.state_of(state)] += 1
        self._emit_finished(climb.number, climb.name, state=state, values=values, reason=reason)

    def _close(self, number: int, state: TrialState, *, values: tuple[float, ...] | None) -> None:
        self._store.finish(number, state=state, values=values)
        self._asker.tell(number, state=state, values=values)

    # Telling.

    def _report(
        self,
        climb: Climb,
        job: Job,
        *,
        measurement: Measurement | None = None,
        reason: str | None = None,
    ) -> None:
        plan = self.plan()
        event = JobFinished(
            job=job, name=climb.name, measurement=measurement, reason=reason, plan=plan
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


def _flaw(measurement: Measurement, *, job: Job) -> str | None:
    """What makes a measurement unfit for a study, if anything."""
    for name in ("top1", "loss", "seconds"):
        if not math.isfinite(getattr(measurement, name)):
            return f"{name} is {getattr(measurement, name)}: the training diverged"
    if not 0 <= measurement.top1 <= 1:
        return f"top1 is {measurement.top1}, outside 0..1"
    if measurement.seed != job.seed:
        return f"seed is {measurement.seed}, asked for {job.seed}"
    return None
