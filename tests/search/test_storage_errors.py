"""A full disk, a locked or a damaged database end a search with a remedy, and lose nothing."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from filelock import FileLock
from sqlalchemy.engine import Engine

from cmt_search.errors import RunError
from cmt_search.search import Event, JobFinished, RunDir, read_trials, run_search
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory, open_run

SPACE = FakeSpace(trials=6, sampler=FakeSampler(name="random"))


def search(run: RunDir, **known: Any) -> Any:
    return run_search(run, SPACE, LookupFactory(), executor="inline", **known)


def begun(path: Path, *, jobs: int = 5) -> RunDir:
    """A run that was stopped after so many jobs."""
    run, done = open_run(path), []

    def stop(event: Event) -> None:
        done.extend([event] * isinstance(event, JobFinished))
        if len(done) == jobs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(run, on_event=stop)
    return run


def goes_on(run: RunDir, before: object) -> None:
    """The run holds what it held, and goes on to its end."""
    assert read_trials(run.path) == before
    outcome = search(run)
    assert (outcome.stopped, outcome.complete) == ("finished", 6)


@contextmanager
def each_connection(configure: Callable[[Any], None]) -> Iterator[None]:
    """Do something to every SQLite connection that is made."""

    def connected(connection: Any, _record: object) -> None:
        configure(connection)

    sqlalchemy.event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        sqlalchemy.event.remove(Engine, "connect", connected)


def test_a_full_disk_is_named_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna tries five times
    run = begun(tmp_path / "r")
    before = read_trials(run.path)
    pages = sqlite3.connect(run.study).execute("PRAGMA page_count").fetchone()[0]
    with (
        each_connection(lambda c: c.execute(f"PRAGMA max_page_count={pages}")),
        pytest.raises(RunError) as error,
    ):
        search(run)
    assert f"sqlite:///{run.study} cannot be written (database or disk is full)" in str(error.value)
    assert "check that the disk has room" in str(error.value)
    kept = read_trials(run.path)
    measured = [sum(len(r.measurements) for t in some for r in t.rungs) for some in (before, kept)]
    assert measured[0] <= measured[1]
    assert [t.params for t in kept[: len(before)]] == [t.params for t in before]
    goes_on(run, kept)


def test_a_study_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    run = begun(tmp_path / "r")
    before = read_trials(run.path)
    with (
        each_connection(lambda c: c.execute("PRAGMA query_only=1")),
        pytest.raises(RunError, match=r"\(attempt to write a readonly database\): check that"),
    ):
        search(run)
    goes_on(run, before)


def test_a_locked_database_is_named(tmp_path: Path) -> None:
    run = begun(tmp_path / "r")
    before = read_trials(run.path)
    other = sqlite3.connect(run.study, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with (
        each_connection(lambda c: c.execute("PRAGMA busy_timeout=50")),
        pytest.raises(RunError) as error,
    ):
        search(run)
    assert "database is locked)" in str(error.value)
    assert "no other program locks it" in str(error.value)
    other.execute("ROLLBACK")
    other.close()
    goes_on(run, before)


@pytest.mark.parametrize("left", [0.5, 0.9, 0.02])
def test_a_truncated_database_is_named_and_left_as_it_is(tmp_path: Path, left: float) -> None:
    run = open_run(tmp_path / "r")
    search(run)
    whole = run.study.read_bytes()
    cut = whole[: int(len(whole) * left)]
    run.study.write_bytes(cut)
    for use in (search, lambda run: read_trials(run.path)):
        with pytest.raises(RunError) as error:
            use(run)
        assert "is damaged" in str(error.value)
        assert "it was not changed; restore it from a backup" in str(error.value)
        assert run.study.read_bytes() == cut
    run.study.write_bytes(whole)
    assert search(run).jobs == 0


@pytest.mark.parametrize("state", ["empty", "gone"])
def test_a_run_whose_study_is_no_more_does_not_begin_afresh(tmp_path: Path, state: str) -> None:
    run = begun(tmp_path / "r")
    whole = run.study.read_bytes()
    for _ in range(2):  # nor does it when asked again
        if state == "empty":
            run.study.write_bytes(b"")
        else:
            run.study.unlink(missing_ok=True)
        with pytest.raises(RunError) as error:
            search(run)
        assert f"study 'r' of this run is missing in sqlite:///{run.study}" in str(error.value)
        assert "restore the database from a backup, or start a new run" in str(error.value)
    run.study.write_bytes(whole)
    assert search(run).stopped == "finished"


def test_a_cut_database_beside_its_log_is_named(tmp_path: Path) -> None:
    run = begun(tmp_path / "r")
    keep = sqlite3.connect(run.study)  # as long as it is open, the log stays
    keep.execute("SELECT count(*) FROM trials").fetchone()
    search(run)
    assert run.study.with_name("study.db-wal").exists()
    whole = run.study.read_bytes()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.path.iterdir():
        if file.is_file() and not file.name.endswith("-shm"):
            (copy / file.name).write_bytes(file.read_bytes())
    keep.close()
    cut = whole[: len(whole) // 2]
    (copy / "study.db").write_bytes(cut)
    with pytest.raises(RunError, match=r"is damaged .*restore it from a backup"):
        search(RunDir.open(copy))
    assert (copy / "study.db").read_bytes() == cut


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    run = begun(tmp_path / "r")
    before = read_trials(run.path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, "this disk refuses")

    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "acquire", refuse)
        with pytest.raises(RunError, match=r"lock cannot be written \(this disk refuses\); choose"):
            search(run)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(RunError, match=r"driver.json cannot be written \(this disk refuses\)"):
            search(run)
        with pytest.raises(RunError, match=r"cannot be written \(this disk refuses\); choose"):
            open_run(tmp_path / "other")
    assert run.driver() is None
    goes_on(run, before)


def test_who_may_only_read_is_told_whether_a_run_is_driven(tmp_path: Path) -> None:
    run = begun(tmp_path / "r")
    with run.lock():
        assert {t.state for t in read_trials(run.path)} == {"complete", "running"}
        assert run.driver() is not None
    assert {t.state for t in read_trials(run.path)} == {"complete", "interrupted"}


def test_asking_who_drives_a_run_keeps_nobody_from_driving_it(tmp_path: Path) -> None:
    import fcntl
    import threading

    run = open_run(tmp_path / "r")
    run.lock_file.touch()
    with run.lock_file.open() as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(asked, fcntl.LOCK_UN)).start()
        with run.lock():
            assert run.driver() is not None
