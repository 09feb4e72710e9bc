"""The table of a study as CSV and Parquet, and what of it can be believed when it comes back."""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cmt_search.errors import ExportError

if TYPE_CHECKING:
    import pandas as pd

_SCHEMA = b"cmt_search.study"  # key of Parquet's metadata
_VERSION = b"1"
_DIGEST = b"cmt_search.study_sha256"
_AGAIN = "export the study again"


def write_csv(_run: Path, table: "pd.DataFrame", file: Path) -> None:
    """Write the rows; what is missing is left empty."""
    table.to_csv(file, index=False, lineterminator="\n")


def read_csv(file: Path) -> "pd.DataFrame":
    """Read what `write_csv` wrote.

    Raises:
        ExportError: it was changed or cut short; the column or the row is named.
    """
    import csv

    import pandas as pd

    from cmt_search.analysis.frame import COLUMNS

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{file}: cannot be read ({error}); {_AGAIN}") from None
    if not text.endswith("\n"):
        raise ExportError(f"{file}: line {len(text.splitlines())} is cut short; {_AGAIN}")
    rows = list(csv.reader(text.splitlines()))
    _check_columns(rows[0] if rows else [], file=file)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(COLUMNS):
            raise ExportError(
                f"{file}: row {number} has {len(row)} fields, not {len(COLUMNS)}; {_AGAIN}"
            )
    # Words first, so that what is no number is told by its column.
    words = pd.DataFrame(rows[1:], columns=rows[0], dtype="string").replace("", pd.NA)
    return _checked(words, file=file)


def write_parquet(_run: Path, table: "pd.DataFrame", file: Path) -> None:
    """Write the rows with checksums.

    Raises:
        ExportError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    rows = arrow.Table.from_pandas(table, preserve_index=False)
    named = rows.replace_schema_metadata(
        {**(rows.schema.metadata or {}), _SCHEMA: _VERSION, _DIGEST: _digest(table)}
    )
    parquet.write_table(named, file, write_page_checksum=True)


def read_parquet(file: Path) -> "pd.DataFrame":
    """Read what `write_parquet` wrote.

    Raises:
        ExportError: it was changed or cut short, or pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    try:
        table = parquet.read_table(file, page_checksum_verification=True, partitioning=None)
    except (OSError, arrow.ArrowException) as error:
        what = " ".join(str(error).split())
        raise ExportError(f"{file}: cannot be read ({what}); {_AGAIN}") from None
    told = table.schema.metadata or {}
    if told.get(_SCHEMA) != _VERSION:
        raise ExportError(
            f"{file}: metadata {_SCHEMA.decode()}={told.get(_SCHEMA)!r} is not {_VERSION!r}; "
            f"{_AGAIN}"
        )
    _check_columns(table.column_names, file=file)
    rows = _checked(table.to_pandas(), file=file)
    if told.get(_DIGEST) != _digest(rows):
        raise ExportError(
            f"{file}: metadata {_DIGEST.decode()} is not the digest of its rows: the file was "
            f"changed; {_AGAIN}"
        )
    return rows


def _digest(table: "pd.DataFrame") -> bytes:
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest().encode()


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
    from cmt_search.search.record import State

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
