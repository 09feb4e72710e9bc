"""The Optuna study on disk or on a server: opening, reading, writing, copying."""

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import BindParameter, Connection, bindparam, func
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from cmt_search.errors import RunError
from cmt_search.search.run_dir import RunDir, mask_passwords
from cmt_search.search.serialization import TRIALS, read_micro_batches, superseded, trial_record
from cmt_search.search.types import TrialRecord

_URL = (
    "write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, or "
    "mysql+pymysql://USER:PASSWORD@HOST/DATABASE"
)
_STRANGER = (
    "it does not let this user in; give the URL with user and password by --storage or "
    "$CMT_SEARCH_STORAGE"
)
_NO_DATABASE = (
    "make the database first, as `createdb NAME` or `create database NAME` does, and give this "
    "user the right to it"
)
_NO_SERVER = (
    "no server answers there; check host and port, that the server runs, and that this machine "
    "may reach it"
)
_NO_PACKAGE = (
    "the package that talks to this server is missing; for postgresql+psycopg://, "
    '`pip install "psycopg[binary]"`, for mysql+pymysql://, `pip install pymysql`'
)
_CAUSES = {
    "database or disk is full": "its disk is full; make room there, and resume the run",
    "no space left": "its disk is full; make room there, and resume the run",
    "disk i/o error": "its disk cannot be read or written; look at the disk, and resume the run",
    "readonly database": "it may not be written; give this user the right to, and resume the run",
    "unable to open database file": "its folder may not be written, or is missing",
    "is locked": (
        "another program holds it locked; end that program (an open sqlite3 shell, a copy under "
        "way), and resume the run"
    ),
    "malformed": (
        "it is damaged, and was left as it is; restore it from a copy, or save what can be saved "
        "with `sqlite3 study.db .recover`"
    ),
    "not a database": "it is damaged, and was left as it is; restore it from a copy",
    "can't load plugin": f"there is no such kind of database; {_URL}",
    "could not parse": f"this is no URL of a database; {_URL}",
    "authentication failed": _STRANGER,
    "no password supplied": _STRANGER,
    "to database": _NO_DATABASE,  # as MySQL says of one that is not there, too
    "access denied": _STRANGER,
    "permission denied": "this user may not make tables there; grant it the right to",
    "unknown database": _NO_DATABASE,
    "does not exist": _NO_DATABASE,
    "refused": _NO_SERVER,
    "can't connect": _NO_SERVER,
    "timeout": _NO_SERVER,
    "failed to resolve": _NO_SERVER,
    "could not translate": _NO_SERVER,
    "no such file": _NO_SERVER,
}


def refusal(error: Exception, *, url: str, doing: str) -> RunError:
    """A database's error as one that a user can act upon."""
    told = _innermost(error)
    lines = told.strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, ImportError):
        return RunError(f"{mask_passwords(url)} cannot be {doing} ({first}): {_NO_PACKAGE}")
    for sign, cause in _CAUSES.items():
        if sign in told.lower():
            return RunError(f"{mask_passwords(url)} cannot be {doing} ({first}): {cause}")
    return RunError(
        f"{mask_passwords(url)} cannot be {doing} ({first}); check the address, the server and "
        "that it may be written"
    )


def is_damage(error: Exception) -> bool:
    """Whether a file is no database, or no longer a whole one."""
    told = _innermost(error).lower()
    return any(sign in told for sign in ("malformed", "not a database", "disk i/o error"))


def is_unreachable(error: Exception, *, url: str) -> bool:
    """Whether a server, or the package that talks to it, is missing; a file is never."""
    kinds = (OperationalError, ArgumentError, ImportError)
    served = not url.startswith("sqlite")
    return served and any(isinstance(one, kinds) for one in (error, error.__cause__))


@contextmanager
def refused_in_words(url: str, *, doing: str) -> Iterator[None]:
    """Turn what the database raises into a refusal; its transaction is rolled back.

    Raises:
        RunError: the database refused.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise refusal(error, url=url, doing=doing) from error


def check_whole(file: Path, *, address: str) -> None:
    """Refuse a damaged SQLite file before anything opens it for writing.

    `address` is a URI of the file for reading only.

    Raises:
        RunError: pages are missing or are no pages.
    """
    if not file.exists() or file.stat().st_size == 0:
        return
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise refusal(error, url=str(file), doing="read") from error
    if found != "ok":
        raise refusal(sqlite3.DatabaseError(f"malformed: {found}"), url=str(file), doing="read")


def _innermost(error: BaseException) -> str:
    """What the database said itself: Optuna and SQLAlchemy wrap it."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = (arg for arg in error.args if isinstance(arg, str))  # MySQL's begin with a number
    return next(words, str(error))


_PATIENCE = 10  # seconds for a connection; some systems wait for minutes
_TIMED = ("psycopg", "psycopg2", "pymysql", "mysqldb")  # drivers that know `connect_timeout`
_LONGEST = 31_536_000  # seconds that MySQL lets a connection idle, at most


def engine_options(url: str) -> dict[str, Any]:
    """How SQLAlchemy reaches the database of a URL.

    A server ends connections that idle through a long training: they are tried before use.
    """
    if not _served(url):
        return {}
    timed = make_url(url).get_driver_name() in _TIMED
    return {
        "pool_pre_ping": True,
        **({"connect_args": {"connect_timeout": _PATIENCE}} if timed else {}),
    }


@contextmanager
def exclusive_lock(url: str, *, run_id: str) -> Iterator[None]:
    """Be the run's only driver on its server, from whichever machine; it ends with the process.

    The lock of a run's folder knows one machine's disk; a copy of the folder has a lock of its own.

    Raises:
        RunError: another process drives the run, or the server cannot be reached.
    """
    if not _served(url) or make_url(url).get_backend_name() not in _LOCKS:
        yield
        return
    try:
        engine = sqlalchemy.create_engine(url, **engine_options(url))
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except (SQLAlchemyError, ImportError) as error:
        raise refusal(error, url=url, doing="opened") from error
    try:
        if not _LOCKS[engine.dialect.name](connection, run_id):
            raise RunError(
                "the run's study is driven by another process, perhaps from a copy of its folder "
                "on another machine; wait for that process, or end it first"
            )
        yield
    finally:
        connection.close()
        engine.dispose()


def _postgres(connection: sqlalchemy.Connection, run_id: str) -> bool:
    for name, seconds in (("idle", 60), ("interval", 30)):  # a machine that is gone lets go soon
        connection.execute(sqlalchemy.text(f"set tcp_keepalives_{name} = {seconds}"))
    digest = hashlib.sha256(run_id.encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    asked = sqlalchemy.text("select pg_try_advisory_lock(:key)")
    return bool(connection.execute(asked, {"key": key}).scalar())


def _mysql(connection: sqlalchemy.Connection, run_id: str) -> bool:
    connection.execute(sqlalchemy.text(f"set session wait_timeout = {_LONGEST}"))
    asked = sqlalchemy.text("select get_lock(:name, 0)")
    return connection.execute(asked, {"name": f"cmt_search {run_id}"}).scalar() == 1


_LOCKS = {"postgresql": _postgres, "mysql": _mysql, "mariadb": _mysql}


def _served(url: str) -> bool:
    try:
        return make_url(url).get_backend_name() != "sqlite"
    except ArgumentError:
        return False  # refused in words where the study is opened


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


_SQLITE = "sqlite:///"


def sign(objective: str) -> int:
    """+1 where more is better: top1; -1 for loss and every cost."""
    return 1 if objective == "top1" else -1


def directions(objectives: Sequence[str]) -> list[StudyDirection]:
    """The objectives' directions in Optuna's words."""
    maximise, minimise = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
    return [maximise if sign(name) > 0 else minimise for name in objectives]


@dataclass(frozen=True, slots=True)
class StudyStore:
    """One study in a database. A trial enters it whole, in one transaction, or not at all."""

    storage: RDBStorage
    study: int
    ids: dict[int, int] = field(default_factory=dict)  # number of a trial to its row

    @classmethod
    def open(
        cls,
        url: str,
        *,
        name: str,
        run_id: str,
        fingerprint: str,
        objectives: Sequence[str],
        begun: bool = False,
    ) -> "StudyStore":
        """The run's study, made if there is none and the run has not `begun`.

        Raises:
            RunError: the database cannot be used, or its study belongs to another search.
        """
        if file := _sqlite_file(url):
            check_whole(file, address=_address(file))
        try:
            storage = StudyDatabase(url)
        except (SQLAlchemyError, StorageInternalError, RuntimeError, ImportError) as error:
            raise refusal(error, url=url, doing="opened") from error
        with refused_in_words(url, doing="opened"):
            if url.startswith("sqlite"):
                _use_wal(storage)
            identity = {"run_id": run_id, "fingerprint": fingerprint}
            if begun:
                _check_there(storage, name=name, url=url)
            try:
                study = storage.create_new_study(directions(objectives), name)
                for key, value in identity.items():
                    storage.set_study_user_attr(study, key, value)
            except DuplicatedStudyError:
                study = storage.get_study_id_from_name(name)
                _check(storage, study, name=name, identity=identity, objectives=objectives)
            return cls(storage, study)

    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        with self._refusing("read"):
            found = self.storage.get_all_trials(self.study, deepcopy=False)
        self.ids.update({trial.number: trial._trial_id for trial in found})
        return sorted(found, key=lambda trial: trial.number)

    def add(
        self,
        *,
        state: TrialState,
        params: Mapping[str, float | int],
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any],
    ) -> int:
        """Add a trial without values, and return its number."""
        trial = create_trial(
            state=state,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=dict(attributes),
        )
        with self._refusing("written"):
            row = self.storage.create_new_trial(self.study, trial)
            number = self.storage.get_trial_number_from_id(row)
        self.ids[number] = row
        return number

    def set(self, number: int, key: str, value: Any) -> None:
        """Set an attribute of a trial that is not finished."""
        with self._refusing("written"):
            self.storage.set_trial_user_attr(self.ids[number], key, value)

    def report(self, number: int, *, rung: int, value: float) -> None:
        """What one objective was at a rung; draws curves in optuna-dashboard."""
        with self._refusing("written"):
            self.storage.set_trial_intermediate_value(self.ids[number], rung, value)

    def finish(self, number: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """End a trial."""
        with self._refusing("written"):
            self.storage.set_trial_state_values(self.ids[number], state, values)

    def attributes(self) -> dict[str, Any]:
        """The study's own."""
        with self._refusing("read"):
            found: dict[str, Any] = self.storage.get_study_user_attrs(self.study)
            return found

    def get_attribute(self, key: str) -> Any:
        """An attribute of the study, or None."""
        return self.attributes().get(key)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute of the study."""
        with self._refusing("written"):
            self.storage.set_study_user_attr(self.study, key, value)

    def close(self) -> None:
        """Let go of the database."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _refusing(self, doing: str) -> AbstractContextManager[None]:
        return refused_in_words(str(self.storage.engine.url), doing=doing)


def read_study(url: str, *, name: str) -> tuple[list[FrozenTrial], dict[str, Any]]:
    """All trials of a study, by number, and its attributes, without writing a thing.

    Raises:
        RunError: there is no such study, or not yet; or it is damaged.
    """
    address = _read_only(url)
    try:
        storage = RDBStorage(
            address,
            engine_options(url),
            skip_table_creation=True,
            skip_compatibility_check=True,
        )
        try:
            study = storage.get_study_id_from_name(name)
            trials = storage.get_all_trials(study, deepcopy=False)
            attributes: dict[str, Any] = storage.get_study_user_attrs(study)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (SQLAlchemyError, StorageInternalError, KeyError, ImportError) as error:
        if is_damage(error) and _read_only(url) != address:  # a driver began to write meanwhile
            return read_study(url, name=name)
        if is_damage(error) or is_unreachable(error, url=url):
            raise refusal(error, url=url, doing="read") from error
        raise RunError(
            f"there is no study {name!r} in {mask_passwords(url)} yet ({_first(error)}); start the "
            "search with `cmt-search run`, or wait until it has begun"
        ) from error
    return sorted(trials, key=lambda trial: trial.number), attributes


def _sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL without options."""
    plain = url.startswith(_SQLITE) and "?" not in url
    return Path(url.removeprefix(_SQLITE)).resolve() if plain else None


def _read_only(url: str) -> str:
    """The URL of a SQLite file such that opening it neither makes nor changes it."""
    file = _sqlite_file(url)
    return url if file is None else f"{_SQLITE}{_address(file)}&uri=true"


def _address(file: Path) -> str:
    """A URI by which SQLite reads a file, and neither makes nor changes it."""
    # beside a write-ahead log a reader needs the log; without one the file is the whole truth,
    # which is also how a study in a folder that may not be written can be read
    still = "" if file.with_name(file.name + "-wal").exists() else "&immutable=1"
    return f"{file.as_uri().replace('file://', 'file:')}?mode=ro{still}"


def _use_wal(storage: RDBStorage) -> None:
    """Let readers read while the driver writes, at a third of the time per write."""

    def configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    sqlalchemy.event.listen(storage.engine, "connect", configure)
    storage.remove_session()
    storage.engine.dispose()  # connections made before the listener know nothing of it


def _check_there(storage: RDBStorage, *, name: str, url: str) -> None:
    """Refuse to begin afresh where a study was."""
    try:
        storage.get_study_id_from_name(name)
    except KeyError:
        raise RunError(
            f"the study {name!r} is gone from {mask_passwords(url)}, and the run's trials with it; "
            "restore the database from a copy, or start a new run with another --name"
        ) from None


def _check(
    storage: RDBStorage,
    study: int,
    *,
    name: str,
    identity: Mapping[str, str],
    objectives: Sequence[str],
) -> None:
    """Refuse a study that another search began: Optuna would merge the two without a word."""
    held = storage.get_study_directions(study)
    wanted = directions(objectives)
    if held != wanted:
        shown = [[d.name.lower() for d in each] for each in (held, wanted)]
        raise RunError(
            f"study {name!r} was begun with objectives to {shown[0]}, this search has "
            f"{list(objectives)} to {shown[1]}; restore the space file, or use another --name"
        )
    attributes = storage.get_study_user_attrs(study)
    for key, value in identity.items():
        if attributes.setdefault(key, value) != value:  # killed before it was written: absent
            what = "run" if key == "run_id" else "search space"
            raise RunError(
                f"study {name!r} belongs to another {what} ({key} {attributes[key]}, here {value});"
                " two would be merged into one; use another --name"
            )
        storage.set_study_user_attr(study, key, value)


def _first(error: Exception) -> str:
    """The first line of an error's message."""
    lines = str(error.args[0] if error.args else error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the study of a run holds."""

    trials: tuple[TrialRecord, ...]  # by number
    wanted: int | None  # trials in all, as --trials last said; None: the space's number
    driven: bool  # some process is at work on it


def read_trials(
    run_dir: Path, *, storage: str | None = None, superseded: bool = False
) -> tuple[TrialRecord, ...]:
    """The trials of a run by number, also while a driver writes; changes nothing.

    Trials that another one takes the place of are left out, unless `superseded` asks for them.
    Those that the study has as running are interrupted where no process drives the run.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    return read_run(run_dir, storage=storage, superseded=superseded).trials


def read_run(run_dir: Path, *, storage: str | None = None, superseded: bool = False) -> RunRecord:
    """The trials of a run as `read_trials` gives them, and what is known of the run itself.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    from cmt_search.search.serialization import superseded as superseded_trials

    run = RunDir.open(run_dir)
    url = run.storage_url(storage)
    if run.info().storage is None and not run.study.exists():
        raise RunError(
            f"{run_dir} has no study yet; start it with `cmt-search resume {run_dir}`, "
            "or wait until it has begun"
        )
    driven = run.driver() is not None  # asked first: a driver that ends now has finished its trials
    trials, attributes = read_study(url, name=run.info().name)
    gone = frozenset() if superseded else superseded_trials(trials)
    sizes = read_micro_batches(attributes)
    records = tuple(
        trial_record(trial, micro_batches=sizes, driven=driven)
        for trial in trials
        if trial.number not in gone
    )
    return RunRecord(trials=records, wanted=attributes.get(TRIALS), driven=driven)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCopy:
    """What a copy of a study holds."""

    records: tuple[TrialRecord, ...]  # as `read_trials` gives them
    attributes: Mapping[str, Any]  # of the study
    content: Mapping[str, Any]  # all that Optuna reads, as plain values, by kind


def copy_study(run_dir: Path, *, to: Path, storage: str | None = None) -> None:
    """Copy the study of a run, by its own name, into a new SQLite file; the run is only read.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    run = RunDir.open(run_dir)
    url, name = run.storage_url(storage), run.info().name
    read_study(url, name=name)  # says it well where there is none
    with (
        _opened(_read_only(url), skip_table_creation=True, skip_compatibility_check=True) as old,
        _opened(f"sqlite:///{to.resolve()}") as new,
        _quiet(optuna.logging.WARNING),  # without the line that tells of every new study
    ):
        optuna.copy_study(from_study_name=name, from_storage=old, to_storage=new)


def note_in_copy(file: Path, *, key: str, value: Any) -> None:
    """Write an attribute of the one study in a copy."""
    with _opened(f"sqlite:///{file.resolve()}") as storage:
        (study,) = storage.get_all_studies()
        storage.set_study_user_attr(study._study_id, key, value)


def read_copy(file: Path) -> StudyCopy:
    """The one study in a SQLite file.

    Raises:
        RunError: it holds no study, or several, or what no search wrote; it is named.
    """
    try:
        with _quiet(optuna.logging.ERROR):  # Optuna warns of what is refused here
            return _read_copy(file)
    except RunError:
        raise
    except Exception as error:
        # A damaged file raises whatever its bytes lead to, in Optuna, SQLAlchemy or JSON.
        what = " ".join(str(error).split())
        raise RunError(
            f"{file}: is damaged ({type(error).__name__}: {what:.100}); copy the study again"
        ) from error


def _read_copy(file: Path) -> StudyCopy:
    url = f"sqlite:///{file.resolve()}"
    try:
        with _opened(
            _read_only(url), skip_table_creation=True, skip_compatibility_check=True
        ) as storage:
            names = optuna.get_all_study_names(storage)
    except (SQLAlchemyError, StorageInternalError) as error:
        what = str((error.__cause__ or error).args[0]).splitlines()[0]
        raise RunError(
            f"{file}: is no study of Optuna, or cut short ({what}); copy it again"
        ) from (error)
    if len(names) != 1:
        raise RunError(f"{file}: holds {len(names)} studies, not one; copy the study again")
    trials, attributes = read_study(url, name=names[0])
    gone, sizes = superseded(trials), read_micro_batches(attributes)
    records = []
    for trial in trials:
        if trial.number in gone:
            continue
        try:
            records.append(trial_record(trial, micro_batches=sizes, driven=False))
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(
                f"{file}: trial {trial.number}: {error} is missing or broken; copy the study again"
            ) from error
    content = {"study": {"name": names[0], "attributes": attributes}, **_content(trials)}
    return StudyCopy(records=tuple(records), attributes=attributes, content=content)


def _content(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """What Optuna knows of the trials, by the kind of it; times in words."""
    return {
        "trial numbers": [trial.number for trial in trials],
        "trial states": [trial.state.name for trial in trials],
        "trial values": [trial.values for trial in trials],
        "trial params": [trial.params for trial in trials],
        "trial distributions": [
            {name: distribution_to_json(how) for name, how in trial.distributions.items()}
            for trial in trials
        ],
        "trial intermediate values": [
            {str(step): value for step, value in trial.intermediate_values.items()}
            for trial in trials
        ],
        "trial attributes": [trial.user_attrs for trial in trials],
        "trial system attributes": [trial.system_attrs for trial in trials],
        "trial times": [
            [str(trial.datetime_start), str(trial.datetime_complete)] for trial in trials
        ],
    }


@contextmanager
def _quiet(level: int) -> Iterator[None]:
    """Nothing is told that is below this level."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _opened(url: str, **options: Any) -> Iterator[RDBStorage]:
    storage = RDBStorage(url, **options)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()
