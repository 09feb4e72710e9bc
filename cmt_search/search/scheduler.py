"""Schedules jobs and records results. The single writer of the study."""

from collections import Counter
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import RunError, SpaceError
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.search import serialization as attr
from cmt_search.search.asha import should_promote
from cmt_search.search.running_trial import RunningTrial, Values, invalid_reason, training_seed
from cmt_search.search.sampling.design import DESIGN_JSON
from cmt_search.search.sampling.generator import CandidateGenerator
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
from cmt_search.space.candidates import Candidate

_MAX_WAITING = 32  # trials waiting for another trial's job, before no more are suggested
_MAX_FAILURES = 5  # trials of a session, before anything is measured and the search aborts
_DEATH_RETRIES = 2  # at least: a worker often dies by the machine, not by its network


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
        self.counts: Counter[str] = Counter()  # ended trials: state, or "infeasible"
        self.n_jobs_done = 0  # in this session, measured or failed
        self.n_reused = 0  # measurements answered from the study
        self.abort_reason: str | None = None  # set when every trial fails
        self._space = space
        self._store = store
        self._listener = on_event
        self._retries = {"memory": 1, "invalid": 0, "error": retries, "hung": retries}
        self._retries["died"] = max(retries, _DEATH_RETRIES)
        self._running: dict[int, RunningTrial] = {}  # by number
        self._running_jobs: dict[MeasurementKey, Job] = {}
        self._measured: dict[MeasurementKey, Measurement] = {}
        self._best_top1: float | None = None
        self._n_failed: Counter[MeasurementKey] = Counter()  # tries of jobs, in this session
        self._failed_jobs: dict[MeasurementKey, str] = {}  # reasons, in this session
        # By rung, fidelity and budget, within which trials are compared; then by trial number.
        self._passed: dict[tuple[int, Fidelity, float | None], dict[int, Values]] = {}
        self._n_retry_trials = 0
        self._n_failed_trials = 0  # in this session, before anything is measured
        self._n_rungs = 1  # of a trial, as far as known
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
        """Take over the trials of the study; running ones continue where they were interrupted."""
        try:
            stored = self._store.trials()
            if retry_failed:
                retried = {trial.user_attrs.get(attr.RETRY_OF) for trial in stored}
                failed = (t for t in stored if t.state is TrialState.FAIL)
                candidates = (t for t in failed if attr.CANDIDATE in t.user_attrs)
                stored += [self._retry(t) for t in candidates if t.number not in retried]
            trials = [(trial, attr.read_candidate(trial.user_attrs)) for trial in stored]
            for trial, candidate in trials:
                self._restore_trial(trial, candidate)
        except (LookupError, TypeError, ValueError) as error:
            raise RunError(
                f"the study is damaged ({type(error).__name__}: {error}); it was not changed; "
                "restore it from a backup"
            ) from error
        self._generator.restore(trials)
        for trial, candidate in trials:
            if candidate is None and not trial.state.is_finished():
                self._store.set(trial.number, attr.REASON, attr.FOREIGN)
                self._end(trial.number, TrialState.FAIL, values=None)
        for running in self._running.values() if retry_failed else ():
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

    def _restore_trial(self, trial: FrozenTrial, candidate: Candidate | None) -> None:
        attributes, is_running = trial.user_attrs, not trial.state.is_finished()
        self._n_retry_trials += attr.RETRY_OF in attributes
        if not is_running:
            is_infeasible = attr.INFEASIBLE in attributes
            self.counts["infeasible" if is_infeasible else attr.recorded_state(trial)] += 1
        if candidate is None:
            return
        restored = self._start(trial.number, candidate, replicate=attributes.get(attr.REPLICATE, 0))
        restored.reason = attributes.get(attr.REASON)
        for (rung, seed_index), (measurement, reused) in attr.read_measurements(attributes).items():
            self._add_measurement(
                restored, restored.job(rung, seed_index=seed_index), measurement, reused=reused
            )
        n_measured = restored.n_rungs_measured
        for _ in range(attributes.get(attr.RUNGS_PASSED, 0) if is_running else n_measured):
            self._pass_rung(restored)
        if not is_running:
            del self._running[trial.number]

    # For executors.

    def next_job(self) -> Job | None:
        """Return the next job, the oldest trial's first; None: there is none now, or ever."""
        while True:
            self._advance_trials()
            if self.abort_reason is not None:
                return None
            for trial in self._running.values():
                for job in trial.missing_jobs():
                    if trial.reason is None and job.key not in self._running_jobs:
                        self._running_jobs[job.key] = job
                        name = trial.candidate.name
                        self._emit(JobStarted(job=job, name=name, remaining=self.remaining()))
                        return job
            if not self._can_suggest():
                return None
            self._suggest()

    def record(self, job: Job, measurement: Measurement) -> None:
        """Record the measurement of a job."""
        invalid = invalid_reason(measurement, job=job)
        if invalid is not None:
            self.fail(job, Failure(reason=invalid, kind="invalid"))
            return
        trial = self._take_back(job)
        self._keep(trial, job, measurement=measurement, reused=False)
        self._end_job(trial, job, measurement=measurement)

    def fail(self, job: Job, failure: Failure) -> bool:
        """Record the failure of a job; return whether it is run again.

        If it is not, its trial fails once its other jobs are done.
        """
        trial, reason = self._take_back(job), failure.reason
        self._n_failed[job.key] += 1
        n_tries = self._n_failed[job.key]
        is_retried = n_tries <= self._retries[failure.kind]
        if not is_retried:
            reason += f" (tried {n_tries} times)" if n_tries > 1 else ""
            self._failed_jobs[job.key] = reason
            self._mark_failed(trial, reason)
        self._end_job(trial, job, reason=reason, is_retried=is_retried)
        return is_retried

    def _take_back(self, job: Job) -> RunningTrial:
        del self._running_jobs[job.key]
        self.n_jobs_done += 1
        return self._running[job.trial]

    def _end_job(self, trial: RunningTrial, job: Job, **result: Any) -> None:
        name, remaining = trial.candidate.name, self.remaining()
        self._emit(JobFinished(job=job, name=name, remaining=remaining, **result))
        self._advance_trials()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to hand out or to wait for."""
        return not self._running and not self._can_suggest()

    def networks_ahead(self) -> set[str]:
        """Return the keys of the networks that running trials have yet to train."""
        return {
            rung.arch.key
            for trial in self._running.values()
            for rung in trial.candidate.rungs[trial.rungs_done :]
        }

    # For the outcome.

    def remaining(self) -> Remaining:
        """Return an upper bound of the remaining work."""
        running, n_ahead = self._running.values(), self._n_ahead()
        n_jobs = sum(trial.n_jobs_left for trial in running if trial.reason is None)
        n_jobs += n_ahead * self._n_rungs * self._space.seeds
        return Remaining(
            trials=len(running) + n_ahead,
            jobs=n_jobs,
            jobs_done=len(self._measured),
            best_top1=self._best_top1,
        )

    @property
    def n_missing(self) -> int:
        """Number of requested trials that have no candidate."""
        missing = self._target - self._n_suggested - self._n_ahead()
        if self._space.sampler.name == "design":  # infeasible rules are part of the design
            missing -= self.counts["infeasible"]
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
        n_ended = self.counts.total() - self.counts["infeasible"]
        return n_ended + len(self._running) - self._n_retry_trials

    def _n_ahead(self) -> int:
        """Number of trials that are still to be suggested."""
        wanted, n_left = max(0, self._target - self._n_suggested), self._generator.n_left
        return wanted if n_left is None else min(wanted, n_left)

    def _can_suggest(self) -> bool:
        n_waiting = len(self._running) - len({j.trial for j in self._running_jobs.values()})
        may_wait = self._generator.is_predetermined or n_waiting < _MAX_WAITING
        return self._n_ahead() > 0 and may_wait

    def _n_requested(self, attributes: dict[str, Any]) -> int:
        requested = attributes.get(attr.TRIALS) or self._space.trials
        if requested is None and self._generator.design_size == 0:
            raise SpaceError("trials is missing, and the space has no design; set trials: 50")
        return self._generator.design_size if requested is None else int(requested)

    def _suggest(self) -> None:
        """Add a trial to the study, with its candidate or as infeasible."""
        suggestion = self._generator.ask()
        candidate = suggestion.candidate
        if candidate is None:
            state = TrialState.FAIL
            attributes = {attr.NAME: suggestion.name, attr.REPLICATE: suggestion.replicate}
            attributes |= {attr.INFEASIBLE: True, attr.REASON: suggestion.reason}
        else:
            state = TrialState.RUNNING
            attributes = attr.candidate_attributes(candidate, replicate=suggestion.replicate)
        number = self._store.add(
            state=state,
            params=suggestion.params,
            distributions=self._generator.distributions,
            attributes={**suggestion.attributes, **attributes},
        ).number
        if candidate is not None:
            self._start(number, candidate, replicate=suggestion.replicate)
            return
        self.counts["infeasible"] += 1
        self._emit_trial_finished(number, suggestion.name, state=state, reason=suggestion.reason)

    def _start(self, number: int, candidate: Candidate, *, replicate: int) -> RunningTrial:
        seed, count = self._space.seed, self._space.seeds
        seeds = (training_seed(seed, replicate=replicate, seed_index=i) for i in range(count))
        trial = RunningTrial(number=number, candidate=candidate, seeds=tuple(seeds))
        self._n_rungs = len(candidate.rungs)
        self._running[number] = trial
        return trial

    # Advancing.

    def _advance_trials(self) -> None:
        """Advance every running trial as far as the known measurements allow."""
        for trial in list(self._running.values()):
            while trial.number in self._running and self._advance(trial):
                pass

    def _advance(self, trial: RunningTrial) -> bool:
        """Answer jobs from the study, then pass the rung or fail; return whether to repeat."""
        for job in list(trial.missing_jobs()) if trial.reason is None else ():
            if job.key in self._measured:
                self._keep(trial, job, measurement=self._measured[job.key], reused=True)
            elif job.key in self._failed_jobs:
                self._mark_failed(trial, self._failed_jobs[job.key])
        is_incomplete = any(trial.missing_jobs())
        if any(job.trial == trial.number for job in self._running_jobs.values()):
            return False  # an ended trial could not take their results
        if trial.reason is not None and is_incomplete:
            self._finish(trial, TrialState.FAIL, reason=trial.reason)
        elif trial.reason is not None:  # the driver was killed between the decision and the end
            self._pass_rung(trial)
            self._finish(trial, TrialState.PRUNED, reason=trial.reason)
        elif not is_incomplete:
            self._decide(trial)
            return True
        return False

    def _decide(self, trial: RunningTrial) -> None:
        """Complete, prune or promote a trial whose rung is measured."""
        rung = trial.rungs_done
        values, others = self._pass_rung(trial)
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

    def _pass_rung(self, trial: RunningTrial) -> tuple[Values, list[Values]]:
        """Count a rung as passed; return its values and those of the trials before."""
        step = trial.candidate.rungs[trial.rungs_done]
        values = trial.values(trial.rungs_done, objectives=self._space.objectives)
        passed = self._passed.setdefault((trial.rungs_done, step.fidelity, step.budget), {})
        others = list(passed.values())
        passed[trial.number] = values
        trial.rungs_done += 1
        return values, others

    def _keep(
        self, trial: RunningTrial, job: Job, *, measurement: Measurement, reused: bool
    ) -> None:
        attributes = attr.measurement_attributes(
            measurement, rung=job.rung, seed_index=trial.seeds.index(job.seed), reused=reused
        )
        for key, value in attributes.items():
            self._store.set(trial.number, key, value)
        self._add_measurement(trial, job, measurement, reused=reused)

    def _add_measurement(
        self, trial: RunningTrial, job: Job, measurement: Measurement, *, reused: bool
    ) -> None:
        trial.measurements[job.rung, job.seed] = measurement
        self._measured.setdefault(job.key, measurement)
        self._best_top1 = max(measurement.top1, self._best_top1 or 0.0)
        self.n_reused += reused

    def _mark_failed(self, trial: RunningTrial, reason: str) -> None:
        if trial.reason is None:
            trial.reason = reason
            self._store.set(trial.number, attr.REASON, reason)

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
        del self._running[trial.number]
        self._end(trial.number, state, values=values)
        if state is TrialState.FAIL and not self._measured:
            self._n_failed_trials += 1
            if self._n_failed_trials == _MAX_FAILURES:
                self.abort_reason = f"the first {_MAX_FAILURES} trials all failed: {reason}"
        self._emit_trial_finished(
            trial.number, trial.candidate.name, state=state, values=values or (), reason=reason
        )

    def _end(self, number: int, state: TrialState, *, values: Values | None) -> None:
        self._store.finish(number, state=state, values=values)
        self._generator.tell(number, state=state, values=values)
        self.counts[attr.state_of(state)] += 1

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
