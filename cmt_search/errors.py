"""What a user can fix. Every message says where, what, and how to fix it."""

import difflib
from collections.abc import Iterable


def closest_match(word: str, known: Iterable[str]) -> str | None:
    """The known word that was likely meant, if any is near."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return names[close[0]] if close else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """How a message about an unknown word ends: `use a, b`, with the likely one first."""
    names = list(dict.fromkeys(known))
    near, listed = closest_match(word, names), ", ".join(names)
    return f"use {listed}" if near is None else f"did you mean {near}? Known are {listed}"


class CmtSearchError(Exception):
    """Base of the errors that a user can fix; the command line exits with 2 on them."""


class ArchError(CmtSearchError, ValueError):
    """An architecture that cannot exist, or a description of one that cannot be read."""


class BudgetError(CmtSearchError, ValueError):
    """A budget that no network of the family meets, with the limit that binds."""


class SpaceError(CmtSearchError, ValueError):
    """A space file that says something impossible, with its key path."""


class DataError(CmtSearchError):
    """Images or labels that are missing, or are not what the space file says."""


class RunError(CmtSearchError):
    """A run folder that is missing, locked, or belongs to another search."""


class AnalysisError(CmtSearchError):
    """A question that the study holds too little for."""


class ExportError(CmtSearchError):
    """A variant that cannot be written, or an exported file that cannot be read."""
