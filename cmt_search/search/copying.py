"""A study as a database of its own, for programs that know Optuna alone, and back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from cmt_search.errors import RunError
from cmt_search.search.attributes import read_micro_batches, trial_record
from cmt_search.search.record import TrialRecord
from cmt_search.search.run_folder import RunFolder
from cmt_search.search.storage import _read_only, read_study
from cmt_search.search.superseding import superseded


def copy_study(
    run_dir: Path, *, to: Path, notes: Mapping[str, Any], storage: str | None = None
) -> None:
    """Copy the study of a run, by its own name, into a new SQLite file; the run is only read.

    The notes become user attributes of the copy.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    run = RunFolder.open(run_dir)
    url, name = run.storage_url(storage), run.info().name
    read_study(url, name=name)  # says it well where there is none
    with (
        _opened(_read_only(url), skip_table_creation=True, skip_compatibility_check=True) as old,
        _opened(f"sqlite:///{to.resolve()}") as new,
        _quiet(),
    ):
        optuna.copy_study(from_study_name=name, from_storage=old, to_storage=new)
        for key, value in notes.items():
            new.set_study_user_attr(new.get_study_id_from_name(name), key, value)


def read_copy(file: Path) -> tuple[tuple[TrialRecord, ...], Mapping[str, Any]]:
    """The trials of the one study in a SQLite file, as `read_trials` gives them, and its notes.

    Raises:
        RunError: it holds no study, or several, or trials that no search wrote; it is named.
    """
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
    return tuple(records), attributes


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the line that tells of every new study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
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
