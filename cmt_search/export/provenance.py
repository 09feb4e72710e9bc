"""Where a variant comes from, as plain values: every format can hold them, the card can tell them.

What is known by name has its type; whatever else a caller adds needs only be plain.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from cmt_search.errors import ExportError

_DEEPEST = 40  # levels; values that hold themselves end here
_LARGEST = 2**63  # integers that other programs read, too


def plain(value: object, *, where: str, depth: int = 0) -> Any:
    """The value as a file gives it back.

    Raises:
        ExportError: some part is none that JSON has; it is named.
    """
    if depth > _DEEPEST:
        raise ExportError(f"{where} nests too deeply, or holds itself; write plain values")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where=where)
    if isinstance(value, int) and abs(value) < _LARGEST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain(v, where=f"{where}[{i}]", depth=depth + 1) for i, v in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {
            _text(key, where=where): plain(v, where=f"{where}.{key}", depth=depth + 1)
            for key, v in value.items()
        }
    raise ExportError(
        f"{where}={value!r:.60} is no plain value; use text, finite numbers, true, false, null, "
        "lists, and mappings by text"
    )


def checked(provenance: object, *, where: str = "provenance") -> dict[str, Any]:
    """The provenance of a variant, as a file gives it back.

    Raises:
        ExportError: a field is not plain, or one known by name is of another kind; it is named.
    """
    if not isinstance(provenance, Mapping):
        raise ExportError(f"{where}={provenance!r:.60} is no mapping; write `field: value` pairs")
    values: dict[str, Any] = plain(provenance, where=where)
    for name, (kind, is_so) in _KNOWN.items():
        if (value := values.get(name)) is not None and not is_so(value):
            raise ExportError(f"{where}.{name}={value!r:.60} is no {kind}; write one, or leave it")
    evidence = values.get("evidence") or {}
    if not _is_list_of(evidence.get("says", []), str):
        raise ExportError(
            f"{where}.evidence.says={evidence['says']!r:.60} is no list of sentences; write one"
        )
    return values


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_list_of(value: object, of: type | None = None) -> bool:
    """A list of a type; without one, of numbers."""
    if not isinstance(value, list):
        return False
    return all(_is_number(v) if of is None else isinstance(v, of) for v in value)


def _is_shares(value: object) -> bool:
    names = ("depth", "width", "resolution")
    return isinstance(value, dict) and all(_is_number(value.get(name)) for name in names)


_KNOWN: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "run": ("text", _is_text),
    "rule": ("text", _is_text),
    "preset": ("text", _is_text),
    "budget": ("number of MACs", _is_positive),
    "shares": ("mapping of depth, width and resolution to numbers", _is_shares),
    "realised": ("list of numbers", _is_list_of),
    "proxy_top1": ("list of numbers", _is_list_of),
    "evidence": ("mapping", lambda value: isinstance(value, dict)),
}


def _text(value: str, *, where: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half of a pair
        raise ExportError(f"{where}={value!r:.60} is no text that a file can hold") from None
    return str(value)
