"""The study on disk: the one place that writes Optuna's storage."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from cmt_search.errors import RunError
from cmt_search.search.database import StudyDatabase
from cmt_search.search.refusals import (
    check_whole,
    is_damage,
    is_unreachable,
    refusal,
    refused_in_words,
)
from cmt_search.search.run_folder import mask_passwords
from cmt_search.search.server import engine_options

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
