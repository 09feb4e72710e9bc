"""Both executors on the same searches."""

import os
import random
import re
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cmt_search.errors import DataError, RunError
from cmt_search.evaluation import evaluator_threads
from cmt_search.search import (
    Event,
    JobFinished,
    RunDir,
    TrialRecord,
    read_trials,
    run_search,
)
from cmt_search.search.driver import ExecutorName, prepare_ray
from cmt_search.search.run_dir import Checkpoints
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.storage import StudyStore
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory, open_run, read_log, trained

TPE = FakeSpace(trials=14, seeds=2, sampler=FakeSampler(name="tpe", lattice=1, replicates=1))
SMALL = FakeSpace(epochs=(1,), sampler=FakeSampler(lattice=1, replicates=1))
on_ray = pytest.mark.usefixtures("ray_here")
DEPTH_ONLY, CENTROID = 9, 4  # blocks of their networks


def what(trials: tuple[TrialRecord, ...]) -> list[tuple[object, ...]]:
    return [(t.number, t.name, t.params, t.state, t.values, t.rungs, t.reason) for t in trials]


@on_ray
def test_both_executors_give_the_same_trials_with_one_slot(tmp_path: Path) -> None:
    found = {}
    for executor in ("inline", "ray"):
        run, log = open_run(tmp_path / executor), tmp_path / f"{executor}.log"
        factory = LookupFactory(log=log, raises=DEPTH_ONLY)
        outcome = run_search(run, TPE, factory, executor=executor, slots=1)  # type: ignore[arg-type]
        assert outcome.stopped == "finished"
        assert (outcome.complete, outcome.failed) == (13, 1)
        assert outcome.jobs == sum(line[0] == "begin" for line in read_log(log))
        assert (outcome.remaining.trials, outcome.remaining.jobs) == (0, 0)
        found[executor] = what(read_trials(run.path))
    assert found["ray"] == found["inline"]
    for executor in found:
        measured = [
            m for t in read_trials(tmp_path / executor) for r in t.rungs for m in r.measurements
        ]
        assert len({m.worker for m in measured}) >= 1
        assert all(m.worker.count(":") == 1 for m in measured)
        assert all(m.began and m.ended and m.began <= m.ended for m in measured)
    failed = [trial for trial in found["ray"] if trial[3] == "failed"]
    assert [trial[1] for trial in failed] == ["depth-only"]
    assert str(failed[0][-1]).startswith("ZeroDivisionError: the lookup broke, in __call__")


@on_ray
def test_slots_share_the_work_and_keep_their_evaluators(tmp_path: Path) -> None:
    run, log = open_run(tmp_path / "r"), tmp_path / "log"
    space = FakeSpace(seeds=2, sampler=FakeSampler(lattice=2, replicates=1))
    outcome = run_search(run, space, LookupFactory(log=log, wait=0.2), executor="ray", slots=2)
    lines = read_log(log)
    jobs = [line[1:4] for line in lines if line[0] == "begin"]
    assert len(jobs) == len(set(jobs)) == outcome.jobs
    workers = {line[4] for line in lines}
    assert 2 <= len(workers) <= 3 < len(jobs)  # Tune may replace a worker while one starts
    assert os.getpid() not in workers
    assert sorted(line[4] for line in lines if line[0] == "made") == sorted(workers)
    assert {t.state for t in read_trials(run.path)} == {"complete"}
    assert not (run.path / ".tune").exists()


@on_ray
def test_a_search_goes_on_from_tuner_to_tuner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cmt_search.search.executors import ray as ray_executor

    monkeypatch.setattr(ray_executor, "_JOBS_PER_TUNER", 3)
    run, log = open_run(tmp_path / "r"), tmp_path / "log"
    outcome = run_search(run, SMALL, LookupFactory(log=log), executor="ray", slots=1)
    lines = read_log(log)
    assert outcome.stopped == "finished"
    assert outcome.jobs == outcome.complete == sum(line[0] == "begin" for line in lines)
    assert sum(line[0] == "made" for line in lines) == -(-outcome.jobs // 3) > 1


@on_ray
def test_a_worker_trains_on_the_cpus_of_its_trial(tmp_path: Path) -> None:
    run, log = open_run(tmp_path / "r"), tmp_path / "log"
    one = replace(SMALL, trials=1)
    run_search(run, one, LookupFactory(log=log), executor="ray", slots=1, cpus_per_trial=2)
    assert [line[2:4] for line in read_log(log) if line[0] == "made"] == [(2, os.nice(0))]
    inline, log = open_run(tmp_path / "inline"), tmp_path / "inline.log"
    run_search(inline, one, LookupFactory(log=log), executor="inline", cpus_per_trial=3)
    assert [line[2] for line in read_log(log) if line[0] == "made"] == [3]
    assert evaluator_threads() == 1


@on_ray
def test_a_worker_that_dies_is_replaced_until_its_trial_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cmt_search.search.executors.ray import RayExecutor
    from cmt_search.search.executors.ray_cluster import ResourceRequest

    run, log = open_run(tmp_path / "r"), tmp_path / "log"
    space = replace(SMALL, sampler=FakeSampler(lattice=0, replicates=1))
    store = StudyStore.open(run.storage_url(), name="r", run_id=run.info().id, objectives=("top1",))
    monkeypatch.setattr("cmt_search.search.scheduler._DEATH_RETRIES", 1)
    # The factory exceeds the limit of a job, which must not count it.
    factory = LookupFactory(log=log, dies=DEPTH_ONLY, keeps=True, decode=1.1)
    executor = RayExecutor(folder=run.path, request=ResourceRequest(slots=1))
    executor.run(
        Scheduler(space, store),
        factory,
        stop=lambda: False,
        checkpoints=Checkpoints.open(run.checkpoints),
        limit=1.0,
    )
    trials = {t.name: t for t in read_trials(run.path)}
    states = {name: trial.state for name, trial in trials.items()}
    assert states == {"cmt-paper": "complete", "dwr": "complete", "depth-only": "failed"}
    reason = str(trials["depth-only"].reason)
    assert reason.startswith("the worker died: ")
    assert "actor" in reason.lower()
    assert reason.endswith("(tried 2 times)")
    keys = {name: trial.rungs[0].rung.arch.key for name, trial in trials.items()}
    began = Counter(line[1] for line in read_log(log) if line[0] == "begin")
    assert {name: began[key] for name, key in keys.items()} == {
        "cmt-paper": 1,
        "dwr": 1,
        "depth-only": 2,
    }
    found = Counter(line[1] for line in read_log(log) if line[0] == "found")  # a checkpoint
    assert found == {keys["depth-only"]: 1}


@pytest.mark.slow
@on_ray
def test_workers_killed_at_random_moments_cost_nothing_but_time(tmp_path: Path) -> None:
    run, log = open_run(tmp_path / "r"), tmp_path / "log"
    space = FakeSpace(seeds=2, sampler=FakeSampler(lattice=2, replicates=1))
    chance, killed = random.Random(3), list[int]()

    def kill_some() -> None:
        while not ended.wait(chance.uniform(0.5, 2.0)):
            workers = [line[4] for line in read_log(log) if line[0] == "begin"]
            if workers and len(killed) < 4:
                with suppress(ProcessLookupError):
                    os.kill(workers[-1], signal.SIGKILL)
                    killed.append(workers[-1])

    ended = threading.Event()
    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        factory = LookupFactory(log=log, wait=0.3)
        outcome = run_search(run, space, factory, executor="ray", slots=2)
    finally:
        ended.set()
        killer.join()
    assert (outcome.stopped, outcome.failed) == ("finished", 0)
    assert killed
    trials = read_trials(run.path)
    assert {t.state for t in trials} == {"complete"}
    assert set(trained(trials).values()) == {1}


@on_ray
@pytest.mark.parametrize("deaf", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_hanging_training_is_stopped_and_its_worker_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    from cmt_search.search.executors.ray import RayExecutor
    from cmt_search.search.executors.ray_cluster import ResourceRequest

    run = open_run(tmp_path / "r")
    space = replace(SMALL, sampler=FakeSampler(lattice=0, replicates=1))
    store = StudyStore.open(run.storage_url(), name="r", run_id=run.info().id, objectives=("top1",))
    executor = RayExecutor(folder=run.path, request=ResourceRequest(slots=1))
    factory = LookupFactory(hangs=DEPTH_ONLY, deaf=deaf)
    executor.run(Scheduler(space, store), factory, stop=lambda: False, limit=1.0)
    trials = {t.name: t for t in read_trials(run.path)}
    states = {name: trial.state for name, trial in trials.items()}
    assert states == {"cmt-paper": "complete", "dwr": "complete", "depth-only": "failed"}
    reason = str(trials["depth-only"].reason)
    if deaf:  # to signals, as a call that never returns from C is
        assert re.match(r"hung: its process was ended after \d+ s; the limit is 1 s", reason)
    else:
        assert reason.startswith(
            "JobTimeout: stopped after 1 s, the limit for a trial's training, in"
        )


@on_ray
@pytest.mark.parametrize(
    ("executor", "factory", "message"),
    [
        ("inline", LookupFactory(broken=True), "data/images is missing; unpack the archive there"),
        (
            "inline",
            LookupFactory(misfits=CENTROID),
            "the images have 1 channel, the network takes 3",
        ),
        ("ray", LookupFactory(misfits=CENTROID), "the images have 1 channel, the network takes 3"),
    ],
)
def test_data_that_fit_no_candidate_end_the_search_and_spoil_no_trial(
    tmp_path: Path, executor: ExecutorName, factory: LookupFactory, message: str
) -> None:
    run = open_run(tmp_path / "r")
    with pytest.raises(DataError, match=message):
        run_search(run, SMALL, factory, executor=executor, slots=1)
    assert {t.state for t in read_trials(run.path)} <= {"interrupted", "complete"}
    outcome = run_search(run, SMALL, LookupFactory(), executor="inline")
    assert (outcome.stopped, outcome.failed) == ("finished", 0)


@on_ray
def test_an_interrupt_lets_the_workers_finish_their_jobs(tmp_path: Path) -> None:
    run, log = open_run(tmp_path / "r"), tmp_path / "log"

    interrupted: list[int] = []
    lock = threading.Lock()  # a listener of a search need not be picklable

    def interrupt(event: Event) -> None:
        """Call the handler that listens, once: a real signal might hit the test runner."""
        handler = signal.getsignal(signal.SIGINT)
        if isinstance(event, JobFinished) and event.job.rung == 1 and not interrupted:
            with lock:
                interrupted.append(event.job.trial)
            assert callable(handler)
            handler(signal.SIGINT, None)

    factory = LookupFactory(log=log, wait=0.1)
    outcome = run_search(run, TPE, factory, executor="ray", slots=2, on_event=interrupt)
    kinds = Counter(line[0] for line in read_log(log))
    assert outcome.stopped == "interrupted"
    assert kinds["begin"] == kinds["end"] == outcome.jobs < 14
    done = [r.measurements for t in read_trials(run.path) for r in t.rungs]
    assert sum(map(len, done)) == outcome.jobs
    rest = run_search(run, TPE, LookupFactory(), executor="inline")
    assert (rest.stopped, rest.complete) == ("finished", 14)


def test_a_time_limit_lets_the_running_job_finish(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    idle = run_search(run, TPE, LookupFactory(), executor="inline", time_limit=0.0)
    assert (idle.stopped, idle.jobs, idle.remaining.trials) == ("time limit", 0, 14)
    one = run_search(run, TPE, LookupFactory(wait=1), executor="inline", time_limit=0.9)
    assert (one.stopped, one.jobs, one.remaining.trials) == ("time limit", 1, 14)
    assert [m.seed for m in read_trials(run.path)[0].rungs[0].measurements] == [7]


@on_ray
def test_resources_that_no_node_has_are_refused_at_once(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    with pytest.raises(RunError) as error:
        run_search(run, SMALL, LookupFactory(), executor="ray", cpus_per_trial=512)
    assert "need 512 CPU each, and this machine has room for 0 (by node: " in str(error.value)


@on_ray
def test_ray_on_this_machine_listens_to_this_machine_only_and_asks_for_a_token() -> None:
    import ray

    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("slots", "address", "message"),
    [
        (0, None, "slots=0 runs nothing; use at least 1"),
        (2, None, "the inline executor has one slot on this machine; use --executor ray"),
        (1, "auto", "the inline executor has one slot on this machine; use --executor ray"),
    ],
)
def test_what_an_executor_cannot_do_is_refused(
    tmp_path: Path, slots: int, address: str | None, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        run_search(
            open_run(tmp_path / "r"), SMALL, LookupFactory(), executor="inline", slots=slots,
            address=address,
        )  # fmt: skip


def test_a_run_of_another_space_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="beef")
    with pytest.raises(RunError, match="was begun with another search space"):
        run_search(run, SMALL, LookupFactory(), executor="inline")
    assert not run.study.exists()


def test_a_finished_run_starts_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(tmp_path / "r")
    first = run_search(run, SMALL, LookupFactory(), executor="inline")
    prepare_ray(local=True)  # before the import: another test of this process may start Ray
    monkeypatch.setattr("ray.init", lambda *a, **k: pytest.fail("ray was started"))
    again = run_search(run, SMALL, LookupFactory(broken=True), executor="ray")
    assert (again.complete, again.jobs) == (first.complete, 0)


def test_what_a_listener_raises_ends_the_search(tmp_path: Path) -> None:
    def broken(event: Event) -> None:
        raise ValueError("no terminal")

    with pytest.raises(ValueError, match="no terminal"):
        run_search(
            open_run(tmp_path / "r"), SMALL, LookupFactory(), executor="inline", on_event=broken
        )
