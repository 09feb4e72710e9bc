"""Schedules jobs and records results. The single writer of the study."""

from collections import Counter
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import RunError, SpaceError
from cmt_search.evaluation import Measurement
from cmt_search.search import serialization as attr
from cmt_search.search.asha import should_promote
from cmt_search.search.sampling.design import DESIGN_JSON
from cmt_search.search.sampling.generator import CandidateGenerator, Suggestion
from cmt_search.search.search_state import (
    FailureCounter,
    RetryPolicy,
    RunningTrial,
    SearchState,
    Values,
    validate_measurement,
)
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
    Space,
    TrialFinished,
)

_MAX_WAITING = 32  # trials waiting for another trial's job, before no more are suggested
_FOREIGN = "another program added this trial without a candidate"


class Scheduler:
    """Suggests trials, hands out their jobs, records the results, prunes and completes trials.

    A failed job is run again up to `retries` times, then its trial fails; the search continues. An
    infeasible candidate is recorded with its reason and does not count as a trial. A training that
    the study holds is not repeated, and one that is running is waited for. `retry_failed` adds a
    new trial for each one that failed in an earlier session.
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
        self.n_jobs_done = 0  # in this session, measured or failed
        self.abort_reason: str | None = None  # set when every trial fails
        self._space = space
        self._store = store
        self._listener = on_event
        self._retry_policy = RetryPolicy(retries)
        self._failures = FailureCounter()
        self._running_jobs: dict[MeasurementKey, Job] = {}
        self._failed_jobs: dict[MeasurementKey, str] = {}  # reasons, in this session
        self._state = SearchState(space=space)
        if trials is not None:
            store.set_attribute(attr.TRIALS, trials)
        attributes = store.attributes()
        self._generator = self._make_generator(attributes)
        self._restore(retry_failed=retry_failed)
        self._target = self._n_requested(attributes)

    def _make_generator(self, attributes: dict[str, Any]) -> CandidateGenerator:
        """Make the generator with the study's design, which a resume need not solve again."""
        if attr.DESIGN in attributes:
            design = DESIGN_JSON.validate_json(attr.join_text(attr.DESIGN, attributes))
            return CandidateGenerator(self._space, design=design)
        generator = CandidateGenerator(self._space)
        text = DESIGN_JSON.dump_json(generator.design).decode()
        for key, value in attr.split_text(attr.DESIGN, text).items():
            self._store.set_attribute(key, value)
        return generator

    def _restore(self, *, retry_failed: bool) -> None:
        """Take over the trials of the study."""
        try:
            stored = self._store.trials()
            if retry_failed:
                retried = {trial.user_attrs.get(attr.RETRY_OF) for trial in stored}
                failed = (t for t in stored if t.state is TrialState.FAIL)
                candidates = (t for t in failed if attr.CANDIDATE in t.user_attrs)
                stored += [self._retry(t) for t in candidates if t.number not in retried]
            trials = [(trial, attr.read_candidate(trial.user_attrs)) for trial in stored]
            for trial, candidate in trials:
                self._state.restore(trial, candidate)
        except (LookupError, TypeError, ValueError) as error:
            raise RunError(
                f"the study is damaged ({type(error).__name__}: {error}); it was not changed; "
                "restore it from a backup"
            ) from error
        self._generator.restore(trials)
        for number in self._state.foreign_trials:
            self._store.set(number, attr.REASON, _FOREIGN)
            self._end(number, TrialState.FAIL, values=None)
        for running in self._state.running.values() if retry_failed else ():
            if running.reason is not None and any(running.missing_jobs()):
                running.reason = None
                self._store.set(running.number, attr.REASON, None)

    def _retry(self, trial: FrozenTrial) -> FrozenTrial:
        """Add a trial with the candidate of a failed one."""
        return self._store.add(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            attributes=attr.initial_attributes(trial.user_attrs) | {attr.RETRY_OF: trial.number},
        )

    # For executors.

    def next_job(self) -> Job | None:
        """Return the next job, the oldest trial's first; None: there is none now, or ever."""
        while True:
            self._advance_trials()
            if self.abort_reason is not None:
                return None
            for trial in self._state.running.values():
                for job in trial.missing_jobs():
                    if trial.reason is None and job.key not in self._running_jobs:
                        self._running_jobs[job.key] = job
                        self._emit(JobStarted(job=job, name=trial.name, remaining=self.remaining()))
                        return job
            if not self._can_suggest():
                return None
            self._add(self._generator.ask())

    def record(self, job: Job, measurement: Measurement) -> None:
        """Record the measurement of a job."""
        invalid = validate_measurement(measurement, job=job)
        if invalid is not None:
            self.fail(job, Failure(reason=invalid, kind="verdict"))
            return
        trial = self._take_back(job)
        self._failures.reset()
        self._keep(trial, job, measurement=measurement, reused=False)
        self._emit(
            JobFinished(
                job=job, name=trial.name, measurement=measurement, remaining=self.remaining()
            )
        )
        self._advance_trials()

    def fail(self, job: Job, failure: Failure) -> bool:
        """Record the failure of a job; return whether it is run again.

        If it is not, its trial fails once its other jobs are done.
        """
        trial, reason = self._take_back(job), failure.reason
        is_retried = self._retry_policy.should_retry(job, failure)
        if not is_retried:
            reason = self._retry_policy.reason(job, failure)
            self._failed_jobs[job.key] = reason
            self._mark_failed(trial, reason)
        self._emit(
            JobFinished(
                job=job,
                name=trial.name,
                reason=reason,
                remaining=self.remaining(),
                is_retried=is_retried,
            )
        )
        self._advance_trials()
        return is_retried

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to hand out or to wait for."""
        return not self._state.running and not self._can_suggest()

    def networks_ahead(self) -> set[str]:
        """Return the keys of the networks that running trials have yet to train."""
        return {
            rung.arch.key
            for trial in self._state.running.values()
            for rung in trial.candidate.rungs[trial.rungs_done :]
        }

    # For the outcome.

    @property
    def counts(self) -> Counter[str]:
        """Number of ended trials of the study, by state or "infeasible"."""
        return self._state.counts

    @property
    def n_reused(self) -> int:
        """Number of measurements that were answered from the study."""
        return self._state.n_reused

    def remaining(self) -> Remaining:
        """Return an upper bound of the remaining work."""
        running, n_ahead = self._state.running.values(), self._n_ahead()
        n_jobs = sum(trial.n_jobs_left for trial in running if trial.reason is None)
        n_jobs += n_ahead * self._state.n_rungs * self._space.seeds
        return Remaining(trials=len(running) + n_ahead, jobs=n_jobs)

    @property
    def n_missing(self) -> int:
        """Number of requested trials that have no candidate."""
        missing = self._target - self._n_suggested - self._n_ahead()
        if self._space.sampler.name == "design":  # infeasible rules are part of the design
            missing -= self._state.counts["infeasible"]
        return max(0, missing)

    def notes(self) -> tuple[str, ...]:
        """Return notes on trials that cannot be run."""
        if not self.n_missing:
            return ()
        why = self._generator.why_no_more()
        return (f"{self.n_missing} of {self._target} trials were not run: {why}",)

    # Suggesting.

    @property
    def _n_suggested(self) -> int:
        """Number of trials that count, without infeasible ones and retries."""
        counts, n_running = self._state.counts, len(self._state.running)
        return counts.total() - counts["infeasible"] - self._state.n_retries + n_running

    def _n_ahead(self) -> int:
        """Number of trials that are still to be suggested."""
        wanted, n_left = max(0, self._target - self._n_suggested), self._generator.n_left
        return wanted if n_left is None else min(wanted, n_left)

    def _can_suggest(self) -> bool:
        n_waiting = len(self._state.running) - len({j.trial for j in self._running_jobs.values()})
        may_wait = self._generator.is_predetermined or n_waiting < _MAX_WAITING
        return self._n_ahead() > 0 and may_wait

    def _n_requested(self, attributes: dict[str, Any]) -> int:
        requested = attributes.get(attr.TRIALS) or self._space.trials
        if requested is None and self._generator.design_size == 0:
            raise SpaceError("trials is missing, and the space has no design; set trials: 50")
        return self._generator.design_size if requested is None else int(requested)

    def _add(self, suggestion: Suggestion) -> None:
        """Add a trial to the study, with its candidate or as infeasible."""
        candidate, attributes = suggestion.candidate, dict(suggestion.attributes)
        if candidate is None:
            state = TrialState.FAIL
            attributes |= {attr.NAME: suggestion.name, attr.INFEASIBLE: True}
            attributes |= {attr.REASON: suggestion.reason, attr.REPLICATE: suggestion.replicate}
        else:
            state = TrialState.RUNNING
            attributes |= attr.candidate_attributes(candidate, replicate=suggestion.replicate)
        number = self._store.add(
            state=state,
            params=suggestion.params,
            distributions=self._generator.distributions,
            attributes=attributes,
        ).number
        if candidate is not None:
            self._state.start(number, candidate, replicate=suggestion.replicate)
            return
        self._state.counts["infeasible"] += 1
        self._emit_trial_finished(number, suggestion.name, state=state, reason=suggestion.reason)

    # Advancing.

    def _advance_trials(self) -> None:
        """Advance every running trial as far as the known measurements allow."""
        for trial in list(self._state.running.values()):
            while trial.number in self._state.running and self._advance(trial):
                pass

    def _advance(self, trial: RunningTrial) -> bool:
        """Answer jobs from the study, then pass the rung or fail; return whether to repeat."""
        for job in list(trial.missing_jobs()) if trial.reason is None else ():
            if job.key in self._state.measured:
                self._keep(trial, job, measurement=self._state.measured[job.key], reused=True)
            elif job.key in self._failed_jobs:
                self._mark_failed(trial, self._failed_jobs[job.key])
        is_incomplete = any(trial.missing_jobs())
        if any(job.trial == trial.number for job in self._running_jobs.values()):
            return False  # an ended trial could not take their results
        if trial.reason is not None and is_incomplete:
            self._finish(trial, TrialState.FAIL, reason=trial.reason)
        elif trial.reason is not None:  # the driver was killed between the decision and the end
            self._state.pass_rung(trial)
            self._finish(trial, TrialState.PRUNED, reason=trial.reason)
        elif not is_incomplete:
            self._decide(trial)
            return True
        return False

    def _decide(self, trial: RunningTrial) -> None:
        """Complete, prune or promote a trial whose rung is measured."""
        rung = trial.rungs_done
        values, others = self._state.pass_rung(trial)
        if len(values) == 1:  # Optuna has intermediate values of a single objective only
            self._store.report(trial.number, rung=rung, value=values[0])
            self._generator.report(trial.number, rung=rung, value=values[0])
        factor = self._space.reduction_factor
        signs = [sign(name) for name in self._space.objectives]
        if trial.is_last_rung_done:
            self._finish(trial, TrialState.COMPLETE, values=values)
        elif (
            factor
            and trial.is_end_of_length
            and not should_promote(values, others=others, factor=factor, signs=signs)
        ):
            reason = f"not in the best 1/{factor} of the {len(others) + 1} at rung {rung + 1}"
            self._finish(trial, TrialState.PRUNED, reason=reason)
        else:
            self._store.set(trial.number, attr.RUNGS_PASSED, trial.rungs_done)

    def _keep(
        self, trial: RunningTrial, job: Job, *, measurement: Measurement, reused: bool
    ) -> None:
        attributes = attr.measurement_attributes(
            measurement, rung=job.rung, seed_index=trial.seeds.index(job.seed), reused=reused
        )
        for key, value in attributes.items():
            self._store.set(trial.number, key, value)
        self._state.add(trial, job, measurement, reused=reused)

    def _mark_failed(self, trial: RunningTrial, reason: str) -> None:
        if trial.reason is None:
            trial.reason = reason
            self._store.set(trial.number, attr.REASON, reason)

    def _take_back(self, job: Job) -> RunningTrial:
        del self._running_jobs[job.key]
        self.n_jobs_done += 1
        return self._state.running[job.trial]

    def _finish(
        self,
        trial: RunningTrial,
        state: TrialState,
        *,
        values: Values | None = None,
        reason: str | None = None,
    ) -> None:
        if reason is not None:
            self._store.set(trial.number, attr.REASON, reason)
        del self._state.running[trial.number]
        self._end(trial.number, state, values=values)
        if state is TrialState.FAIL and not self._state.measured and self.abort_reason is None:
            self.abort_reason = self._failures.add(reason or "no reason")
        self._emit_trial_finished(
            trial.number, trial.name, state=state, values=values or (), reason=reason
        )

    def _end(self, number: int, state: TrialState, *, values: Values | None) -> None:
        self._store.finish(number, state=state, values=values)
        self._generator.tell(number, state=state, values=values)
        self._state.counts[attr.state_of(state)] += 1

    def _emit_trial_finished(
        self, number: int, name: str, *, state: TrialState, values: Values = (), reason: str | None
    ) -> None:
        event = TrialFinished(
            number=number,
            name=name,
            state=attr.state_of(state),
            values=values,
            reason=reason,
            remaining=self.remaining(),
        )
        self._emit(event)

    def _emit(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)
