"""Checksums of the fields of a description, so that a modified field is named."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cmt_search.errors import ExportError

CHECKSUMS = "checksums"  # the field that holds them; the last, so that a truncated file has none
RESTORE = "restore the file, or export it again"
_DIGITS = 16  # hexadecimal, of SHA-256: detects accidents and edits, not forgery


def compute_checksums(data: Mapping[str, Any]) -> dict[str, str]:
    """Compute the checksum of every field's value, independent of spelling and order."""
    return {str(name): _checksum(value) for name, value in data.items() if name != CHECKSUMS}


def with_checksums(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, followed by their checksums."""
    return {**data, CHECKSUMS: compute_checksums(data)}


def verify_checksums(data: Mapping[str, Any], *, where: str, hint: str = RESTORE) -> None:
    """Verify fields written by `with_checksums`.

    Raises:
        ExportError: a field was changed, added or removed; it is named.
    """
    verify_fields(data, data.get(CHECKSUMS), where=where, key=CHECKSUMS, hint=hint)


def verify_fields(
    data: Mapping[str, Any], expected: object, *, where: str, key: str, hint: str = RESTORE
) -> None:
    """Verify fields by their `expected` checksums, which the file holds under `key`.

    Raises:
        ExportError: a field was changed, added or removed; it is named.
    """
    modified = f"the file was modified or truncated; {hint}"
    if expected is None:
        raise ExportError(f"{where}: {key} is missing: {modified}")
    if not isinstance(expected, Mapping):
        raise ExportError(f"{where}: {key}={expected!r:.60} must be a mapping of checksums; {hint}")
    actual = compute_checksums(data)
    for name in (*expected, *actual):
        if name not in actual:
            raise ExportError(f"{where}: {name} is missing: {modified}")
        if name not in expected:
            raise ExportError(f"{where}: {name} has no checksum in {key}: {modified}")
        if actual[name] != expected[name]:
            raise ExportError(
                f"{where}: checksum mismatch in field '{name}': the file was modified; {hint}"
            )


def _checksum(value: object) -> str:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):  # not JSON, so it was not written by us
        return f"none: {type(value).__name__}"
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
