"""Drivers in processes of their own: killed, interrupted and resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmt_search.search import RunDir, TrialRecord, read_trials, run_search
from tests.search.drive import SPACE
from tests.search.lookup import FakeSpace, Line, LookupFactory, alive, read_log

ROOT = Path(__file__).parents[2]
JOBS_OF_A_TRIAL = 4
LONGEST = 300  # seconds; Ray starts in minutes on a busy machine
Measured = dict[tuple[int, int, int], object]
STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _end_drivers() -> Iterator[None]:
    """Leave no driver behind when a test fails."""
    yield
    while STARTED:
        with STARTED.pop() as driver:
            driver.kill()


def start(folder: Path, executor: str, log: Path, *, wait: float) -> subprocess.Popen[str]:
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.search.drive", str(folder), executor, str(log), str(wait)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    STARTED.append(driver)
    return driver


def wait_for_jobs(driver: subprocess.Popen[str], log: Path, *, jobs: int) -> None:
    deadline = time.monotonic() + LONGEST
    while sum(line[0] == "end" for line in read_log(log)) < jobs:
        if driver.poll() is not None:
            pytest.fail(f"the driver ended by itself: {driver.communicate()}")
        assert time.monotonic() < deadline, "the driver got nowhere"
        time.sleep(0.02)


def kill(driver: subprocess.Popen[str]) -> None:
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()


def measured(trials: tuple[TrialRecord, ...]) -> Measured:
    return {
        (t.number, rung, m.seed): m
        for t in trials
        for rung, record in enumerate(t.rungs)
        for m in record.measurements
    }


def trainings(trials: tuple[TrialRecord, ...]) -> set[tuple[str, int, int]]:
    return {
        (r.rung.arch.key, r.rung.fidelity.epochs, m.seed)
        for t in trials
        for r in t.rungs
        for m in r.measurements
    }


def begun(lines: list[Line]) -> list[tuple[str, int, int]]:
    return [line[1:4] for line in lines if line[0] == "begin"]


def uninterrupted(folder: Path, space: FakeSpace) -> list[tuple[object, ...]]:
    run = RunDir.create(folder, space_yaml="", fingerprint=space.fingerprint)
    run_search(run, space, LookupFactory(), executor="inline")
    return [(t.params, t.state, t.values) for t in read_trials(folder)]


@pytest.mark.slow
def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    folder, log = tmp_path / "r", tmp_path / "log"
    for jobs in (3, 17):
        driver = start(folder, "inline", log, wait=0.05)
        wait_for_jobs(driver, log, jobs=jobs)
        kill(driver)
        before, lines = read_trials(folder), read_log(log)
        assert len(before) < SPACE.trials
        assert len(trainings(before)) >= jobs - 1
    driver = start(folder, "inline", log, wait=0.0)
    out, err = driver.communicate(timeout=LONGEST)
    assert (driver.returncode, err) == (0, "")
    assert out.startswith("finished ")
    after = read_trials(folder)
    assert {t.state for t in after} == {"complete"}
    assert measured(before).items() <= measured(after).items()  # none lost
    again = begun(read_log(log)[len(lines) :])
    assert len(again) == len(set(again))
    assert not trainings(before) & set(again)  # none repeated
    assert [(t.params, t.state, t.values) for t in after] == uninterrupted(tmp_path / "u", SPACE)


def test_a_killed_search_on_ray_loses_the_running_jobs_only(tmp_path: Path) -> None:
    folder, log = tmp_path / "r", tmp_path / "log"
    driver = start(folder, "ray", log, wait=0.2)
    wait_for_jobs(driver, log, jobs=9)
    kill(driver)
    before = read_trials(folder)
    run = RunDir.open(folder)
    assert run.driver() is None  # no orphan holds the lock
    assert len(trainings(before)) >= 9 - 2
    mine = tmp_path / "mine"
    outcome = run_search(run, SPACE, LookupFactory(log=mine), executor="inline")
    after = read_trials(folder)
    assert {t.state for t in after} == {"complete"}
    assert len(after) == SPACE.trials
    assert measured(before).items() <= measured(after).items()
    again = begun(read_log(mine))
    assert len(again) == len(set(again)) == outcome.jobs
    assert not trainings(before) & set(again)
    workers = {line[4] for line in read_log(log)}
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlived their driver"
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_running_job_finish(tmp_path: Path, number: signal.Signals) -> None:
    folder, log = tmp_path / "r", tmp_path / "log"
    driver = start(folder, "inline", log, wait=0.4)
    wait_for_jobs(driver, log, jobs=3)
    os.kill(driver.pid, number)
    out, err = driver.communicate(timeout=LONGEST)
    assert (driver.returncode, err) == (0, "")
    lines = read_log(log)
    begun_jobs = sum(line[0] == "begin" for line in lines)
    assert out.split()[:3] == ["interrupted", "interrupted", str(begun_jobs)]
    assert begun_jobs == sum(line[0] == "end" for line in lines) < SPACE.trials * JOBS_OF_A_TRIAL
    assert len(trainings(read_trials(folder))) == begun_jobs


@pytest.mark.parametrize(
    ("executor", "number"),
    [
        ("inline", signal.SIGINT),
        pytest.param("ray", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("ray", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_second_signal_ends_at_once_and_the_search_goes_on_later(
    tmp_path: Path, executor: str, number: signal.Signals
) -> None:
    folder, log = tmp_path / "r", tmp_path / "log"
    driver = start(folder, executor, log, wait=300)
    deadline = time.monotonic() + LONGEST
    while not begun(read_log(log)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(driver.pid, number)
    time.sleep(0.3)
    assert driver.poll() is None
    os.kill(driver.pid, number)
    out, err = driver.communicate(timeout=LONGEST)
    assert driver.returncode != 0
    assert out.split() == ["interrupted", "aborted"]
    assert err.rstrip().endswith("KeyboardInterrupt")
    outcome = run_search(RunDir.open(folder), SPACE, LookupFactory(), executor="inline")
    assert (outcome.stopped, outcome.complete) == ("finished", SPACE.trials)
