import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import create_trial

from cmt_search.errors import RunError
from cmt_search.search import RunDir, read_trials, run_search, serialization
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.serialization import trial_record
from cmt_search.search.storage import StudyStore
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory, measure, open_run


def open_store(run: RunDir, **changes: object) -> StudyStore:
    known = {
        "name": run.info().name,
        "run_id": run.info().id,
        "objectives": ("top1",),
    }
    return StudyStore.open(run.storage_url(), **{**known, **changes})  # type: ignore[arg-type]


def step(scheduler: Scheduler) -> None:
    job = scheduler.next_job()
    assert job is not None
    scheduler.record(job, measure(job.arch, fidelity=job.fidelity, seed=job.seed))


@pytest.mark.parametrize("change", [{"objectives": ("loss",)}, {"run_id": "2"}])
def test_a_study_of_another_search_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    run = open_run(tmp_path / "r")
    open_store(run).close()
    with pytest.raises(RunError, match=r"study 'r' in .* belongs to another search; use another"):
        open_store(run, **change)


def test_a_study_that_is_gone_from_a_database_is_not_begun_afresh(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    open_store(run, name="of another run").close()
    with pytest.raises(RunError) as error:
        open_store(run, begun=True)
    assert f"study 'r' of this run is missing in {run.storage_url()}" in str(error.value)
    assert "restore the database from a backup" in str(error.value)
    open_store(run).close()
    open_store(run, begun=True).close()


def test_a_storage_that_cannot_be_reached_is_refused_without_its_password(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/study.db"
    with pytest.raises(RunError, match=r"cannot be opened \(.*unable to open database file"):
        StudyStore.open(url, name="r", run_id="1", objectives=("top1",))
    with pytest.raises(RunError, match=r"nosuch://me:\*\*\*@host/db cannot be opened"):
        StudyStore.open("nosuch://me:secret@host/db", name="r", run_id="1", objectives=())


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    run.study.write_bytes(b"precious notes" * 100)
    with pytest.raises(RunError, match=r"study.db is damaged \(.*not a database\).*restore it"):
        open_store(run)
    assert run.study.read_bytes() == b"precious notes" * 100


def test_the_study_is_kept_in_a_write_ahead_log(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    store = open_store(run)
    with store.storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
    store.close()


def test_trials_are_read_while_a_driver_writes(tmp_path: Path) -> None:
    run, space = open_run(tmp_path / "r"), FakeSpace()
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
    run = open_run(tmp_path / "r")
    store = open_store(run)
    step(Scheduler(FakeSpace(), store))
    store.close()
    before = {p.name: p.read_bytes() for p in run.path.iterdir()}
    assert len(read_trials(run.path)) == 1
    assert {p.name: p.read_bytes() for p in run.path.iterdir()} == before


def test_a_study_is_read_where_its_driver_was_killed(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    store = open_store(run)
    step(Scheduler(FakeSpace(), store))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.path.iterdir():  # what a kill leaves: the log beside the database
        (copy / file.name).write_bytes(file.read_bytes())
    assert (copy / "study.db-wal").stat().st_size > 0
    assert len(read_trials(copy)) == 1


def test_a_renamed_run_keeps_its_study(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    store = open_store(run)
    step(Scheduler(FakeSpace(), store))
    store.close()
    run.path.rename(tmp_path / "other")
    assert len(read_trials(tmp_path / "other")) == 1


def test_a_run_without_a_study_says_so_and_makes_none(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    with pytest.raises(RunError, match="has no study yet; start it with `cmt-search resume"):
        read_trials(run.path)
    assert not run.study.exists()
    sqlite3.connect(run.study).close()  # an empty file
    with pytest.raises(RunError, match="has no study yet; start it"):
        read_trials(run.path)
    RDBStorage(run.storage_url())  # a driver that has not yet made its study
    with pytest.raises(RunError, match=r"there is no study 'r' in .* yet"):
        read_trials(run.path)


def test_a_trial_is_added_in_one_transaction(tmp_path: Path) -> None:
    store, space = open_store(open_run(tmp_path / "r")), FakeSpace()
    assert isinstance(store.storage, RDBStorage)
    tables = ["trials", "trial_params", "trial_user_attributes"]

    def interrupt(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        if tables and statement.startswith(f"INSERT INTO {tables[0]} "):
            raise KeyboardInterrupt

    sqlalchemy.event.listen(store.storage.engine, "after_cursor_execute", interrupt)
    while tables:
        with pytest.raises(KeyboardInterrupt):
            Scheduler(space, store).next_job()
        assert store.trials() == []
        del tables[0]
    assert Scheduler(space, store).next_job() is not None
    store.close()


def test_a_trial_begins_with_few_attributes_each_of_which_costs_a_statement() -> None:
    store = StudyStore.in_memory(("top1",))
    Scheduler(FakeSpace(), store).next_job()
    assert set(store.trials()[0].user_attrs) == {"name", "macs", "candidate"}


def test_a_trial_of_another_program_ends_the_session_and_a_resume_continues(
    tmp_path: Path,
) -> None:
    run, space = open_run(tmp_path / "r"), FakeSpace(trials=4, epochs=(1,))
    store = open_store(run)
    scheduler = Scheduler(space, store)
    step(scheduler)
    RDBStorage(run.storage_url()).create_new_trial(store.study)
    with pytest.raises(RunError, match="added by another program; let one driver work"):
        step(scheduler)
    store.close()
    outcome = run_search(run, space, LookupFactory(), executor="inline")
    assert (outcome.stopped, outcome.failed) == ("finished", 1)
    trials = read_trials(run.path)
    assert [trial.number for trial in trials] == list(range(4))
    assert "another program" in str(trials[1].reason)


def test_a_trial_that_another_program_completed_counts_as_failed(tmp_path: Path) -> None:
    run, space = open_run(tmp_path / "r"), FakeSpace(trials=3, epochs=(1,))
    store = open_store(run)
    RDBStorage(run.storage_url()).create_new_trial(store.study, create_trial(value=0.9))
    store.close()
    (trial,) = read_trials(run.path)
    assert (trial.state, trial.values) == ("failed", ())
    assert "another program" in str(trial.reason)
    outcome = run_search(run, space, LookupFactory(), executor="inline")
    assert (outcome.stopped, outcome.complete, outcome.failed) == ("finished", 2, 1)


def test_a_long_measurement_fits_a_text_column_of_mysql(tmp_path: Path) -> None:
    store = open_store(open_run(tmp_path / "r"))
    scheduler = Scheduler(FakeSpace(), store)
    job = scheduler.next_job()
    assert job is not None
    short = measure(job.arch, fidelity=job.fidelity, seed=job.seed)
    correct = bytes(range(256)) * 25  # 51,200 validation images
    long = replace(short, correct=correct, images=51_200, curve=short.curve * 2_000)
    scheduler.record(job, long)
    with sqlite3.connect(tmp_path / "r" / "study.db") as connection:
        query = "SELECT max(length(value_json)), sum(length(value_json)) FROM trial_user_attributes"
        longest, total = connection.execute(query).fetchone()
    connection.close()
    assert longest < 2**16 < total
    assert trial_record(store.trials()[0]).rungs[0].measurements == (long,)
    Scheduler(FakeSpace(), store)
    store.close()


def test_an_interrupted_write_of_a_long_measurement_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StudyStore.in_memory(("top1",))
    scheduler = Scheduler(FakeSpace(), store)
    job = scheduler.next_job()
    assert job is not None
    short = measure(job.arch, fidelity=job.fidelity, seed=job.seed)
    write, keys = StudyStore.set, list[str]()

    def interrupt(store: StudyStore, number: int, key: str, value: object) -> None:
        write(store, number, key, value)
        keys.append(key)
        if key.endswith(":1"):
            raise KeyboardInterrupt

    monkeypatch.setattr(StudyStore, "set", interrupt)
    with pytest.raises(KeyboardInterrupt):
        scheduler.record(job, replace(short, curve=short.curve * 2_000))
    monkeypatch.undo()
    assert keys == ["measurement_0_0:0", "measurement_0_0:1"]
    assert trial_record(store.trials()[0]).rungs[0].measurements == ()
    again = Scheduler(FakeSpace(), store)
    assert again.next_job() == job
    again.record(job, short)
    assert trial_record(store.trials()[0]).rungs[0].measurements == (short,)


def test_a_resume_reads_the_trials_once_and_solves_nothing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = FakeSpace(sampler=FakeSampler(lattice=3, augmented=True), infeasible_above=0.7)
    store, solved = StudyStore.in_memory(("top1",)), list[object]()
    step(Scheduler(space, store))
    solve, parse = FakeSpace.candidate, serialization.read_candidate
    read, counts = StudyStore.trials, {"read": 0, "parsed": 0}

    def count(key: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **known: Any) -> Any:
            counts[key] += 1
            return call(*args, **known)

        return counting

    monkeypatch.setattr(StudyStore, "trials", count("read", read))
    monkeypatch.setattr(serialization, "read_candidate", count("parsed", parse))
    monkeypatch.setattr(
        FakeSpace, "candidate", lambda *args, **known: solved.append(args) or solve(*args, **known)
    )
    Scheduler(space, store)
    assert counts == {"read": 1, "parsed": 1}
    assert solved == []


@pytest.mark.parametrize("is_open", [True, False])
def test_a_copy_of_the_database_alone_holds_the_trials_that_ended(
    tmp_path: Path, is_open: bool
) -> None:
    run = open_run(tmp_path / "r")
    store = open_store(run)
    scheduler = Scheduler(FakeSpace(), store)
    step(scheduler)
    step(scheduler)
    assert scheduler.counts["complete"] == 1
    if not is_open:
        store.close()
    shutil.copytree(run.path, tmp_path / "copy", ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    copied = read_trials(tmp_path / "copy")
    assert copied[0] == read_trials(run.path)[0]
    assert copied[0].state == "complete"


def damage_text(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data.replace(b"cmt-paper", b"cmt-p\xff\xfeer"))


def damage_json(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"macs', b"'macs"))


def zero_pages(file: Path) -> None:
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    for page in range(1, len(data) // size, 2):
        data[page * size : (page + 1) * size] = bytes(size)
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [damage_text, damage_json, zero_pages])
def test_a_damaged_database_is_named_and_left_as_it_is(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    run = open_run(tmp_path / "r")
    store = open_store(run)
    scheduler = Scheduler(FakeSpace(), store)
    for _ in range(6):
        step(scheduler)
    store.close()
    damage(run.study)
    before = run.study.read_bytes()
    uses = (lambda: read_trials(run.path), lambda: Scheduler(FakeSpace(), open_store(run)))
    for use in uses:
        with pytest.raises(RunError, match=r"damaged.* restore it from a backup"):
            use()
        assert run.study.read_bytes() == before
