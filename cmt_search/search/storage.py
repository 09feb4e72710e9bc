"""The Optuna study of a run: open and write."""

import math
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cmt_search.errors import RunError
from cmt_search.search.run_dir import mask_passwords

SQLITE = "sqlite:///"
_RUN_ID = "run_id"  # attribute of the study
_CONNECT_TIMEOUT = 10  # seconds; some systems wait for minutes
_DRIVERS_WITH_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb")
_CHECKPOINT_INTERVAL = 1.0  # seconds at least between copies of SQLite's log into the file


# Errors.


@contextmanager
def database_errors(url: str, *, action: str) -> Iterator[None]:
    """Convert errors of the database into a `RunError` with a remedy and without a password."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # Optuna and SQLAlchemy wrap what the database reports
            cause = cause.__cause__
        texts = (arg for arg in cause.args if isinstance(arg, str))  # MySQL puts a number first
        lines = next(texts, str(cause)).strip().splitlines() or [type(cause).__name__]
        reason, masked = mask_passwords(lines[0]), mask_passwords(url)
        if "decode" in reason:  # bytes that are not text
            raise damaged_error(masked, reason) from error
        message = f"{masked} cannot be {action} ({reason}): {_remedy(error, url=url)}"
        raise RunError(message) from error


def _remedy(error: Exception, *, url: str) -> str:
    if isinstance(error, ImportError):
        return (
            'install its driver: `pip install "psycopg[binary]"` for postgresql+psycopg://, '
            "`pip install pymysql` for mysql+pymysql://"
        )
    if isinstance(error, ArgumentError):
        return (
            "use postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or "
            "mysql+pymysql://USER:PASSWORD@HOST/DATABASE"
        )
    if url.startswith("sqlite"):
        return (
            "check that the disk has room, that the file and its folder are writable, and that no "
            "other program locks it; then resume the run"
        )
    return (
        "check that the server runs at this host and port, that it accepts the user and password "
        "(--storage or $CMT_SEARCH_STORAGE), and that the database exists and the user may create "
        "tables in it"
    )


def damaged_error(name: Path | str, reason: object) -> RunError:
    """Return the error of a damaged database."""
    text = " ".join(str(reason).split())
    return RunError(
        f"{name} is damaged ({text:.200}); it was not changed; restore it from a backup"
    )


# Connections.


def check_integrity(file: Path) -> None:
    """Check a SQLite file without changing it.

    Raises:
        RunError: it is damaged.
    """
    if not file.exists() or file.stat().st_size == 0:
        return
    try:
        connection = sqlite3.connect(_read_only_address(file), uri=True)
        try:
            result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        result = str(error)
    if result != "ok":
        raise damaged_error(file, result)


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite URL without options."""
    is_file = url.startswith(SQLITE) and "?" not in url
    return Path(url.removeprefix(SQLITE)).resolve() if is_file else None


def _read_only_address(file: Path) -> str:
    """Return a URI with which SQLite neither creates nor changes a file."""
    # Without a write-ahead log the file is complete, and readable in a read-only folder.
    immutable = "" if file.with_name(file.name + "-wal").exists() else "&immutable=1"
    return f"{file.as_uri().replace('file://', 'file:')}?mode=ro{immutable}"


def read_only_url(url: str) -> str:
    """Return the URL with which a SQLite file is not changed; others are returned as they are."""
    file = sqlite_file(url)
    return url if file is None else f"{SQLITE}{_read_only_address(file)}&uri=true"


def engine_options(url: str) -> dict[str, Any]:
    """Return the options of SQLAlchemy's engine: servers close connections that idle."""
    if url.startswith("sqlite"):
        return {}
    has_timeout = make_url(url).get_driver_name() in _DRIVERS_WITH_TIMEOUT
    connect = {"connect_args": {"connect_timeout": _CONNECT_TIMEOUT}} if has_timeout else {}
    return {"pool_pre_ping": True, **connect}


# Of a run's driver: statements that free the lock of a lost machine, and the one that takes it.
_LOCKS = {
    "postgresql": (
        ("set tcp_keepalives_idle = 60", "set tcp_keepalives_interval = 30"),
        "select pg_try_advisory_lock(hashtextextended(:run, 0))",
    ),
    "mysql": (
        ("set session wait_timeout = 31536000",),  # seconds: the longest that MySQL accepts
        "select get_lock(:run, 0)",
    ),
}


@contextmanager
def exclusive_lock(url: str, *, run_id: str) -> Iterator[None]:
    """Be the only driver of a run on its server; released with the process.

    The lock file of the run directory is not shared by copies of it on other machines.

    Raises:
        RunError: another process drives the run, or the server cannot be reached.
    """
    with database_errors(url, action="opened"):
        backend = make_url(url).get_backend_name().replace("mariadb", "mysql")
    if backend not in _LOCKS:
        yield
        return
    with database_errors(url, action="opened"):
        engine = sqlalchemy.create_engine(url, **engine_options(url))
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        prepare, take = _LOCKS[backend]
        for statement in prepare:
            connection.exec_driver_sql(statement)
        if not connection.execute(sqlalchemy.text(take), {"run": f"cmt_search {run_id}"}).scalar():
            raise RunError(
                "another process drives this run, perhaps from a copy of its folder on another "
                "machine; wait for that process, or stop it first"
            )
        yield
    finally:
        connection.close()
        engine.dispose()


# The study of the driver.


def sign(objective: str) -> int:
    """Return +1 if more is better (top1), else -1 (loss and every cost)."""
    return 1 if objective == "top1" else -1


def directions(objectives: Sequence[str]) -> list[StudyDirection]:
    """Return Optuna's directions of the objectives."""
    maximise, minimise = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
    return [maximise if sign(name) > 0 else minimise for name in objectives]


@dataclass(slots=True)
class StudyStore:
    """The study of a run. A trial is added with its candidate, in one transaction."""

    storage: BaseStorage
    study: int  # its id
    ids: dict[int, int] = field(default_factory=dict)  # of trials, by number
    _checkpointed: float = -math.inf  # time of the last checkpoint

    @classmethod
    def open(
        cls,
        url: str,
        *,
        name: str,
        run_id: str,
        objectives: Sequence[str],
        begun: bool = False,
    ) -> "StudyStore":
        """Open the study of a run, or create it if the run has not `begun`.

        Raises:
            RunError: the database cannot be used, or its study is missing or another search's.
        """
        missing = RunError(
            f"study {name!r} of this run is missing in {mask_passwords(url)}; restore the "
            "database from a backup, or start a new run with another --name"
        )
        if file := sqlite_file(url):
            if begun and not (file.exists() and file.stat().st_size):
                raise missing  # SQLite takes an empty file for a new database
            check_integrity(file)
        with database_errors(url, action="opened"):
            storage = RDBStorage(url, engine_options(url))
            if url.startswith("sqlite"):
                _use_wal(storage)
            if begun and name not in {study.study_name for study in storage.get_all_studies()}:
                raise missing
            try:
                study = storage.create_new_study(directions(objectives), name)
            except DuplicatedStudyError:
                study = storage.get_study_id_from_name(name)
            owner = storage.get_study_user_attrs(study).get(_RUN_ID, run_id)
            if (owner, storage.get_study_directions(study)) != (run_id, directions(objectives)):
                raise RunError(  # Optuna would silently append to it
                    f"study {name!r} in {mask_passwords(url)} belongs to another search; use "
                    "another --name"
                )
            storage.set_study_user_attr(study, _RUN_ID, run_id)  # last: a kill may leave it out
            return cls(storage, study)

    @classmethod
    def in_memory(cls, objectives: Sequence[str]) -> "StudyStore":
        """Create a study that is not saved."""
        storage = InMemoryStorage()
        return cls(storage, storage.create_new_study(directions(objectives), "study"))

    def trials(self) -> list[FrozenTrial]:
        """Return all trials by number."""
        with self._errors("read"):
            trials = self.storage.get_all_trials(self.study, deepcopy=False)
        self.ids.update({trial.number: trial._trial_id for trial in trials})
        return sorted(trials, key=lambda trial: trial.number)

    def add(
        self,
        *,
        state: TrialState,
        params: Mapping[str, float | int],
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any],
    ) -> FrozenTrial:
        """Add a trial without values.

        Raises:
            RunError: another program has added trials, too.
        """
        trial = create_trial(
            state=state,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=dict(attributes),
        )
        with self._errors("written"):
            trial_id = self.storage.create_new_trial(self.study, trial)
            trial.number = len(self.ids)  # checked, since asking for it would read the whole trial
            numbered = self.storage.get_trial_id_from_study_id_trial_number(
                self.study, trial.number
            )
        if trial_id != numbered:
            raise RunError(
                f"trial {trial.number} of the study was added by another program; let one driver "
                "work on a study, and resume this run"
            )
        self.ids[trial.number] = trial_id
        return trial

    def set(self, number: int, key: str, value: Any) -> None:
        """Set an attribute of a trial that is not finished."""
        with self._errors("written"):
            self.storage.set_trial_user_attr(self.ids[number], key, value)

    def report(self, number: int, *, rung: int, value: float) -> None:
        """Store the value of a single objective at a rung."""
        with self._errors("written"):
            self.storage.set_trial_intermediate_value(self.ids[number], rung, value)

    def finish(self, number: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """End a trial."""
        with self._errors("written"):
            self.storage.set_trial_state_values(self.ids[number], state, values)
        if time.monotonic() >= self._checkpointed + _CHECKPOINT_INTERVAL:
            self._checkpoint("PASSIVE")

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the study."""
        with self._errors("read"):
            attributes: dict[str, Any] = self.storage.get_study_user_attrs(self.study)
            return attributes

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute of the study."""
        with self._errors("written"):
            self.storage.set_study_user_attr(self.study, key, value)

    def close(self) -> None:
        """Disconnect from the database."""
        try:
            self._checkpoint("TRUNCATE")
        finally:
            if isinstance(self.storage, RDBStorage):
                disconnect(self.storage)

    def _checkpoint(self, mode: str) -> None:
        """Copy SQLite's write-ahead log into the file, so that a copy of it is complete."""
        storage = self.storage
        if isinstance(storage, RDBStorage) and storage.engine.dialect.name == "sqlite":
            with self._errors("written"), storage.engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA wal_checkpoint({mode})")
        self._checkpointed = time.monotonic()

    def _errors(self, action: str) -> AbstractContextManager[None]:
        url = str(self.storage.engine.url) if isinstance(self.storage, RDBStorage) else "memory"
        return database_errors(url, action=action)


def _use_wal(storage: RDBStorage) -> None:
    """Use a write-ahead log: readers do not block the driver, and a write takes a third."""

    def configure(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    sqlalchemy.event.listen(storage.engine, "connect", configure)
    disconnect(storage)  # connections made before the listener


def disconnect(storage: RDBStorage) -> None:
    """Close the connections of a storage."""
    storage.remove_session()
    storage.engine.dispose()
