"""The ledger: the only one that writes a study, and the only one that decides. It knows no Ray."""

from collections import Counter
from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import RunError, SpaceError
from cmt_search.evaluation import Measurement
from cmt_search.search import attributes as attr
from cmt_search.search.asking import Asked, Asker
from cmt_search.search.failures import Attempts, Streak, flaw
from cmt_search.search.halving import climbs_on
from cmt_search.search.job import (
    Event,
    Failure,
    Identity,
    Job,
    JobFinished,
    JobStarted,
    Listener,
    Plan,
    RungRepeated,
    TrialFinished,
)
from cmt_search.search.ladder import Climb
from cmt_search.search.protocols import Space
from cmt_search.search.standing import Standing
from cmt_search.search.storage import StudyStore, sign
from cmt_search.search.superseding import Lineage, failed, outdated, repeat_of, superseded

_MAX_WAITING = 32  # trials that wait for a twin's measurement, before the sampler is asked no more


class Ledger:
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
        self._attempts = Attempts(retries)
        self._streak = Streak()
        self._running: dict[Identity, Job] = {}
        self._failed: dict[Identity, str] = {}  # in this session
        if trials is not None:
            store.set_attribute(attr.TRIALS, trials)
        if retry_failed:
            self._repeat(failed(store.trials()))
        self._take_over(forgiving=retry_failed)
        self._target = self._trials_wanted()

    def _take_over(self, *, forgiving: bool = False) -> None:
        """Be where the study stands: when a session begins, and when trials were superseded."""
        stored = self._store.attributes()
        now = Standing(space=self._space, micro_batches=attr.read_micro_batches(stored))
        self._repeat(outdated(self._store.trials(), micro_batches=now.micro_batches))
        held = self._store.trials()
        gone = superseded(held)
        for trial in held:
            if trial.number in gone:
                now.inherit(trial)
            else:
                now.take_over(trial)
        self._now, self._lineage = now, Lineage(held)
        self._asker = Asker(self._space, trials=self._lineage.as_asked())
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
        wrong = flaw(measurement, job=job)
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

    def plan(self) -> Plan:
        """What is left to do, at most."""
        unasked = self._unasked()
        jobs = sum(climb.jobs_left for climb in self._now.open.values() if climb.reason is None)
        jobs += unasked * self._now.ladder * self._space.seeds
        return Plan(trials=len(self._now.open) + unasked, jobs=jobs)

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

    def _enter(self, asked: Asked) -> None:
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

    def _advance(self, climb: Climb) -> bool:
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

    def _end_early(self, climb: Climb, reason: str, *, failed: bool) -> None:
        """Fail a trial, or stop it where a driver was killed between the verdict and its entry."""
        if not failed:
            self._now.pass_rung(climb)
        self._finish(climb, TrialState.FAIL if failed else TrialState.PRUNED, reason=reason)

    def _decide(self, climb: Climb) -> None:
        """End a trial whose rung is measured, or let it go on."""
        rung = climb.rungs_done
        values, rivals = self._now.pass_rung(climb)
        if len(values) == 1:  # Optuna takes no intermediate values of several objectives
            self._store.report(climb.number, rung=rung, value=values[0])
            self._asker.report(self._lineage.ask_of(climb.number), rung=rung, value=values[0])
        factor, signs = self._space.halving, [sign(name) for name in self._space.objectives]
        if climb.rungs_done == len(climb.candidate.rungs):
            self._finish(climb, TrialState.COMPLETE, values=values)
        elif (
            factor
            and climb.ends_length
            and not climbs_on(values, others=rivals, factor=factor, signs=signs)
        ):
            reason = f"not in the best 1/{factor} of the {len(rivals) + 1} at rung {rung + 1}"
            self._finish(climb, TrialState.PRUNED, reason=reason)
        else:
            self._store.set(climb.number, attr.RUNGS_PASSED, climb.rungs_done)

    def _keep(self, climb: Climb, job: Job, *, measurement: Measurement, reused: bool) -> None:
        place = climb.seeds.index(job.seed)
        key = attr.measurement_key(job.rung, place=place, micro_batch=job.micro_batch)
        text = attr.measurement_text(measurement, reused=reused)
        self._store.set(climb.number, key, text)
        self._now.keep(climb, job, measurement, reused=reused)

    def _doom(self, climb: Climb, reason: str) -> None:
        if climb.reason is None:
            climb.reason = reason
            self._store.set(climb.number, attr.REASON, reason)

    def _take_back(self, job: Job) -> Climb:
        del self._running[job.identity]
        self.jobs_done += 1
        return self._now.open[job.trial]

    def _finish(
        self,
        climb: Climb,
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
        climb: Climb,
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
