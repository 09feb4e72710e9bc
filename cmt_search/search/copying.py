"""A study as a database of its own, for programs that know Optuna alone, and back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from cmt_search.errors import RunError
from cmt_search.search.attributes import read_micro_batches, trial_record
from cmt_search.search.record import TrialRecord
from cmt_search.search.run_folder import RunFolder
from cmt_search.search.storage import _read_only, read_study
from cmt_search.search.superseding import superseded


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
    run = RunFolder.open(run_dir)
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
