"""Optuna's database, written with fewer statements."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import BindParameter, Connection, bindparam, func

from cmt_search.search.server import engine_options

_KEYS = {  # of a trial's rows, beside the trial
    "trial_params": "param_name",
    "trial_user_attributes": "key",
    "trial_intermediate_values": "step",
    "trial_values": "objective",
}
_PARAMS, _ATTRIBUTES, _REPORTS, _VALUES = _KEYS
_FINITE = "FINITE"
Row = dict[str, Any]


class StudyDatabase(RDBStorage):
    """What a search writes for every job; the rest, and all reading, is Optuna's.

    Optuna looks a trial up again for each of its attributes, builds every statement anew, and reads
    a whole trial to tell its number: three quarters of a driver's time. Here the statements are
    built once, and a trial is entered with one for each table. The rows are those that Optuna
    writes, and so are the transactions: one for each call.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, engine_options(url))
        known = sqlalchemy.MetaData()
        known.reflect(self.engine, only=["studies", "trials", *_KEYS])
        studies, trials = known.tables["studies"], known.tables["trials"]
        study: BindParameter[int] = bindparam("study")
        trial: BindParameter[int] = bindparam("trial")
        ours = trials.c.trial_id == trial
        self._lock = sqlalchemy.select(studies).where(studies.c.study_id == study).with_for_update()
        self._enter = trials.insert()
        self._number = sqlalchemy.select(func.count()).where(
            trials.c.study_id == study, trials.c.trial_id < trial
        )
        self._change = trials.update().where(ours)
        self._read = sqlalchemy.select(trials.c.number, trials.c.state).where(ours)
        tables = {name: known.tables[name] for name in _KEYS}
        self._add = {name: table.insert() for name, table in tables.items()}
        self._remove = {
            name: table.delete().where(
                table.c.trial_id == trial, table.c[_KEYS[name]] == bindparam("held")
            )
            for name, table in tables.items()
        }

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Enter a trial; one that has results already is Optuna's to enter."""
        given = template_trial
        if given is None or given.values or given.intermediate_values or given.system_attrs:
            return super().create_new_trial(study_id, given)
        row = {
            "study_id": study_id,
            "state": given.state.name,
            "datetime_start": _as_stored(given.datetime_start),
            "datetime_complete": _as_stored(given.datetime_complete),
        }
        with self._transaction() as connection:
            connection.execute(self._lock, {"study": study_id})  # Optuna's: the number hangs on it
            key = connection.execute(self._enter, row).inserted_primary_key
            assert key is not None, "one row has one key"
            trial = int(key[0])
            number = connection.execute(self._number, {"study": study_id, "trial": trial}).scalar()
            connection.execute(self._change, {"trial": trial, "number": number})
            for table, rows in ((_PARAMS, _params(given)), (_ATTRIBUTES, _attributes(given))):
                if rows:
                    connection.execute(self._add[table], [{"trial_id": trial, **r} for r in rows])
        return trial

    def get_trial_number_from_id(self, trial_id: int) -> int:
        """The number of a trial, without reading the rest of it."""
        with self._transaction() as connection:
            return int(connection.execute(self._read, {"trial": trial_id}).one().number)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of a trial that is not finished."""
        with self._changing(trial_id) as connection:
            self._put(connection, _ATTRIBUTES, trial_id, _attribute(key, value))

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """What was reported at a step; Optuna has words for what is no number."""
        if not math.isfinite(intermediate_value):
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        value = {"intermediate_value": intermediate_value, "intermediate_value_type": _FINITE}
        with self._changing(trial_id) as connection:
            self._put(connection, _REPORTS, trial_id, {"step": step, **value})

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End a trial; to begin one is Optuna's."""
        if not state.is_finished() or not all(map(math.isfinite, values or ())):
            return super().set_trial_state_values(trial_id, state, values)
        with self._changing(trial_id) as connection:
            for objective, value in enumerate(values or ()):
                row = {"objective": objective, "value": value, "value_type": _FINITE}
                self._put(connection, _VALUES, trial_id, row)
            ended = {"state": state.name, "datetime_complete": _as_stored(datetime.now())}
            connection.execute(self._change, {"trial": trial_id, **ended})
        return True

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def _changing(self, trial_id: int) -> Iterator[Connection]:
        """A transaction on a trial that may still be changed."""
        with self._transaction() as connection:
            state = connection.execute(self._read, {"trial": trial_id}).one().state
            self.check_trial_is_updatable(trial_id, TrialState[state])
            yield connection

    def _put(self, connection: Connection, table: str, trial: int, row: Mapping[str, Any]) -> None:
        """Write a row in place of one with the same key: each database spells upserts its way."""
        connection.execute(self._remove[table], {"trial": trial, "held": row[_KEYS[table]]})
        connection.execute(self._add[table], {"trial_id": trial, **row})


def _params(given: FrozenTrial) -> list[Row]:
    return [
        {
            "param_name": name,
            "param_value": distribution.to_internal_repr(given.params[name]),
            "distribution_json": distribution_to_json(distribution),
        }
        for name, distribution in given.distributions.items()
    ]


def _attributes(given: FrozenTrial) -> list[Row]:
    return [_attribute(key, value) for key, value in given.user_attrs.items()]


def _attribute(key: str, value: Any) -> Row:
    return {"key": key, "value_json": json.dumps(value)}


def _as_stored(time: datetime | None) -> datetime | None:
    """Optuna has local times without a zone, and stores UTC without one."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)
