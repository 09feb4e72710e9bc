"""Both executors on the same searches. Ray is started once, for all tests here."""

import os
import random
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cmt_search.errors import DataError, RunError
from cmt_search.search import (
    Event,
    JobFinished,
    RunDir,
    TrialRecord,
    read_trials,
    run_search,
)
from cmt_search.search.driver import ExecutorName, prepare_ray
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.storage import StudyStore
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory, read_log, trained

TPE = FakeSpace(trials=14, seeds=2, sampler=FakeSampler(name="tpe", lattice=1, replicates=1))
SMALL = FakeSpace(epochs=(1,), sampler=FakeSampler(lattice=1, replicates=1))
DEPTH_ONLY, CENTROID, PAPER = 9, 4, 2  # blocks of their networks


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    prepare_ray(local=True)
    from cmt_search.search.executors.ray import ResourceRequest, connected

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # workers must find the evaluator
    try:
        with connected(ResourceRequest(slots=2)):
            yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def new(path: Path) -> RunDir:
    return RunDir.create(path, space_yaml="", fingerprint="f00d")


def what(trials: tuple[TrialRecord, ...]) -> list[tuple[object, ...]]:
    return [(t.number, t.name, t.params, t.state, t.values, t.rungs, t.reason) for t in trials]


@pytest.mark.usefixtures("ray_here")
def test_both_executors_give_the_same_trials_with_one_slot(tmp_path: Path) -> None:
    found = {}
    for executor in ("inline", "ray"):
        run, log = new(tmp_path / executor), tmp_path / f"{executor}.log"
        factory = LookupFactory(log=log, raises=DEPTH_ONLY)
        outcome = run_search(run, TPE, factory, executor=executor, slots=1)  # type: ignore[arg-type]
        assert outcome.stopped == "finished"
        assert (outcome.complete, outcome.failed) == (13, 1)
        assert outcome.jobs == sum(line[0] == "begin" for line in read_log(log))
        assert (outcome.left.trials, outcome.left.jobs) == (0, 0)
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


@pytest.mark.usefixtures("ray_here")
def test_slots_share_the_work_and_keep_their_evaluators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cmt_search.search.executors import ray as ray_executor

    monkeypatch.setattr(ray_executor, "_REMEMBERED", 2)
    forget, held = ray_executor.ResultCallback.on_step_end, []

    def note(self: object, iteration: int, trials: list, **others: object) -> None:
        held.append(len(trials))
        forget(self, iteration, trials, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(ray_executor.ResultCallback, "on_step_end", note)
    run, log = new(tmp_path / "r"), tmp_path / "log"
    space = FakeSpace(seeds=2, sampler=FakeSampler(lattice=2, replicates=1))
    outcome = run_search(run, space, LookupFactory(log=log, wait=0.2), executor="ray", slots=2)
    lines = read_log(log)
    jobs = [line[1:4] for line in lines if line[0] == "begin"]
    assert len(jobs) == len(set(jobs)) == outcome.jobs
    workers = {line[4] for line in lines}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert sorted(line[4] for line in lines if line[0] == "made") == sorted(workers)
    assert {t.state for t in read_trials(run.path)} == {"complete"}
    assert not list(run.path.glob(".tune-*"))
    # Tune holds what runs, what is over since its last step, and `_REMEMBERED` more.
    assert max(held) <= 7 < outcome.jobs


@pytest.mark.usefixtures("ray_here")
def test_a_worker_that_dies_is_replaced_or_fails_its_trial(tmp_path: Path) -> None:
    from cmt_search.search.executors.ray import RayExecutor, ResourceRequest

    run, log = new(tmp_path / "r"), tmp_path / "log"
    space = replace(SMALL, sampler=FakeSampler(lattice=0, replicates=1))
    store = StudyStore.open(
        run.storage_url(), name="r", run_id=run.info().id, fingerprint="f00d", objectives=("top1",)
    )
    factory = LookupFactory(log=log, dies=DEPTH_ONLY, dies_once=PAPER)
    executor = RayExecutor(folder=run.path, request=ResourceRequest(slots=1))
    executor.run(Scheduler(space, store), factory, stop=lambda: False)
    trials = {t.name: t for t in read_trials(run.path)}
    states = {name: trial.state for name, trial in trials.items()}
    assert states == {"cmt-paper": "complete", "dwr": "complete", "depth-only": "failed"}
    reason = str(trials["depth-only"].reason)
    assert reason.startswith("the worker died: ")
    assert "actor" in reason.lower()
    assert reason.endswith("(tried 3 times)")
    began = Counter(line[1] for line in read_log(log) if line[0] == "begin")
    tries = {name: began[trial.rungs[0].rung.arch.key] for name, trial in trials.items()}
    assert tries == {"cmt-paper": 2, "dwr": 1, "depth-only": 3}


@pytest.mark.usefixtures("ray_here")
def test_workers_killed_at_random_moments_cost_nothing_but_time(tmp_path: Path) -> None:
    run, log = new(tmp_path / "r"), tmp_path / "log"
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


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("deaf", [False, True])
def test_a_hanging_training_is_stopped_and_its_worker_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    from cmt_search.search.executors.ray import RayExecutor, ResourceRequest

    run = new(tmp_path / "r")
    space = replace(SMALL, sampler=FakeSampler(lattice=0, replicates=1))
    store = StudyStore.open(
        run.storage_url(), name="r", run_id=run.info().id, fingerprint="f00d", objectives=("top1",)
    )
    executor = RayExecutor(folder=run.path, request=ResourceRequest(slots=1), limit=1.0)
    factory = LookupFactory(hangs=DEPTH_ONLY, deaf=deaf)
    executor.run(Scheduler(space, store), factory, stop=lambda: False)
    trials = {t.name: t for t in read_trials(run.path)}
    states = {name: trial.state for name, trial in trials.items()}
    assert states == {"cmt-paper": "complete", "dwr": "complete", "depth-only": "failed"}
    reason = str(trials["depth-only"].reason)
    if deaf:  # to signals, as a call that never returns from C is
        assert re.match(r"hung: its process was ended \d+ s after it began, past .* of 1 s", reason)
    else:
        assert reason.startswith(
            "JobTimeout: stopped after 1 s, the limit for a trial's training, in"
        )


@pytest.mark.usefixtures("ray_here")
def test_a_killed_worker_leaves_its_checkpoint_to_the_next(tmp_path: Path) -> None:
    run, log = new(tmp_path / "r"), tmp_path / "log"
    space = replace(SMALL, sampler=FakeSampler(lattice=0, replicates=1))
    factory = LookupFactory(log=log, dies_once=PAPER, keeps=True)
    outcome = run_search(run, space, factory, executor="ray", slots=1)
    assert (outcome.stopped, outcome.complete) == ("finished", 3)
    found = [line for line in read_log(log) if line[0] == "found"]
    paper = next(t for t in read_trials(run.path) if t.name == "cmt-paper")
    assert [line[1] for line in found] == [paper.rungs[0].rung.arch.key]
    assert not run.checkpoints.exists()


@pytest.mark.usefixtures("ray_here")
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
    run = new(tmp_path / "r")
    with pytest.raises(DataError, match=message):
        run_search(run, SMALL, factory, executor=executor, slots=1)
    assert {t.state for t in read_trials(run.path)} <= {"interrupted", "complete"}
    outcome = run_search(run, SMALL, LookupFactory(), executor="inline")
    assert (outcome.stopped, outcome.failed) == ("finished", 0)


@pytest.mark.usefixtures("ray_here")
def test_an_interrupt_lets_the_workers_finish_their_jobs(tmp_path: Path) -> None:
    run, log = new(tmp_path / "r"), tmp_path / "log"

    interrupted: list[int] = []

    def interrupt(event: Event) -> None:
        """Call the handler that listens, once: a real signal might hit the test runner."""
        handler = signal.getsignal(signal.SIGINT)
        if isinstance(event, JobFinished) and event.job.rung == 1 and not interrupted:
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
    run = new(tmp_path / "r")
    idle = run_search(run, TPE, LookupFactory(), executor="inline", time_limit=0.0)
    assert (idle.stopped, idle.jobs, idle.left.trials) == ("time limit", 0, 14)
    one = run_search(run, TPE, LookupFactory(wait=1), executor="inline", time_limit=0.9)
    assert (one.stopped, one.jobs, one.left.trials) == ("time limit", 1, 14)
    assert [m.seed for m in read_trials(run.path)[0].rungs[0].measurements] == [7]


@pytest.mark.usefixtures("ray_here")
def test_resources_that_no_node_has_are_refused_at_once(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    with pytest.raises(RunError) as error:
        run_search(run, SMALL, LookupFactory(), executor="ray", cpus_per_trial=512)
    assert str(error.value).startswith(
        "a trial asks for 512 CPU, and no node of this machine has that (by node: "
    )


@pytest.mark.usefixtures("ray_here")
def test_ray_on_this_machine_listens_to_this_machine_only() -> None:
    import ray

    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]


def test_slots_follow_from_what_the_nodes_have() -> None:
    prepare_ray(local=True)
    from cmt_search.search.executors.ray import ResourceRequest, slots

    nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0}]
    assert slots(ResourceRequest(), nodes=nodes) == 11
    assert slots(ResourceRequest(slots=4), nodes=nodes) == 4
    assert slots(ResourceRequest(cpus=2), nodes=nodes) == 5
    assert slots(ResourceRequest(cpus=1, gpus=0.25), nodes=nodes) == 8
    with pytest.raises(RunError) as error:
        slots(ResourceRequest(address="auto", cpus=4, gpus=3), nodes=nodes)
    assert str(error.value) == (
        "a trial asks for 4 CPU and 3 GPU, and no node of the cluster at 'auto' has that "
        "(by node: 8 CPU and 2 GPU; 3 CPU and 0 GPU); lower --cpus-per-trial or --gpus-per-trial, "
        "or give the --address of a larger cluster"
    )


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
            new(tmp_path / "r"), SMALL, LookupFactory(), executor="inline", slots=slots,
            address=address,
        )  # fmt: skip


def test_a_run_of_another_space_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="beef")
    with pytest.raises(RunError, match="was begun with another search space"):
        run_search(run, SMALL, LookupFactory(), executor="inline")
    assert not run.study.exists()


def test_a_finished_run_starts_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new(tmp_path / "r")
    first = run_search(run, SMALL, LookupFactory(), executor="inline")
    monkeypatch.setattr("ray.init", lambda *a, **k: pytest.fail("ray was started"))
    again = run_search(run, SMALL, LookupFactory(broken=True), executor="ray")
    assert (again.complete, again.jobs) == (first.complete, 0)


def test_what_a_listener_raises_ends_the_search(tmp_path: Path) -> None:
    def broken(event: Event) -> None:
        raise ValueError("no terminal")

    with pytest.raises(ValueError, match="no terminal"):
        run_search(new(tmp_path / "r"), SMALL, LookupFactory(), executor="inline", on_event=broken)
