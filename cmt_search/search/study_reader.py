"""Read and copy the study of a run, also while a driver writes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from cmt_search.errors import RunError
from cmt_search.search.run_dir import RunDir, mask_passwords
from cmt_search.search.serialization import TRIALS, trial_record
from cmt_search.search.storage import (
    SQLITE,
    check_integrity,
    damaged_error,
    database_errors,
    disconnect,
    engine_options,
    read_only_url,
    sqlite_file,
)
from cmt_search.search.types import TrialRecord


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
    if info.storage is None and not (run.study.exists() and run.study.stat().st_size):
        raise RunError(
            f"{run_dir} has no study yet; start it with `cmt-search resume {run_dir}`, "
            "or wait until it has begun"
        )
    is_driven = run.driver() is not None  # first: a driver that ends now has finished its trials
    trials, wanted = _read_study(url, name=info.name, is_driven=is_driven)
    return RunRecord(trials=trials, wanted=wanted, driven=is_driven)


def _read_study(
    url: str, *, name: str, is_driven: bool
) -> tuple[tuple[TrialRecord, ...], int | None]:
    """Read the trials of a study and the number of trials last requested; change nothing."""
    address = read_only_url(url)
    try:
        with database_errors(url, action="read"), _opened(address) as storage:
            if not sqlalchemy.inspect(storage.engine).has_table("studies"):
                raise KeyError(name)
            study = storage.get_study_id_from_name(name)
            trials = storage.get_all_trials(study, deepcopy=False)
            wanted = storage.get_study_user_attrs(study).get(TRIALS)
        trials.sort(key=lambda trial: trial.number)
    except (RunError, LookupError, ValueError) as error:
        if read_only_url(url) != address:  # a driver started writing
            return _read_study(url, name=name, is_driven=is_driven)
        if file := sqlite_file(url):
            check_integrity(file)
        if isinstance(error, KeyError):
            raise RunError(
                f"there is no study {name!r} in {mask_passwords(url)} yet; start the search with "
                "`cmt-search run`, or wait until it has begun"
            ) from error
        if isinstance(error, RunError):
            raise
        raise damaged_error(mask_passwords(url), error) from error
    return tuple(_record(trial, url=url, is_driven=is_driven) for trial in trials), wanted


def _record(trial: FrozenTrial, *, url: str, is_driven: bool) -> TrialRecord:
    try:
        return trial_record(trial, is_driven=is_driven)
    except (KeyError, ValueError, TypeError) as error:
        reason = f"trial {trial.number}: {type(error).__name__}: {error}"
        raise damaged_error(mask_passwords(url), reason) from error


@contextmanager
def _opened(address: str) -> Iterator[RDBStorage]:
    """Open a database as it is."""
    storage = RDBStorage(
        address, engine_options(address), skip_table_creation=True, skip_compatibility_check=True
    )
    try:
        yield storage
    finally:
        disconnect(storage)


def copy_study(run_dir: Path, *, to: Path, storage: str | None = None) -> None:
    """Copy the study of a run into a new SQLite file.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    read_trials(run_dir, storage=storage)
    run = RunDir.open(run_dir)
    name, address = run.info().name, read_only_url(run.storage_url(storage))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    target = RDBStorage(f"{SQLITE}{to.resolve()}")
    try:
        with _opened(address) as source:
            optuna.copy_study(from_study_name=name, from_storage=source, to_storage=target)
    finally:
        disconnect(target)


def read_copy(file: Path) -> tuple[TrialRecord, ...]:
    """Read the trials of the one study in a SQLite file.

    Raises:
        RunError: it holds no study or several, or is damaged.
    """
    url = f"{SQLITE}{file.resolve()}"
    check_integrity(file)
    with database_errors(url, action="read"), _opened(read_only_url(url)) as storage:
        names = optuna.get_all_study_names(storage)
    if len(names) != 1:
        raise RunError(f"{file} holds {len(names)} studies, not one; copy the study again")
    return _read_study(url, name=names[0], is_driven=False)[0]
