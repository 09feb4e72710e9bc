"""A file of weights that a description notes: it must be there, and be the one that was written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmt_search.errors import ExportError


def check_noted(note: object, *, told: Path) -> None:
    """Refuse a file of weights that is not the one `told` notes; no note asks for none.

    Raises:
        ExportError: it is gone or was changed; it is named.
    """
    if note is None:
        return
    name, digest = _of(note, told=told)
    file = told.parent / name
    try:
        found = sha256_of(file)
    except OSError as error:
        raise ExportError(
            f"{file}: cannot be read ({error}), but {told.name} notes it as the file of its "
            "weights; put it back, or export the variant again"
        ) from None
    if found != digest:
        raise ExportError(
            f"{told}: weights.sha256={digest!r} is not the digest of {name}: one of them was "
            "changed or cut short; restore it, or export the variant again"
        )


def sha256_of(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of(note: Any, *, told: Path) -> tuple[str, str]:
    """Name, in the description's own folder, and digest."""
    name = note.get("file") if isinstance(note, Mapping) else None
    digest = note.get("sha256") if isinstance(note, Mapping) else None
    if not isinstance(name, str) or not isinstance(digest, str) or Path(name).name != name:
        raise ExportError(
            f"{told}: weights={note!r:.60} names no file with its digest; export the variant again"
        )
    return name, digest
