"""Failed jobs are retried; a search in which everything fails aborts."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.errors import DataError, RunError, SpaceError
from cmt_search.evaluation import OutOfMemory, TrainingFailed
from cmt_search.search import Event, JobFinished, RunDir, read_trials, run_search
from cmt_search.search.executors.inline import run_job
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.storage import StudyStore
from cmt_search.search.types import Failure, Job
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory, measure
from tests.search.searching import drive, open_store, records

SPACE = FakeSpace(epochs=(1,), sampler=FakeSampler(lattice=1, replicates=1))
DEPTH_ONLY = 9  # blocks of its network


class Flaky:
    """Fails for networks of the blocks named: so many times, or always."""

    def __init__(self, error: Exception, *, times: int = 10**6, blocks: int | None = None) -> None:
        self.error, self.times, self.blocks = error, times, blocks
        self.calls: Counter[str] = Counter()

    def __call__(self, arch: Arch, *, folder: Path | None = None, **known: Any) -> Any:
        self.calls[arch.key] += 1
        concerned = self.blocks in (None, arch.stages[0].depth)
        if concerned and self.calls[arch.key] <= self.times:
            raise self.error
        return measure(arch, **known)


@pytest.mark.parametrize(("retries", "state"), [(0, "failed"), (1, "failed"), (2, "complete")])
def test_a_failing_job_is_tried_as_often_as_asked(retries: int, state: str) -> None:
    flaky = Flaky(OSError("the disk went away"), times=2, blocks=DEPTH_ONLY)
    store = StudyStore.in_memory(SPACE.objectives)
    drive(store, SPACE, flaky, retries=retries)
    trial = next(t for t in records(store) if t.name == "depth-only")
    assert trial.state == state
    assert flaky.calls[trial.rungs[0].rung.arch.key] == retries + 1
    if state == "failed":
        assert str(trial.reason).startswith("OSError: the disk went away, in __call__")
        assert str(trial.reason).endswith(" (tried 2 times)") == (retries == 1)
    assert sum(t.state == "complete" for t in records(store)) >= len(records(store)) - 1


def test_a_training_that_came_to_its_end_is_not_repeated() -> None:
    flaky = Flaky(TrainingFailed("the loss became nan after epoch 1"), blocks=DEPTH_ONLY)
    store = StudyStore.in_memory(SPACE.objectives)
    drive(store, SPACE, flaky, retries=5)
    assert max(flaky.calls.values()) == 1
    failed = [t for t in records(store) if t.state == "failed"]
    assert [t.reason for t in failed] == ["the loss became nan after epoch 1"]


@pytest.mark.parametrize(("times", "state"), [(1, "complete"), (9, "failed")])
def test_out_of_memory_is_retried_once_and_repeats_no_other_training(
    times: int, state: str
) -> None:
    error = OutOfMemory("out of memory on cuda:0; use proxy.recipe.micro_batch: 32")
    evaluator = Flaky(error, times=times, blocks=DEPTH_ONLY)
    store = StudyStore.in_memory(SPACE.objectives)
    drive(store, SPACE, evaluator, retries=5)
    trials = records(store)
    trial = next(t for t in trials if t.name == "depth-only")
    assert trial.state == state
    assert {t.state for t in trials if t is not trial} == {"complete"}
    if state == "failed":
        assert "micro_batch: 32 (tried 2 times)" in str(trial.reason)
    assert evaluator.calls.total() == len(evaluator.calls) + 1


@pytest.mark.parametrize("error", [DataError("no images"), SpaceError("no such rung")])
def test_what_no_network_could_change_ends_the_search_and_spoils_no_trial(error: Exception) -> None:
    store = StudyStore.in_memory(SPACE.objectives)
    with pytest.raises(type(error)):
        drive(store, SPACE, Flaky(error), retries=2)
    assert [t.state for t in records(store)] == ["running"]


def test_events_tell_which_jobs_come_again() -> None:
    events: list[Event] = []
    flaky = Flaky(ValueError("no"), times=1, blocks=DEPTH_ONLY)
    drive(StudyStore.in_memory(SPACE.objectives), SPACE, flaky, retries=1, on_event=events.append)
    ended = [e for e in events if isinstance(e, JobFinished) and e.reason]
    assert [(e.name, e.is_retried) for e in ended] == [("depth-only", True)]


def test_a_dying_worker_is_forgiven_twice_whatever_the_retries() -> None:
    scheduler = Scheduler(SPACE, StudyStore.in_memory(SPACE.objectives), retries=0)
    told = []
    for _ in range(3):
        job = scheduler.next_job()
        assert job is not None
        assert job.trial == 0
        told.append(scheduler.fail(job, Failure(reason="the worker died: kill -9", kind="died")))
    assert told == [True, True, False]


def test_a_search_in_which_everything_fails_gives_up_and_says_why() -> None:
    space = FakeSpace(trials=40, sampler=FakeSampler(name="random"))
    flaky = Flaky(ImportError("No module named 'kernels'"))
    store = StudyStore.in_memory(space.objectives)
    scheduler = drive(store, space, flaky, retries=0)
    assert not scheduler.finished
    assert str(scheduler.abort_reason).startswith(
        "the first 5 trials all failed: ImportError: No module named 'kernels'"
    )
    assert [t.state for t in records(store)] == ["failed"] * 5
    again = drive(store, space, flaky)  # a resume gets as many chances
    assert again.abort_reason
    assert len(records(store)) == 10


def test_one_measurement_and_a_search_does_not_give_up() -> None:
    space = FakeSpace(
        trials=20, epochs=(1,), grid=1000, kind="pareto", sampler=FakeSampler(name="random")
    )
    store = StudyStore.in_memory(space.objectives)
    scheduler = Scheduler(space, store)
    first = scheduler.next_job()
    assert first is not None
    scheduler.record(first, measure(first.arch, fidelity=first.fidelity, seed=first.seed))
    while (job := scheduler.next_job()) is not None:
        scheduler.fail(job, Failure(reason="no"))
    assert scheduler.finished
    assert scheduler.abort_reason is None
    assert scheduler.counts == {"complete": 1, "failed": 19}


def test_failed_trials_are_tried_again_when_asked_and_only_then(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="f00d")
    space = FakeSpace(trials=12, sampler=FakeSampler(name="tpe", lattice=1, replicates=1))
    first = run_search(run, space, LookupFactory(raises=2), executor="inline", retries=0)
    before = read_trials(run.path)
    failed = [t for t in before if t.state == "failed"]
    assert 0 < first.failed == len(failed)
    again = run_search(run, space, LookupFactory(), executor="inline")
    assert (again.jobs, again.failed) == (0, first.failed)
    for _ in range(2):  # those that were retried are not retried again
        outcome = run_search(run, space, LookupFactory(), executor="inline", retry_failed=True)
        assert (outcome.stopped, outcome.complete, outcome.failed) == ("finished", 12, len(failed))
    after = read_trials(run.path)
    retries = {t.retry_of: t for t in after if t.retry_of is not None}
    assert {n: t.params for n, t in retries.items()} == {t.number: t.params for t in failed}
    assert [t for t in after if t.retry_of is None] == list(before)
    assert {t.state for t in retries.values()} == {"complete"}


def test_trials_that_were_retried_change_nothing_for_the_sampler(tmp_path: Path) -> None:
    space = FakeSpace(
        trials=16, epochs=(1,), grid=1000, kind="pareto", sampler=FakeSampler(name="tpe")
    )

    def params(folder: str, *, broken: bool) -> list[object]:
        (tmp_path / folder).mkdir()
        store = open_store(tmp_path / folder, space)
        scheduler = Scheduler(space, store, trials=6)
        while (job := scheduler.next_job()) is not None:
            if broken and job.trial == 3:
                scheduler.fail(job, Failure(reason="no"))
            else:
                scheduler.record(job, measure(job.arch, fidelity=job.fidelity, seed=job.seed))
        drive(store, space, measure_at, trials=16, retry_failed=True)
        found = [t for t in records(store) if t.state == "complete"]
        assert len(found) == 16
        return sorted(str(t.params) for t in found)

    assert params("mended", broken=True) == params("whole", broken=False)


def measure_at(arch: Arch, *, folder: Path | None = None, **known: Any) -> Any:
    return measure(arch, **known)


def test_a_training_that_hangs_is_stopped_after_its_limit(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="f00d")
    one = FakeSpace(trials=1, epochs=(1,))
    factory = LookupFactory(wait=60, log=tmp_path / "log")
    outcome = run_search(run, one, factory, executor="inline", trial_time_limit=0.2, retries=1)
    assert (outcome.failed, outcome.jobs) == (1, 2)
    reason = str(read_trials(run.path)[0].reason)
    assert reason.startswith(
        "JobTimeout: stopped after 0.2 s, the limit for a trial's training, in "
    )
    assert "__call__ (lookup.py:" in reason  # where it hung
    assert reason.endswith("(tried 2 times)")


def test_a_limit_is_for_one_job_and_leaves_nothing_armed(tmp_path: Path) -> None:
    import signal

    before = signal.getsignal(signal.SIGALRM)
    job = SPACE.candidate({"depth": 0.5, "width": 0.2}).rungs[0]
    given = Job(trial=0, rung=0, seed=1, arch=job.arch, fidelity=job.fidelity)
    assert not isinstance(run_job(measure_at, given, limit=30), Failure)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_retries_below_none_are_refused(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="f00d")
    with pytest.raises(RunError, match="retries=-1 must not be negative; use 0 for none"):
        run_search(run, SPACE, LookupFactory(), executor="inline", retries=-1)
