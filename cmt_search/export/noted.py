"""A file of weights that a description notes: it must be there, and be the one that was written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmt_search.errors import ExportError


def check_noted(note: object, *, description: Path) -> None:
    """Refuse a file of weights that is not the one `description` notes; no note asks for none.

    Raises:
        ExportError: it is gone or was changed; it is named.
    """
    if note is None:
        return
    name, sha256 = _of(note, description=description)
    file = description.parent / name
    try:
        found = sha256_of(file)
    except OSError as error:
        raise ExportError(
            f"{file}: cannot be read ({error}), but {description.name} notes it as the file of its "
            "weights; put it back, or export the variant again"
        ) from None
    if found != sha256:
        raise ExportError(
            f"{description}: weights.sha256={sha256!r} is not the checksum of {name}: "
            "one of them was changed or cut short; restore it, or export the variant again"
        )


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of(note: Any, *, description: Path) -> tuple[str, str]:
    """Name, in the description's own folder, and sha256."""
    name = note.get("file") if isinstance(note, Mapping) else None
    sha256 = note.get("sha256") if isinstance(note, Mapping) else None
    if not isinstance(name, str) or not isinstance(sha256, str) or Path(name).name != name:
        raise ExportError(
            f"{description}: weights={note!r:.60} names no file with its checksum; "
            "export the variant again"
        )
    return name, sha256
