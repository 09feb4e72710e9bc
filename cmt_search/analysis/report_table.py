"""One table of the report."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the report; cells are shown as they are."""

    title: str
    rows: tuple[Mapping[str, object], ...]  # the first row's keys are the columns
    note: str = ""
    key: str = ""  # of its section's address

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names, in the first row's order."""
        return tuple(self.rows[0]) if self.rows else ()

    @property
    def numbers(self) -> frozenset[str]:
        """Columns to align right: their first cell starts as a number does."""
        first = self.rows[0] if self.rows else {}
        return frozenset(
            name for name, cell in first.items() if str(cell)[:1] in tuple("0123456789+\u2212-")
        )
