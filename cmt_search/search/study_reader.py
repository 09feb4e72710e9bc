"""Read and copy the study of a run, also while a driver writes it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import ProgrammingError

from cmt_search.errors import RunError
from cmt_search.search.run_dir import RunDir, mask_passwords
from cmt_search.search.serialization import TRIALS, trial_record
from cmt_search.search.storage import (
    DATABASE_ERRORS,
    SQLITE,
    check_integrity,
    damaged_error,
    engine_options,
    read_only_address,
    run_errors,
    sqlite_file,
    to_run_error,
)
from cmt_search.search.types import TrialRecord


def read_study(url: str, *, name: str) -> tuple[list[FrozenTrial], dict[str, Any]]:
    """Read all trials by number and the attributes of a study; changes nothing.

    Raises:
        RunError: there is no such study yet, or it cannot be read.
    """
    file, address = sqlite_file(url), _read_only(url)
    try:
        with _opened(address) as storage:
            study = storage.get_study_id_from_name(name)
            trials = storage.get_all_trials(study, deepcopy=False)
            attributes: dict[str, Any] = storage.get_study_user_attrs(study)
    except (*DATABASE_ERRORS, LookupError, ValueError) as error:
        if _read_only(url) != address:  # a driver started writing
            return read_study(url, name=name)
        if file is not None:
            check_integrity(file)
        cause = error.__cause__ or error
        is_missing = isinstance(cause, ProgrammingError) or "no such table" in str(cause)
        if isinstance(error, KeyError) or is_missing:
            raise RunError(
                f"there is no study {name!r} in {mask_passwords(url)} yet; start the search with "
                "`cmt-search run`, or wait until it has begun"
            ) from error
        if isinstance(error, DATABASE_ERRORS):
            raise to_run_error(error, url=url, action="read") from error
        raise damaged_error(mask_passwords(url), error) from error
    return sorted(trials, key=lambda trial: trial.number), attributes


def _read_only(url: str) -> str:
    file = sqlite_file(url)
    return url if file is None else f"{SQLITE}{read_only_address(file)}&uri=true"


@contextmanager
def _opened(address: str) -> Iterator[RDBStorage]:
    storage = RDBStorage(
        address, engine_options(address), skip_table_creation=True, skip_compatibility_check=True
    )
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The study of a run."""

    trials: tuple[TrialRecord, ...]  # by number
    wanted: int | None  # number of trials last requested by --trials; None: the space's
    driven: bool  # a process is running the search


def read_trials(run_dir: Path, *, storage: str | None = None) -> tuple[TrialRecord, ...]:
    """Read the trials of a run by number, also while a driver writes; changes nothing.

    Running trials are "interrupted" if no process drives the run.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    return read_run(run_dir, storage=storage).trials


def read_run(run_dir: Path, *, storage: str | None = None) -> RunRecord:
    """Read the trials of a run like `read_trials`, and the state of the run.

    Raises:
        RunError: there is no run, or it has no study yet, or it is damaged.
    """
    run = RunDir.open(run_dir)
    url, info = run.storage_url(storage), run.info()
    if info.storage is None and not run.study.exists():
        raise RunError(
            f"{run_dir} has no study yet; start it with `cmt-search resume {run_dir}`, "
            "or wait until it has begun"
        )
    is_driven = run.driver() is not None  # first: a driver that ends now has finished its trials
    trials, attributes = read_study(url, name=info.name)
    records = _records(trials, url=url, is_driven=is_driven)
    return RunRecord(trials=records, wanted=attributes.get(TRIALS), driven=is_driven)


def _records(
    trials: Sequence[FrozenTrial], *, url: str, is_driven: bool
) -> tuple[TrialRecord, ...]:
    records = []
    for trial in trials:
        try:
            records.append(trial_record(trial, is_driven=is_driven))
        except (KeyError, ValueError, TypeError) as error:
            reason = f"trial {trial.number}: {type(error).__name__}: {error}"
            raise damaged_error(mask_passwords(url), reason) from error
    return tuple(records)


def copy_study(run_dir: Path, *, to: Path, storage: str | None = None) -> None:
    """Copy the study of a run into a new SQLite file.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    run = RunDir.open(run_dir)
    url, name = run.storage_url(storage), run.info().name
    read_study(url, name=name)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    target = RDBStorage(f"{SQLITE}{to.resolve()}")
    try:
        with _opened(_read_only(url)) as source:
            optuna.copy_study(from_study_name=name, from_storage=source, to_storage=target)
    finally:
        target.remove_session()
        target.engine.dispose()


def read_copy(file: Path) -> tuple[TrialRecord, ...]:
    """Read the trials of the one study in a SQLite file.

    Raises:
        RunError: it holds no study or several, or is damaged.
    """
    url = f"{SQLITE}{file.resolve()}"
    check_integrity(file)
    with run_errors(url, action="read"), _opened(_read_only(url)) as storage:
        names = optuna.get_all_study_names(storage)
    if len(names) != 1:
        raise RunError(f"{file} holds {len(names)} studies, not one; copy the study again")
    trials, _ = read_study(url, name=names[0])
    return _records(trials, url=url, is_driven=False)
