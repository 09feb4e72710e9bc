"""Tables of a study: CSV and Parquet with checksums of the columns, and Optuna's SQLite."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from cmt_search.errors import CmtSearchError, ExportError
from cmt_search.export.staging import publish
from cmt_search.export.yaml_io import parsed_json

if TYPE_CHECKING:
    import pandas as pd

_AGAIN = "export the study again"
_SCHEMA = b"cmt_search.study"  # keys of Parquet's metadata
_VERSION = b"1"
_CHECKSUMS = b"cmt_search.study_checksums"
_ABOUT = "{}-metadata.json"  # the name that CSV on the Web gives it
_DATATYPES = {"Int64": "integer", "float64": "double", "boolean": "boolean", "string": "string"}
TableChecksums = Mapping[str, Any]  # rows: their number; sha256: of each column's values


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


def table_checksums(table: "pd.DataFrame") -> TableChecksums:
    """Compute the checksum of every column, and the number of rows."""
    columns = {
        name: hashlib.sha256(values.to_csv(index=False, header=False).encode()).hexdigest()
        for name, values in table.items()
    }
    return {"rows": len(table), "sha256": columns}


def verify_table(table: "pd.DataFrame", expected: Any, *, file: Path) -> None:
    """Verify a table by its `expected` checksums.

    Raises:
        ExportError: it was changed; the column is named.
    """
    rows = expected.get("rows") if isinstance(expected, Mapping) else None
    columns = expected.get("sha256") if isinstance(expected, Mapping) else None
    if not isinstance(rows, int) or not isinstance(columns, Mapping):
        raise ExportError(f"{file}: its checksums are missing or malformed; {_AGAIN}")
    if rows != len(table):
        raise ExportError(f"{file}: has {len(table)} rows, and was written with {rows}; {_AGAIN}")
    for name, checksum in table_checksums(table)["sha256"].items():
        if columns.get(name) != checksum:
            raise ExportError(
                f"{file}: checksum mismatch in column {name}: the file was modified; {_AGAIN}"
            )


def write_csv(_run: Path, table: "pd.DataFrame", file: Path) -> None:
    """Write the rows, what is missing left empty, and beside them what the columns are.

    The description is that of CSV on the Web (W3C), with the checksums of the rows in its notes.
    """
    from cmt_search.analysis.frame import COLUMNS

    table.to_csv(file, index=False, lineterminator="\n")
    columns = [
        {"name": c.name, "datatype": _DATATYPES[c.dtype], "dc:description": c.meaning}
        for c in COLUMNS
    ]
    about: dict[str, Any] = {
        "@context": "http://www.w3.org/ns/csvw",
        "url": file.name,
        "tableSchema": {"columns": columns},
    }
    about["notes"] = [table_checksums(table)]
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    file.with_name(_ABOUT.format(file.name)).write_text(text, encoding="utf-8")


def read_csv(file: Path) -> "pd.DataFrame":
    """Read what `write_csv` wrote.

    Raises:
        ExportError: it was changed or cut short; the column or the row is named.
    """
    import csv

    import pandas as pd

    from cmt_search.analysis.frame import COLUMNS

    try:
        with file.open(encoding="utf-8", newline="") as opened:
            text = opened.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{file}: cannot be read ({error}); {_AGAIN}") from None
    if not text.endswith("\n"):
        raise ExportError(f"{file}: line {len(text.splitlines())} is cut short; {_AGAIN}")
    longest = csv.field_size_limit(len(text) + 1)  # else a long reason could not be read
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))  # a reason may have several lines
    except csv.Error as error:
        raise ExportError(f"{file}: cannot be read ({error}); {_AGAIN}") from None
    finally:
        csv.field_size_limit(longest)
    _check_columns(rows[0] if rows else [], file=file)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(COLUMNS):
            raise ExportError(
                f"{file}: row {number} has {len(row)} fields, not {len(COLUMNS)}; {_AGAIN}"
            )
    # Words first, so that an error names the column of a value that is not a number.
    words = pd.DataFrame(rows[1:], columns=rows[0], dtype="string").replace("", pd.NA)
    table = _checked(words, file=file)
    verify_table(table, _read_notes(file), file=file)
    return table


def _read_notes(file: Path) -> object:
    """Read the notes in the description of a CSV file.

    Raises:
        ExportError: it is gone or broken.
    """
    about = file.with_name(_ABOUT.format(file.name))
    try:
        data = parsed_json(about.read_bytes(), where=str(about))
        return data["notes"][0]
    except (OSError, ExportError, LookupError, TypeError) as error:
        what = " ".join(str(error).split())
        raise ExportError(
            f"{about}: notes cannot be read ({what}), and without them nothing says whether "
            f"{file.name} is whole; put the file that was written with it there, {_AGAIN}, or use "
            "pandas.read_csv, which checks nothing"
        ) from None


def write_parquet(_run: Path, table: "pd.DataFrame", file: Path) -> None:
    """Write the rows with checksums.

    Raises:
        ExportError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    rows = arrow.Table.from_pandas(table, preserve_index=False)
    named = rows.replace_schema_metadata(
        {
            **(rows.schema.metadata or {}),
            _SCHEMA: _VERSION,
            _CHECKSUMS: json.dumps(table_checksums(table)),
        }
    )
    parquet.write_table(named, file, write_page_checksum=True)


def read_parquet(file: Path) -> "pd.DataFrame":
    """Read what `write_parquet` wrote.

    Raises:
        ExportError: it was changed or cut short, or pyarrow is not installed.
    """
    _, parquet = _arrow()
    try:
        table = parquet.read_table(file, page_checksum_verification=True, partitioning=None)
        rows = table.to_pandas()
        names = list(rows.columns)
        metadata = table.schema.metadata or {}
    except Exception as error:
        # A damaged file raises whatever its bytes lead to: in Arrow, in pandas, or in the
        # description of the columns that the two exchange.
        what = " ".join(str(error).split())
        raise ExportError(f"{file}: cannot be read ({what:.200}); {_AGAIN}") from error
    if metadata.get(_SCHEMA) != _VERSION:
        raise ExportError(
            f"{file}: metadata {_SCHEMA.decode()}={metadata.get(_SCHEMA)!r:.60} is not "
            f"{_VERSION!r}; {_AGAIN}"
        )
    expected = parsed_json(
        metadata.get(_CHECKSUMS, b"null"), where=f"{file}: metadata {_CHECKSUMS.decode()}"
    )
    _check_columns(names, file=file)
    typed = _checked(rows, file=file)
    verify_table(typed, expected, file=file)
    return typed


def _arrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ExportError(
            "Parquet needs pyarrow, which is not installed; run pip install pyarrow, or use csv"
        ) from None


def _check_columns(names: list[str], *, file: Path) -> None:
    from cmt_search.analysis.frame import COLUMNS

    wanted = [column.name for column in COLUMNS]
    for name in wanted:
        if name not in names:
            raise ExportError(f"{file}: column {name} is missing; {_AGAIN}")
    if names != wanted:
        odd = next(a for a, b in zip([*names, ""], [*wanted, ""], strict=False) if a != b)
        raise ExportError(f"{file}: column {odd} is unknown or out of order; {_AGAIN}")


def _checked(table: "pd.DataFrame", *, file: Path) -> "pd.DataFrame":
    """The table with its columns' types, once every value is one that a search writes."""
    from cmt_search.analysis.frame import COLUMNS
    from cmt_search.search.types import State

    typed = table.copy()
    for column in COLUMNS:
        try:
            typed[column.name] = _typed(table[column.name], dtype=column.dtype)
        except (ValueError, TypeError) as error:
            what = " ".join(str(error).split())
            raise ExportError(f"{file}: column {column.name}: {what}; {_AGAIN}") from None
    for name, right in (
        ("state", typed["state"].isin(get_args(State))),
        ("top1", typed["top1"].isna() | typed["top1"].between(0, 1)),
        ("macs", typed["macs"].isna() | (typed["macs"] > 0)),
    ):
        if not right.fillna(value=False).all():
            bad = typed[name][~right.fillna(value=False)].iloc[0]
            raise ExportError(f"{file}: column {name}: {bad} is not possible; {_AGAIN}")
    return typed


def _typed(values: "pd.Series[Any]", *, dtype: str) -> "pd.Series[Any]":
    if dtype == "boolean" and values.dtype != "boolean":
        unknown = set(values.dropna()) - {"True", "False"}
        if unknown:
            raise ValueError(f"{unknown.pop()!r} is neither True nor False")
        return values.map({"True": True, "False": False}).astype("boolean")
    if dtype == "float64":
        return values.astype("Float64").to_numpy("float64", na_value=float("nan"))  # type: ignore
    return values.astype(dtype)  # type: ignore[call-overload,no-any-return]


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
