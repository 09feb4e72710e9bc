"""What a command prints: tables and lines for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from cmt_search.arch import Arch


def say(text: str = "") -> None:
    """One line for people, not wrapped, so that paths can be copied."""
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


def show_table(rows: Iterable[Mapping[str, object]], *, title: str) -> None:
    """Rows as a table; the first row's keys are the columns."""
    rows = list(rows)
    if not rows:
        return
    # A pipe has no width of its own: wide enough that nothing is cut.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in rows[0]:
        table.add_column(str(name))
    for row in rows:
        table.add_row(*(str(cell) for cell in row.values()))
    console.print(table)


def sizes_text(arch: "Arch") -> str:
    """A network in a cell: pixels, channels of the first stage, blocks by stage."""
    depths = "-".join(str(stage.depth) for stage in arch.stages)
    return f"{arch.resolution} px, w {arch.stages[0].width}, d {depths}"


def print_json(data: Mapping[str, Any]) -> None:
    """The result of a command, alone on standard output."""
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")
