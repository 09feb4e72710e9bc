from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from cmt_search.search.scheduler import Scheduler
from cmt_search.search.storage import StudyDatabase
from tests.search.lookup import FakeSampler, FakeSpace, measure
from tests.search.searching import open_store

BOTH = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
TIMES = ("datetime_start", "datetime_complete")
STATEMENTS = 25  # of a job that is asked for, handed out and measured, its trial ended


def trial(state: TrialState = TrialState.RUNNING, **attributes: object) -> FrozenTrial:
    return create_trial(
        state=state,
        params={"depth": 0.1, "stages": 3},
        distributions={"depth": FloatDistribution(0, 1), "stages": IntDistribution(1, 9, log=True)},
        user_attrs=attributes,
    )


def write(storage: RDBStorage) -> None:
    """Everything that a search writes, and what it could."""
    storage.create_new_study(BOTH, "before")
    study = storage.create_new_study(BOTH, "study")
    for other in (1, study):
        storage.create_new_trial(other, trial())
    first = storage.create_new_trial(study, trial(name="centroid", macs=3, nested={"a": [1, None]}))
    storage.set_trial_user_attr(first, "reason", "lost")
    storage.set_trial_user_attr(first, "reason", None)
    for step, value in ((0, 0.25), (0, 0.5), (1, float("inf")), (2, float("nan"))):
        storage.set_trial_intermediate_value(first, step, value)
    assert storage.set_trial_state_values(first, TrialState.COMPLETE, [0.1 + 0.2, 1e300])
    stopped = storage.create_new_trial(study, trial())
    assert storage.set_trial_state_values(stopped, TrialState.PRUNED)
    storage.create_new_trial(study, trial(TrialState.FAIL, infeasible=True))
    storage.create_new_trial(study, create_trial(state=TrialState.RUNNING))
    storage.create_new_trial(study, create_trial(values=[1.0, 2.0]))
    storage.create_new_trial(study)
    endless = storage.create_new_trial(study, trial())
    assert storage.set_trial_state_values(endless, TrialState.COMPLETE, [float("inf"), 1.0])


def contents(storage: RDBStorage) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, without the times of day."""
    known = sqlalchemy.MetaData()
    known.reflect(storage.engine)
    with storage.engine.connect() as connection:
        return {
            table.name: [
                tuple(connection.execute(sqlalchemy.select(*columns)).all())
                for columns in [[c for c in table.columns if c.name not in TIMES]]
            ]
            for table in known.sorted_tables
        }


def test_the_rows_are_those_that_optuna_writes(tmp_path: Path) -> None:
    theirs = RDBStorage(f"sqlite:///{tmp_path}/theirs.db")
    ours = StudyDatabase(f"sqlite:///{tmp_path}/ours.db")
    for storage in (theirs, ours):
        write(storage)
    expected = contents(theirs)
    assert len(expected["trial_user_attributes"][0]) == 5
    assert contents(ours) == expected


def test_times_are_read_back_as_they_were(tmp_path: Path) -> None:
    storage = StudyDatabase(f"sqlite:///{tmp_path}/study.db")
    study, given = storage.create_new_study(BOTH, "study"), trial()
    row = storage.create_new_trial(study, given)
    assert storage.get_trial(row).datetime_start == given.datetime_start
    assert storage.get_trial(row).datetime_complete is None
    storage.set_trial_state_values(row, TrialState.PRUNED)
    ended = storage.get_trial(row).datetime_complete
    assert ended is not None
    assert timedelta(0) <= datetime.now() - ended < timedelta(minutes=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda storage, row: storage.set_trial_user_attr(row, "reason", "late"),
        lambda storage, row: storage.set_trial_intermediate_value(row, 0, 0.5),
        lambda storage, row: storage.set_trial_state_values(row, TrialState.FAIL),
    ],
)
def test_an_ended_trial_is_not_changed(
    tmp_path: Path, change: Callable[[RDBStorage, int], object]
) -> None:
    storage = StudyDatabase(f"sqlite:///{tmp_path}/study.db")
    study = storage.create_new_study(BOTH, "study")
    storage.create_new_trial(study, trial(TrialState.FAIL))
    before = contents(storage)
    with pytest.raises(UpdateFinishedTrialError, match="has already finished"):
        change(storage, 1)
    assert contents(storage) == before


@pytest.mark.parametrize("table", ["trials", "trial_params", "trial_user_attributes"])
def test_a_trial_whose_entry_is_broken_off_leaves_nothing(tmp_path: Path, table: str) -> None:
    storage = StudyDatabase(f"sqlite:///{tmp_path}/study.db")
    study = storage.create_new_study(BOTH, "study")
    before = contents(storage)

    def break_off(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        if statement.startswith(f"INSERT INTO {table} "):
            raise KeyboardInterrupt

    sqlalchemy.event.listen(storage.engine, "after_cursor_execute", break_off)
    with pytest.raises(KeyboardInterrupt):
        storage.create_new_trial(study, trial(name="centroid"))
    assert contents(storage) == before


def test_a_job_costs_few_statements(tmp_path: Path) -> None:
    space = FakeSpace(
        kind="pareto", trials=10, epochs=(1,), sampler=FakeSampler(name="random", lattice=0)
    )
    store = open_store(tmp_path, space)
    scheduler, statements = Scheduler(space, store), list[str]()
    sqlalchemy.event.listen(
        store.storage.engine, "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    for _ in range(4):
        job = scheduler.next_job()
        assert job is not None
        scheduler.record(job, measure(job.arch, fidelity=job.fidelity, seed=job.seed))
    assert scheduler.counts["complete"] == 4
    assert 4 < len(statements) <= 4 * STATEMENTS
