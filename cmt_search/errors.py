"""Errors that a user can fix. Each message names the place, the problem and the remedy."""

import difflib
from collections.abc import Iterable

_LONGEST = 100  # characters of a value in a message


class CmtSearchError(Exception):
    """Base of the errors that a user can fix; the command line exits with 2 on them."""


class ArchError(CmtSearchError, ValueError):
    """An architecture that cannot exist, or a description of one that cannot be read."""


class BudgetError(CmtSearchError, ValueError):
    """A budget that no network of the family meets, with the limit that binds."""


class SpaceError(CmtSearchError, ValueError):
    """An impossible value in a space or recipe file, with its key path."""


class DataError(CmtSearchError):
    """Images or labels that are missing, or differ from what the space file states."""


class RunError(CmtSearchError):
    """A run folder that is missing, locked, or belongs to another search."""


class AnalysisError(CmtSearchError):
    """A question for which the study has too little data."""


class ExportError(CmtSearchError):
    """A variant that cannot be written, or an exported file that cannot be read."""


def brief(value: object) -> str:
    """Represent a value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def closest_match(word: str, options: Iterable[str]) -> str | None:
    """Return the option that was likely meant, if any is close."""
    names = {name.lower(): name for name in options}
    close = difflib.get_close_matches(word[:_LONGEST].lower(), names, n=1)
    return names[close[0]] if close else None


def suggestion(word: str, options: Iterable[str]) -> str:
    """Format the remedy for an unknown word: `use a, b`, with the likely option first."""
    names = list(dict.fromkeys(options))
    match, listed = closest_match(word, names), ", ".join(names)
    return f"use {listed}" if match is None else f"did you mean {match}? Known are {listed}"
