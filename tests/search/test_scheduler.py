import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from cmt_search.errors import SpaceError
from cmt_search.evaluation import Evaluator
from cmt_search.search import RunDir, run_search
from cmt_search.search.asha import should_promote
from cmt_search.search.executors.inline import InlineExecutor
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.serialization import trial_record
from cmt_search.search.storage import StudyStore, directions
from cmt_search.search.types import Event, Failure, Job, JobFinished, TrialFinished, TrialRecord
from tests.search.lookup import (
    FakeSampler,
    FakeSpace,
    LookupEvaluator,
    LookupFactory,
    measure,
    nan,
    out_of_memory,
)
from tests.search.searching import open_store

PARETO = FakeSpace(
    kind="pareto", objectives=("top1", "macs"), trials=12, sampler=FakeSampler(name="random")
)


def records(store: StudyStore) -> list[TrialRecord]:
    return [trial_record(trial) for trial in store.trials()]


def search(
    folder: Path | None,
    space: FakeSpace,
    evaluator: Evaluator | None = None,
    trials: int | None = None,
) -> list[TrialRecord]:
    """Search to the end, in memory or in a folder."""
    store = open_store(folder, space) if folder else StudyStore.in_memory(space.objectives)
    scheduler = Scheduler(space, store, trials=trials)
    InlineExecutor().run(scheduler, lambda: evaluator or LookupEvaluator(), stop=lambda: False)
    assert scheduler.finished or scheduler.abort_reason
    found = records(store)
    store.close()
    return found


def answer(job: Job, scheduler: Scheduler) -> None:
    scheduler.record(job, measure(job.arch, fidelity=job.fidelity, seed=job.seed))


def identities(trial: TrialRecord) -> list[tuple[str, int, int]]:
    return [
        (r.rung.arch.key, r.rung.fidelity.epochs, m.seed)
        for r in trial.rungs
        for m in r.measurements
    ]


def test_every_trial_of_a_design_runs_all_of_its_rungs_once() -> None:
    jobs: list[Job] = []
    store = StudyStore.in_memory(FakeSpace(seeds=2).objectives)
    scheduler = Scheduler(FakeSpace(seeds=2), store)
    while (job := scheduler.next_job()) is not None:
        jobs.append(job)
        answer(job, scheduler)
    assert len(jobs) == len({job.key for job in jobs})
    for trial in records(store):
        assert trial.state == "complete"
        assert [len(rung.measurements) for rung in trial.rungs] == [2, 2]
        seeds = [m.seed for m in trial.rungs[0].measurements]
        assert seeds == [7 + 1000 * trial.replicate, 8 + 1000 * trial.replicate]
        last = [m.top1 for m in trial.rungs[-1].measurements]
        assert trial.values == (pytest.approx(sum(last) / 2),)


def test_a_trial_reads_back_as_it_was_asked_for() -> None:
    trial = search(None, FakeSpace())[1]
    shares = {"depth": 0.17, "width": 0.52}
    asked = FakeSpace().candidate(shares, "cmt-paper")
    assert trial.name == "cmt-paper"
    assert trial.params == shares
    assert trial.shares == (0.17, 0.52, 1 - 0.17 - 0.52)
    assert tuple(rung.rung for rung in trial.rungs) == asked.rungs
    expected = [measure(r.arch, fidelity=r.fidelity, seed=7) for r in asked.rungs]
    assert [rung.measurements[0] for rung in trial.rungs] == expected
    assert trial.seconds == 1.0


def test_a_network_that_was_measured_is_answered_from_the_study() -> None:
    space = FakeSpace(grid=1, sampler=FakeSampler(lattice=4, replicates=1))
    trials = search(None, space)
    trained = [
        name
        for trial in trials
        for name, reused in zip(
            identities(trial), [r for rung in trial.rungs for r in rung.reused], strict=True
        )
        if not reused
    ]
    assert len(trained) == len(set(trained)) < sum(len(identities(t)) for t in trials)
    assert {t.state for t in trials} == {"complete"}
    copies = [t for t in trials if all(rung.reused == (True,) for rung in t.rungs)]
    assert copies
    assert all(t.seconds == 0 and t.values for t in copies)


def test_a_trial_waits_for_a_twin_that_is_training() -> None:
    space = FakeSpace(grid=1, epochs=(1,), sampler=FakeSampler(lattice=0, replicates=1))
    store = StudyStore.in_memory(space.objectives)
    scheduler = Scheduler(space, store)  # cmt-paper and dwr are one network
    handed = []
    while (job := scheduler.next_job()) is not None:
        handed.append(job)
    open_trials = [t for t in records(store) if t.state == "running"]
    assert len(handed) < len(open_trials) == 3
    assert not scheduler.finished
    for job in handed:
        answer(job, scheduler)
    assert scheduler.next_job() is None
    assert scheduler.finished
    assert {t.state for t in records(store)} == {"complete"}


def test_the_oldest_trial_goes_first() -> None:
    scheduler = Scheduler(FakeSpace(seeds=2), StudyStore.in_memory(FakeSpace(seeds=2).objectives))
    order = []
    for _ in range(5):
        job = scheduler.next_job()
        assert job is not None
        order.append((job.trial, job.rung, job.seed))
        answer(job, scheduler)
    assert order == [(0, 0, 7), (0, 0, 8), (0, 1, 7), (0, 1, 8), (1, 0, 7)]


def test_a_diverged_training_fails_its_trial_with_the_reason() -> None:
    trials = search(None, FakeSpace(), nan)
    assert {t.state for t in trials} == {"failed"}
    assert {t.reason for t in trials} == {"loss is nan: the training diverged"}
    assert all(t.values == () for t in trials)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"top1": float("inf")}, "top1 is inf: the training diverged"),
        ({"top1": 1.5}, "top1 is 1.5, outside 0..1"),
        ({"seed": 3}, "seed is 3, requested was 7"),
    ],
)
def test_a_measurement_that_cannot_be_true_fails_its_trial(
    changes: dict[str, float], reason: str
) -> None:
    store = StudyStore.in_memory(FakeSpace().objectives)
    scheduler = Scheduler(FakeSpace(), store)
    job = scheduler.next_job()
    assert job is not None
    scheduler.record(job, replace(measure(job.arch, fidelity=job.fidelity, seed=7), **changes))
    assert [(t.state, t.reason) for t in records(store)] == [("failed", reason)]


def test_a_failing_job_is_a_row_and_the_search_goes_on() -> None:
    trials = search(None, FakeSpace(), LookupEvaluator(raises=9))  # depth-only has 9 blocks
    failed = [t for t in trials if t.state == "failed"]
    assert [t.name for t in failed] == ["depth-only"]
    assert str(failed[0].reason).startswith(
        "ZeroDivisionError: the lookup broke, in __call__ (lookup.py:"
    )
    assert sum(t.state == "complete" for t in trials) == len(trials) - 1


def test_the_message_of_a_failed_training_is_the_reason() -> None:
    trials = search(None, FakeSpace(), out_of_memory)
    assert {t.reason for t in trials} == {"out of memory at batch 64; lower proxy.batch"}


def test_a_failing_trial_keeps_what_its_other_seeds_measured() -> None:
    space = FakeSpace(seeds=2)
    store = StudyStore.in_memory(space.objectives)
    scheduler = Scheduler(space, store)
    first, second = scheduler.next_job(), scheduler.next_job()
    assert first is not None
    assert second is not None
    assert first.trial == second.trial == 0
    scheduler.fail(first, Failure(reason="lost"))
    assert records(store)[0].state == "running"
    answer(second, scheduler)
    trial = records(store)[0]
    assert (trial.state, trial.reason) == ("failed", "lost")
    assert [m.seed for m in trial.rungs[0].measurements] == [second.seed]


def test_a_network_that_failed_is_not_tried_again_by_a_twin() -> None:
    space = FakeSpace(grid=1, epochs=(1,), sampler=FakeSampler(lattice=0, replicates=1))
    began: list[str] = []

    def failing(arch: object, **_: object) -> None:
        began.append(str(arch))
        raise ZeroDivisionError("no")

    trials = search(None, space, failing)  # type: ignore[arg-type]
    assert [t.state for t in trials] == ["failed"] * 3
    assert len(began) == len(set(began)) < 3


def test_infeasible_candidates_are_rows_that_do_not_count() -> None:
    space = FakeSpace(trials=9, infeasible_above=0.9, sampler=FakeSampler(name="random"))
    trials = search(None, space)
    infeasible = [t for t in trials if t.state == "failed"]
    assert "depth-only" in [t.name for t in infeasible]
    assert infeasible[0].reason == "infeasible: depth=1.00 leaves no network; lower it"
    assert infeasible[0].rungs == ()
    assert sum(t.state == "complete" for t in trials) == 9


def test_a_model_keeps_away_from_where_nothing_is_feasible() -> None:
    space = replace(PARETO, trials=30, infeasible_above=0.5, sampler=FakeSampler(name="tpe"))
    trials = search(None, space)
    early, late = trials[:20], trials[20:]
    share = [sum(t.reason is not None for t in some) / len(some) for some in (early, late)]
    assert share[1] < share[0]


def test_asking_ends_where_nothing_is_feasible() -> None:
    space = replace(PARETO, infeasible_above=-1.0)
    store = StudyStore.in_memory(space.objectives)
    scheduler = Scheduler(space, store)
    assert scheduler.next_job() is None
    assert scheduler.finished
    assert scheduler.counts["infeasible"] == 100
    assert scheduler.n_missing == 12
    assert "12 of 12 trials were not run: 100 suggestions in a row" in scheduler.notes()[0]


def test_a_design_that_is_exhausted_says_so() -> None:
    space = FakeSpace(trials=50)
    scheduler = Scheduler(space, StudyStore.in_memory(space.objectives))
    while (job := scheduler.next_job()) is not None:
        answer(job, scheduler)
    assert scheduler.n_missing == 39
    assert "sampler.lattice" in scheduler.notes()[0]


def test_a_search_without_trials_and_without_a_design_is_refused() -> None:
    space = replace(PARETO, trials=None)
    with pytest.raises(SpaceError, match="trials is missing"):
        Scheduler(space, StudyStore.in_memory(space.objectives))


def test_halving_compares_equal_rungs_and_prunes_with_a_reason() -> None:
    space = FakeSpace(
        kind="pareto",
        trials=20,
        reduction_factor=2,
        epochs=(1, 2, 4),
        grid=1000,  # no twins
        sampler=FakeSampler(name="random"),
    )
    store = StudyStore.in_memory(space.objectives)
    scheduler = Scheduler(space, store)
    seen: dict[int, list[float]] = {}
    expected = {}
    while (job := scheduler.next_job()) is not None:
        found = measure(job.arch, fidelity=job.fidelity, seed=job.seed)
        at = seen.setdefault(job.rung, [])
        at.append(found.top1)
        better = sum(other > found.top1 for other in at)
        if job.rung < 2 and len(at) >= 2 and better >= len(at) / 2:
            expected[job.trial] = f"not in the best 1/2 of the {len(at)} at rung {job.rung + 1}"
        scheduler.record(job, found)
    trials = records(store)
    pruned = {t.number: t.reason for t in trials if t.state == "pruned"}
    assert pruned == expected
    assert len(pruned) > 5
    assert all(t.values == () for t in trials if t.state == "pruned")
    assert all(len(t.values) == 1 for t in trials if t.state == "complete")


def test_without_halving_nothing_is_pruned() -> None:
    assert {t.state for t in search(None, PARETO)} == {"complete"}


def test_costs_are_objectives_of_the_last_rung() -> None:
    for trial in search(None, PARETO):
        assert trial.values[1] == trial.rungs[-1].rung.macs


def test_halving_with_several_objectives_lets_a_third_go_on() -> None:
    space = replace(PARETO, trials=30, reduction_factor=3, epochs=(1, 2))
    trials = search(None, space)
    at_first = [(t.rungs[0].measurements[0].top1, -t.rungs[0].rung.macs) for t in trials]
    stopped = {t.number for t in trials if t.state == "pruned"}
    assert len(stopped) >= 10
    for trial in trials:
        others = at_first[: trial.number]
        goes_on = should_promote(at_first[trial.number], others=others, factor=3, signs=(1, 1))
        assert goes_on == (trial.number not in stopped)


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_search_in_pieces_asks_what_a_search_in_one_asks(tmp_path: Path, name: str) -> None:
    sampler = FakeSampler(name=name)
    space = replace(PARETO, trials=13, epochs=(1,), infeasible_above=0.8, sampler=sampler)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir()
    pieces.mkdir()
    expected = search(whole, space)
    for _ in range(200):  # every job with a scheduler of its own
        store = open_store(pieces, space)
        scheduler = Scheduler(space, store)
        job = scheduler.next_job()
        if job is None:
            break
        answer(job, scheduler)
        store.close()
    found = records(store)
    assert [(t.params, t.values, t.state) for t in found] == [
        (t.params, t.values, t.state) for t in expected
    ]
    assert {t.state for t in found} == {"complete", "failed"}


def test_jobs_in_flight_are_handed_out_again_and_nothing_else(tmp_path: Path) -> None:
    space = FakeSpace(seeds=3)
    scheduler = Scheduler(space, open_store(tmp_path, space))
    jobs = [scheduler.next_job() for _ in range(5)]
    for job in jobs[:2]:
        assert job is not None
        answer(job, scheduler)
    again = Scheduler(space, open_store(tmp_path, space))  # the first was killed
    assert [again.next_job() for _ in range(3)] == jobs[2:]


def test_a_kill_after_any_write_changes_nothing_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = FakeSampler(name="random", lattice=1, replicates=1)
    space = FakeSpace(trials=5, reduction_factor=2, grid=4, infeasible_above=0.9, sampler=sampler)
    storage = InMemoryStorage()

    def run(name: str, *, writes: int) -> tuple[list[tuple[object, ...]], bool]:
        """All trials, and whether the driver was killed after so many writes."""
        store = StudyStore(storage, storage.create_new_study(directions(("top1",)), name))
        with monkeypatch.context() as patch:
            _die_after(patch, writes)
            try:
                trial(store)
            except SystemExit:
                killed = True
            else:
                killed = False
        trial(store)
        found = [(t.params, t.state, t.values, t.reason, t.rungs) for t in records(store)]
        return found, killed

    def trial(store: StudyStore) -> None:
        scheduler = Scheduler(space, store)
        InlineExecutor().run(scheduler, lambda: LookupEvaluator(raises=3), stop=lambda: False)

    expected, _ = run("whole", writes=10**6)
    assert {row[1] for row in expected} == {"complete", "pruned", "failed"}
    writes, killed = 0, True
    while killed:
        writes += 1
        found, killed = run(f"killed after {writes}", writes=writes)
        assert found == expected
    assert writes > 30


def test_a_running_trial_without_a_candidate_is_failed_with_a_reason() -> None:
    store = StudyStore.in_memory(FakeSpace().objectives)
    store.add(state=TrialState.RUNNING, params={}, distributions={}, attributes={})
    scheduler = Scheduler(FakeSpace(trials=3), store)
    while (job := scheduler.next_job()) is not None:
        answer(job, scheduler)
    first, *others = records(store)
    assert first.state == "failed"
    assert "another program" in str(first.reason)
    assert [t.state for t in others] == ["complete", "complete"]


def test_trials_may_be_extended_and_the_number_is_remembered(tmp_path: Path) -> None:
    space = replace(PARETO, trials=4)
    assert len(search(tmp_path, space)) == 4
    assert len(search(tmp_path, space)) == 4
    assert len(search(tmp_path, space, trials=7)) == 7
    store = open_store(tmp_path, space)
    scheduler = Scheduler(space, store, trials=9)
    scheduler.next_job()
    store.close()  # killed
    assert len(search(tmp_path, space)) == 9


def test_a_design_is_asked_for_once(tmp_path: Path) -> None:
    space = FakeSpace()
    names = [t.name for t in search(tmp_path, space, trials=4)]
    longer = [t.name for t in search(tmp_path, space, trials=11)]
    assert longer[:4] == names
    assert len(longer) == 11
    assert sorted(longer) == sorted([*dict.fromkeys(longer), "centroid", "cmt-paper"])


def test_remaining_jobs_count_down_to_zero() -> None:
    events: list[Event] = []
    space = FakeSpace(seeds=2)
    scheduler = Scheduler(space, StudyStore.in_memory(space.objectives), on_event=events.append)
    while (job := scheduler.next_job()) is not None:
        answer(job, scheduler)
    jobs = [event.remaining.jobs for event in events]
    assert jobs == sorted(jobs, reverse=True)
    assert jobs[0] == 11 * 2 * 2
    assert jobs[-1] == 0
    assert sum(isinstance(event, JobFinished) for event in events) == scheduler.n_jobs_done
    ended = [event for event in events if isinstance(event, TrialFinished)]
    assert [event.number for event in ended] == list(range(11))


def test_waiting_trials_do_not_swallow_the_sampler() -> None:
    space = replace(PARETO, trials=500, grid=0)  # one network for all
    store = StudyStore.in_memory(space.objectives)
    scheduler = Scheduler(space, store)
    assert scheduler.next_job() is not None
    assert scheduler.next_job() is None
    assert 1 < len(records(store)) < 40


def test_a_trial_enters_the_study_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = replace(PARETO, sampler=FakeSampler(name="tpe"))
    store = open_store(tmp_path, space)
    scheduler = Scheduler(space, store)
    written = []
    for name in ("set_trial_param", "set_trial_user_attr", "set_trial_system_attr"):
        monkeypatch.setattr(type(store.storage), name, lambda *a, **k: written.append(a))
    scheduler.next_job()
    assert written == []
    assert records(store)[0].rungs


def _die_after(patch: pytest.MonkeyPatch, writes: int) -> None:
    """End the process, as it were, after so many writes to the study."""
    left = iter(range(writes - 1, -1, -1))
    for name in ("add", "set", "report", "finish"):
        patch.setattr(StudyStore, name, _dying(getattr(StudyStore, name), left))


def _dying(write: Callable[..., Any], left: Iterator[int]) -> Callable[..., Any]:
    def dying(*args: object, **known: object) -> object:
        result = write(*args, **known)
        if next(left) == 0:
            raise SystemExit
        return result

    return dying


def test_a_search_with_fewer_candidates_than_trials_is_exhausted_not_finished(
    tmp_path: Path,
) -> None:
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="f00d")
    space = FakeSpace(trials=50, epochs=(1,))
    outcome = run_search(run, space, LookupFactory(), executor="inline")
    assert (outcome.stopped, outcome.complete, outcome.remaining.trials) == ("exhausted", 11, 0)
    assert "39 of 50" in outcome.notes[0]


def test_a_search_runs_without_assertions() -> None:
    code = (
        "from tests.search.lookup import FakeSpace, LookupEvaluator\n"
        "from tests.search.searching import drive\n"
        "from cmt_search.search.storage import StudyStore\n"
        "space = FakeSpace(infeasible_above=0.9)\n"
        "store = StudyStore.in_memory(space.objectives)\n"
        "counts = drive(store, space, LookupEvaluator()).counts\n"
        "print(counts['complete'], counts['infeasible'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["10", "1"]
