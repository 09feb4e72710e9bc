import sqlite3
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from cmt_search.errors import RunError
from cmt_search.search import RunDir, read_trials
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.serialization import trial_record
from cmt_search.search.storage import StudyStore
from tests.search.lookup import FakeSpace, measure


def new(path: Path) -> RunDir:
    return RunDir.create(path, space_yaml="", fingerprint="f00d")


def open_store(run: RunDir, **changes: object) -> StudyStore:
    known = {
        "name": run.info().name,
        "run_id": run.info().id,
        "fingerprint": "f00d",
        "objectives": ("top1",),
    }
    return StudyStore.open(run.storage_url(), **{**known, **changes})  # type: ignore[arg-type]


def step(scheduler: Scheduler) -> None:
    job = scheduler.next_job()
    assert job is not None
    scheduler.record(job, measure(job.arch, fidelity=job.fidelity, seed=job.seed))


def test_opposite_directions_are_refused(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    open_store(run).close()
    with pytest.raises(RunError) as error:
        open_store(run, objectives=("loss",))
    assert "['maximize']" in str(error.value)
    assert "restore the space file, or use another --name" in str(error.value)


def test_a_study_that_is_gone_from_a_database_is_not_begun_afresh(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    open_store(run, name="of another run").close()
    with pytest.raises(RunError) as error:
        open_store(run, begun=True)
    assert f"study 'r' of this run is missing in {run.storage_url()}" in str(error.value)
    assert "restore the database from a backup" in str(error.value)
    open_store(run).close()
    open_store(run, begun=True).close()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fingerprint", "beef", "(fingerprint f00d, here beef)"),
        ("run_id", "2", "(run_id "),
    ],
)
def test_a_study_of_another_search_is_refused(
    tmp_path: Path, key: str, value: str, message: str
) -> None:
    run = new(tmp_path / "r")
    open_store(run).close()
    with pytest.raises(RunError) as error:
        open_store(run, **{key: value})
    assert message in str(error.value)
    assert str(error.value).endswith("use another --name")


def test_a_storage_that_cannot_be_reached_is_refused_without_its_password(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/study.db"
    with pytest.raises(RunError, match=r"cannot be opened \(.*unable to open database file"):
        StudyStore.open(url, name="r", run_id="1", fingerprint="f", objectives=("top1",))
    with pytest.raises(RunError, match=r"nosuch://me:\*\*\*@host/db cannot be opened"):
        StudyStore.open(
            "nosuch://me:secret@host/db", name="r", run_id="1", fingerprint="f", objectives=()
        )


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    run.study.write_bytes(b"precious notes" * 100)
    with pytest.raises(RunError, match=r"study.db is damaged \(.*not a database\).*restore it"):
        open_store(run)
    assert run.study.read_bytes() == b"precious notes" * 100


def test_the_study_is_kept_in_a_write_ahead_log(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    store = open_store(run)
    with store.storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
    store.close()


def test_trials_are_read_while_a_driver_writes(tmp_path: Path) -> None:
    run, space = new(tmp_path / "r"), FakeSpace()
    store = open_store(run)
    scheduler = Scheduler(space, store)
    for done in range(5):
        step(scheduler)
        with run.lock():
            found = read_trials(run.path)
        assert sum(len(r.measurements) for t in found for r in t.rungs) == done + 1
    assert [t.state for t in found] == ["complete", "complete", "running"]
    assert found == tuple(trial_record(t) for t in store.trials())


def test_reading_changes_nothing(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    store = open_store(run)
    step(Scheduler(FakeSpace(), store))
    store.close()
    before = {p.name: p.read_bytes() for p in run.path.iterdir()}
    assert len(read_trials(run.path)) == 1
    assert {p.name: p.read_bytes() for p in run.path.iterdir()} == before


def test_a_study_is_read_where_its_driver_was_killed(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    store = open_store(run)
    step(Scheduler(FakeSpace(), store))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.path.iterdir():  # what a kill leaves: the log beside the database
        (copy / file.name).write_bytes(file.read_bytes())
    assert (copy / "study.db-wal").stat().st_size > 0
    assert len(read_trials(copy)) == 1


def test_a_renamed_run_keeps_its_study(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    store = open_store(run)
    step(Scheduler(FakeSpace(), store))
    store.close()
    run.path.rename(tmp_path / "other")
    assert len(read_trials(tmp_path / "other")) == 1


def test_a_run_without_a_study_says_so_and_makes_none(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    with pytest.raises(RunError, match="has no study yet; start it with `cmt-search resume"):
        read_trials(run.path)
    assert not run.study.exists()
    sqlite3.connect(run.study).close()
    RDBStorage(run.storage_url())  # a driver that has not yet made its study
    with pytest.raises(RunError, match=r"there is no study 'r' in .* yet"):
        read_trials(run.path)
