"""A digest of every field of a description, so that a changed file tells which one was changed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cmt_search.errors import ExportError

SEAL = "seal"  # the field that holds the digests; the last, so that a file cut short has none
_DIGITS = 16  # hexadecimal, of SHA-256: against accidents and edits, not against forgers
RESTORE = "restore the file, or export it again"


def digests(data: Mapping[str, Any]) -> dict[str, str]:
    """Of every field but the seal: of its value, however the file spells and orders it."""
    return {str(name): _digest(value) for name, value in data.items() if name != SEAL}


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, and behind them their digests."""
    return {**data, SEAL: digests(data)}


def check_seal(data: Mapping[str, Any], *, where: str, hint: str = RESTORE) -> None:
    """Refuse fields that are not those that were `sealed`.

    Raises:
        ExportError: one was changed, added or taken away; it is named.
    """
    check_digests(data, data.get(SEAL), where=where, seal=SEAL, hint=hint)


def check_digests(
    data: Mapping[str, Any], told: object, *, where: str, seal: str, hint: str = RESTORE
) -> None:
    """Refuse fields that have not the digests `told`, which the file holds as `seal`.

    Raises:
        ExportError: one was changed, added or taken away; it is named.
    """
    if told is None:
        raise ExportError(f"{where}: {seal} is missing, so it was changed or cut short; {hint}")
    if not isinstance(told, Mapping):
        raise ExportError(f"{where}: {seal}={told!r:.60} is no mapping of digests; {hint}")
    found = digests(data)
    for name in (*told, *found):
        if name not in found:
            raise ExportError(f"{where}: {name} is missing, so it was changed or cut short; {hint}")
        if name not in told:
            raise ExportError(
                f"{where}: {name} is not among the fields of {seal}, so it was changed or cut "
                f"short; {hint}"
            )
        if found[name] != told[name]:
            raise ExportError(
                f"{where}: {name} was changed: it has not the digest {seal}.{name}; {hint}"
            )


def _digest(value: object) -> str:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):  # JSON has no such value, so none was sealed
        return f"none: {type(value).__name__}"
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
