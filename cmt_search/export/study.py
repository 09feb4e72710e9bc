"""A study as a table (CSV, Parquet) or as a database that Optuna reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cmt_search.errors import CmtSearchError, ExportError
from cmt_search.export.staging import publish
from cmt_search.export.study_table import (
    read_csv,
    read_parquet,
    write_csv,
    write_parquet,
)

if TYPE_CHECKING:
    import pandas as pd

_AGAIN = "export the study again"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFormat:
    """One way to write a study."""

    name: str
    what: str  # for people
    file: str
    beside: tuple[str, ...] = ()  # more that is written with it
    write: "Callable[[Path, pd.DataFrame, Path], None]"  # the run, its table, the new file
    read: "Callable[[Path], pd.DataFrame]"


def export_study(run: Path, *, format: str, folder: Path, force: bool = False) -> Path:  # noqa: A002
    """Write the study of a run, read it back, compare, and only then publish it.

    Raises:
        ExportError: the format is none, or something else lies there and `force` is not given.
        RunError: there is no run, or it has no study yet.
    """
    if format not in STUDY_FORMATS:
        known = ", ".join(STUDY_FORMATS)
        raise ExportError(f"format {format!r} of a study is unknown; use {known}")
    how, table = STUDY_FORMATS[format], _table(run)

    def write(staged: Path) -> None:
        how.write(run, table, staged / how.file)
        if not how.read(staged / how.file).equals(table):
            raise ExportError(
                f"{run}: the study as {how.name} reads back differently and was not kept; "
                "export it when the search has ended, or report this as a bug"
            )

    publish((how.file, *how.beside), folder=folder, force=force, write=write)
    return folder / how.file


def read_study(path: Path | str) -> "pd.DataFrame":
    """The table of trainings in an exported study; see `cmt_search.analysis.frame.COLUMNS`.

    Raises:
        ExportError: it cannot be read, or was changed or cut short; the column is named.
    """
    file = Path(path)
    for how in STUDY_FORMATS.values():
        if Path(how.file).suffix == file.suffix:
            return how.read(file)
    known = ", ".join(Path(how.file).suffix for how in STUDY_FORMATS.values())
    raise ExportError(f"{file}: is no exported study; give a file that ends in {known}")


def _table(run: Path) -> "pd.DataFrame":
    from cmt_search.analysis import trainings_frame
    from cmt_search.search import read_trials

    table = trainings_frame(read_trials(run))
    # Whether a process drives the run is no part of the study.
    return table.assign(state=table["state"].replace("running", "interrupted"))


def _write_optuna(run: Path, _table: "pd.DataFrame", file: Path) -> None:
    from cmt_search.search.study_reader import copy_study

    copy_study(run, to=file)


def _read_optuna(file: Path) -> "pd.DataFrame":
    from cmt_search.analysis import trainings_frame
    from cmt_search.search.study_reader import read_copy

    if not file.is_file():
        raise ExportError(f"{file}: does not exist; {_AGAIN}")
    try:
        return trainings_frame(read_copy(file))
    except CmtSearchError as error:
        raise ExportError(str(error)) from error


STUDY_FORMATS: Mapping[str, StudyFormat] = MappingProxyType(
    {
        "csv": StudyFormat(
            name="csv",
            what="a row per training",
            file="study.csv",
            beside=("study.csv-metadata.json",),
            write=write_csv,
            read=read_csv,
        ),
        "parquet": StudyFormat(
            name="parquet",
            what="the same rows, typed",
            file="study.parquet",
            write=write_parquet,
            read=read_parquet,
        ),
        "optuna": StudyFormat(
            name="optuna",
            what="SQLite database for Optuna and optuna-dashboard",
            file="study.db",
            write=_write_optuna,
            read=_read_optuna,
        ),
    }
)
